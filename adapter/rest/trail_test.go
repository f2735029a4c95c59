package rest_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/audit"
	"github.com/postern-gateway/postern/adapter/rest"
	"github.com/postern-gateway/postern/test/fixture"
)

// trail is what the audit log has by now.
func (l *lab) trail() []audit.Entry {
	l.t.Helper()
	file, err := os.Open(l.audit)
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	var all []audit.Entry
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e audit.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			l.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// TestTrailOfBackground: a push in the background has a second line, with what became of it.
func TestTrailOfBackground(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	digest := strings.Repeat("ab", 32)
	for id, end := range map[string]adapter.RolloutInfo{
		"good":    {Outcome: adapter.Outcome{Revision: 9, Digest: digest, Committed: true}},
		"refused": {Err: &adapter.PushError{Reason: adapter.Refused, Words: "envoy has no such filter"}, Outcome: adapter.Outcome{Revision: 8, Digest: digest}},
	} {
		l.gateway.mu.Lock()
		l.gateway.push = func(p adapter.Push) (adapter.Outcome, error) {
			return adapter.Outcome{Project: p.Project, Rollout: id, Digest: digest}, nil
		}
		end.Ended = time.Now()
		l.gateway.rollouts = map[string]adapter.RolloutInfo{id: end}
		l.gateway.mu.Unlock()
		if a := l.ask("deployer", "PUT", "/projects/"+id+"?wait=0", body); a.StatusCode != 202 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		var lines []audit.Entry
		fixture.WaitFor(t, "the second line", func() bool {
			lines = nil
			for _, e := range l.trail() {
				if e.Rollout == id {
					lines = append(lines, e)
				}
			}
			return len(lines) == 2
		})
		if first := lines[0]; first.Outcome != "" && lines[1].Outcome == "" { // they are written side by side
			lines[0], lines[1] = lines[1], first
		}
		first, last := lines[0], lines[1]
		if first.Status != 202 || first.Digest != digest || last.ID != first.ID || last.Who != "deployer" || last.Digest != digest || last.Project != id || last.Seconds <= 0 {
			t.Errorf("%+v\n%+v", first, last)
		}
		switch {
		case id == "good" && (last.Outcome != "committed" || last.Status != 200 || last.Revision != 9):
			t.Errorf("%+v", last)
		case id == "refused" && (last.Outcome != "failed" || last.Status != 502 || last.Code != "refused" || last.Detail != "envoy has no such filter" || last.Revision != 8):
			t.Errorf("%+v", last)
		}
	}
}

// TestTrailOfFlood: who asks too often, or again and again for what he may not do, does not push others' lines out.
func TestTrailOfFlood(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	began := time.Now()
	l := newLab(t, func(o *rest.Options) {
		o.Limits.Calls = rest.Rate{PerSecond: 1, Burst: 100}
		o.Now = func() time.Time { return began.Add(time.Duration(later.Load())) }
	})
	for i := range 100 {
		if a := l.ask("viewer", "DELETE", "/projects/shop", ""); a.StatusCode != 403 {
			t.Fatalf("%d: %d", i, a.StatusCode)
		}
	}
	for i := range 50 {
		if a := l.ask("viewer", "DELETE", "/projects/shop", ""); a.StatusCode != 429 {
			t.Fatalf("%d: %d", i, a.StatusCode)
		}
	}
	l.ask("deployer", "DELETE", "/projects/shop", "")
	later.Store(int64(time.Minute))
	l.ask("viewer", "DELETE", "/projects/shop", "")
	l.close()
	count := map[int]int{}
	var last audit.Entry
	for _, e := range l.trail() {
		count[e.Status]++
		last = e
	}
	if count[403] != 21 || count[429] != 1 || count[200] != 1 || last.Before != 80 || last.Status != 403 {
		t.Errorf("%v, %+v", count, last)
	}
}

// TestBreaking: who is an admin of all labels of a project may break its consumers, and it is written down.
func TestBreaking(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if a := l.ask("deployer", "PUT", "/projects/shop?breaking=allow", body); a.StatusCode != 403 || !strings.Contains(a.refusal(t).Detail, "admin") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for method, sent := range map[string]string{"PUT": body, "DELETE": ""} {
		if a := l.ask("admin", method, "/projects/shop?breaking=allow", sent); a.StatusCode >= 300 || !l.gateway.last(t).AllowBreaking {
			t.Errorf("%s: %d %s", method, a.StatusCode, a.body)
		}
		if a := l.ask("admin", method, "/projects/shop", sent); a.StatusCode >= 300 || l.gateway.last(t).AllowBreaking {
			t.Errorf("%s: %d %s", method, a.StatusCode, a.body)
		}
	}
	if a := l.ask("admin", "PUT", "/projects/shop?breaking=true", body); a.StatusCode != 400 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	l.close()
	allowed := 0
	for _, e := range l.trail() {
		if e.Breaking {
			allowed++
		}
	}
	if allowed != 3 {
		t.Errorf("%d lines say so", allowed)
	}
}

// TestMistakesOfBodies: what is wrong with one is said in its own words.
func TestMistakesOfBodies(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for sent, want := range map[string]string{
		`{"revision": "six"}`:    "revision in the body is string, and must be a whole number from 0 to 18446744073709551615",
		`{"revision": -1}`:       "revision in the body is -1, and must be a whole number from 0 to 18446744073709551615",
		`{"revisions": 1}`:       `the body has the field "revisions", which is not known here`,
		`{"revision": 6`:         "the body is not JSON: it ends too early",
		`{revision: 6}`:          "the body is not JSON: after 2 bytes: invalid character 'r' looking for beginning of object key string",
		`{"revision": 6}{"a":1}`: "the body has more than one JSON value",
	} {
		if a := l.ask("deployer", "POST", "/projects/shop/rollback", sent); a.StatusCode != 400 || a.refusal(t).Detail != want {
			t.Errorf("%s: %d %s", sent, a.StatusCode, a.body)
		}
	}
	for sent, want := range map[string]string{
		`{"url": 7}`:                  "url in the body is number, and must be a text",
		`{"url": "/", "headers": []}`: "headers in the body is array, and must be an object",
	} {
		if a := l.ask("viewer", "POST", "/explain", sent); a.StatusCode != 400 || a.refusal(t).Detail != want {
			t.Errorf("%s: %d %s", sent, a.StatusCode, a.body)
		}
	}
	if a := l.ask("deployer", "POST", "/projects/shop/rollback", `[]`, "Content-Type", "application/json"); a.refusal(t).Detail != "the body must be an object" {
		t.Errorf("%s", a.body)
	}
}

// TestRolloutOfWhatIsGone: a rollout is for those who may see what it was to bring, though the project is gone.
func TestRolloutOfWhatIsGone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.gateway.rollouts = map[string]adapter.RolloutInfo{
		"r1": {ID: "r1", Project: "gone", Author: "ci", Labels: []string{"partner"}, Ended: time.Now()},
		"r2": {ID: "r2", Project: "gone", Author: "ci", Labels: []string{"default"}, Ended: time.Now()},
	}
	for id, want := range map[string]int{"r1": 200, "r2": 404} {
		if a := l.ask("guest", "GET", "/rollouts/"+id, ""); a.StatusCode != want {
			t.Errorf("%s: %d %s", id, a.StatusCode, a.body)
		}
	}
}

// TestWordsOfUnknown: where a project comes from is for those who may see it.
func TestWordsOfUnknown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	theirs, others := shop(), shop()
	theirs.Name, theirs.Labels, others.Name = "theirs", []string{"partner"}, "others"
	l.gateway.projects = []adapter.ProjectInfo{others, theirs}
	l.gateway.push = func(adapter.Push) (adapter.Outcome, error) {
		return adapter.Outcome{}, unknown("it comes from folder /srv/secret")
	}
	l.gateway.labels = []string{"partner"}
	for name, want := range map[string]bool{"theirs": true, "others": false, "none": false} {
		a := l.ask("partner", "POST", "/projects/"+name+"/rollback", `{"revision": 1}`)
		if a.StatusCode != 404 || strings.Contains(a.refusal(t).Detail, "/srv/secret") != want {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}
