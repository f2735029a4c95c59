package adapter

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// claims are what the served APIs occupy: base path → API ids. What an API occupies besides, its id,
// is the key of loop.live.
type claims map[string][]string

func (c claims) take(api model.API) {
	for _, base := range api.BasePaths() {
		c[base] = append(c[base], api.ID())
	}
}

func (c claims) release(api model.API) {
	for _, base := range api.BasePaths() {
		rest := slices.DeleteFunc(c[base], func(id string) bool { return id == api.ID() })
		if len(rest) == 0 {
			delete(c, base)
			continue
		}
		c[base] = rest
	}
}

// overlap: two APIs answer at one host. No hosts are any host, which gives way to one that is named.
func overlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(host string) bool { return slices.Contains(b, host) })
}

// unblocked takes those puts out of an attempt that claim what another API has, and notes why.
func (l *loop) unblocked(steps []step) []step {
	kept, blocked := l.sift(steps)
	l.block(steps, blocked)
	return kept
}

// sift divides the steps of an attempt into those that can be taken together, and those that cannot,
// with the reason. What is served and stays where it is comes first, then what is served and moves.
// To leave out the step of a served API leaves it what it has, which can block others, so that all is
// looked at again then.
func (l *loop) sift(steps []step) (kept []step, blocked map[ref]string) {
	steps = slices.Clone(steps)
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(l.precedence(a), l.precedence(b)) })
	fallen := map[ref]string{} // of served APIs that are left out
	for {
		kept, blocked = nil, map[ref]string{}
		j := joining{loop: l, leaving: map[string]bool{}, byID: map[string]step{}, byBase: map[string][]step{}}
		for _, s := range steps {
			if l.serves(s) && fallen[s.ref] == "" {
				j.leaving[s.ref.id] = true
			}
		}
		again := false
		for _, s := range steps {
			if fallen[s.ref] != "" {
				continue
			}
			if why := j.add(s); why == "" {
				kept = append(kept, s)
			} else if l.serves(s) {
				fallen[s.ref], again = why, true
			} else {
				blocked[s.ref] = why
			}
		}
		if again {
			continue
		}
		for _, s := range steps { // what a fallen one gave way to may have fallen after it
			if fallen[s.ref] == "" {
				continue
			}
			j.leaving[s.ref.id] = true
			if why := j.add(s); why == "" {
				kept = append(kept, s)
			} else {
				j.leaving[s.ref.id] = false
				blocked[s.ref] = why
			}
		}
		return kept, blocked
	}
}

// serves says that the API of a step is served, and by the same project.
func (l *loop) serves(s step) bool {
	is, ok := l.live[s.ref.id]
	return ok && is.path == s.ref.path
}

// precedence puts the steps of an attempt in the order in which they take what they claim.
func (l *loop) precedence(s step) int {
	is := l.live[s.ref.id]
	switch {
	case !l.serves(s):
		return 2
	case s.to == nil || slices.Equal(s.to.api.BasePaths(), is.api.BasePaths()) && slices.Equal(s.to.api.Hosts, is.api.Hosts):
		return 0
	}
	return 1
}

// block notes which steps of an attempt are blocked, and which no longer.
func (l *loop) block(steps []step, blocked map[ref]string) {
	for _, s := range steps {
		words := blocked[s.ref]
		if words == "" {
			delete(l.blocked, s.ref)
			continue
		}
		if l.blocked[s.ref] != words {
			l.log.Error("api rejected", "api", s.ref.id, "project", s.ref.path, "revision", short(s.to.revision), "err", words)
		}
		l.blocked[s.ref] = words
		l.show(s.ref)
	}
}

// unblock has everything that is blocked looked at again.
func (l *loop) unblock() {
	for r := range l.blocked {
		l.dirty[r] = true
	}
}

// joining is the state that an attempt would lead to, as far as claims go.
type joining struct {
	*loop
	leaving map[string]bool // ids whose claims of today are void
	byID    map[string]step
	byBase  map[string][]step
}

// add adds a step, or says what is in its way.
func (j *joining) add(s step) (words string) {
	if s.to == nil {
		return ""
	}
	api := s.to.api
	if other, ok := j.byID[api.ID()]; ok {
		return sameID(api, s.ref.path, other.to.api, other.ref.path)
	}
	if other, ok := j.live[api.ID()]; ok && other.path != s.ref.path && !j.removes(other.path, api.ID()) {
		return sameID(api, s.ref.path, other.api, other.path)
	}
	for _, base := range api.BasePaths() {
		for _, id := range j.claims[base] {
			if other := j.live[id]; !j.leaving[id] && overlap(api.Hosts, other.api.Hosts) {
				return sameBase(base, api, s.ref.path, other.api, other.path)
			}
		}
		for _, other := range j.byBase[base] {
			if overlap(api.Hosts, other.to.api.Hosts) {
				return sameBase(base, api, s.ref.path, other.to.api, other.ref.path)
			}
		}
	}
	j.byID[api.ID()] = s
	for _, base := range api.BasePaths() {
		j.byBase[base] = append(j.byBase[base], s)
	}
	return ""
}

// removes: the project that has the API no longer wants it.
func (j *joining) removes(path, id string) bool {
	_, wanted := j.wanted[ref{path, id}]
	return !wanted
}

func sameID(a model.API, path string, b model.API, otherPath string) string {
	return fmt.Sprintf("%s defines the API %s, which %s defines already; give one another name or version",
		place(path, a.Origin), a.ID(), place(otherPath, b.Origin))
}

func sameBase(base string, a model.API, path string, b model.API, otherPath string) string {
	hosts := ""
	if len(a.Hosts) > 0 {
		hosts = " at " + strings.Join(a.Hosts, ", ")
	}
	if slices.Contains(a.Aliases, base) && slices.Contains(b.Aliases, base) {
		return fmt.Sprintf("%s makes %s the default version at %s%s, which %s of %s is already; take default: true from one of them",
			place(path, a.Origin), a.ID(), base, hosts, b.ID(), place(otherPath, b.Origin))
	}
	return fmt.Sprintf("%s puts %s at the base path %s%s, where %s of %s is already; give one another basePath or other hosts",
		place(path, a.Origin), a.ID(), base, hosts, b.ID(), place(otherPath, b.Origin))
}

// place is a position as an editor opens it.
func place(path string, o model.Origin) string {
	o.Pointer = ""
	if o.File == "" {
		return path
	}
	return filepath.ToSlash(filepath.Join(path, o.String()))
}
