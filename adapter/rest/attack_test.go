package rest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/rest"
)

// TestStrangersTakeNoRoom: who logs in is nobody yet, and must not keep others from pushing.
func TestStrangersTakeNoRoom(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Archive, o.Limits.Bodies = 16<<10, 32<<10 })
	const head = "POST /api/mgw/adapter/0.1/oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
	for range 4 { // of a length that nobody has said
		if line, err := raw(t, l, head).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%s, %v", line, err)
		}
	}
	if a := l.ask("deployer", "PUT", "/projects/a", strings.Repeat("x", 16<<10)); a.StatusCode != http.StatusCreated {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", l.url+"/api/mgw/adapter/0.1/oauth2/token", strings.NewReader(`{"username":"`+strings.Repeat("x", 8<<10)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if a := l.send(r); a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestOneCallerLeavesRoom: who is no admin gets half of what there is for bodies, and of the places for pushes.
func TestOneCallerLeavesRoom(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Archive, o.Limits.Bodies, o.Limits.Pushes = 1000, 2000, 2 })
	const head = "PUT /api/v1/projects/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/zip\r\nContent-Length: 900\r\nExpect: 100-continue\r\n\r\n"
	if line, err := raw(t, l, fmt.Sprintf(head, l.tokens["deployer"])).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%s, %v", line, err)
	}
	for who, want := range map[string]int{"deployer": 503, "admin": 201} {
		if a := l.ask(who, "PUT", "/projects/b", strings.Repeat("x", 200)); a.StatusCode != want {
			t.Errorf("%s: %d %s", who, a.StatusCode, a.body)
		}
	}

	inside, leave := make(chan struct{}), make(chan struct{})
	l.gateway.push = func(p adapter.Push) (adapter.Outcome, error) {
		if p.Project == "slow" {
			inside <- struct{}{}
			<-leave
		}
		return adapter.Outcome{Project: p.Project}, nil
	}
	l.gateway.labels = []string{"partner"}
	done := make(chan answer)
	go func() { done <- l.ask("partner", "DELETE", "/projects/slow", "") }()
	<-inside
	if a := l.ask("partner", "DELETE", "/projects/b", ""); a.StatusCode != 503 || a.refusal(t).Code != "busy" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.ask("deployer", "DELETE", "/projects/b", ""); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	close(leave)
	if a := <-done; a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := l.ask("partner", "DELETE", "/projects/b", ""); a.StatusCode != 200 {
		t.Errorf("the place was not given back: %d %s", a.StatusCode, a.body)
	}
}

// TestPanic: a bug of ours is an answer, a line in the log and one in the audit log, and keeps no place.
func TestPanic(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(o *rest.Options) { o.Limits.Pushes = 1 })
	l.gateway.push = func(adapter.Push) (adapter.Outcome, error) { panic("out of order") }
	for _, path := range []string{"/projects/a", "/projects/a?wait=0", "/projects/a"} {
		a := l.ask("admin", "PUT", path, body)
		r := a.refusal(t)
		if a.StatusCode != http.StatusInternalServerError || r.Code != "fault" || strings.Contains(string(a.body), "out of order") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		if log := l.log.String(); !strings.Contains(log, "out of order") || !strings.Contains(log, r.Instance) {
			t.Errorf("the log says %s", log)
		}
	}
	l.close()
	if text, err := os.ReadFile(l.audit); err != nil || strings.Count(string(text), `"status":500,"code":"fault"`) != 3 {
		t.Errorf("%s, %v", text, err)
	}
}

// TestLongWordsInTheAuditLog: who makes a line long pushes others' lines out sooner.
func TestLongWordsInTheAuditLog(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.ask("", "GET", "/projects/"+strings.Repeat("%0a", 10_000), "")
	l.ask("deployer", "DELETE", "/projects/"+strings.Repeat("é", 10_000), "")
	if a := l.ask("guest", "POST", "/explain", `{"url": "/", "label": "`+strings.Repeat("x", 100_000)+`"}`); a.StatusCode != 400 || len(a.body) > 1000 {
		t.Errorf("%d, %d bytes", a.StatusCode, len(a.body))
	}
	l.close()
	text, err := os.ReadFile(l.audit)
	if err != nil || strings.Count(string(text), "\n") != 2 || len(text) > 10_000 || !strings.Contains(string(text), "…") {
		t.Errorf("%d bytes, %v: %.3000s", len(text), err, text)
	}
}

// TestOtherLabelsWords: a project of two labels tells who sees one of them nothing of the other.
func TestOtherLabelsWords(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p := shop()
	p.Labels = []string{"default", "partner"}
	p.Words = "folder secret has /pets"
	p.WordsAt = map[string]string{"default": p.Words}
	l.gateway.projects = []adapter.ProjectInfo{p}
	verdicts := func() []publish.Verdict {
		return []publish.Verdict{{Gateway: "gw-1", Label: "default", State: publish.Lost, Detail: "secret"}, {Gateway: "gw-2", Label: "partner", State: publish.Lost, Detail: "known"}}
	}
	l.gateway.rollouts = map[string]adapter.RolloutInfo{"r1": {
		ID: "r1", Project: "shop", Author: "ci", Labels: p.Labels, Outcome: adapter.Outcome{Gateways: verdicts()},
		Err: &adapter.PushError{Reason: adapter.Refused, Words: "a gateway rejects it", Outcome: adapter.Outcome{Gateways: verdicts()}},
	}}
	for who, sees := range map[string]bool{"guest": false, "viewer": true} {
		for _, path := range []string{"/projects/shop", "/projects", "/rollouts/r1"} {
			a := l.ask(who, "GET", path, "")
			if a.StatusCode != 200 || strings.Contains(string(a.body), "secret") != sees {
				t.Errorf("%s %s: %d %s", who, path, a.StatusCode, a.body)
			}
			if path == "/rollouts/r1" && strings.Count(string(a.body), "known") != 2 {
				t.Errorf("%s: %s", who, a.body)
			}
		}
	}
}

// TestUnknownLabels: what nobody can tell the labels of is for those alone who may do it at all labels.
func TestUnknownLabels(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.gateway.labels = nil
	for who, want := range map[string]int{"partner": 403, "deployer": 200} {
		a := l.ask(who, "DELETE", "/projects/shop", "")
		if a.StatusCode != want || want == 403 && !strings.Contains(string(a.body), "lacks the role deployer for all labels") {
			t.Errorf("%s: %d %s", who, a.StatusCode, a.body)
		}
	}
}

// TestSlowTaker: who takes an answer slowly, but takes it, gets all of it: the time is that of a part, not of the whole.
func TestSlowTaker(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	archive := strings.Repeat("x", 3<<20+1)
	l.gateway.archives = map[uint64][]byte{7: []byte(archive)}
	r := httptest.NewRequest("GET", "/api/v1/projects/shop/archive", nil)
	r.Header.Set("Authorization", "Bearer "+l.tokens["viewer"])
	w := &parts{ResponseRecorder: httptest.NewRecorder()}
	l.handler.ServeHTTP(w, r)
	if w.Body.String() != archive || w.largest > 1<<20 {
		t.Errorf("%d, %d bytes, of which %d at once", w.Code, w.Body.Len(), w.largest)
	}
}

// parts knows the largest part of an answer.
type parts struct {
	*httptest.ResponseRecorder
	largest int
}

func (p *parts) Write(b []byte) (int, error) {
	p.largest = max(p.largest, len(b))
	return p.ResponseRecorder.Write(b)
}
