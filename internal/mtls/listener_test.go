package mtls_test

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/test/fixture"
)

// short is a listener of a machine that has no room for some connections.
type short struct {
	net.Listener
	left atomic.Int64 // failures to come
}

func (s *short) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

// TestListenerOutlivesShortage: a machine that has no file descriptors for a moment has a listener still.
func TestListenerOutlivesShortage(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	log := &fixture.Log{}
	set := load(t, a.issue(mtls.RoleAdapter, "adapter-1", 0), log.Logger())
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &short{Listener: inner}
	l.left.Store(3)
	shielded := set.Listen(l, mtls.RoleClient)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}
	done := make(chan error, 1)
	go func() { done <- server.Serve(shielded) }()
	config := load(t, a.issue(mtls.RoleClient, "ann", 0), nil).ClientConfig(mtls.RoleAdapter)
	config.NextProtos = nil
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: fixture.Patience}
	response, err := client.Get("https://" + inner.Addr().String())
	if err != nil || response.StatusCode != http.StatusNoContent {
		t.Errorf("%v %v", response, err)
	}
	log.Wait(t, "too many open files")
	server.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := shielded.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed, it says %v", err)
	}
}

// counted is a listener that knows how many connections were taken from it.
type counted struct {
	net.Listener
	taken atomic.Int64
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.taken.Add(1)
	}
	return conn, err
}

// TestHandshakesAreBounded: who connects and says nothing takes one of 256 places, and leaves it.
func TestHandshakesAreBounded(t *testing.T) {
	t.Parallel()
	const places, many = 256, 300
	a := newAuthority(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &counted{Listener: inner}
	shielded := load(t, a.issue(mtls.RoleAdapter, "adapter-1", 0), nil).Listen(l, mtls.RoleClient)
	defer shielded.Close()
	var silent []net.Conn
	defer func() {
		for _, conn := range silent {
			conn.Close()
		}
	}()
	for range many {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	fixture.WaitFor(t, "every place is taken", func() bool { return l.taken.Load() == places })
	for _, conn := range silent {
		conn.Close()
	}
	silent = nil
	fixture.WaitFor(t, "the others have had their turn", func() bool { return l.taken.Load() == many })
	config := load(t, a.issue(mtls.RoleClient, "ann", 0), nil).ClientConfig(mtls.RoleAdapter)
	go func() {
		if conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", inner.Addr().String(), config); err == nil {
			conn.Close()
		}
	}()
	conn, err := shielded.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
