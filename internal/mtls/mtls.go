// Package mtls is mutual TLS between the parts of a gateway that run apart: whom a certificate names, credentials made
// from files that are followed, and plain words in the log about who was turned away and why. It must not import the
// adapter, the enforcer or the ratelimiter.
//
// A host name says where a part is, not what it is, so names in certificates are not compared with addresses: both sides
// ask for a certificate of their own authority that names the right role (identity.go). TLS 1.3 is the only version.
package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Files are the certificate (with what leads from it to the authority, if anything), its key, and the authorities that
// the other side's certificate must come from ("": nobody's is good); all PEM.
type Files struct{ Cert, Key, CA string }

// Options of Load.
type Options struct {
	// Role is whom the own certificate must name; "": anybody, or nobody.
	Role string
	// Log is told about reloads, and who was turned away. nil: slog.Default().
	Log *slog.Logger
	// Registerer takes the metrics; nil: nobody's.
	Registerer prometheus.Registerer
}

// Set is a certificate, its key and the authorities, as the files have them now: they are looked at for each handshake.
// What they were last stays in use while they cannot be read. It is safe for concurrent use.
type Set struct {
	files    Files
	role     string
	log      *slog.Logger
	refusals refusals

	now atomic.Pointer[material]

	mu      sync.Mutex
	seen    stamp  // of the files when they were last read
	unhappy string // what was last said to be wrong with them
}

// Load reads the files and fails if they are of no use.
func Load(files Files, o Options) (*Set, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Set{files: files, role: o.Role, log: o.Log, refusals: refusals{files: files, log: o.Log}}
	s.seen = stampOf(files)
	m, err := s.read()
	if err != nil {
		return nil, err
	}
	s.now.Store(m)
	s.warnOf(m)
	return s, s.register(o.Registerer)
}

// Identity is whom the own certificate names.
func (s *Set) Identity() Identity { return s.current().identity }

// NotAfter is when the own certificate expires.
func (s *Set) NotAfter() time.Time { return s.current().certificate.Leaf.NotAfter }

// current is what the files hold.
func (s *Set) current() *material {
	s.reload()
	return s.now.Load()
}

// ServerConfig is for a listener that only certificates of these roles may connect to. It logs nothing: Listen and
// ServerCredentials do.
func (s *Set) ServerConfig(roles ...string) *tls.Config { return s.askingConfig("", roles) }

func (s *Set) askingConfig(label string, roles []string) *tls.Config {
	return s.serverConfig(func(m *material, c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, m.authorities
		// why: who resumes a session is not asked for a certificate again, and it may have been replaced
		c.SessionTicketsDisabled = true
		c.VerifyConnection = func(state tls.ConnectionState) error { return checkPeer(state, label, roles) }
	})
}

func (s *Set) anyoneConfig() *tls.Config { return s.serverConfig(func(*material, *tls.Config) {}) }

func (s *Set) serverConfig(ask func(*material, *tls.Config)) *tls.Config {
	protocols := []string{"h2", "http/1.1"}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := s.current()
			c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: protocols, Certificates: []tls.Certificate{m.certificate}}
			ask(m, c)
			return c, nil
		},
	}
}

// ClientConfig is for connections to a server whose certificate is of one of these roles.
func (s *Set) ClientConfig(roles ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &s.current().certificate, nil
		},
		// why: Go's own check would compare the host name; ours is below
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := s.current().verifyServer(state.PeerCertificates); err != nil {
				return err
			}
			return checkPeer(state, "", roles)
		},
	}
}

// verifyServer is what Go does for a server's certificate, without the host name.
func (m *material) verifyServer(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("it has shown no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: m.authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// checkPeer asks for the role of the other side, whose certificate was verified, and whether it is good for a label.
func checkPeer(state tls.ConnectionState, label string, roles []string) error {
	i, err := IdentityOf(state.PeerCertificates[0])
	if err != nil {
		return err
	}
	if err := i.check(roles); err != nil {
		return err
	}
	if label != "" && !i.isFor(label) {
		return fmt.Errorf("its certificate (%s) is for the labels %q, and this serves %q", i, i.Labels, label)
	}
	return nil
}

// Follow looks at the files every second until ctx is done, and calls changed after each time they have. Without it they
// are looked at when a handshake comes.
func (s *Set) Follow(ctx context.Context, changed func()) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := s.now.Load(); ; {
		if m := s.current(); m != last {
			last = m
			changed()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
