package mtls

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Plain is no TLS at all, for connections to a gRPC server. Where one hangs up without a word, as those do that want TLS,
// the error says so, and names the key of the configuration that has it.
func Plain(key string) credentials.TransportCredentials {
	return plain{insecure.NewCredentials(), key}
}

type plain struct {
	credentials.TransportCredentials
	key string
}

func (p plain) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := p.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil || raw.RemoteAddr().Network() == "unix" {
		return conn, info, err
	}
	return &unanswered{Conn: conn, key: p.key}, info, nil
}

func (p plain) Clone() credentials.TransportCredentials {
	return plain{p.TransportCredentials.Clone(), p.key}
}

// unanswered is a connection that looks at how it ends as long as nothing has been read from it.
type unanswered struct {
	net.Conn
	key  string
	some atomic.Bool
}

func (u *unanswered) Read(b []byte) (int, error) {
	n, err := u.Conn.Read(b)
	switch {
	case n > 0:
		u.some.Store(true)
	case !u.some.Load() && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return n, silent{u.RemoteAddr().String(), u.key, err}
	}
	return n, err
}

// silent is the end of a connection on which nothing was said.
type silent struct {
	address, key string
	err          error
}

func (s silent) Error() string {
	return s.address + " hangs up without a word: it may want TLS, which is " + s.key + " here"
}

func (s silent) Unwrap() error { return s.err }
