package project

import (
	"iter"
	"strconv"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// kind is what a node is. The zero value is null.
type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

func (k kind) String() string {
	return [...]string{"nothing", "true or false", "a number", "a string", "a list", "an object"}[k]
}

// node is one value of a YAML or JSON document that knows its place. Nodes are never changed after they were read,
// so they can be shared between goroutines.
type node struct {
	kind    kind
	value   string           // of a scalar, as it was written
	members []*node          // of a list or an object, in the order of the file
	byKey   map[string]*node // of an object with many members

	file   string
	up     *node
	key    string // in an object
	number int    // in a list
	line   int
	column int
	// Where the key of an object's member stands.
	keyLine, keyColumn int
}

// get returns the member of an object, or nil. It may be called on nil.
func (n *node) get(key string) *node {
	if n == nil || n.kind != object {
		return nil
	}
	if n.byKey != nil {
		return n.byKey[key]
	}
	for _, m := range n.members {
		if m.key == key {
			return m
		}
	}
	return nil
}

// keys are the keys of an object.
func (n *node) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, m := range n.fields() {
			if !yield(m.key) {
				return
			}
		}
	}
}

// index makes get fast in an object whose members are complete, if it has many.
func (n *node) index(members map[string]*node) {
	if len(members) > 16 {
		n.byKey = members
	}
}

// items are the members of a list; of anything else there are none.
func (n *node) items() []*node {
	if n == nil || n.kind != list {
		return nil
	}
	return n.members
}

// fields are the members of an object; of anything else there are none.
func (n *node) fields() []*node {
	if n == nil || n.kind != object {
		return nil
	}
	return n.members
}

// text is a string's value, else "".
func (n *node) text() string {
	if n == nil || n.kind != text {
		return ""
	}
	return n.value
}

// scalar is what stands there as one word: a string, a number, true or false. Else it is "".
func (n *node) scalar() string {
	if n == nil || n.kind == list || n.kind == object || n.kind == null {
		return ""
	}
	return n.value
}

// isTrue says whether n is the boolean true.
func (n *node) isTrue() bool { return n != nil && n.kind == boolean && n.value == "true" }

// integer reads a whole number.
func (n *node) integer() (int64, bool) {
	if n == nil || n.kind != number {
		return 0, false
	}
	i, err := strconv.ParseInt(n.value, 0, 64)
	return i, err == nil
}

// at is where the value stands.
func (n *node) at() model.Origin {
	if n == nil {
		return model.Origin{}
	}
	return model.Origin{File: n.file, Line: n.line, Column: n.column, Pointer: n.pointer()}
}

// keyAt is where the key of an object's member stands; for anything else, where the value does.
func (n *node) keyAt() model.Origin {
	o := n.at()
	if n != nil && n.keyLine > 0 {
		o.Line, o.Column = n.keyLine, n.keyColumn
	}
	return o
}

// pointer is the JSON Pointer (RFC 6901) of n in its document.
func (n *node) pointer() string {
	if n.up == nil {
		return ""
	}
	token := strconv.Itoa(n.number)
	if n.up.kind == object {
		token = escapePointer(n.key)
	}
	return n.up.pointer() + "/" + token
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func escapePointer(token string) string { return pointerEscapes.Replace(token) }

var pointerUnescapes = strings.NewReplacer("~1", "/", "~0", "~")

// find follows a JSON Pointer from n; nil if it leads nowhere.
func (n *node) find(pointer string) *node {
	if pointer == "" || pointer == "/" {
		return n
	}
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		token = pointerUnescapes.Replace(token)
		switch {
		case n == nil:
			return nil
		case n.kind == list:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(n.members) {
				return nil
			}
			n = n.members[i]
		default:
			n = n.get(token)
		}
	}
	return n
}

// overlay is base with the members of over laid over it: objects are merged member by member, everything else is
// replaced. Every value keeps the place it was written at.
func overlay(base, over *node) *node {
	if over == nil {
		return base
	}
	if base == nil || base.kind != object || over.kind != object {
		return over
	}
	merged := *over
	merged.members, merged.byKey = nil, nil
	members := map[string]*node{}
	for _, m := range base.members {
		if o := over.get(m.key); o != nil {
			m = overlay(m, o)
		}
		merged.members = append(merged.members, m)
		members[m.key] = m
	}
	for _, m := range over.members {
		if base.get(m.key) == nil {
			merged.members = append(merged.members, m)
			members[m.key] = m
		}
	}
	merged.index(members)
	return &merged
}
