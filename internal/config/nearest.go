package config

import (
	"reflect"
	"strings"

	"github.com/postern-gateway/postern/internal/nearest"
)

// nearest is the known key that the author of an unknown one most likely meant: the same word elsewhere
// in the file, else the neighbour that takes the fewest changes.
func (l *loader) nearest(path, key string, siblings []field) string {
	key = key[:min(len(key), 64)] // why: a longer one resembles none, and comparing takes its length times theirs
	best, least := "", len(key)+64
	for _, f := range siblings {
		if d := nearest.Distance(strings.ToLower(key), strings.ToLower(f.key)); d < least {
			best, least = join(path, f.key), d
		}
	}
	if least <= 2 {
		return best
	}
	for _, elsewhere := range paths(reflect.TypeFor[Config](), "") {
		if last := elsewhere[strings.LastIndexByte(elsewhere, '.')+1:]; strings.EqualFold(last, key) {
			return elsewhere
		}
	}
	return best
}

// paths are all keys below t that are resolved one by one, sections before what is in them.
func paths(t reflect.Type, path string) []string {
	var all []string
	for _, f := range fieldsOf(t) {
		p := join(path, f.key)
		all = append(all, p)
		if kindOf(f.typ) == section {
			all = append(all, paths(f.typ, p)...)
		}
	}
	return all
}
