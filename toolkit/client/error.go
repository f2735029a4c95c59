package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/postern-gateway/postern/adapter/rest/api"
)

// Kind is what went wrong, as far as the caller can act on it.
type Kind int

// The kinds.
const (
	// Unreachable: nobody was there, or nobody who is who we want to speak to.
	Unreachable Kind = iota
	// Broken: the answer did not come, and what became of the call is not known.
	Broken
	// Foreign: who answers is no adapter.
	Foreign
	// Refused: the adapter said no; Refusal has its words.
	Refused
)

// Error is why a call came to nothing.
type Error struct {
	Kind    Kind
	Status  int         // of the answer; 0 is none
	Refusal api.Refusal // of Refused
	Words   string      // for people: what it is and what to do
	// Unknown: the call was to change something, and may have.
	Unknown bool

	server    string
	anonymous bool // no token was sent
	pause     time.Duration
	early     bool // there is no second try
	told      bool // Words say what to do about --server
}

func (e *Error) Error() string { return e.Words }

// doubt decides whether the call may have changed something; sent says that an earlier try may have. A refusal that the adapter has
// thought about is the end of both: the same call again waits for the first, and finds what it has left.
func (e *Error) doubt(sent bool) {
	switch {
	case e.Kind == Broken:
		e.Unknown = true
	case e.Kind == Foreign: // why: what stands before the adapter answers so where it has heard nothing of it
		e.Unknown = sent || e.Status == http.StatusBadGateway || e.Status == http.StatusGatewayTimeout
	case e.Kind == Refused && e.Status != http.StatusServiceUnavailable && e.Status != http.StatusTooManyRequests && e.Status != http.StatusUnauthorized:
	default:
		e.Unknown = sent
	}
	if sent && e.Unknown && e.Kind != Broken {
		e.Words += "; an earlier try broke off after it was sent"
	}
}

// again says whether the call may be made once more, and after which pause.
func (e *Error) again(safe bool) (time.Duration, bool) {
	switch {
	case e.Kind == Refused && e.Status == http.StatusTooManyRequests, // nothing was done
		e.Kind == Refused && e.Status == http.StatusServiceUnavailable && e.Refusal.Code == "unavailable" && safe:
		return e.pause, e.pause > 0 && e.pause <= longestPause
	case e.Kind == Broken && !e.early:
		return 100 * time.Millisecond, safe
	}
	return 0, false
}

// explain is the refusal in words for who has typed the command.
func (e *Error) explain() string {
	words := e.Refusal.Detail
	switch e.Status {
	case http.StatusUnauthorized:
		if e.anonymous {
			return fmt.Sprintf("%s wants to know who asks: %s; give a token by --token or $POSTERN_TOKEN (an admin makes them with postern tokens create)", e.server, words)
		}
		return fmt.Sprintf("%s does not take this token: %s; is it one of this server, and neither revoked nor expired?", e.server, words)
	case http.StatusForbidden:
		return words + "; an admin can give the token that role"
	case http.StatusTooManyRequests:
		return words + "; try again later"
	}
	return words
}

// unreachable says why nobody answers.
func (c *Client) unreachable(err error) *Error {
	if plain := new(url.Error); errors.As(err, &plain) {
		err = plain.Err // why: what was tried is said before
	}
	e := &Error{Kind: Unreachable, server: c.server}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var dial *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		e.Kind, e.Words = Broken, "interrupted"
		e.early = true
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		e.Words = fmt.Sprintf("%s does not answer in time", c.server)
		if !errors.As(err, &dial) || dial.Op != "dial" {
			e.Kind, e.early = Broken, true // why early: there is no time for a second try
		}
	case errors.As(err, &unknown):
		e.Words = fmt.Sprintf("%s shows a certificate of an authority that is not trusted here: %v; --ca names the file of the authority to trust", c.server, err)
	case errors.As(err, &host):
		e.Words = fmt.Sprintf("%s shows a certificate for another name: %v; name it by --server as its certificate does", c.server, err)
		e.told = true
	case errors.As(err, &invalid), errors.As(err, &verification):
		e.Words = fmt.Sprintf("%s shows a certificate that is not good: %v", c.server, err)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Words = fmt.Sprintf("%s does not speak TLS; write http:// for https://", c.server)
	case errors.As(err, &alert), strings.Contains(err.Error(), "tls: "):
		e.Words = fmt.Sprintf("%s ends the TLS handshake: %v; ", c.server, err)
		if c.shown {
			e.Words += "is the certificate of --cert from an authority that it trusts, still valid, and for a role that it lets in?"
		} else {
			e.Words += "does it ask for a certificate? --cert and --key show one"
		}
		e.told = true
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		e.Words = fmt.Sprintf("nobody answers at %s; is the adapter running?", c.server)
	case errors.Is(err, fs.ErrPermission):
		e.Words = fmt.Sprintf("%s is not for this user: %v; become who the adapter runs as", c.server, err)
	case errors.As(err, &dns):
		e.Words = fmt.Sprintf("there is no %s: %v", c.server, err)
	case errors.As(err, &dial) && dial.Op == "dial":
		e.Words = fmt.Sprintf("%s cannot be reached: %v", c.server, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Kind, e.Words = Broken, fmt.Sprintf("%s broke off before it answered", c.server)
	default:
		e.Kind, e.Words = Broken, fmt.Sprintf("%s: %v", c.server, err)
	}
	if e.Kind == Unreachable && !e.told {
		e.Words = strings.Replace(e.Words+"; --server names where else it is", "?;", "?", 1)
	}
	return e
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
