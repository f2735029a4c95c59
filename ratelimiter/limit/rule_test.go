package limit

import (
	"strings"
	"testing"
	"time"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

func gold() *posternv1.LimitRule {
	return &posternv1.LimitRule{
		Id: "0123456789abcdef/0", Name: "gold", Counter: "petstore/1.0.0 gold", Limit: 5000, WindowSeconds: 60, Code: "900800",
	}
}

func compileOne(t *testing.T, change func(*posternv1.LimitRule)) *Rule {
	t.Helper()
	r := gold()
	change(r)
	rules, err := Compile(&posternv1.Limits{Api: "petstore/1.0.0", Rules: []*posternv1.LimitRule{r}})
	if err != nil {
		t.Fatal(err)
	}
	return rules[0]
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*posternv1.Limits)
		want   string
	}{
		{"a word of a newer adapter", func(l *posternv1.Limits) { l.Requires = []string{"fixed-window", "gcra"} }, `require "gcra", which this ratelimiter does not know: upgrade it`},
		{"no id", func(l *posternv1.Limits) { l.Rules[0].Id = "" }, `rule "": has no id`},
		{"no name", func(l *posternv1.Limits) { l.Rules[0].Name = "" }, `rule "0123456789abcdef/0": has no name`},
		{"no counter", func(l *posternv1.Limits) { l.Rules[0].Counter = "" }, "has no counter"},
		{"no code", func(l *posternv1.Limits) { l.Rules[0].Code = "" }, "has no code"},
		{"no window", func(l *posternv1.Limits) { l.Rules[0].WindowSeconds = 0 }, "has a window of 0 seconds, want 1 to 34560000"},
		{"a window too long", func(l *posternv1.Limits) { l.Rules[0].WindowSeconds = 1 << 40 }, "want 1 to 34560000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := &posternv1.Limits{Api: "petstore/1.0.0", Rules: []*posternv1.LimitRule{gold()}, Requires: []string{"fixed-window"}}
			c.change(in)
			_, err := Compile(in)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "petstore/1.0.0") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestHitKeys(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	key := func(change func(*posternv1.LimitRule), entries ...Entry) string {
		return compileOne(t, change).Hit(entries, 1, now).Key
	}
	same := func(*posternv1.LimitRule) {}
	base := key(same)
	if got := key(func(r *posternv1.LimitRule) { r.Id, r.Limit, r.Name = "fedcba9876543210/7", 9, "other" }); got != base {
		t.Error("a new revision does not share the count")
	}
	keys := map[string]string{base: "the rule alone"}
	for what, k := range map[string]string{
		"another counter": key(func(r *posternv1.LimitRule) { r.Counter = "petstore/1.0.0 silver" }),
		"another window":  key(func(r *posternv1.LimitRule) { r.WindowSeconds = 61 }),
		"a user":          key(same, Entry{"user", "ann"}),
		"another user":    key(same, Entry{"user", "bob"}),
		"an application":  key(same, Entry{"application", "ann"}),
		"two entries":     key(same, Entry{"user", "ann"}, Entry{"ip", "::1"}),
		"entries glued":   key(same, Entry{"user", "annip::1"}),
		"entries moved":   key(same, Entry{"usera", "nn"}),
		"empty":           key(same, Entry{"user", ""}),
	} {
		if other, taken := keys[k]; taken {
			t.Errorf("%s and %s are counted together", what, other)
		}
		keys[k] = what
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                      string
		change                    func(*posternv1.LimitRule)
		policy, rateLimit, detail string
	}{
		{"gold", func(*posternv1.LimitRule) {}, `"gold";q=5000;w=60`, `"gold";r=7;t=42`, `The limit "gold" of 5000 requests per minute is used up. Try again in 42 seconds.`},
		{"quotes", func(r *posternv1.LimitRule) { r.Name = `a"b\c` }, `"a\"b\\c";q=5000;w=60`, `"a\"b\\c";r=7;t=42`, `The limit "a\"b\\c" of 5000 requests per minute is used up. Try again in 42 seconds.`},
		{"not ASCII", func(r *posternv1.LimitRule) { r.Name = "grün\r\n100%" }, `"gr%C3%BCn%0D%0A100%25";q=5000;w=60`, `"gr%C3%BCn%0D%0A100%25";r=7;t=42`, `The limit "grün\r\n100%" of 5000 requests per minute is used up. Try again in 42 seconds.`},
		{"one a day", func(r *posternv1.LimitRule) { r.Limit, r.WindowSeconds = 1, 86400 }, `"gold";q=1;w=86400`, `"gold";r=7;t=42`, `The limit "gold" of 1 request per day is used up. Try again in 42 seconds.`},
		{"ten days", func(r *posternv1.LimitRule) { r.WindowSeconds = 864000 }, `"gold";q=5000;w=864000`, `"gold";r=7;t=42`, `The limit "gold" of 5000 requests per 10 days is used up. Try again in 42 seconds.`},
		{"odd", func(r *posternv1.LimitRule) { r.WindowSeconds = 90 }, `"gold";q=5000;w=90`, `"gold";r=7;t=42`, `The limit "gold" of 5000 requests per 90 seconds is used up. Try again in 42 seconds.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := compileOne(t, c.change)
			v := Verdict{Remaining: 7, Reset: 42}
			if r.Policy != c.policy {
				t.Errorf("RateLimit-Policy: %s, want %s", r.Policy, c.policy)
			}
			if got := string(r.AppendRateLimit(nil, v)); got != c.rateLimit {
				t.Errorf("RateLimit: %s, want %s", got, c.rateLimit)
			}
			if got := string(r.AppendDetail(nil, v)); got != c.detail {
				t.Errorf("detail: %s, want %s", got, c.detail)
			}
		})
	}
	if got := string(compileOne(t, func(*posternv1.LimitRule) {}).AppendDetail(nil, Verdict{Reset: 1})); !strings.HasSuffix(got, "in 1 second.") {
		t.Errorf("one second: %s", got)
	}
}
