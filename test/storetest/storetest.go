// Package storetest is the suite that every store of the adapter has to pass. It knows the verbs alone, so that a store of
// several adapters can be held to the same.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/store"
)

// Store has the verbs of design §5.
type Store interface {
	Begin(context.Context, store.Candidate) (store.Rollout, error)
	Acknowledge(ctx context.Context, id string, acks ...store.Ack) error
	Renew(ctx context.Context, id string, lease time.Time) error
	Commit(ctx context.Context, id string, outcome json.RawMessage) (store.Revision, error)
	Discard(ctx context.Context, id string, outcome json.RawMessage) error
	Expire(ctx context.Context, now time.Time) ([]store.Rollout, error)
	Rollout(ctx context.Context, id string) (store.Rollout, error)
	Projects(ctx context.Context, after string, limit int) ([]store.Project, bool, error)
	Project(ctx context.Context, name string) (store.Project, error)
	Revisions(ctx context.Context, name string) ([]store.Revision, error)
	Archive(ctx context.Context, digest string) ([]byte, error)
	Keep(ctx context.Context, path, digest string, archive []byte) error
	Kept(ctx context.Context, path string) (k store.Kept, there bool, err error)
	KeptDigest(ctx context.Context, path string) (string, error)
	KeptPaths(ctx context.Context) ([]string, error)
	Forget(ctx context.Context, path string) error
}

// History is how many revisions a store that is tested has to keep.
const History = 3

// Run holds a store to the suite. open makes an empty one, which keeps History revisions.
func Run(t *testing.T, open func(*testing.T) Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, Store)
	}{
		{"a project from first to last", first},
		{"claims exclude one another", claims},
		{"a project moves its claims", moves},
		{"what is expected of the revision", expects},
		{"one rollout of a project at a time", busy},
		{"committed once", once},
		{"discarded once", discards},
		{"leases end rollouts", leases},
		{"what gateways said", acknowledges},
		{"archives are shared and go with the last", shares},
		{"back to an earlier revision", returns},
		{"history is bounded", bounds},
		{"listing goes page by page", pages},
		{"what cannot be a candidate", refuses},
		{"names that begin alike", prefixes},
		{"what is kept of folders", keeps},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Of is a candidate of a project with this content and these claims.
func Of(project, content string, claims ...store.Claim) store.Candidate {
	c := store.Candidate{
		Project: project, Labels: []string{"default"}, Author: "ci", Claims: claims, Owner: "adapter-1",
		Lease: t0.Add(time.Minute), Deadline: t0.Add(time.Hour),
		APIs: []store.API{{Name: project, Version: "1.0.0", BasePath: "/" + project, Hosts: []string{"a.example"}, State: "deployed"}},
	}
	c.Archive = []byte(content)
	digest := sha256.Sum256(c.Archive)
	c.Digest = hex.EncodeToString(digest[:])
	return c
}

// Undeploy is a candidate that undeploys a project.
func Undeploy(project string) store.Candidate {
	return store.Candidate{Project: project, Author: "ci", Lease: t0.Add(time.Minute)}
}

func number(n uint64) *uint64 { return &n }

func begin(t *testing.T, s Store, c store.Candidate) store.Rollout {
	t.Helper()
	r, err := s.Begin(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func commit(t *testing.T, s Store, c store.Candidate) store.Revision {
	t.Helper()
	r, err := s.Commit(t.Context(), begin(t, s, c).ID, json.RawMessage(`{"committed":true}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got the error %v, want %v", err, want)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want -, got +:\n%s", d)
	}
}

func first(t *testing.T, s Store) {
	ctx := t.Context()
	for _, ask := range []func() error{
		func() error { _, err := s.Project(ctx, "shop"); return err },
		func() error { _, err := s.Revisions(ctx, "shop"); return err },
		func() error { _, err := s.Rollout(ctx, "none"); return err },
		func() error { _, err := s.Archive(ctx, Of("shop", "one").Digest); return err },
		func() error { _, err := s.Commit(ctx, "none", nil); return err },
		func() error { return s.Discard(ctx, "none", nil) },
		func() error { return s.Renew(ctx, "none", t0) },
		func() error { return s.Acknowledge(ctx, "none") },
		func() error { _, err := s.Begin(ctx, Undeploy("shop")); return err },
	} {
		is(t, ask(), store.ErrUnknown)
	}
	c := Of("shop", "one", "default /shop", "default shop/1.0.0")
	r := begin(t, s, c)
	if r.State != store.Opened || r.ID == "" || r.Base != 0 || r.Archive != nil || r.Began.IsZero() {
		t.Errorf("begun: %+v", r)
	}
	_, err := s.Project(ctx, "shop")
	is(t, err, store.ErrUnknown) // it is not before it is committed
	again, err := s.Rollout(ctx, r.ID)
	is(t, err, nil)
	same(t, again, r)

	made, err := s.Commit(ctx, r.ID, json.RawMessage(`{"a":1}`))
	is(t, err, nil)
	same(t, made, store.Revision{Number: 1, Digest: c.Digest, Labels: c.Labels, Author: "ci", At: made.At, APIs: c.APIs, Rollout: r.ID})
	p, err := s.Project(ctx, "shop")
	is(t, err, nil)
	same(t, p, store.Project{Name: "shop", Current: made, Claims: c.Claims})
	archive, err := s.Archive(ctx, c.Digest)
	is(t, err, nil)
	same(t, string(archive), "one")
	r, err = s.Rollout(ctx, r.ID)
	is(t, err, nil)
	if r.State != store.Committed || r.Revision != 1 || string(r.Outcome) != `{"a":1}` || r.Ended.IsZero() {
		t.Errorf("committed: %+v", r)
	}

	gone := commit(t, s, Undeploy("shop"))
	if gone.Number != 2 || gone.Digest != "" {
		t.Errorf("undeployed: %+v", gone)
	}
	p, err = s.Project(ctx, "shop")
	is(t, err, nil)
	same(t, p, store.Project{Name: "shop", Current: gone})
	found, more, err := s.Projects(ctx, "", 0)
	is(t, err, nil)
	if len(found) != 0 || more {
		t.Errorf("found %v, more %v", found, more)
	}
	all, err := s.Revisions(ctx, "shop")
	is(t, err, nil)
	same(t, all, []store.Revision{gone, made})
}

func claims(t *testing.T, s Store) {
	commit(t, s, Of("shop", "one", "default /shop", "default shop/1.0.0"))
	_, err := s.Begin(t.Context(), Of("other", "one", "default /other", "default /shop"))
	claimed(t, err, store.ClaimedError{Claim: "default /shop", Holder: "shop"})

	r := begin(t, s, Of("third", "x", "default /third"))
	_, err = s.Begin(t.Context(), Of("other", "y", "default /third"))
	claimed(t, err, store.ClaimedError{Claim: "default /third", Holder: "third", Rollout: r.ID})
	is(t, s.Discard(t.Context(), r.ID, nil), nil)
	commit(t, s, Of("other", "y", "default /third"))

	commit(t, s, Undeploy("shop"))
	commit(t, s, Of("fourth", "z", "default /shop", "default shop/1.0.0"))
}

func claimed(t *testing.T, err error, want store.ClaimedError) {
	t.Helper()
	var got *store.ClaimedError
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want %v", err, &want)
	}
	same(t, *got, want)
}

func moves(t *testing.T, s Store) {
	ctx := t.Context()
	commit(t, s, Of("shop", "one", "default /a", "default /b"))
	r := begin(t, s, Of("shop", "two", "default /b", "default /c"))
	for _, claim := range []store.Claim{"default /a", "default /b", "default /c"} { // all three, until it is clear
		_, err := s.Begin(ctx, Of("other", "x", claim))
		var got *store.ClaimedError
		if !errors.As(err, &got) || got.Holder != "shop" {
			t.Errorf("%s: %v", claim, err)
		}
	}
	is(t, s.Discard(ctx, r.ID, nil), nil)
	free(t, s, "default /c")
	_, err := s.Begin(ctx, Of("other", "x", "default /b"))
	claimed(t, err, store.ClaimedError{Claim: "default /b", Holder: "shop"})

	commit(t, s, Of("shop", "two", "default /b", "default /c"))
	free(t, s, "default /a")
	for _, claim := range []store.Claim{"default /b", "default /c"} {
		_, err := s.Begin(ctx, Of("other", "x", claim))
		claimed(t, err, store.ClaimedError{Claim: claim, Holder: "shop"})
	}
}

// free holds that nobody has a claim.
func free(t *testing.T, s Store, claim store.Claim) {
	t.Helper()
	is(t, s.Discard(t.Context(), begin(t, s, Of("free", "x", claim)).ID, nil), nil)
}

func expects(t *testing.T, s Store) {
	stale := func(c store.Candidate, expect, current uint64) {
		t.Helper()
		c.Expect = number(expect)
		_, err := s.Begin(t.Context(), c)
		is(t, err, store.ErrStale)
		var e *store.StaleError
		if !errors.As(err, &e) || e.Current != current {
			t.Errorf("got %v, and revision %d is deployed", err, current)
		}
	}
	c := Of("shop", "one", "default /shop")
	stale(c, 1, 0)
	c.Expect = number(0)
	commit(t, s, c)
	stale(c, 0, 1)
	stale(c, 2, 1)
	c.Expect = number(1)
	commit(t, s, c)
	gone := Undeploy("shop")
	stale(gone, 1, 2)
	gone.Expect = number(2)
	commit(t, s, gone)
	stale(c, 3, 0) // the third revision is that nothing is there
	c.Expect = number(0)
	if r := commit(t, s, c); r.Number != 4 {
		t.Errorf("revision %d", r.Number)
	}
}

func busy(t *testing.T, s Store) {
	r := begin(t, s, Of("shop", "one", "default /shop"))
	_, err := s.Begin(t.Context(), Of("shop", "two", "default /shop"))
	var e *store.BusyError
	if !errors.As(err, &e) || e.Rollout != r.ID || e.Project != "shop" {
		t.Errorf("got %v", err)
	}
	is(t, s.Discard(t.Context(), r.ID, nil), nil)
	commit(t, s, Of("shop", "two", "default /shop"))
}

func once(t *testing.T, s Store) {
	r := begin(t, s, Of("shop", "one", "default /shop"))
	made, err := s.Commit(t.Context(), r.ID, nil)
	is(t, err, nil)
	again, err := s.Commit(t.Context(), r.ID, json.RawMessage(`{}`))
	is(t, err, nil)
	same(t, again, made)
	is(t, s.Discard(t.Context(), r.ID, nil), store.ErrLost)
	is(t, s.Renew(t.Context(), r.ID, t0), store.ErrLost)
	is(t, s.Acknowledge(t.Context(), r.ID), store.ErrLost)
	all, err := s.Revisions(t.Context(), "shop")
	is(t, err, nil)
	same(t, all, []store.Revision{made})
}

func discards(t *testing.T, s Store) {
	c := Of("shop", "one", "default /shop")
	r := begin(t, s, c)
	is(t, s.Discard(t.Context(), r.ID, json.RawMessage(`{"a":1}`)), nil)
	is(t, s.Discard(t.Context(), r.ID, json.RawMessage(`{"b":1}`)), nil)
	_, err := s.Commit(t.Context(), r.ID, nil)
	is(t, err, store.ErrLost)
	r, err = s.Rollout(t.Context(), r.ID)
	is(t, err, nil)
	if r.State != store.Discarded || string(r.Outcome) != `{"a":1}` || r.Ended.IsZero() || r.Revision != 0 {
		t.Errorf("discarded: %+v", r)
	}
	_, err = s.Archive(t.Context(), c.Digest)
	is(t, err, store.ErrUnknown)
	_, err = s.Project(t.Context(), "shop")
	is(t, err, store.ErrUnknown)
}

func leases(t *testing.T, s Store) {
	ctx := t.Context()
	a := begin(t, s, Of("a", "one", "default /a"))
	b := begin(t, s, Of("b", "one", "default /b"))
	over, err := s.Expire(ctx, t0.Add(59*time.Second))
	is(t, err, nil)
	if len(over) != 0 {
		t.Errorf("expired %v", over)
	}
	is(t, s.Renew(ctx, b.ID, t0.Add(2*time.Minute)), nil)
	b, err = s.Rollout(ctx, b.ID)
	is(t, err, nil)
	same(t, b.Lease, t0.Add(2*time.Minute))
	over, err = s.Expire(ctx, t0.Add(time.Minute))
	is(t, err, nil)
	if len(over) != 1 || over[0].ID != a.ID || over[0].State != store.Discarded {
		t.Errorf("expired %v", over)
	}
	_, err = s.Commit(ctx, a.ID, nil)
	is(t, err, store.ErrLost)
	_, err = s.Commit(ctx, b.ID, nil)
	is(t, err, nil)
	over, err = s.Expire(ctx, t0.Add(time.Hour))
	is(t, err, nil)
	if len(over) != 0 {
		t.Errorf("expired %v", over)
	}
	free(t, s, "default /a")
}

func acknowledges(t *testing.T, s Store) {
	r := begin(t, s, Of("shop", "one", "default /shop"))
	ack := func(gateway, role, state string) store.Ack {
		return store.Ack{Gateway: gateway, Role: role, Label: "default", State: state, Detail: "words", At: t0}
	}
	is(t, s.Acknowledge(t.Context(), r.ID, ack("b", "envoy", "pending"), ack("a", "prober", "serving")), nil)
	is(t, s.Acknowledge(t.Context(), r.ID, ack("b", "envoy", "serving"), ack("a", "envoy", "rejected")), nil)
	want := []store.Ack{ack("a", "envoy", "rejected"), ack("a", "prober", "serving"), ack("b", "envoy", "serving")}
	for _, state := range []store.State{store.Opened, store.Committed} {
		if state == store.Committed {
			_, err := s.Commit(t.Context(), r.ID, nil)
			is(t, err, nil)
		}
		got, err := s.Rollout(t.Context(), r.ID)
		is(t, err, nil)
		same(t, got.State, state)
		same(t, got.Acks, want)
	}
}

func shares(t *testing.T, s Store) {
	ctx := t.Context()
	big := string(bytes.Repeat([]byte("0123456789abcde\n"), 40_000)) // some chunks
	a, b := Of("a", big, "default /a"), Of("b", big, "default /b")
	commit(t, s, a)
	r := begin(t, s, b)
	is(t, s.Discard(ctx, r.ID, nil), nil)
	archive, err := s.Archive(ctx, a.Digest)
	is(t, err, nil)
	if string(archive) != big {
		t.Errorf("%d bytes of %d", len(archive), len(big))
	}
	commit(t, s, b)
	for i := range History { // all revisions of a with it are gone
		commit(t, s, Of("a", fmt.Sprint(i), "default /a"))
	}
	_, err = s.Archive(ctx, a.Digest)
	is(t, err, nil)
	for i := range History {
		commit(t, s, Of("b", fmt.Sprint(i), "default /b"))
	}
	_, err = s.Archive(ctx, a.Digest)
	is(t, err, store.ErrUnknown)
	_, err = s.Archive(ctx, Of("b", "0").Digest)
	is(t, err, nil)
}

func returns(t *testing.T, s Store) {
	c := Of("shop", "one", "default /shop")
	commit(t, s, c)
	commit(t, s, Of("shop", "two", "default /shop"))
	c.Archive = nil
	if r := commit(t, s, c); r.Number != 3 || r.Digest != c.Digest {
		t.Errorf("%+v", r)
	}
	archive, err := s.Archive(t.Context(), c.Digest)
	is(t, err, nil)
	same(t, string(archive), "one")
	unknown := Of("shop", "three", "default /shop")
	unknown.Archive = nil
	_, err = s.Begin(t.Context(), unknown)
	is(t, err, store.ErrUnknown)
	commit(t, s, Of("shop", "three", "default /shop")) // and it has left nothing
}

func bounds(t *testing.T, s Store) {
	var want []uint64
	for i := range 4 * History {
		commit(t, s, Of("shop", fmt.Sprint(i), "default /shop"))
		if i%2 == 1 {
			commit(t, s, Undeploy("shop"))
		}
	}
	all, err := s.Revisions(t.Context(), "shop")
	is(t, err, nil)
	var got []uint64
	deployed := 0
	for _, r := range all {
		got = append(got, r.Number)
		if r.Digest != "" {
			deployed++
			_, err := s.Archive(t.Context(), r.Digest)
			is(t, err, nil)
		}
	}
	want = []uint64{18, 17, 16, 15, 14} // 18, 15 … undeployed it
	same(t, got, want)
	same(t, deployed, History)
	_, err = s.Archive(t.Context(), Of("shop", "8").Digest)
	is(t, err, store.ErrUnknown)
}

func pages(t *testing.T, s Store) {
	var want []string
	for _, name := range []string{"d", "a", "e", "b", "c", "gone"} {
		commit(t, s, Of(name, name, store.Claim(name)))
		want = append(want, name)
	}
	commit(t, s, Undeploy("gone"))
	want = slices.Sorted(slices.Values(want[:5]))
	for _, limit := range []int{0, 1, 2, 5, 6} {
		var got []string
		for after, more := "", true; more; {
			found, further, err := s.Projects(t.Context(), after, limit)
			is(t, err, nil)
			for _, p := range found {
				got = append(got, p.Name)
				after = p.Name
			}
			if limit > 0 && len(found) > limit || further && len(found) == 0 {
				t.Fatalf("%d of %d, more %v", len(found), limit, further)
			}
			more = further
		}
		same(t, got, want)
	}
	found, more, err := s.Projects(t.Context(), "bb", 2) // one that is not there
	is(t, err, nil)
	if len(found) != 2 || found[0].Name != "c" || !more {
		t.Errorf("found %v, more %v", found, more)
	}
}

func refuses(t *testing.T, s Store) {
	wrong := Of("shop", "one")
	wrong.Archive = []byte("two")
	short := Of("shop", "one")
	short.Archive, short.Digest = nil, "abc"
	claiming := Undeploy("shop")
	claiming.Claims = []store.Claim{"default /shop"}
	for _, c := range []store.Candidate{wrong, short, claiming, Of("", "x"), Of("a\x00b", "x"), Of("a\xff", "x"), Of("shop", "x", ""), Of("shop", "x", "\xff")} {
		if r, err := s.Begin(t.Context(), c); err == nil {
			t.Errorf("begun: %+v", r)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Begin(ended, Of("shop", "one", "default /shop"))
	is(t, err, context.Canceled)
	commit(t, s, Of("shop", "one", "default /shop"))
}

func prefixes(t *testing.T, s Store) {
	names := []string{"shop", "shop\u00ff", "shop-2", "shop2", "sho"}
	for i, name := range names {
		for n := range i + 1 {
			commit(t, s, Of(name, fmt.Sprint(name, n), store.Claim(name)))
		}
	}
	for i, name := range names {
		all, err := s.Revisions(t.Context(), name)
		is(t, err, nil)
		if len(all) != min(i+1, History) || all[0].Number != uint64(i+1) {
			t.Errorf("%q: %v", name, all)
		}
	}
}
