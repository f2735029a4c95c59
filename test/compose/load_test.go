//go:build compose

package compose

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Each kind of request depends on another part, beside Envoy and the backend.
var kinds = []string{"open", "https", "token", "limit"} // nothing more, over HTTP and over HTTPS; the enforcer; the ratelimiter

const rate = 80 // requests a second, all kinds together

// shot is one request that was answered, or not.
type shot struct {
	at     time.Time // when it was sent
	kind   string
	answer string // the status with the code of its problem, or what went wrong
}

func (s shot) ok() bool { return s.answer == "200" }

// load calls all kinds in turn, at a bounded rate, until it is stopped. A request does not wait for the one before it.
type load struct {
	client *http.Client
	secure *http.Client
	token  string
	end    chan struct{}
	sender sync.WaitGroup

	mu    sync.Mutex
	shots []shot
}

func (s *stack) start() *load {
	l := &load{client: s.client(nil), secure: s.client([]string{"h2"}), token: s.token, end: make(chan struct{})}
	l.sender.Go(l.send)
	return l
}

func (l *load) send() {
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	free := make(chan struct{}, 10*rate) // more at once would be a load of another kind
	for i := 0; ; i++ {
		select {
		case <-l.end:
			return
		case <-tick.C:
		}
		select {
		case free <- struct{}{}:
		default:
			continue
		}
		kind := kinds[i%len(kinds)]
		l.sender.Go(func() {
			l.shoot(kind)
			<-free
		})
	}
}

func (l *load) shoot(kind string) {
	s := shot{at: time.Now(), kind: kind}
	client, url, token := l.client, plain+"/load/"+kind, ""
	switch kind {
	case "https":
		client, url = l.secure, secure+"/load/open"
	case "token":
		token = l.token
	}
	a, err := call(client, http.MethodGet, url, token)
	switch {
	case err != nil:
		s.answer = reason(err)
	case a.status == http.StatusOK:
		s.answer = "200"
	default:
		s.answer = strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.problem()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shots = append(l.shots, s)
}

// reason is the end of an error's words, which is what differs.
func reason(err error) string {
	words := strings.Split(err.Error(), ": ")
	return words[len(words)-1]
}

// stop waits for what is under way and returns everything, in the order it was sent.
func (l *load) stop() []shot {
	close(l.end)
	l.sender.Wait()
	l.client.CloseIdleConnections()
	l.secure.CloseIdleConnections()
	slices.SortFunc(l.shots, func(a, b shot) int { return a.at.Compare(b.at) })
	return l.shots
}

// healthy says whether everything that was sent in the last while was answered well, and something was.
func (l *load) healthy(while time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, seen := time.Now().Add(-while), 0
	for _, s := range slices.Backward(l.shots) {
		if s.at.Before(since) {
			continue
		}
		if !s.ok() {
			return false
		}
		seen++
	}
	return seen > len(kinds)
}

// tally is what became of one kind of request.
type tally struct {
	sent, failed int
	answers      map[string]int // of those that failed
	outage       time.Duration  // from the first that failed to the last
}

func count(shots []shot) map[string]tally {
	all := map[string]tally{}
	first := map[string]time.Time{}
	for _, s := range shots {
		t := all[s.kind]
		if t.answers == nil {
			t.answers = map[string]int{}
		}
		t.sent++
		if !s.ok() {
			if t.failed == 0 {
				first[s.kind] = s.at
			}
			t.failed++
			t.answers[s.answer]++
			t.outage = s.at.Sub(first[s.kind])
		}
		all[s.kind] = t
	}
	return all
}

func (t tally) String() string {
	if t.failed == 0 {
		return fmt.Sprintf("%d of %d failed", t.failed, t.sent)
	}
	var answers []string
	for _, a := range slices.Sorted(maps.Keys(t.answers)) {
		answers = append(answers, fmt.Sprintf("%d × %s", t.answers[a], a))
	}
	return fmt.Sprintf("%d of %d failed over %s: %s", t.failed, t.sent, t.outage.Round(10*time.Millisecond), strings.Join(answers, ", "))
}
