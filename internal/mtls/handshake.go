package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
)

// ServerCredentials let certificates of these roles connect to a gRPC server. Who is turned away is logged. On a unix
// socket, which its file's rights protect, they are plain text.
func (s *Set) ServerCredentials(roles ...string) credentials.TransportCredentials {
	return s.ServerCredentialsOf("", roles...)
}

// ServerCredentialsOf are ServerCredentials of what serves one label ("": any): whose certificate is limited to others is
// turned away.
func (s *Set) ServerCredentialsOf(label string, roles ...string) credentials.TransportCredentials {
	return &transport{credentials.NewTLS(s.askingConfig(label, roles)), &s.refusals}
}

// ClientCredentials are for connections to a gRPC server of one of these roles; plain text on a unix socket.
func (s *Set) ClientCredentials(roles ...string) credentials.TransportCredentials {
	return &transport{credentials.NewTLS(s.ClientConfig(roles...)), &s.refusals}
}

// transport is gRPC's own TLS that says who came, and why somebody could not.
type transport struct {
	credentials.TransportCredentials
	refusals *refusals
}

// authInfo is what Peer reads. Only a handshake of ours makes one.
type authInfo struct {
	credentials.TLSInfo
	identity Identity
}

func (t *transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if raw.LocalAddr().Network() == "unix" {
		return insecure.NewCredentials().ServerHandshake(raw)
	}
	conn, info, err := t.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		t.refusals.tell(raw.RemoteAddr(), err)
		return nil, nil, err
	}
	return known(conn, info)
}

func (t *transport) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if raw.RemoteAddr().Network() == "unix" {
		return insecure.NewCredentials().ClientHandshake(ctx, authority, raw)
	}
	conn, info, err := t.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %s", raw.RemoteAddr(), reason(err, t.refusals.files))
	}
	return known(conn, info)
}

func known(conn net.Conn, info credentials.AuthInfo) (net.Conn, credentials.AuthInfo, error) {
	tlsInfo := info.(credentials.TLSInfo)
	identity, err := IdentityOf(tlsInfo.State.PeerCertificates[0])
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, authInfo{tlsInfo, identity}, nil
}

func (t *transport) Clone() credentials.TransportCredentials {
	return &transport{t.TransportCredentials.Clone(), t.refusals}
}

// Peer is who is at the other end of a call; false, if the connection has no TLS of ours.
func Peer(ctx context.Context) (Identity, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, false
	}
	info, ok := p.AuthInfo.(authInfo)
	return info.identity, ok
}

// Private says whether nobody else can be at the other end of a call: it came by a unix socket, which its file's rights
// protect, or has shown a certificate of ours. What is secret is told to no other.
func Private(ctx context.Context) bool {
	if _, ok := Peer(ctx); ok {
		return true
	}
	p, ok := peer.FromContext(ctx)
	return ok && p.LocalAddr != nil && p.LocalAddr.Network() == "unix"
}

// patience is how long a handshake may take.
const patience = 10 * time.Second

// Listen makes a listener one of TLS, for servers of HTTP: its connections have shown a certificate of one of these roles
// before they are accepted. Who is turned away is logged.
func (s *Set) Listen(inner net.Listener, roles ...string) net.Listener {
	return s.listen(inner, s.ServerConfig(roles...))
}

// ListenAnyone shows the own certificate and asks for none.
func (s *Set) ListenAnyone(inner net.Listener) net.Listener { return s.listen(inner, s.anyoneConfig()) }

func (s *Set) listen(inner net.Listener, config *tls.Config) net.Listener {
	l := &listener{
		Listener: inner, config: config, refusals: &s.refusals,
		room: make(chan struct{}, handshakes), accepted: make(chan net.Conn), done: make(chan struct{}), closing: make(chan struct{}),
	}
	go l.run()
	return l
}

// handshakes is how many may be under way; who comes then waits in the kernel's queue.
const handshakes = 256

// Between attempts to accept while the system has no room (file descriptors, memory), as net/http waits.
const firstPause, longestPause = 5 * time.Millisecond, time.Second

type listener struct {
	net.Listener
	config   *tls.Config
	refusals *refusals
	room     chan struct{} // a place for each handshake
	accepted chan net.Conn
	done     chan struct{} // the inner listener has ended, with err
	err      error
	once     sync.Once
	closing  chan struct{} // Close was called
}

// Close ends the inner listener, and what waits for it.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closing) })
	return l.Listener.Close()
}

func (l *listener) run() {
	defer close(l.done)
	pause := firstPause
	for {
		select {
		case l.room <- struct{}{}:
		case <-l.closing:
			l.err = net.ErrClosed
			return
		}
		conn, err := l.Listener.Accept()
		if err == nil {
			pause = firstPause
			go l.handshake(conn)
			continue
		}
		<-l.room
		if !passing(err) {
			l.err = err
			return
		}
		l.refusals.log.Warn("no connection can be accepted; trying again", "listen", l.Addr().String(), "after", pause, "err", err)
		select {
		case <-time.After(pause):
		case <-l.closing:
		}
		pause = min(2*pause, longestPause)
	}
}

// passing says of an error of Accept that the listener is as good as before.
func passing(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}

func (l *listener) handshake(raw net.Conn) {
	leave := sync.OnceFunc(func() { <-l.room })
	defer leave()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := tls.Server(raw, l.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		l.refusals.tell(raw.RemoteAddr(), err)
		raw.Close()
		return
	}
	leave() // why already: a server that is slow to accept is no handshake
	select {
	case l.accepted <- conn:
	case <-l.done:
		conn.Close()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.done:
		return nil, l.err
	}
}
