package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reason says in plain words why a handshake came to nothing, and what to do; it is about the other side, and ours are the
// own files. "": it went away without a word, as probes do that only look whether a port is open.
func reason(err error, ours Files) string {
	var (
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		plain     tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &invalid):
		return ofCertificate(invalid)
	case errors.As(err, &authority):
		return fmt.Sprintf("its certificate comes from an unknown authority (%s): give it one of an authority in %s, or add its own there", issuerOf(authority.Cert), ours.CA)
	case errors.As(err, &plain):
		return "it does not speak TLS"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "it has not finished the handshake in time"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return ""
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "client didn't provide a certificate"):
		return "it has shown no certificate"
	case strings.Contains(text, "unsupported versions"):
		return "it does not speak TLS 1.3"
	case strings.Contains(text, "remote error: tls: "):
		_, words, _ := strings.Cut(text, "remote error: tls: ")
		return fmt.Sprintf("it does not accept our certificate: %s; %s must not have expired, and be of an authority in its ca file", words, ours.Cert)
	}
	return text
}

func ofCertificate(err x509.CertificateInvalidError) string {
	c := err.Cert
	switch err.Reason {
	case x509.Expired:
		if now := time.Now(); c != nil && now.Before(c.NotBefore) {
			return "its certificate is not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
		}
		if c != nil {
			return fmt.Sprintf("its certificate expired at %s: %s", c.NotAfter.UTC().Format(time.RFC3339), renewal(c))
		}
	case x509.IncompatibleUsage:
		return "its certificate is not for this side of a connection (extended key usage)"
	case x509.NotAuthorizedToSign:
		return "its certificate was signed by one that is not an authority's"
	}
	return err.Error()
}

// renewal is how to come by a certificate instead of c.
func renewal(c *x509.Certificate) string {
	who, err := IdentityOf(c)
	if err != nil || who.Role == RoleNone {
		return "renew it"
	}
	kind := "server"
	if who.Role == RoleEnvoy || who.Role == RoleClient {
		kind = "client"
	}
	return fmt.Sprintf("renew it, with `postern certs %s %s … --renew` if that made it", kind, who.Name)
}

func issuerOf(c *x509.Certificate) string {
	if c == nil || c.Issuer.String() == "" {
		return "without a name"
	}
	return fmt.Sprintf("%.100q", c.Issuer.String())
}

// A refusal is logged once in this time for each host and reason, and for so many of them at most.
const (
	quiet    = 10 * time.Second
	mostTold = 256
)

// refusals logs who was turned away, so that whoever knocks all day does not fill the disk.
type refusals struct {
	files Files // the own
	log   *slog.Logger
	count prometheus.Counter

	mu   sync.Mutex
	told map[string]*told
}

type told struct {
	at    time.Time
	since int // refusals that were not logged
}

// tell logs that a handshake with remote came to nothing.
func (r *refusals) tell(remote net.Addr, err error) {
	if words := reason(err, r.files); words != "" {
		r.count.Inc()
		r.say(remote, "connection refused", words)
	}
}

// say logs what happened to remote, and why, unless it has just done so.
func (r *refusals) say(remote net.Addr, what, why string) {
	address := "unknown"
	if remote != nil {
		address = remote.String()
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if since, ok := r.turn(host+" "+why, time.Now()); ok {
		attributes := []any{"remote", address, "reason", why}
		if since > 0 {
			attributes = append(attributes, "before", since) // as often before, unlogged
		}
		r.log.Warn(what, attributes...)
	}
}

// turn says whether it is key's turn to be logged, and how often it was not.
func (r *refusals) turn(key string, now time.Time) (since int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.told[key]; t != nil {
		if now.Sub(t.at) < quiet {
			t.since++
			return 0, false
		}
		since = t.since
		t.at, t.since = now, 0
		return since, true
	}
	if len(r.told) >= mostTold {
		for key, t := range r.told {
			if now.Sub(t.at) >= quiet {
				delete(r.told, key)
			}
		}
		if len(r.told) >= mostTold {
			return 0, false
		}
	}
	if r.told == nil {
		r.told = map[string]*told{}
	}
	r.told[key] = &told{at: now}
	return 0, true
}
