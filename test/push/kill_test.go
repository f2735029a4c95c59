package push

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
)

// TestKilledAdaptersLoseNothing pushes a thousand times while the adapter is killed at random moments. What was answered
// with success is there after every restart; what was not answered is there as a whole or not at all; and in the end the
// Envoy, which lived through all of it, serves just that.
func TestKilledAdaptersLoseNothing(t *testing.T) {
	t.Parallel()
	const pushes, least, pushers, projects = 1000, 20, 4, 5 // least is of kills
	l := newLab(t)
	l.startAdapter()
	token := l.token()
	l.start(io.Discard, "envoy", "--management-listen", fixture.Address(t))

	var done, kills atomic.Int64
	var working sync.WaitGroup
	var all []*record
	for i := range pushers {
		var own []*record
		for j := range projects {
			own = append(own, &record{lab: l, token: token, name: fmt.Sprintf("p%d%d", i, j)})
		}
		all = append(all, own...)
		random := rand.New(rand.NewPCG(uint64(i), 1))
		working.Go(func() {
			for (done.Add(1) <= pushes || kills.Load() < least) && !t.Failed() {
				for !own[random.IntN(projects)].push(random.IntN(20) == 0) {
					time.Sleep(20 * time.Millisecond) // as it was told to
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { working.Wait(); close(ended) }()
	for random := rand.New(rand.NewPCG(7, 7)); ; {
		select {
		case <-ended:
			staged := 0
			for _, r := range all {
				staged += r.staged
			}
			t.Logf("%d pushes, %d of them waited for Envoy, %d kills", done.Load()-pushers, staged, kills.Load())
			if staged < pushes/10 {
				t.Errorf("only %d pushes have waited for Envoy: this has shown little", staged)
			}
			l.restart()
			for _, r := range all {
				r.settle()
				r.served()
			}
			return
		case <-time.After(time.Duration(50+random.IntN(400)) * time.Millisecond):
			l.restart()
			kills.Add(1)
		}
	}
}

// record is what is known of a project.
type record struct {
	*lab
	token string
	name  string
	turn  int

	staged   int // pushes that Envoy was waited for
	acked    state
	possible []state // pushes after it that nobody has answered for
}

// state is what a project may be in.
type state struct {
	revision uint64
	path     string // its only operation; "" is that the project is not there
}

// push pushes new content, or undeploys the project. It returns false if it was told to come again later.
func (r *record) push(undeploy bool) (taken bool) {
	r.turn++
	next := state{path: fmt.Sprintf("/turn%d", r.turn)}
	var a answer
	var err error
	if undeploy {
		next.path = ""
		a, err = r.call(r.token, http.MethodDelete, "/projects/"+r.name+"?wait=20s", nil)
	} else {
		a, err = r.call(r.token, http.MethodPut, "/projects/"+r.name+"?wait=20s", r.archive(r.name, next.path))
	}
	switch {
	case err != nil:
		r.possible = append(r.possible, next)
		r.settle()
	case a.status/100 == 2:
		if next.path != "" {
			next.revision = a.project(r.t).Revision
			if next.revision <= r.acked.revision {
				r.t.Errorf("%s: revision %d follows %d", r.name, next.revision, r.acked.revision)
			}
		} else {
			next.revision = r.acked.revision
		}
		r.acked, r.possible = next, nil
		if bytes.Contains(a.body, []byte(`"role":"envoy"`)) {
			r.staged++
		}
	case a.status == http.StatusNotFound && undeploy && r.acked.path == "":
	case a.status == http.StatusServiceUnavailable, a.status == http.StatusTooManyRequests: // nothing was done
		return false
	case a.status == http.StatusBadGateway || a.status == http.StatusGatewayTimeout: // Envoy has left with the adapter before
	default:
		r.t.Errorf("%s: %d: %s", r.name, a.status, a.body)
	}
	return true
}

// settle finds out what is there, which must be what was answered for, or one of what was not.
func (r *record) settle() {
	var a answer
	fixture.WaitFor(r.t, "the adapter answers", func() bool {
		var err error
		a, err = r.call(r.token, http.MethodGet, "/projects/"+r.name, nil)
		return err == nil && a.status != http.StatusServiceUnavailable
	})
	is := state{}
	switch a.status {
	case http.StatusNotFound:
	case http.StatusOK:
		is = state{a.project(r.t).Revision, r.content(a.project(r.t))}
	default:
		r.t.Errorf("%s: %d: %s", r.name, a.status, a.body)
		return
	}
	if is.path != r.acked.path && !slices.ContainsFunc(r.possible, func(s state) bool { return s.path == is.path }) {
		r.t.Errorf("%s is at %q (revision %d); it was acknowledged at %q (revision %d), and may have come to %+v",
			r.name, is.path, is.revision, r.acked.path, r.acked.revision, r.possible)
	}
	is.revision = max(is.revision, r.acked.revision)
	r.acked, r.possible = is, nil
}

// content is the operation of a project's archive, which must be whole.
func (r *record) content(p project) string {
	var a answer
	fixture.WaitFor(r.t, "the archive of "+r.name, func() bool {
		var err error
		a, err = r.call(r.token, http.MethodGet, fmt.Sprintf("/projects/%s/archive?revision=%d", r.name, p.Revision), nil)
		return err == nil && a.status == http.StatusOK
	})
	sum := sha256.Sum256(a.body)
	if got := hex.EncodeToString(sum[:]); got != p.Digest {
		r.t.Errorf("%s: the archive of revision %d has digest %s, want %s", r.name, p.Revision, got, p.Digest)
	}
	z, err := zip.NewReader(bytes.NewReader(a.body), int64(len(a.body)))
	if err != nil || len(z.File) != 1 {
		r.t.Errorf("%s: the archive: %v", r.name, err)
		return "?"
	}
	f, err := z.File[0].Open()
	if err != nil {
		r.t.Error(err)
		return "?"
	}
	text, _ := io.ReadAll(f)
	_, rest, _ := bytes.Cut(text, []byte("paths:\n  "))
	path, _, _ := bytes.Cut(rest, []byte(":"))
	return string(path)
}

// served waits until Envoy serves the project as it is, and nothing older.
func (r *record) served() {
	status := func(path string) int {
		answer, err := client.Get("http://" + r.http + "/" + r.name + path)
		if err != nil {
			return 0
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	fixture.WaitFor(r.t, r.name+" is served at "+r.acked.path, func() bool {
		if r.acked.path == "" {
			return status("/turn1") == http.StatusNotFound
		}
		return status(r.acked.path) == http.StatusOK && status("/turn0") == http.StatusNotFound
	})
}
