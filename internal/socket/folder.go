package socket

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Folder is a data folder that one process at a time may use, or one of each part of a gateway.
type Folder struct {
	Path    string // absolute
	Sockets string // where its unix sockets are: Path, or a shorter one where that is too long
	lock    *os.File
}

// longestName is the longest of our sockets' names.
const longestName = "/ratelimiter-health.sock"

// Claim makes the folder, for this user alone, and takes it until Release: all of it, or with a part's name what that part
// has in it. holder is what the next one who tries is told about us.
func Claim(path, part, holder string) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	name := filepath.Join(path, strings.TrimPrefix(part+".lock", "."))
	lock, err := Lock(name)
	if errors.Is(err, ErrLocked) {
		return nil, inUse(path, name)
	}
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	f := &Folder{Path: path, lock: lock}
	if f.Sockets, err = Sockets(path); err == nil && f.Sockets != path {
		err = makeShort(f.Sockets, path)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	_ = lock.Truncate(0) // why: what it says is for people; the lock itself holds without it
	_, _ = lock.WriteAt([]byte(holder), 0)
	return f, nil
}

// ErrLocked: another process, or another part of this one, has the lock.
var ErrLocked = errors.New("it is locked")

// Lock makes a file and locks it. The lock ends with Unlock, or with this process, however it ends.
func Lock(path string) (*os.File, error) {
	for {
		lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			lock.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, ErrLocked
			}
			return nil, err
		}
		// why: its last holder may have removed it since it was opened; then this one locks nobody out
		ours, err := lock.Stat()
		if err != nil {
			lock.Close()
			return nil, err
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(ours, there) {
			return lock, nil
		}
		lock.Close()
	}
}

func inUse(path, lock string) error {
	holder, _ := os.ReadFile(lock)
	return fmt.Errorf("data folder %s is in use by %s; give this gateway another one with --data-dir", path, strings.TrimSpace(string(holder)))
}

// Sockets is the folder for the sockets of a data folder: itself, or another where its own path is too long for them.
func Sockets(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil || Fits(path+longestName) == nil {
		return path, err
	}
	sum := sha256.Sum256([]byte(path))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("postern-%d-%s", os.Getuid(), hex.EncodeToString(sum[:4])))
	return dir, Fits(dir + longestName)
}

// makeShort makes that other folder.
func makeShort(dir, path string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// why: anybody may make a folder of this name there first, and would own our sockets
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(s.Uid) != os.Getuid() || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s, for the sockets of %s, is not a folder of ours alone: remove it, or use a shorter --data-dir", dir, path)
	}
	return nil
}

// Release lets the next one have it, and leaves nothing that is of no use to them.
func (f *Folder) Release() {
	if f.Sockets != f.Path {
		_ = os.Remove(f.Sockets) // unless another part has sockets there
	}
	Unlock(f.lock)
}

// Unlock removes what Lock made.
func Unlock(lock *os.File) {
	_ = os.Remove(lock.Name())
	_ = lock.Close()
}
