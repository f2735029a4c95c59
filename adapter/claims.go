package adapter

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// claims are what the served APIs occupy: base path → API ids. What an API occupies besides, its id,
// is the key of loop.live.
type claims map[string][]string

func (c claims) take(api model.API) { c[api.BasePath] = append(c[api.BasePath], api.ID()) }

func (c claims) release(api model.API) {
	rest := slices.DeleteFunc(c[api.BasePath], func(id string) bool { return id == api.ID() })
	if len(rest) == 0 {
		delete(c, api.BasePath)
		return
	}
	c[api.BasePath] = rest
}

// overlap: two APIs answer at one host. No hosts are any host, which gives way to one that is named.
func overlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(host string) bool { return slices.Contains(b, host) })
}

// unblocked takes those puts out of an attempt that claim what another API has, and notes why. To
// leave one out can block another, for it goes on having what it has.
func (l *loop) unblocked(steps []step) []step {
	for {
		var kept []step
		joining := joining{loop: l, leaving: map[string]bool{}, byID: map[string]step{}, byBase: map[string][]step{}}
		for _, s := range steps {
			joining.leaving[s.ref.id] = true
		}
		for _, s := range steps {
			if words := joining.add(s); words != "" {
				l.blocked[s.ref] = words
				l.log.Error("api refused", "api", s.ref.id, "project", s.ref.path, "revision", short(s.to.revision), "err", words)
				l.show(s.ref)
				continue
			}
			kept = append(kept, s)
		}
		if len(kept) == len(steps) {
			return kept
		}
		steps = kept
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
	for _, id := range j.claims[api.BasePath] {
		if other := j.live[id]; !j.leaving[id] && overlap(api.Hosts, other.api.Hosts) {
			return sameBase(api, s.ref.path, other.api, other.path)
		}
	}
	for _, other := range j.byBase[api.BasePath] {
		if overlap(api.Hosts, other.to.api.Hosts) {
			return sameBase(api, s.ref.path, other.to.api, other.ref.path)
		}
	}
	j.byID[api.ID()] = s
	j.byBase[api.BasePath] = append(j.byBase[api.BasePath], s)
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

func sameBase(a model.API, path string, b model.API, otherPath string) string {
	hosts := ""
	if len(a.Hosts) > 0 {
		hosts = " at " + strings.Join(a.Hosts, ", ")
	}
	return fmt.Sprintf("%s puts %s at the base path %s%s, where %s of %s is already; give one another basePath or other hosts",
		place(path, a.Origin), a.ID(), a.BasePath, hosts, b.ID(), place(otherPath, b.Origin))
}

// place is a position as an editor opens it.
func place(path string, o model.Origin) string {
	o.Pointer = ""
	if o.File == "" {
		return path
	}
	return filepath.ToSlash(filepath.Join(path, o.String()))
}
