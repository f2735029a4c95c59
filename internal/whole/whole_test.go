package whole_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/internal/whole"
)

// has compares all that a folder holds, hidden files too, with what it should hold.
func has(t *testing.T, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("the folder holds %q, want %q", names, want)
	}
}

// reads compares a file with what it should be.
func reads(t *testing.T, path, want string, mode fs.FileMode) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != want {
		t.Errorf("%s has %q, %v; want %q", path, text, err, want)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != mode {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), mode)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, strings.Repeat("n", 255)) // as long as a name can be
	for _, c := range []struct {
		text string
		mode fs.FileMode
	}{{"first", 0o644}, {"", 0o600}, {"third", 0o644}} {
		if err := whole.Write(path, c.mode, whole.Bytes([]byte(c.text))); err != nil {
			t.Fatal(err)
		}
		reads(t, path, c.text, c.mode)
		has(t, folder, filepath.Base(path))
	}
}

// While it is written a file is as it was: who has it open reads on in that, and who opens it gets that.
func TestNobodySeesHalf(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	if err := whole.Write(path, 0o644, whole.Bytes([]byte("old"))); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	err = whole.Write(path, 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, "ne")
		reads(t, path, "old", 0o644)
		entries, _ := os.ReadDir(folder)
		if len(entries) != 2 || !strings.HasPrefix(entries[0].Name(), ".") || !strings.HasSuffix(entries[0].Name(), ".tmp") {
			t.Errorf("what is being written is not beside it, hidden, as .tmp: %v", entries)
		} else if info, err := entries[0].Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("others may read what is being written: %v, %v", info.Mode(), err)
		}
		_, more := io.WriteString(w, "w")
		return errors.Join(err, more)
	})
	if err != nil {
		t.Fatal(err)
	}
	reads(t, path, "new", 0o644)
	if text, err := io.ReadAll(reader); err != nil || string(text) != "old" {
		t.Errorf("who had it open reads %q, %v", text, err)
	}
	has(t, folder, "file")
}

func TestFailureLeavesWhatWas(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	broken := errors.New("broken off")
	half := func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, broken)
	}
	if err := whole.Write(path, 0o600, half); !errors.Is(err, broken) || err.Error() != "broken off" {
		t.Errorf("got %v", err)
	}
	has(t, folder) // nothing was there, nothing is
	if err := whole.Write(path, 0o600, whole.Bytes([]byte("old"))); err != nil {
		t.Fatal(err)
	}
	if err := whole.Write(path, 0o644, half); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic of content is lost")
			}
		}()
		_ = whole.Write(path, 0o644, func(io.Writer) error { panic("content") })
	}()
	closing := func(w io.Writer) error { return w.(io.Closer).Close() } // as a disk that fails at the end
	if err := whole.Write(path, 0o644, closing); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("got %v", err)
	}
	reads(t, path, "old", 0o600)
	has(t, folder, "file")

	taken := filepath.Join(folder, "taken")
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	var named *os.LinkError
	if err := whole.Write(taken, 0o600, whole.Bytes(nil)); !errors.As(err, &named) || named.New != taken {
		t.Errorf("in the place of a folder: got %v", err)
	}
	has(t, folder, "file", "taken")
}

func TestFolderIsNamed(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "nowhere")
	err := whole.Write(filepath.Join(folder, "file"), 0o644, func(io.Writer) error {
		t.Error("something is written to nowhere")
		return nil
	})
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "create a file in "+folder+": no such file or directory" {
		t.Errorf("got %v", err)
	}
	if err := whole.SyncFolder(folder); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), folder) {
		t.Errorf("got %v", err)
	}
	if err := whole.SyncFolder(filepath.Dir(folder)); err != nil {
		t.Errorf("got %v", err)
	}
}
