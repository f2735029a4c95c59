package attack

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A hit is a request as it reached the backend, byte for byte.
type hit struct {
	method, path string
	headers      []string // "name: value", the name in lower case
	body         string
}

// value is the header's only value; it says so if there are several.
func (h hit) value(name string) string {
	var values []string
	for _, line := range h.headers {
		if key, value, _ := strings.Cut(line, ": "); key == name {
			values = append(values, value)
		}
	}
	if len(values) > 1 {
		return fmt.Sprintf("(%d times: %q)", len(values), values)
	}
	return strings.Join(values, "")
}

func (h hit) String() string {
	return h.method + " " + h.path + "\n  " + strings.Join(h.headers, "\n  ")
}

// backend takes whatever a connection brings, in the most forgiving way, and remembers it: what a stricter one would
// refuse must not have been sent to it in the first place.
type backend struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	hits  []hit
	conns map[net.Conn]bool
}

func startBackend(t *testing.T) *backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{listener: listener, conns: map[net.Conn]bool{}}
	b.wg.Go(b.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		b.mu.Lock()
		for connection := range b.conns {
			_ = connection.Close()
		}
		b.mu.Unlock()
		b.wg.Wait()
	})
	return b
}

func (b *backend) accept() {
	for {
		connection, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[connection] = true
		b.mu.Unlock()
		b.wg.Go(func() { b.serve(connection) })
	}
}

// serve answers one request after the other. A request whose head arrived counts, whatever becomes of its body.
func (b *backend) serve(connection net.Conn) {
	defer func() {
		b.mu.Lock()
		delete(b.conns, connection)
		b.mu.Unlock()
		_ = connection.Close()
	}()
	in := bufio.NewReader(connection)
	for {
		h, err := readHead(in)
		if err != nil {
			return
		}
		h.body, err = readBody(in, h)
		b.mu.Lock()
		b.hits = append(b.hits, h)
		b.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := io.WriteString(connection, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nOK"); err != nil {
			return
		}
	}
}

// take returns the hits so far and forgets them.
func (b *backend) take() []hit {
	b.mu.Lock()
	defer b.mu.Unlock()
	hits := b.hits
	b.hits = nil
	return hits
}

func readHead(in *bufio.Reader) (h hit, err error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return h, err
	}
	h.method, h.path, _ = strings.Cut(strings.TrimSpace(line), " ")
	h.path = strings.TrimSuffix(h.path, " HTTP/1.1")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return h, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return h, nil
		}
		key, value, _ := strings.Cut(line, ":")
		h.headers = append(h.headers, strings.ToLower(key)+": "+strings.TrimSpace(value))
	}
}

func readBody(in *bufio.Reader, h hit) (string, error) {
	if slices.Contains(h.headers, "transfer-encoding: chunked") {
		return readChunks(in)
	}
	length, err := strconv.ParseInt(h.value("content-length"), 10, 64)
	if err != nil {
		return "", nil // none
	}
	body, err := io.ReadAll(io.LimitReader(in, length))
	if err == nil && int64(len(body)) < length {
		err = io.ErrUnexpectedEOF
	}
	return string(body), err
}

func readChunks(in *bufio.Reader) (string, error) {
	var body strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return body.String(), err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if err != nil {
			return body.String(), err
		}
		if _, err := io.CopyN(&body, in, size); err != nil {
			return body.String(), err
		}
		if _, err := in.ReadString('\n'); err != nil || size == 0 {
			return body.String(), err
		}
	}
}
