package project

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

// packed is the time of every entry: zip's first, so that the same files make the same bytes.
var packed = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Build writes a project's files as a zip archive: sorted, without times, modes and hidden files, so that the same
// content gives the same bytes, from a folder as from an archive.
func Build(files fs.FS, w io.Writer) error {
	archive := zip.NewWriter(w)
	var entries int
	var total int64
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return unreadable(name, err)
		}
		if name != "." && hidden(entry.Name()) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		if err := regular(files, name); err != nil {
			return err
		}
		data, err := readFile(files, name, maxEntryBytes)
		if err != nil {
			return unreadable(name, err)
		}
		entries++
		total += int64(len(data))
		if entries > maxEntries || total > maxUnpackedBytes {
			return refusal(model.Origin{File: name}, "project-too-large", "the project has more than %d files or %d MiB; is this the right folder?", maxEntries, maxUnpackedBytes>>20)
		}
		return pack(archive, name, data)
	})
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return archive.Close()
}

// regular refuses what cannot be packed: devices, sockets, and links that lead to a folder or nowhere.
func regular(files fs.FS, name string) error {
	info, err := fs.Stat(files, name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("the link leads nowhere")
		}
		return unreadable(name, err)
	}
	if !info.Mode().IsRegular() {
		return refusal(model.Origin{File: name}, "unreadable", "this is not a plain file and cannot be packed; replace it by the file itself")
	}
	return nil
}

func pack(archive *zip.Writer, name string, data []byte) error {
	w, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: packed})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
