package project

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postern-gateway/postern/adapter/model"
)

// What an archive may hold at most. Archives come from strangers: nothing is unpacked before all of this was checked.
const (
	maxArchiveBytes  = 64 << 20
	maxEntries       = 20_000
	maxEntryBytes    = maxDocumentBytes
	maxUnpackedBytes = 256 << 20
	maxRatio         = 200     // of unpacked to packed, for entries
	ratioMatters     = 1 << 20 // of this size on
)

// Open opens a project's folder or zip archive. Nothing outside it can be read through it: links out of a folder lead
// nowhere. The closer must be closed when the files are no longer read.
func Open(name string) (fs.FS, io.Closer, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no project %s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open project: %w", err)
	}
	if info.IsDir() {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, nil, fmt.Errorf("open project: %w", err)
		}
		return root.FS(), root, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("open project: %w", err)
	}
	files, err := OpenZip(file, info.Size())
	if err != nil {
		file.Close() //nolint:errcheck // it was only read
		switch path.Ext(name) {
		case ".yaml", ".yml", ".json":
			return nil, nil, fmt.Errorf("%s is no project, which is a folder or a zip archive; make one of a definition: postern init NAME --openapi %s", name, name)
		}
		return nil, nil, fmt.Errorf("open project %s: %w", name, err)
	}
	return files, file, nil
}

// OpenZip opens an archive of size bytes, with the project's files at its top or in the one folder there. Files are
// unpacked as they are read. Its error is a model.Problem that names the entry.
func OpenZip(r io.ReaderAt, size int64) (fs.FS, error) {
	if size > maxArchiveBytes {
		return nil, badArchive("", "the archive is larger than %d MiB", maxArchiveBytes>>20)
	}
	if n, err := countEntries(io.NewSectionReader(r, 0, size), size); err != nil {
		return nil, badArchive("", "the archive cannot be read: %v", err)
	} else if n > maxEntries { // before the reader builds something of each
		return nil, badArchive("", "the archive has more than %d entries", maxEntries)
	}
	archive, err := zip.NewReader(r, size)
	if errors.Is(err, zip.ErrFormat) {
		return nil, badArchive("", "this is neither a folder nor a zip archive")
	}
	if err != nil {
		return nil, badArchive("", "this is not a zip archive: %v", err)
	}
	if err := checkEntries(archive.File); err != nil {
		return nil, err
	}
	return topOf(archive)
}

// OpenBytes is OpenZip of an archive in memory.
func OpenBytes(archive []byte) (fs.FS, error) {
	return OpenZip(bytes.NewReader(archive), int64(len(archive)))
}

func badArchive(entry, format string, args ...any) error {
	return refusal(model.Origin{File: entry}, "bad-archive", format, args...)
}

// countEntries counts the headers of a zip archive's directory (APPNOTE.TXT 4.3.12), as a bound: packed bytes may look
// like one.
func countEntries(r io.Reader, size int64) (int, error) {
	signature := []byte("PK\x01\x02")
	buffer := make([]byte, min(64<<10, max(size, 0)+int64(len(signature))))
	n, kept := 0, 0
	for {
		read, err := r.Read(buffer[kept:])
		window := buffer[:kept+read]
		n += bytes.Count(window, signature)
		kept = copy(buffer, window[max(0, len(window)-len(signature)+1):])
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// checkEntries refuses what could harm or surprise whoever unpacks the archive.
func checkEntries(entries []*zip.File) error {
	files, folders := map[string]bool{}, map[string]bool{}
	var total uint64
	if len(entries) > maxEntries {
		return badArchive("", "the archive has more than %d entries", maxEntries)
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name, "/")
		shown := strings.ToValidUTF8(e.Name, "�")
		total += e.UncompressedSize64
		switch mode := e.Mode(); {
		case !utf8.ValidString(e.Name) || strings.ContainsAny(e.Name, "\\:\x00") || !fs.ValidPath(name) || name == ".":
			return badArchive(shown, "the name %q leads out of the archive or is no path of plain names; rename the entry", shown)
		case mode&fs.ModeType != 0 && !mode.IsDir():
			return badArchive(shown, "the entry is a link or a device; put the file itself into the archive")
		case e.Flags&1 != 0:
			return badArchive(shown, "the entry is encrypted; pack it without a password")
		case e.Method != zip.Store && e.Method != zip.Deflate:
			return badArchive(shown, "the entry is packed by an unusual method; use deflate")
		case e.UncompressedSize64 > maxEntryBytes:
			return badArchive(shown, "the entry unpacks to more than %d MiB", maxEntryBytes>>20)
		case total > maxUnpackedBytes:
			return badArchive(shown, "the archive unpacks to more than %d MiB", maxUnpackedBytes>>20)
		case e.UncompressedSize64 > ratioMatters && e.UncompressedSize64/max(e.CompressedSize64, 1) > maxRatio:
			return badArchive(shown, "the entry unpacks to more than %d times its size", maxRatio)
		case files[name]:
			return badArchive(shown, "the archive has the entry twice; leave one of them")
		}
		if !e.Mode().IsDir() && !strings.HasSuffix(e.Name, "/") {
			files[name] = true
		}
		for i, c := range name {
			if c == '/' {
				folders[name[:i]] = true
			}
		}
	}
	for name := range files {
		if folders[name] {
			return badArchive(name, "the entry is a file and a folder at once")
		}
	}
	return nil
}

// topOf is where the project starts: at the top, or in the one folder there, if a folder was packed.
func topOf(archive *zip.Reader) (fs.FS, error) {
	entries, err := fs.ReadDir(archive, ".")
	if err != nil {
		return nil, badArchive("", "the archive cannot be read: %v", err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return hidden(e.Name()) || e.Name() == "__MACOSX" })
	if len(entries) != 1 || !entries[0].IsDir() || slices.Contains(ownNames, entries[0].Name()) {
		return archive, nil
	}
	within, err := fs.ReadDir(archive, entries[0].Name())
	if err != nil {
		return nil, badArchive(entries[0].Name(), "the archive cannot be read: %v", err)
	}
	if !slices.ContainsFunc(within, func(e fs.DirEntry) bool { return slices.Contains(ownNames, e.Name()) }) {
		return archive, nil
	}
	return fs.Sub(archive, entries[0].Name())
}
