package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file is an entry of an archive or of a layer: a regular file, or a folder if dir is set, or a link if link is.
type file struct {
	name    string // slash-separated, relative
	mode    int64  // permission bits
	content []byte
	link    string
	dir     bool
	owner   int // user and group; 0 is root
}

// text is a file that everybody reads.
func text(name string, content []byte) file { return file{name: name, mode: 0o644, content: content} }

// program is a file that everybody runs.
func program(name string, content []byte) file {
	return file{name: name, mode: 0o755, content: content}
}

// under puts files into a folder.
func under(folder string, files []file) []file {
	moved := slices.Clone(files)
	for i := range moved {
		moved[i].name = path.Join(folder, moved[i].name)
	}
	return moved
}

// readFolder returns the regular files and links below a folder, with names relative to it.
func readFolder(folder string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		f := file{name: filepath.ToSlash(relative)}
		if entry.Type()&fs.ModeSymlink != 0 {
			f.mode = 0o777
			f.link, err = os.Readlink(name)
		} else {
			info, statErr := entry.Info()
			if statErr != nil {
				return statErr
			}
			f.mode = int64(info.Mode().Perm())
			f.content, err = os.ReadFile(name)
		}
		files = append(files, f)
		return err
	})
	return files, err
}

// packed returns the files as a tar, byte for byte the same for the same files: sorted, each folder before what is in
// it, nobody's names, one time for all.
func packed(files []file, when time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range withFolders(files) {
		header := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, ModTime: when, Format: tar.FormatPAX}
		switch {
		case f.dir:
			header.Typeflag, header.Name = tar.TypeDir, f.name+"/"
		case f.link != "":
			header.Typeflag, header.Linkname = tar.TypeSymlink, f.link
		default:
			header.Typeflag, header.Size = tar.TypeReg, int64(len(f.content))
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// withFolders returns the files sorted by name, with the folders they lie in where none was given.
func withFolders(files []file) []file {
	all := slices.Clone(files)
	known := map[string]bool{}
	for _, f := range files {
		known[f.name] = true
	}
	for _, f := range files {
		for folder := path.Dir(f.name); folder != "." && !known[folder]; folder = path.Dir(folder) {
			known[folder] = true
			all = append(all, file{name: folder, mode: 0o755, dir: true})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return all
}

// gzipped compresses without a name or a time in the header.
func gzipped(content []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// archive is packed, and gzipped.
func archive(files []file, when time.Time) ([]byte, error) {
	content, err := packed(files, when)
	if err != nil {
		return nil, err
	}
	return gzipped(content)
}
