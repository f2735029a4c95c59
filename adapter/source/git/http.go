package git

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// web is a repository behind HTTP (gitprotocol-http, the smart protocol).
type web struct {
	url             string
	username, token string
	client          *http.Client
}

func newWeb(o Options) (*web, error) {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		ForceAttemptHTTP2: true, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no PEM certificate", o.CA)
		}
	}
	name := o.Username
	if name == "" {
		name = "git"
	}
	w := &web{url: strings.TrimRight(o.URL, "/"), username: name, token: o.Token}
	w.client = &http.Client{Transport: transport, CheckRedirect: stay}
	return w, nil
}

func (w *web) secrets() []string {
	if w.token == "" {
		return nil
	}
	return []string{w.token, url.QueryEscape(w.token), base64.StdEncoding.EncodeToString([]byte(w.username + ":" + w.token))}
}

// stay follows a server to another place of its own, as when a repository was renamed, and nowhere else.
func stay(r *http.Request, via []*http.Request) error {
	from := via[0].URL
	switch {
	case len(via) > 5:
		return errors.New("the server sends in circles")
	case r.Method != http.MethodGet || r.URL.Host != from.Host || r.URL.Scheme != from.Scheme:
		there := *r.URL
		there.User, there.RawQuery = nil, ""
		return fmt.Errorf("the server sends elsewhere, to %s; if that is right, write it as the url", strings.TrimSuffix(there.String(), "/info/refs"))
	}
	return nil
}

func (w *web) advertise(ctx context.Context) (*packp.AdvRefs, error) {
	refs, _, err := w.find(ctx)
	return refs, err
}

// find returns what the server advertises, and where it is.
func (w *web) find(ctx context.Context) (*packp.AdvRefs, string, error) {
	const where = "/info/refs"
	r, err := w.do(ctx, http.MethodGet, w.url+where+"?service=git-upload-pack", "", nil)
	if err != nil {
		return nil, "", err
	}
	defer r.Body.Close() //nolint:errcheck // it was only read
	if r.Header.Get("Content-Type") != "application/x-git-upload-pack-advertisement" {
		return nil, "", errors.New("the server answers, but not as git does; is the url that of a repository?")
	}
	refs, err := readRefs(r.Body)
	at := *r.Request.URL
	at.RawQuery = ""
	return refs, strings.TrimSuffix(at.String(), where), err
}

func (w *web) ask(ctx context.Context, request []byte) (io.ReadCloser, error) {
	_, at, err := w.find(ctx)
	if err != nil {
		return nil, err
	}
	r, err := w.do(ctx, http.MethodPost, at+"/git-upload-pack", "application/x-git-upload-pack-request", request)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

func (w *web) do(ctx context.Context, method, to, kind string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "git/postern") // why git: some servers show everybody else a page
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if w.token != "" {
		r.SetBasicAuth(w.username, w.token)
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	words := ""
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000)) // as far as it comes
		words = ": " + string(text)
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if w.token == "" {
			return nil, fmt.Errorf("the server asks who this is (%s); configure token%s", answer.Status, words)
		}
		return nil, fmt.Errorf("the server does not let this username and token in (%s)%s", answer.Status, words)
	case http.StatusNotFound:
		return nil, fmt.Errorf("the server has no such repository, or does not show it to this username and token (%s)%s", answer.Status, words)
	}
	return nil, fmt.Errorf("the server answers %s%s", answer.Status, words)
}
