package project

import (
	"path"
	"slices"
	"strings"
)

// is says whether n is one of the kinds that what asks for, and refuses it if it is another. Nil is not.
func (r *report) is(n *node, what string, kinds ...kind) bool {
	if n == nil || slices.Contains(kinds, n.kind) {
		return n != nil
	}
	r.refuse(n.at(), "wrong-type", "%s must be %s, but %s stands here%s", what, orOf(kinds), n.kind, instead(n, kinds))
	return false
}

// instead says what to write in the place of n so that it is of one of the kinds; "" if that cannot be known.
func instead(n *node, kinds []kind) string {
	wants := func(k kind) bool { return slices.Contains(kinds, k) }
	onlyLists := wants(list) && len(kinds) == 1
	switch n.kind {
	case number, boolean:
		if wants(text) {
			return "; put it into quotes"
		}
	case text:
		word := &node{kind: number, value: n.value}
		_, isNumber := word.integer()
		switch {
		case wants(boolean):
			return "; write true or false, without quotes"
		case wants(number) && isNumber:
			return "; remove the quotes"
		}
	case list:
		if wants(object) {
			return "; write keys with values"
		}
	}
	switch {
	case onlyLists && n.kind == object && path.Ext(n.file) != ".json":
		return `; begin each item with "- "`
	case onlyLists && (n.kind == object || n.kind == text || n.kind == number):
		return "; put it into [ ]"
	case wants(object) && n.kind != null:
		return "; write keys with values"
	}
	return ""
}

func orOf(kinds []kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = k.String()
	}
	return strings.Join(words, " or ")
}

// onlyMembers refuses the members of n that are not known.
func (r *report) onlyMembers(n *node, what string, known ...string) {
	for _, m := range n.fields() {
		if !slices.Contains(known, m.key) {
			r.refuse(m.keyAt(), "unknown-key", "%s has no %q%s; it knows %s", what, m.key, didYouMean(m.key, slices.Values(known)), strings.Join(known, ", "))
		}
	}
}

// strings reads a list of non-empty strings, of which it refuses what is something else.
func (r *report) strings(n *node, what string) []string {
	if !r.is(n, what, list) {
		return nil
	}
	var out []string
	for _, item := range n.members {
		switch {
		case !r.is(item, "each item of "+what, text):
		case item.value == "":
			r.refuse(item.at(), "wrong-type", "an item of %s is empty; remove it", what)
		default:
			out = append(out, item.value)
		}
	}
	return out
}

// onlyMembersWarn reports the members of n that are not known and so have no effect.
func (r *report) onlyMembersWarn(n *node, what string, known ...string) {
	for _, m := range n.fields() {
		if !slices.Contains(known, m.key) {
			r.warn(m.keyAt(), "unknown-member", "%s has no %q%s; it has no effect", what, m.key, didYouMean(m.key, slices.Values(known)))
		}
	}
}

// takes is like is for what has no effect if it is of another kind, and only deserves a warning then.
func (r *report) takes(n *node, what string, kinds ...kind) bool {
	if n == nil || slices.Contains(kinds, n.kind) {
		return n != nil
	}
	r.warn(n.at(), "wrong-type", "%s must be %s, but %s stands here and has no effect%s", what, orOf(kinds), n.kind, instead(n, kinds))
	return false
}

// words are the strings of a list, in its order; whatever else it holds has no effect.
func (r *report) words(n *node, what string) []*node {
	if !r.takes(n, what, list) {
		return nil
	}
	var out []*node
	for _, item := range n.members {
		if r.takes(item, "each item of "+what, text) {
			out = append(out, item)
		}
	}
	return out
}

// uniqueStrings are the strings of a list, sorted, each once; what else it holds was refused before.
func (r *report) uniqueStrings(n *node) []string {
	var out []string
	for _, item := range n.items() {
		if s := item.text(); s != "" {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
