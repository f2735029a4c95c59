package config

import (
	"reflect"
	"strings"
)

// nearest is the known key that the author of an unknown one most likely meant: the same word elsewhere
// in the file, else the neighbour that takes the fewest changes.
func (l *loader) nearest(path, key string, siblings []field) string {
	key = key[:min(len(key), 64)] // why: a longer one resembles none, and comparing takes its length times theirs
	best, least := "", len(key)+64
	for _, f := range siblings {
		if d := distance(strings.ToLower(key), strings.ToLower(f.key)); d < least {
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

// distance is Levenshtein's: the least number of letters to insert, delete or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
