package rest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/rest"
	"github.com/postern-gateway/postern/test/fixture"
)

func TestBodies(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Archive, o.Limits.JSON = 1000, 100 })
	for _, test := range []struct {
		path, body, contentType string
		want                    int
	}{
		{"/projects/a", strings.Repeat("x", 1000), "application/zip", 201},
		{"/projects/a", strings.Repeat("x", 1001), "application/zip", 413},
		{"/projects/a", "x", "application/zip; charset=binary", 201},
		{"/projects/a", "x", "application/x-www-form-urlencoded", 415},
		{"/projects/a", "x", "", 415},
		{"/projects/a", "x", "application/zip/x", 415},
	} {
		a := l.ask("admin", "PUT", test.path, test.body, "Content-Type", test.contentType)
		if a.StatusCode != test.want {
			t.Errorf("%d bytes of %q: %d %s", len(test.body), test.contentType, a.StatusCode, a.body)
		}
	}
	if a := l.ask("admin", "POST", "/explain", `{"url": "/`+strings.Repeat("x", 200)+`"}`); a.StatusCode != 413 {
		t.Errorf("%d", a.StatusCode)
	}
	if a := l.ask("admin", "POST", "/explain", `{"url": "/"}`, "Content-Type", "application/zip"); a.StatusCode != 415 {
		t.Errorf("%d", a.StatusCode)
	}
	if a := l.ask("admin", "PUT", "/projects/a", "x", "Content-Encoding", "gzip"); a.StatusCode != 415 {
		t.Errorf("%d", a.StatusCode)
	}
	for n, want := range map[int]int{1000: 201, 1001: 413} { // of a length that nobody has said
		r, err := http.NewRequestWithContext(t.Context(), "PUT", l.url+"/api/v1/projects/a", struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", n))})
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = -1
		r.Header.Set("Authorization", "Bearer "+l.tokens["admin"])
		r.Header.Set("Content-Type", "application/zip")
		if a := l.send(r); a.StatusCode != want {
			t.Errorf("%d bytes: %d %s", n, a.StatusCode, a.body)
		}
	}
}

// raw sends what net/http's client would not.
func raw(t *testing.T, l *lab, text string) *bufio.Reader {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(fixture.Patience))
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(conn)
}

// TestSlowBody: who sends slowly is told so, and does not keep others' room.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Body = 50 * time.Millisecond })
	head := "PUT /api/v1/projects/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/zip\r\nContent-Length: 10\r\n\r\nPK"
	for token, want := range map[string]int{l.tokens["admin"]: http.StatusRequestTimeout, "wrong": http.StatusUnauthorized} {
		response, err := http.ReadResponse(raw(t, l, fmt.Sprintf(head, token)), nil)
		if err != nil || response.StatusCode != want {
			t.Errorf("%+v, %v", response, err)
		}
	}
}

// TestRoomForBodies: nobody is read whose body might not find room.
func TestRoomForBodies(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Archive, o.Limits.Bodies = 1000, 1500 })
	head := "PUT /api/v1/projects/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/zip\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
	first := raw(t, l, fmt.Sprintf(head, l.tokens["admin"], 1000))
	if line, err := first.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // now it is being read
		t.Fatalf("%s, %v", line, err)
	}
	a := l.ask("admin", "PUT", "/projects/b", strings.Repeat("x", 600))
	if r := a.refusal(t); a.StatusCode != http.StatusServiceUnavailable || r.Code != "busy" || a.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.ask("admin", "PUT", "/projects/b", strings.Repeat("x", 400)); a.StatusCode != http.StatusCreated {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestPushesAtATime(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Pushes = 2 })
	inside, leave := make(chan struct{}), make(chan struct{})
	l.gateway.push = func(p adapter.Push) (adapter.Outcome, error) {
		if p.Project == "slow" {
			inside <- struct{}{}
			<-leave
		}
		return adapter.Outcome{Project: p.Project, Rollout: map[bool]string{true: "r1"}[p.Project == "later"]}, nil
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { l.ask("admin", "PUT", "/projects/slow", body) })
	}
	<-inside
	<-inside
	if a := l.ask("admin", "PUT", "/projects/fast", body); a.StatusCode != 503 || a.refusal(t).Code != "busy" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	close(leave)
	all.Wait()
	// One in the background keeps its place until it has ended.
	l.gateway.mu.Lock()
	l.gateway.rollouts = map[string]adapter.RolloutInfo{"r1": {ID: "r1", Deadline: time.Now().Add(time.Hour)}}
	l.gateway.mu.Unlock()
	for range 2 {
		if a := l.ask("admin", "PUT", "/projects/later?wait=0", body); a.StatusCode != 202 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	if a := l.ask("admin", "PUT", "/projects/fast", body); a.StatusCode != 503 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	l.gateway.mu.Lock()
	l.gateway.rollouts = map[string]adapter.RolloutInfo{"r1": {ID: "r1", Ended: time.Now()}}
	l.gateway.mu.Unlock()
	fixture.WaitFor(t, "room for a push", func() bool { return l.ask("admin", "PUT", "/projects/fast", body).StatusCode == 200 })
}

func TestRate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var mu sync.Mutex
	l := newLab(t, func(o *rest.Options) {
		o.Limits.Calls = rest.Rate{PerSecond: 0.5, Burst: 3}
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	for range 3 {
		if a := l.ask("viewer", "GET", "/whoami", ""); a.StatusCode != 200 {
			t.Errorf("%d", a.StatusCode)
		}
	}
	if a := l.ask("viewer", "GET", "/whoami", ""); a.StatusCode != 429 || a.Header.Get("Retry-After") != "2" {
		t.Errorf("%d %s", a.StatusCode, a.Header.Get("Retry-After"))
	}
	if a := l.ask("admin", "GET", "/whoami", ""); a.StatusCode != 200 {
		t.Errorf("another caller: %d", a.StatusCode)
	}
	mu.Lock()
	now = now.Add(2 * time.Second)
	mu.Unlock()
	if a := l.ask("viewer", "GET", "/whoami", ""); a.StatusCode != 200 {
		t.Errorf("later: %d", a.StatusCode)
	}
}

func TestFailures429(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Failures = rest.Rate{PerSecond: 0.5, Burst: 3} })
	for i := range 6 {
		want := 401
		if i >= 3 {
			want = 429
		}
		if a := l.ask("", "GET", "/whoami", "", "Authorization", "Bearer wrong"); a.StatusCode != want {
			t.Errorf("%d: %d", i, a.StatusCode)
		}
	}
	if a := l.ask("viewer", "GET", "/whoami", ""); a.StatusCode != 200 {
		t.Errorf("a good token: %d", a.StatusCode)
	}
}

// TestConnectionStays: the time that an answer may take is no time that a connection may be idle.
func TestConnectionStays(t *testing.T) {
	t.Parallel()
	const moment = 500 * time.Millisecond // for each of these to come in
	l := newLab(t, func(o *rest.Options) { o.Limits.Answer, o.Limits.Body = moment, moment })
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(fixture.Patience))
	in := bufio.NewReader(conn)
	for i := range 3 {
		began := time.Now()
		fmt.Fprintf(conn, "PUT /api/v1/projects/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/zip\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", l.tokens["admin"])
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%d: %q, %v", i, line, err)
		}
		_, _ = in.ReadString('\n')
		fmt.Fprint(conn, "PK")
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode != http.StatusCreated {
			t.Fatalf("%d: %+v, %v", i, response, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		fixture.WaitFor(t, "the moment to pass", func() bool { return time.Since(began) > 2*moment })
	}
}

// TestTakesNothing: a caller who takes nothing of a long answer is left.
func TestTakesNothing(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	l := newLab(t, func(o *rest.Options) { o.Limits.Answer = 50 * time.Millisecond })
	l.gateway.backup = func(w io.Writer) error {
		piece := make([]byte, 1<<20)
		for range 1000 {
			if _, err := w.Write(piece); err != nil {
				ended <- err
				return err
			}
		}
		ended <- nil
		return nil
	}
	raw(t, l, fmt.Sprintf("GET /api/v1/backup HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", l.tokens["admin"]))
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a gigabyte went nowhere")
		}
	case <-time.After(fixture.Patience):
		t.Error("it is waited for")
	}
}
