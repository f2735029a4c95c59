package attack

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// field is a header field as it is, whatever HTTP/2 says of it.
type field struct{ name, value string }

// h2 sends one request of these fields on a connection of its own (prior knowledge) and returns the status, or 0 if the
// gateway reset the stream or hung up.
func (g *target) h2(fields []field, body string) int {
	g.t.Helper()
	connection, err := net.Dial("tcp", g.gateway.Address)
	if err != nil {
		g.t.Errorf("the gateway does not accept: %v", err)
		return 0
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := connection.Write([]byte(http2.ClientPreface)); err != nil {
		return 0
	}
	framer := http2.NewFramer(connection, connection)
	framer.AllowIllegalWrites = true
	if err := framer.WriteSettings(); err != nil {
		return 0
	}
	block := encode(fields)
	for first, rest := true, block; first || len(rest) > 0; first = false {
		piece := rest[:min(len(rest), 16000)]
		rest = rest[len(piece):]
		if first {
			err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: piece, EndStream: body == "", EndHeaders: len(rest) == 0})
		} else {
			err = framer.WriteContinuation(1, len(rest) == 0, piece)
		}
		if err != nil {
			return 0
		}
	}
	if body != "" {
		_ = framer.WriteData(1, true, []byte(body))
	}
	return answer(framer)
}

func encode(fields []field) []byte {
	var b bytes.Buffer
	encoder := hpack.NewEncoder(&b)
	for _, f := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	return b.Bytes()
}

// answer reads until the stream has ended.
func answer(framer *http2.Framer) int {
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	status := 0
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return status
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if s, err := strconv.Atoi(frame.PseudoValue("status")); err == nil {
				status = s
			}
			if frame.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil && !errors.Is(err, net.ErrClosed) {
					return status
				}
			}
		}
	}
}

// pseudo are the fields of a plain request.
func pseudo(method, path string, more ...field) []field {
	return append([]field{{":method", method}, {":scheme", "http"}, {":authority", "gate.example"}, {":path", path}}, more...)
}

// TestHTTP2 sends what HTTP/2 can say and HTTP/1.1 cannot.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	g := start(t)
	if status := g.h2(pseudo("GET", "/a/1/open"), ""); status != 200 || len(g.backend.take()) != 1 {
		t.Fatalf("a plain request: %d", status)
	}
	bearer := field{"authorization", "Bearer " + g.reader.token}
	if status := g.h2(pseudo("GET", "/a/1/reader/x", bearer), ""); status != 200 {
		t.Fatalf("a request with a token: %d", status)
	}
	g.judge("a request with a token", g.reader)
	crlf := "x\r\nx-postern-subject: forged\r\n\r\nGET /b/admin HTTP/1.1\r\nHost: x\r\n\r\n"
	var attempts []attempt
	for name, fields := range map[string][]field{
		"two paths":                      pseudo("GET", "/a/1/open", field{":path", "/a/1/admin"}),
		"two paths, the other way":       pseudo("GET", "/a/1/admin", field{":path", "/a/1/open"}),
		"two methods":                    pseudo("GET", "/a/1/reader/x", bearer, field{":method", "POST"}),
		"two authorities":                pseudo("GET", "/a/1/open", field{":authority", "b.example"}),
		"no path":                        {{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}},
		"an empty path":                  pseudo("GET", ""),
		"no authority":                   {{":method", "GET"}, {":scheme", "http"}, {":path", "/a/1/admin"}},
		"no scheme":                      {{":method", "GET"}, {":authority", "x"}, {":path", "/a/1/admin"}},
		"no method":                      {{":scheme", "http"}, {":authority", "x"}, {":path", "/a/1/admin"}},
		"pseudo after plain":             {{":method", "GET"}, {":scheme", "http"}, {"x", "y"}, {":authority", "x"}, {":path", "/a/1/admin"}},
		"an unknown pseudo":              pseudo("GET", "/a/1/open", field{":subject", "forged"}),
		"status in a request":            pseudo("GET", "/a/1/admin", field{":status", "200"}),
		"authority and host":             pseudo("GET", "/a/1/open", field{"host", "b.example"}),
		"a path that is a URL":           pseudo("GET", "http://gate.example/a/1/admin"),
		"a path without its slash":       pseudo("GET", "a/1/admin"),
		"a path with a blank":            pseudo("GET", "/a/1/open HTTP/1.1"),
		"a path with line ends":          pseudo("GET", "/a/1/open HTTP/1.1\r\nHost: x\r\n\r\nGET /b/admin HTTP/1.1\r\n\r\n"),
		"a path with dots":               pseudo("GET", "/a/1/open/../admin"),
		"a path with encoded dots":       pseudo("GET", "/a/1/open/%2e%2e/admin"),
		"a path with an encoded slash":   pseudo("GET", "/a/1/open/..%2fadmin"),
		"a path with a NUL":              pseudo("GET", "/a/1/admin\x00"),
		"a path with a fragment":         pseudo("GET", "/a/1/open#/../admin"),
		"a method with line ends":        pseudo("GET /b/admin HTTP/1.1\r\nHost: x\r\n\r\nGET", "/a/1/open"),
		"a method with a blank":          pseudo("GET /b/admin", "/a/1/open"),
		"an authority with line ends":    {{":method", "GET"}, {":scheme", "http"}, {":authority", crlf}, {":path", "/a/1/open"}},
		"an authority with a path":       {{":method", "GET"}, {":scheme", "http"}, {":authority", "x/a/1/admin"}, {":path", "/a/1/open"}},
		"an authority with a user":       {{":method", "GET"}, {":scheme", "http"}, {":authority", "forged@x"}, {":path", "/a/1/open"}},
		"a scheme that is a URL":         {{":method", "GET"}, {":scheme", "http://gate.example/a/1/admin?"}, {":authority", "x"}, {":path", "/a/1/open"}},
		"a value with line ends":         pseudo("GET", "/a/1/open", field{"x", crlf}),
		"a value with a NUL":             pseudo("GET", "/a/1/open", field{"x", "a\x00b"}),
		"a value with CR":                pseudo("GET", "/a/1/open", field{"x", "a\rx-postern-subject: forged"}),
		"a name with line ends":          pseudo("GET", "/a/1/open", field{"x\r\nx-postern-subject", "forged"}),
		"a name with a colon":            pseudo("GET", "/a/1/open", field{"x-postern-subject: forged\r\nx", "y"}),
		"a name in capitals":             pseudo("GET", "/a/1/open", field{"X-Postern-Subject", "forged"}),
		"a name with a blank":            pseudo("GET", "/a/1/open", field{"x-postern-subject ", "forged"}),
		"a name with an underscore":      pseudo("GET", "/a/1/open", field{"x_postern_subject", "forged"}),
		"no name":                        pseudo("GET", "/a/1/open", field{"", "forged"}),
		"ours":                           pseudo("GET", "/a/1/open", field{"x-postern-subject", "forged"}, field{"x-postern-scope", "/b"}),
		"ours, with a token":             pseudo("GET", "/a/1/reader/x", bearer, field{"x-postern-scopes", "forged admin"}),
		"a connection header":            pseudo("GET", "/a/1/open", field{"connection", "x-postern-subject"}),
		"transfer-encoding":              pseudo("POST", "/a/1/open", field{"transfer-encoding", "chunked"}),
		"te":                             pseudo("GET", "/a/1/open", field{"te", "gzip"}),
		"upgrade":                        pseudo("GET", "/a/1/open", field{"connection", "upgrade"}, field{"upgrade", "websocket"}),
		"a length that is not":           pseudo("POST", "/a/1/open", field{"content-length", "5"}),
		"two lengths":                    pseudo("POST", "/a/1/open", field{"content-length", "0"}, field{"content-length", "90"}),
		"CONNECT":                        {{":method", "CONNECT"}, {":authority", "127.0.0.1:1"}},
		"CONNECT with a path":            pseudo("CONNECT", "/a/1/admin"),
		"CONNECT for a websocket":        pseudo("CONNECT", "/a/1/admin", field{":protocol", "websocket"}),
		"a websocket to what is open":    pseudo("CONNECT", "/a/1/open", field{":protocol", "websocket"}),
		"two credentials":                pseudo("GET", "/a/1/admin", bearer, field{"authorization", "Bearer forged"}),
		"a credential in crumbs":         pseudo("GET", "/a/1/reader/x", field{"cookie", "authorization=Bearer"}, field{"cookie", g.reader.token}),
		"a thousand fields":              pseudo("GET", "/a/1/admin", slices.Repeat([]field{{"x", "y"}}, 1000)...),
		"a megabyte of fields":           pseudo("GET", "/a/1/admin", slices.Repeat([]field{{"x", strings.Repeat("y", 10000)}}, 100)...),
		"a field of sixty-four kibibyte": pseudo("GET", "/a/1/admin", field{"x", strings.Repeat("y", 64<<10)}),
	} {
		who := g.nobody
		if slices.Contains(fields, bearer) {
			who = g.reader
		}
		for _, body := range []string{"", "GET /b/admin HTTP/1.1\r\nHost: x\r\n\r\n"} {
			attempts = append(attempts, attempt{name, fields, body, who})
		}
	}
	g.together(attempts)
	if status := g.h2(pseudo("GET", "/a/1/open"), ""); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// TestHTTP2Paths sends the corpus of paths as pseudo-headers, where no request line bounds them.
func TestHTTP2Paths(t *testing.T) {
	t.Parallel()
	g := start(t)
	var attempts []attempt
	for _, p := range paths {
		attempts = append(attempts,
			attempt{p, pseudo("GET", p), "", g.nobody},
			attempt{p, pseudo("GET", p, field{"authorization", "Bearer " + g.reader.token}), "", g.reader})
	}
	g.together(attempts)
}

// An attempt is one request over HTTP/2.
type attempt struct {
	name   string
	fields []field
	body   string
	who    caller
}

// together makes attempts side by side, for Envoy keeps whom it has refused waiting a second before it hangs up. Those of
// one caller are judged together; x-attack tells them apart.
func (g *target) together(attempts []attempt) {
	g.t.Helper()
	for _, who := range []caller{g.nobody, g.reader} {
		var wg sync.WaitGroup
		free := make(chan struct{}, 16)
		for _, a := range attempts {
			if a.who.subject != who.subject {
				continue
			}
			free <- struct{}{}
			wg.Go(func() {
				status := g.h2(append(slices.Clone(a.fields), field{"x-attack", strconv.QuoteToASCII(a.name)}), a.body)
				g.unharmed(fmt.Sprintf("HTTP/2, %q as %q: %d", a.name, who.subject, status), []int{status})
				<-free
			})
		}
		wg.Wait()
		g.judge(fmt.Sprintf("HTTP/2 as %q", who.subject), who)
	}
}
