package socket_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/internal/socket"
)

// folder is a temporary folder with a path short enough for sockets.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestTakenPortSaysWhoHasIt(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address := l.Addr().String()
	want := fmt.Sprintf("%s is taken by ", address)
	us := fmt.Sprintf("(pid %d)", os.Getpid())
	_, err = socket.Listen(address)
	for _, err := range []error{err, socket.Free(address)} {
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), us) {
			t.Errorf("got %v, want %s… %s", err, want, us)
		}
	}
	l.Close()
	if err := socket.Free(address); err != nil {
		t.Errorf("after it was closed: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(folder(t), "a.sock")
	first, err := socket.Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Listen("unix:" + path); err == nil || err.Error() != path+" is served by another process" {
		t.Errorf("while it is served: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := socket.Listen("unix:" + path)
	if err != nil {
		t.Fatalf("after its server is gone: %v", err)
	}
	second.Close()

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Listen("unix:" + path); err == nil || err.Error() != path+" is in the way: it is not a socket" {
		t.Errorf("a file: %v", err)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	_, err := socket.Listen("unix:/tmp/" + strings.Repeat("x", 120))
	if err == nil || !strings.Contains(err.Error(), "choose a shorter folder") {
		t.Errorf("got %v", err)
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), "data")
	f, err := socket.Claim(dir, "", "postern (pid 7, http 127.0.0.1:9090)")
	if err != nil {
		t.Fatal(err)
	}
	if f.Sockets != f.Path {
		t.Errorf("sockets in %s", f.Sockets)
	}
	want := "data folder " + dir + " is in use by postern (pid 7, http 127.0.0.1:9090); give this gateway another one with --data-dir"
	if _, err := socket.Claim(dir, "", "another"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	part, err := socket.Claim(dir, "enforcer", "postern enforcer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Claim(dir, "enforcer", "another"); err == nil || !strings.Contains(err.Error(), "is in use by postern enforcer;") {
		t.Errorf("the same part: %v", err)
	}
	part.Release()
	f.Release()
	again, err := socket.Claim(dir, "", "another")
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}

func TestClaimWithALongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), strings.Repeat("long/", 24))
	f, err := socket.Claim(dir, "", "us")
	if err != nil {
		t.Fatal(err)
	}
	if f.Sockets == f.Path || socket.Fits(filepath.Join(f.Sockets, "ratelimiter-health.sock")) != nil {
		t.Errorf("sockets in %s", f.Sockets)
	}
	if found, err := socket.Sockets(dir); err != nil || found != f.Sockets {
		t.Errorf("found %s, %v", found, err)
	}
	f.Release()
	if _, err := os.Stat(f.Sockets); !os.IsNotExist(err) {
		t.Errorf("%s is left", f.Sockets)
	}
}
