package project

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/postern-gateway/postern/adapter/model"
)

// Cache remembers what became of a project's definitions, so that one changed definition costs what it costs by itself.
// The zero value knows nothing. It is for one project and one goroutine.
type Cache struct {
	shared   [sha256.Size]byte   // of all that every definition depends on
	outcomes map[string]*outcome // by file; of a project of one definition none are kept, they would never be of use
	kept     map[string]bool     // files whose outcome was known already when Compile was called last
}

// Kept says whether the API of a definition is the very one that the Compile before returned.
func (c *Cache) Kept(file string) bool { return c.kept[file] }

// outcome is what became of one definition, and what it depends on.
type outcome struct {
	file     string
	api      model.API
	problems []model.Problem
	fragment bool         // it says not that it is a definition
	at       model.Origin // of a fragment
	meant    string       // what a fragment may have been meant to be

	read  []reading // itself, and what it refers to
	asked map[string]answer
	uses  []string // names of policies
}

// reading is a file as it was.
type reading struct {
	file     string
	referred bool
	digest   [sha256.Size]byte
}

// compile compiles the definitions in files side by side, as far as they are not known.
func (c *Cache) compile(s *shared, files []string) []*outcome {
	if key := s.digest(); key != c.shared {
		c.shared, c.outcomes = key, nil
	}
	all := make([]*outcome, len(files))
	kept := make([]bool, len(files))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range files {
		group.Go(func() error {
			if o := c.outcomes[file]; o != nil && o.holds(s) {
				o.again(s)
				all[i], kept[i] = o, true
				return nil
			}
			all[i] = s.outcome(file)
			return nil
		})
	}
	group.Wait() //nolint:errcheck // a definition has problems, never an error
	c.outcomes, c.kept = nil, nil
	if len(files) > 1 {
		c.outcomes, c.kept = make(map[string]*outcome, len(files)), make(map[string]bool, len(files))
		for i, o := range all {
			c.outcomes[files[i]], c.kept[files[i]] = o, kept[i]
		}
	}
	return all
}

// digest is of what all definitions depend on: the project's own files, and the options.
func (s *shared) digest() [sha256.Size]byte {
	settings := s.options.Settings
	settings.Routing = model.Routing{} // why: it is decided by what projects were compiled to, not the other way about
	of := struct {
		Name, Environment, CA string
		Settings              model.Settings
		Own, Allowed          []string
		Read                  map[string][]byte
		Asked                 map[string]string // only what is known
	}{
		s.options.Name, s.options.Environment, s.ca, settings, s.options.OwnAddresses, s.options.AllowBackends,
		map[string][]byte{},
		map[string]string{},
	}
	for file := range s.documents.seen {
		digest := s.documents.fetch(file).digest
		of.Read[file] = digest[:]
	}
	for name, a := range s.variables.asked {
		if a.known {
			of.Asked[name] = a.value
		}
	}
	text, err := json.Marshal(of) // maps are written sorted
	if err != nil {               // it is made of plain values
		panic("project: " + err.Error())
	}
	return sha256.Sum256(text)
}

// outcome compiles one definition.
func (s *shared) outcome(file string) *outcome {
	own := *s
	own.documents, own.variables.asked = s.documents.another(), map[string]answer{}
	d := newDefinition(&own, file)
	o := &outcome{file: file, api: d.compile(), problems: d.problems, fragment: d.fragment, asked: own.variables.asked}
	if d.fragment {
		o.at, o.meant = d.root.at(), d.meant()
	}
	for name, referred := range own.documents.seen {
		o.read = append(o.read, reading{name, referred, s.documents.fetch(name).digest})
	}
	o.uses = slices.Collect(maps.Keys(d.uses))
	if len(o.asked) == 0 {
		o.asked = nil
	}
	return o
}

// holds says whether nothing that an outcome depends on has changed.
func (o *outcome) holds(s *shared) bool {
	for _, r := range o.read {
		if s.documents.fetch(r.file).digest != r.digest {
			return false
		}
	}
	v := s.variables
	v.asked = nil
	for name, before := range o.asked {
		if value, known := v.value(name); (answer{value, known}) != before {
			return false
		}
	}
	return true
}

// again does what compiling does besides.
func (o *outcome) again(s *shared) {
	for _, r := range o.read {
		if r.referred {
			s.documents.fetch(r.file).referred.Store(true)
		}
	}
	for _, name := range o.uses {
		s.policies[name].used.Store(true)
	}
}
