// Package whole writes files so that they are there whole or as they were, whoever reads meanwhile and whatever fails. It must
// not import any other package of ours.
package whole

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write puts what content writes in the place of the file at path, in one step and with exactly these rights. Until then, and for
// good if anything fails, that file is as it was. What is being written is a hidden file beside it that ends in .tmp; only a
// kill leaves one behind. Its bytes are on the disk before it gets its name; that the name lasts, too, takes a [SyncFolder].
// An error of content is returned as it is; any other is an [fs.PathError] or an [os.LinkError].
func Write(path string, mode fs.FileMode, content func(io.Writer) error) error {
	folder := filepath.Dir(path)
	file, err := os.CreateTemp(folder, ".postern-*.tmp") // 0600
	if err != nil {
		return of(folder, err)
	}
	defer os.Remove(file.Name()) // nothing is there once it was renamed
	defer file.Close()           // a second time is nothing
	if err := content(file); err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// of says in what folder no file can be made: the name that the file would have had tells nobody anything.
func of(folder string, err error) error {
	var refused *fs.PathError
	if !errors.As(err, &refused) {
		return err
	}
	return &fs.PathError{Op: "create a file in", Path: folder, Err: refused.Err}
}

// Bytes is content that is there already, for [Write].
func Bytes(content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
}

// SyncFolder makes the names in a folder last: a file that was written or renamed there is found after a power cut.
func SyncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
