package policy

import "github.com/puzpuzpuz/xsync/v4"

// Table is the policies that are known, by name. A name is the hash of its content, so an entry is never replaced, and
// an update costs what it changes.
type Table struct {
	policies *xsync.Map[string, *Policy]
}

// NewTable returns a Table without policies.
func NewTable() *Table { return &Table{xsync.NewMap[string, *Policy]()} }

// Find returns what the named policy asks for an operation.
func (t *Table) Find(policy, operation string) (*Operation, bool) {
	p, ok := t.policies.Load(policy)
	if !ok {
		return nil, false
	}
	o, ok := p.operations[operation]
	return o, ok
}

// Add makes a policy known.
func (t *Table) Add(name string, p *Policy) { t.policies.Store(name, p) }

// Remove forgets a policy and returns it.
func (t *Table) Remove(name string) (*Policy, bool) { return t.policies.LoadAndDelete(name) }

// Has says whether a policy is known.
func (t *Table) Has(name string) bool {
	_, ok := t.policies.Load(name)
	return ok
}

// Len is how many policies are known.
func (t *Table) Len() int { return t.policies.Size() }
