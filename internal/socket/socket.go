// Package socket opens listeners, "unix:/path" or "host:port", and says who has one that is taken. It must not import
// a part of the gateway.
package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// longest is what a path of a unix socket may have: 108 bytes on Linux, 104 elsewhere, with the 0 at its end.
const longest = 103

// Listen opens a listener. A unix socket is for this user alone; one that nobody serves any more is replaced.
func Listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, taken(address, err)
		}
		return l, nil
	}
	if err := Fits(path); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Fits says whether a unix socket can have this path.
func Fits(path string) error {
	if len(path) > longest {
		return fmt.Errorf("%s has %d bytes, and a unix socket's path at most %d: choose a shorter folder", path, len(path), longest)
	}
	return nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: it is not a socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("%s is served by another process", path)
	}
	return os.Remove(path)
}

// Free says why a TCP address cannot be listened on, if so: which it is and who has it. It is for listeners of Envoy's,
// which share a port with any other process of the same user instead of failing.
func Free(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return taken(address, err)
	}
	return l.Close()
}

// ErrTaken: somebody else listens there.
var ErrTaken = errors.New("taken")

// taken names the owner of an address that is in use.
func taken(address string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	_, port, _ := net.SplitHostPort(address)
	if who := owner(port); who != "" {
		return fmt.Errorf("%s is %w by %s", address, ErrTaken, who)
	}
	return fmt.Errorf("%s is %w by a process of another user; `ss -ltnp` as root names it", address, ErrTaken)
}
