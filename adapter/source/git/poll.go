package git

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	longestPause = 5 * time.Minute // between attempts, where one fails
	longestFetch = 5 * time.Minute
)

// await polls until there is a commit, or until Patience is over, and returns when to poll next.
func (s *Source) await(ctx context.Context) time.Duration {
	until := ctx
	if s.options.Patience > 0 {
		var cancel context.CancelFunc
		until, cancel = context.WithTimeout(ctx, s.options.Patience)
		defer cancel()
	}
	for {
		s.attempt(until)
		now := s.Status()
		pause := s.pause(now)
		if now.Commit != "" {
			return pause
		}
		if !sleep(until, pause) {
			return min(pause, s.options.Poll)
		}
	}
}

// poll asks for the branch again and again, first after a pause.
func (s *Source) poll(ctx context.Context, pause time.Duration, changed chan<- []string) {
	for sleep(ctx, pause) {
		if paths := s.attempt(ctx); len(paths) > 0 {
			select {
			case changed <- paths:
			case <-ctx.Done():
				return
			}
		}
		pause = s.pause(s.Status())
	}
}

// sleep waits, and says whether ctx is still not done then.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// pause is how long to wait: longer after each failure, and never quite the same, so that many gateways do not come at once.
// A commit that is refused is no failure of the repository.
func (s *Source) pause(now Status) time.Duration {
	pause := s.options.Poll
	if now.Err != nil && !errors.Is(now.Err, errRefused) {
		pause = s.options.Backoff << min(now.Failures-1, 20)
		if most := max(longestPause, s.options.Poll); pause > most || pause <= 0 {
			pause = most
		}
	}
	return pause - pause/10 + time.Duration(rand.Int64N(int64(pause/5)+1))
}

// attempt polls once, notes how it went, and returns the paths of projects that changed, appeared or went.
func (s *Source) attempt(ctx context.Context) []string {
	within, cancel := context.WithTimeout(ctx, longestFetch)
	defer cancel()
	paths, err := s.update(within)
	if err != nil && within.Err() != nil {
		err = errors.New("no answer in time")
	}
	s.note(err)
	return paths
}

// note keeps how an attempt went and says it, once for as long as it stays the same.
func (s *Source) note(err error) {
	if err != nil && !errors.Is(err, errRefused) {
		err = errors.New(s.scrub(err.Error()))
	}
	s.mu.Lock()
	was := s.status
	if err == nil {
		s.status.At, s.status.Err, s.status.Failures = time.Now(), nil, 0
	} else {
		s.status.Err = err
		s.status.Failures++
		s.status.Failed++
	}
	now := s.status
	s.mu.Unlock()
	switch {
	case err == nil && was.Err != nil:
		s.log.Info("git source is up to date again", "commit", now.Commit)
	case err != nil && (was.Err == nil || was.Err.Error() != err.Error()):
		stays := now.Commit
		if stays == "" {
			stays = "nothing yet"
		}
		level := slog.LevelWarn
		if errors.Is(err, errRefused) {
			level = slog.LevelError
		}
		s.log.Log(context.Background(), level, "git source cannot be brought up to date; what is served of it stays", "served", stays, "err", err.Error())
	}
}

// scrub takes the credentials out of a text that others had a part in, and all but its beginning.
func (s *Source) scrub(text string) string {
	for _, secret := range s.remote.secrets() {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " ")
	if runes := []rune(text); len(runes) > 500 {
		text = string(runes[:500]) + "…"
	}
	return text
}

// update brings what is served in step with the branch.
func (s *Source) update(ctx context.Context) ([]string, error) {
	served, err := s.read()
	if err != nil {
		return nil, err
	}
	refs, err := s.remote.advertise(ctx)
	if err != nil {
		return nil, err
	}
	head, err := s.head(refs.References)
	if err != nil {
		return nil, err
	}
	if refs.Capabilities.Supports("object-format") && !slices.Contains(refs.Capabilities.Get("object-format"), "sha1") {
		return nil, refuse("the repository names its commits by SHA-256, which this build cannot fetch; use one with SHA-1")
	}
	switch {
	case served.Commit == head.String() && s.Status().Commit == served.Commit:
		return nil, nil
	case s.refused.head == head.String() && s.refused.served == served.Commit:
		return nil, s.refused.err
	}
	paths, err := s.take(ctx, refs.Capabilities, served, head)
	if errors.Is(err, errRefused) {
		s.refused = refusal{head: head.String(), served: served.Commit, err: err}
	}
	return paths, err
}

// head is the commit of the branch.
func (s *Source) head(branches map[string]plumbing.Hash) (plumbing.Hash, error) {
	const prefix = "refs/heads/"
	if head, there := branches[prefix+s.options.Branch]; there {
		return head, nil
	}
	var names []string
	for name := range branches {
		if branch, ok := strings.CutPrefix(name, prefix); ok {
			names = append(names, branch)
		}
	}
	slices.Sort(names)
	const few = 10
	switch n := len(names); {
	case n == 0:
		return plumbing.ZeroHash, errors.New("the repository has no branches yet")
	case n > few:
		names = append(names[:few], fmt.Sprintf("and %d more", n-few))
	}
	return plumbing.ZeroHash, fmt.Errorf("there is no branch %s; there are: %s", s.options.Branch, strings.Join(names, ", "))
}

// take fetches a commit, sees that it came after the one that is served, and serves it.
func (s *Source) take(ctx context.Context, offers capabilities, served served, head plumbing.Hash) ([]string, error) {
	p, err := s.fetch(ctx, offers, request{want: head, depth: s.options.Depth})
	if err != nil {
		return nil, err
	}
	defer p.close()
	if served.Commit != "" && served.Commit != head.String() && !s.options.AllowRewrite {
		if err := s.prove(ctx, offers, p, head, plumbing.NewHash(served.Commit)); err != nil {
			return nil, err
		}
	}
	next, err := s.unpack(p, head)
	if err != nil {
		return nil, err
	}
	return s.serve(next)
}

// steps are how far back is looked for the commit that is served, in commits; what is further is asked of people.
var steps = []int{16, 128, 1024, 8192}

// prove sees that head came after old: that old is among those it was made from, deeper and deeper.
func (s *Source) prove(ctx context.Context, offers capabilities, p *pack, head, old plumbing.Hash) error {
	found, more, err := p.follow(head, old)
	for i := 0; err == nil && !found && more && i < len(steps); i++ {
		found, more, err = s.lookBack(ctx, offers, head, old, steps[i])
	}
	switch {
	case err != nil || found:
		return err
	case more:
		return s.rewritten(head, old, fmt.Sprintf(" within %d commits", steps[len(steps)-1]))
	}
	return s.rewritten(head, old, "")
}

// lookBack looks for old among so many commits that head was made from.
func (s *Source) lookBack(ctx context.Context, offers capabilities, head, old plumbing.Hash, depth int) (found, more bool, err error) {
	p, err := s.fetch(ctx, offers, request{want: head, have: old, depth: depth})
	if err != nil {
		return false, false, err
	}
	defer p.close()
	return p.follow(head, old)
}

func (s *Source) rewritten(head, old plumbing.Hash, how string) error {
	return refuse("the history of %s was rewritten: its commit %s does not come%s after %s, which is served; to serve it all the same, remove %s, or say allowRewrite: true",
		s.options.Branch, head, how, old, s.servedFile())
}
