// Package client speaks to the management API of an adapter (adapter/rest/openapi.yaml) as a command line needs it: it asks
// again only what may be asked twice, and says in words why nobody answers. It must not import the adapter itself, only
// the API's types and what its answers hold.
package client

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/rest/api"
)

// Options say whom to ask, and as whom.
type Options struct {
	Server string // http://HOST:PORT, https://HOST:PORT, either with a path before /api/v1, or unix:PATH
	Name   string // what people call it; "" is Server
	Token  string // "" sends none
	// HTTP is the client to ask with, which has the certificates; nil is a plain one. Its transport is not used for unix:PATH.
	HTTP *http.Client
	// Again, if it is there, is told why a call is made once more.
	Again func(why error)
	// Shown: a certificate is shown to a server that asks for one.
	Shown bool
}

// Client is one server. It is safe for concurrent use.
type Client struct {
	server string // as it was named
	base   string // of the API
	token  string
	http   *http.Client
	again  func(error)
	shown  bool
	unix   bool
	sleep  func(context.Context, time.Duration) error
}

// New makes a client. Its error is that the server cannot be one.
func New(o Options) (*Client, error) {
	c := &Client{server: cmp.Or(o.Name, o.Server), token: o.Token, sleep: sleep, http: &http.Client{}, again: o.Again, shown: o.Shown}
	if o.HTTP != nil {
		*c.http = *o.HTTP
	}
	if path, ok := strings.CutPrefix(o.Server, "unix:"); ok && path != "" {
		c.base, c.unix = "http://localhost", true
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	} else {
		u, err := url.Parse(o.Server)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
			if host, port, err := net.SplitHostPort(o.Server); err == nil && host != "" && numeric(port) {
				return nil, fmt.Errorf("write http://%s, or https:// if it speaks TLS", o.Server)
			}
			return nil, errors.New("write http://HOST:PORT, https://HOST:PORT or unix:PATH")
		}
		c.base = strings.TrimSuffix(u.String(), "/")
	}
	if c.http.Transport == nil {
		c.http.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		}
	}
	// why: a token, and an archive, are for the server that was named
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// Server is the one that was named.
func (c *Client) Server() string { return c.server }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         func() (io.ReadCloser, int64, error) // nil is none; called for each try
	// again: asked twice, it does no more than asked once.
	again bool
	// changes: what became of it matters where the answer does not come.
	changes bool
	// patience bounds the whole call; zero is patience.
	patience time.Duration
}

const (
	patience = 30 * time.Second
	tries    = 3
	// longestPause is how long a server that is busy may have us wait.
	longestPause = 5 * time.Second
	maxAnswer    = 64 << 20
)

// do makes a call and reads its answer into a value, which may be nil. The error is an *Error.
func (c *Client) do(ctx context.Context, k call, into any) (http.Header, error) {
	var header http.Header
	err := c.ask(ctx, k, func(r *http.Response) error {
		header = r.Header
		if into == nil || r.StatusCode == http.StatusNoContent {
			return nil
		}
		text, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
		if err != nil {
			return c.unreachable(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return &Error{Kind: Foreign, Words: fmt.Sprintf("%s does not answer as an adapter does: %v", c.server, err)}
		}
		return nil
	})
	return header, err
}

// ask makes a call, as often as it may be made, and hands a good answer on.
func (c *Client) ask(ctx context.Context, k call, good func(*http.Response) error) error {
	if k.patience == 0 {
		k.patience = patience
	}
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	for try, sent := 1, false; ; try++ {
		err := c.once(ctx, k, good)
		var failed *Error
		if err == nil || !errors.As(err, &failed) {
			return err
		}
		if k.changes {
			failed.doubt(sent)
			sent = failed.Unknown
		}
		pause, again := failed.again(k.again)
		if !again || try == tries {
			return err
		}
		if c.again != nil {
			c.again(err)
		}
		if c.sleep(ctx, pause) != nil {
			return err
		}
	}
}

func (c *Client) once(ctx context.Context, k call, good func(*http.Response) error) error {
	request, err := c.request(ctx, k)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		err := c.unreachable(err)
		if err.Kind == Broken && !err.early && c.encrypted(ctx) {
			err.Kind, err.Words = Unreachable, fmt.Sprintf("%s speaks TLS; write https:// for http://", c.server)
		}
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode >= 300 && response.StatusCode != http.StatusNotModified {
		return c.refused(response)
	}
	return good(response)
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	var body io.ReadCloser
	var size int64
	if k.body != nil {
		var err error
		if body, size, err = k.body(); err != nil {
			return nil, err
		}
	}
	address := c.base + "/api/v1" + k.path
	if len(k.query) > 0 {
		address += "?" + k.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, k.method, address, body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = size
	for name, values := range k.header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "application/json, application/problem+json, */*;q=0.5")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return request, nil
}

// refused is what a server that says no has said.
func (c *Client) refused(r *http.Response) error {
	e := &Error{Kind: Refused, Status: r.StatusCode, server: c.server, anonymous: c.token == ""}
	if s, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.pause = time.Duration(s) * time.Second
	}
	if r.StatusCode < 400 {
		e.Kind, e.Words = Foreign, fmt.Sprintf("%s redirects to %s; name by --server where the adapter itself is", c.server, r.Header.Get("Location"))
		return e
	}
	body := bufio.NewReader(io.LimitReader(r.Body, maxAnswer))
	if begin, _ := body.Peek(64); r.StatusCode == http.StatusBadRequest && strings.HasPrefix(string(begin), "Client sent an HTTP request to an HTTPS server") {
		e.Kind, e.Words = Unreachable, fmt.Sprintf("%s speaks TLS; write https:// for http://", c.server)
		return e
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	err := json.NewDecoder(body).Decode(&e.Refusal)
	if err == nil && kind == "application/problem+json" && numeric(e.Refusal.Code) {
		e.Kind, e.Words = Foreign, fmt.Sprintf("%s is no management API of an adapter: it answers as a gateway does to those who call APIs (%s); --server names the adapter's management address", c.server, e.Refusal.Detail)
		e.Refusal = api.Refusal{}
		return e
	}
	if err != nil || kind != "application/problem+json" || e.Refusal.Code == "" {
		e.Kind, e.Refusal = Foreign, api.Refusal{}
		e.Words = fmt.Sprintf("%s answers %s, and not as an adapter's management API does; does --server name one?", c.server, r.Status)
		return e
	}
	e.Words = e.explain()
	return e
}

// numeric says whether a text is of digits alone, as a port is, and a code of the data plane; those of the management API are words.
func numeric(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// encrypted says whether a server that was named by http:// ends connections because it speaks TLS. Nothing is sent to it.
func (c *Client) encrypted(ctx context.Context) bool {
	address, plain := strings.CutPrefix(c.base, "http://")
	if !plain || c.unix {
		return false
	}
	address, _, _ = strings.Cut(address, "/")
	if _, _, err := net.SplitHostPort(address); err != nil {
		address += ":80"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()                                                                  //nolint:errcheck // nothing was sent
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) //nolint:gosec // whoever it is, it speaks TLS
	var alert tls.AlertError
	return err == nil || errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:")
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
