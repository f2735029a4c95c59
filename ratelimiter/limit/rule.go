// Package limit is the arithmetic of rate limits: from rules and descriptors to hits, and from what was counted to a
// verdict and the words the caller is told. It is pure: the clock is passed in. It must not import gRPC, Envoy's types, a
// store, the adapter or the enforcer.
package limit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// maxWindow is the longest window a rule may have, in seconds: 400 days.
const maxWindow = 400 * 24 * 60 * 60

// Rule is one limit, compiled: everything that does not change from request to request is made once.
type Rule struct {
	ID        string
	API       string
	Operation string // "" is the whole API
	Name      string
	Limit     uint64
	Seconds   int64 // the window's length
	Code      string
	Shadow    bool

	Policy string // the RateLimit-Policy header's value
	quoted string // the name as a structured field's string
	key    string // what all its hits have in common in their keys
	detail string // a refusal's words up to the number of seconds
}

// Compile checks an API's limits and makes rules of them.
func Compile(in *posternv1.Limits) ([]*Rule, error) {
	for _, word := range in.GetRequires() {
		if word != posternv1.RequiresFixedWindow {
			return nil, fmt.Errorf("the limits of API %s require %q, which this ratelimiter does not know: upgrade it", in.GetApi(), word)
		}
	}
	rules := make([]*Rule, len(in.GetRules()))
	for i, r := range in.GetRules() {
		if err := check(r); err != nil {
			return nil, fmt.Errorf("the limits of API %s: rule %q: %w", in.GetApi(), r.GetId(), err)
		}
		rules[i] = compile(in.GetApi(), r)
	}
	return rules, nil
}

// check refuses what the adapter never sends.
func check(r *posternv1.LimitRule) error {
	switch {
	case r.GetId() == "":
		return errors.New("has no id")
	case r.GetName() == "":
		return errors.New("has no name")
	case r.GetCounter() == "":
		return errors.New("has no counter")
	case r.GetCode() == "":
		return errors.New("has no code")
	case r.GetWindowSeconds() < 1 || r.GetWindowSeconds() > maxWindow:
		return fmt.Errorf("has a window of %d seconds, want 1 to %d", r.GetWindowSeconds(), maxWindow)
	}
	return nil
}

func compile(api string, r *posternv1.LimitRule) *Rule {
	out := &Rule{
		ID: r.GetId(), API: api, Operation: r.GetOperation(), Name: r.GetName(), Limit: r.GetLimit(),
		Seconds: int64(r.GetWindowSeconds()), Code: r.GetCode(), Shadow: r.GetShadow(),
	}
	out.quoted = quote(out.Name)
	out.Policy = fmt.Sprintf("%s;q=%d;w=%d", out.quoted, out.Limit, out.Seconds)
	out.key = string(appendPart(nil, r.GetCounter())) + strconv.FormatInt(out.Seconds, 10)
	out.detail = fmt.Sprintf("The limit %q of %s is used up. Try again in ", out.Name, rate(out.Limit, out.Seconds))
	return out
}

// Entry is one entry of a rate limit descriptor.
type Entry struct {
	Key, Value string
}

// Hit returns what a descriptor does to the rule's counter: entries are those after the first, which named the rule.
// The hit's key is that of the rule's counter and the entries, not of the rule: two revisions share their count.
func (r *Rule) Hit(entries []Entry, cost uint64, now time.Time) Hit {
	return Hit{Key: r.keyOf(entries), Window: WindowAt(now, r.Seconds), Limit: r.Limit, Cost: cost, Shadow: r.Shadow}
}

func (r *Rule) keyOf(entries []Entry) string {
	if len(entries) == 0 {
		return r.key
	}
	key := append(make([]byte, 0, 128), r.key...)
	for _, e := range entries {
		key = appendPart(key, e.Key)
		key = appendPart(key, e.Value)
	}
	return string(key)
}

// appendPart puts the length before the text: no two lists of parts make the same key, whatever callers put in them.
func appendPart(key []byte, part string) []byte {
	key = binary.AppendUvarint(key, uint64(len(part)))
	return append(key, part...)
}
