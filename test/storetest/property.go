package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/postern-gateway/postern/adapter/store"
)

// Property has random verbs done to a store and to a plain model of it, and compares the two after each. open makes an empty
// store; again, if there is one, closes it and opens it anew, where the leases of before may be over.
func Property(t *testing.T, open func(*testing.T) (s Store, again func() Store)) {
	t.Helper()
	rapid.Check(t, func(r *rapid.T) {
		m := &machine{t: t, projects: map[string]*project{}, rollouts: map[string]*rollout{}, kept: map[string]string{}}
		m.store, m.again = open(t)
		actions := map[string]func(*rapid.T){"begin": m.begin, "commit": m.commit, "discard": m.discard, "renew": m.renew, "expire": m.expire, "keep": m.keep, "": m.compare}
		if m.again != nil {
			actions["open anew"] = m.reopen
		}
		r.Repeat(actions)
	})
}

// machine is a store with the model of it.
type machine struct {
	t        *testing.T
	store    Store
	again    func() Store
	projects map[string]*project
	rollouts map[string]*rollout
	kept     map[string]string // by path: the content
	ids      []string          // in the order of their begin
}

type project struct {
	claims    []store.Claim
	revisions []store.Revision // oldest first
}

func (p *project) current() store.Revision {
	if p == nil {
		return store.Revision{}
	}
	return p.revisions[len(p.revisions)-1]
}

type rollout struct {
	store.Candidate
	state store.State
	base  uint64
	made  uint64
}

var (
	names    = []string{"a", "b", "ab"}
	wanted   = []store.Claim{"1", "2", "3", "4"}
	archives = []string{"one", "two", strings.Repeat("three", 30_000)}
)

// open is the rollout that a project has open.
func (m *machine) open(name string) (id string) {
	for id, r := range m.rollouts {
		if r.Project == name && r.state == store.Opened {
			return id
		}
	}
	return ""
}

// holder is who has a claim, and the open rollout that is to have it.
func (m *machine) holder(claim store.Claim) (name, id string) {
	for name, p := range m.projects {
		if slices.Contains(p.claims, claim) {
			return name, ""
		}
	}
	for id, r := range m.rollouts {
		if r.state == store.Opened && slices.Contains(r.Claims, claim) {
			return r.Project, id
		}
	}
	return "", ""
}

// refers says whether anything refers to an archive.
func (m *machine) refers(digest string) bool {
	for _, content := range m.kept {
		if Of("", content).Digest == digest {
			return true
		}
	}
	for _, p := range m.projects {
		if slices.ContainsFunc(p.revisions, func(r store.Revision) bool { return r.Digest == digest }) {
			return true
		}
	}
	return slices.ContainsFunc(slices.Collect(maps.Values(m.rollouts)), func(r *rollout) bool {
		return r.state == store.Opened && r.Digest == digest
	})
}

func (m *machine) candidate(r *rapid.T) store.Candidate {
	name := rapid.SampledFrom(names).Draw(r, "project")
	c := Undeploy(name)
	if rapid.IntRange(0, 4).Draw(r, "undeploy") > 0 {
		claims := rapid.SliceOfNDistinct(rapid.SampledFrom(wanted), 0, 3, rapid.ID[store.Claim]).Draw(r, "claims")
		c = Of(name, rapid.SampledFrom(archives).Draw(r, "archive"), claims...)
		if len(claims) == 0 {
			c.Claims = nil
		}
		if rapid.IntRange(0, 3).Draw(r, "return") == 0 {
			c.Archive = nil
		}
	}
	if rapid.Bool().Draw(r, "expects") {
		c.Expect = number(uint64(rapid.IntRange(0, 3).Draw(r, "expect")))
	}
	c.Lease = t0.Add(time.Duration(rapid.IntRange(0, 3).Draw(r, "lease")) * time.Minute)
	return c
}

// refusal is why the model refuses a candidate.
func (m *machine) refusal(c store.Candidate) error {
	current := m.projects[c.Project].current()
	deployed := current.Number
	if current.Digest == "" {
		deployed = 0
	}
	switch id := m.open(c.Project); {
	case c.Expect != nil && *c.Expect != deployed:
		return &store.StaleError{Project: c.Project, Expected: *c.Expect, Current: deployed}
	case id != "":
		return &store.BusyError{Project: c.Project, Rollout: id}
	case c.Digest == "" && deployed == 0:
		return store.ErrUnknown
	}
	for _, claim := range c.Claims {
		if name, id := m.holder(claim); name != "" && name != c.Project {
			return &store.ClaimedError{Claim: claim, Holder: name, Rollout: id}
		}
	}
	if c.Digest != "" && c.Archive == nil && !m.refers(c.Digest) {
		return store.ErrUnknown
	}
	return nil
}

// alike compares the error of a store with that of the model.
func alike(got, want error) bool {
	if got == nil || want == nil || errors.Is(want, store.ErrUnknown) || errors.Is(want, store.ErrLost) {
		return errors.Is(got, want)
	}
	return got.Error() == want.Error() && fmt.Sprintf("%T", got) == fmt.Sprintf("%T", want)
}

func (m *machine) begin(r *rapid.T) {
	c := m.candidate(r)
	want := m.refusal(c)
	begun, err := m.store.Begin(m.t.Context(), c)
	if !alike(err, want) {
		r.Fatalf("got the error %v, want %v", err, want)
	}
	if err == nil {
		m.rollouts[begun.ID] = &rollout{Candidate: c, state: store.Opened, base: m.projects[c.Project].current().Number}
		m.ids = append(m.ids, begun.ID)
	}
}

// any draws a rollout, or none of them.
func (m *machine) any(r *rapid.T) (string, *rollout) {
	id := "none"
	if len(m.ids) > 0 {
		id = m.ids[len(m.ids)-1-rapid.IntRange(0, min(len(m.ids)-1, 4)).Draw(r, "rollout")]
	}
	return id, m.rollouts[id]
}

func (m *machine) commit(r *rapid.T) {
	id, one := m.any(r)
	var want error
	switch {
	case one == nil:
		want = store.ErrUnknown
	case one.state == store.Discarded:
		want = store.ErrLost
	}
	made, err := m.store.Commit(m.t.Context(), id, json.RawMessage(`{}`))
	if !alike(err, want) {
		r.Fatalf("got the error %v, want %v", err, want)
	}
	if err != nil || one.state == store.Committed {
		return
	}
	one.state, one.made = store.Committed, one.base+1
	p := m.projects[one.Project]
	if p == nil {
		p = &project{}
		m.projects[one.Project] = p
	}
	p.claims = one.Claims
	p.revisions = append(p.revisions, store.Revision{
		Number: one.made, Digest: one.Digest, Labels: one.Labels, Author: one.Author, At: made.At, APIs: one.APIs, Rollout: id,
	})
	for count(p.revisions) > History || p.revisions[0].Digest == "" && len(p.revisions) > 1 && count(p.revisions) == History {
		p.revisions = p.revisions[1:]
	}
}

// count is how many revisions can be returned to.
func count(revisions []store.Revision) (n int) {
	for _, r := range revisions {
		if r.Digest != "" {
			n++
		}
	}
	return n
}

func (m *machine) discard(r *rapid.T) {
	id, one := m.any(r)
	var want error
	switch {
	case one == nil:
		want = store.ErrUnknown
	case one.state == store.Committed:
		want = store.ErrLost
	}
	if err := m.store.Discard(m.t.Context(), id, nil); !alike(err, want) {
		r.Fatalf("got the error %v, want %v", err, want)
	}
	if want == nil {
		one.state = store.Discarded
	}
}

// keep keeps something of a path, or nothing.
func (m *machine) keep(r *rapid.T) {
	path := "/" + rapid.SampledFrom(names).Draw(r, "path")
	content := rapid.SampledFrom(append(slices.Clone(archives), "")).Draw(r, "content")
	err := error(nil)
	if m.kept[path] = content; content == "" {
		delete(m.kept, path)
		err = m.store.Forget(m.t.Context(), path)
	} else {
		err = keep(m.t.Context(), m.store, path, content)
	}
	if err != nil {
		r.Fatal(err)
	}
}

func (m *machine) renew(r *rapid.T) {
	id, one := m.any(r)
	var want error
	switch {
	case one == nil:
		want = store.ErrUnknown
	case one.state != store.Opened:
		want = store.ErrLost
	}
	until := t0.Add(time.Duration(rapid.IntRange(0, 5).Draw(r, "until")) * time.Minute)
	if err := m.store.Renew(m.t.Context(), id, until); !alike(err, want) {
		r.Fatalf("got the error %v, want %v", err, want)
	}
	if want == nil {
		one.Lease = until
	}
}

func (m *machine) expire(r *rapid.T) {
	m.expireAt(r, t0.Add(time.Duration(rapid.IntRange(0, 3).Draw(r, "now"))*time.Minute))
}

func (m *machine) expireAt(r *rapid.T, now time.Time) {
	over, err := m.store.Expire(m.t.Context(), now)
	if err != nil {
		r.Fatal(err)
	}
	var got, want []string
	for _, one := range over {
		got = append(got, one.ID)
	}
	for id, one := range m.rollouts {
		if one.state == store.Opened && !one.Lease.After(now) {
			one.state = store.Discarded
			want = append(want, id)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.Fatalf("expired %v, want %v", got, want)
	}
}

func (m *machine) reopen(r *rapid.T) {
	m.store = m.again()
	m.expireAt(r, t0.Add(time.Hour))
}

// compare compares all that a store says with the model.
func (m *machine) compare(r *rapid.T) {
	ctx := m.t.Context()
	var deployed []store.Project
	for _, name := range slices.Sorted(slices.Values(names)) {
		p := m.projects[name]
		all, err := m.store.Revisions(ctx, name)
		if p == nil {
			if !errors.Is(err, store.ErrUnknown) {
				r.Fatalf("project %s: %v, %v", name, all, err)
			}
			continue
		}
		want := slices.Clone(p.revisions)
		slices.Reverse(want)
		equal(r, name, all, want, err)
		whole := store.Project{Name: name, Current: p.current(), Claims: p.claims}
		got, err := m.store.Project(ctx, name)
		equal(r, name, got, whole, err)
		if whole.Current.Digest != "" {
			deployed = append(deployed, whole)
		}
	}
	found, _, err := m.store.Projects(ctx, "", 0)
	equal(r, "the projects", found, deployed, err)
	for _, content := range archives {
		digest := Of("", content).Digest
		archive, err := m.store.Archive(ctx, digest)
		if m.refers(digest) {
			equal(r, digest, string(archive) == content, true, err)
		} else if !errors.Is(err, store.ErrUnknown) {
			r.Fatalf("archive %s: %v, and nothing refers to it", digest, err)
		}
	}
	paths, err := m.store.KeptPaths(ctx)
	equal(r, "what is kept", paths, slices.Sorted(maps.Keys(m.kept)), err)
	for path, content := range m.kept {
		k, there, err := m.store.Kept(ctx, path)
		equal(r, path, there && string(k.Archive) == content, true, err)
	}
	for _, id := range m.ids {
		one := m.rollouts[id]
		got, err := m.store.Rollout(ctx, id)
		equal(r, id, []any{got.State, got.Base, got.Revision, got.Project, got.Digest}, []any{one.state, one.base, one.made, one.Project, one.Digest}, err)
	}
}

func equal(r *rapid.T, what string, got, want any, err error) {
	r.Helper()
	if d := cmp.Diff(want, got); d != "" || err != nil {
		r.Fatalf("%s: %v, want -, got +:\n%s", what, err, d)
	}
}
