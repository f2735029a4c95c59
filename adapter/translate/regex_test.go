package translate

import (
	"regexp"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/model"
)

// FuzzPathTemplate: the regular expression Envoy gets for a template matches what the template matches.
func FuzzPathTemplate(f *testing.F) {
	for _, seed := range [][2]string{
		{"/pet/{id}", "/pet/1"},
		{"/{a}.json", "/x.json"},
		{"/a{x}b{y}c/*", "/a1b2c/d"},
		{"/{x}{y}", "/ab"},
		{"/é/{}", "/%C3%A9/z"},
		{"/*", "/"},
		{"/(a|b)/{x}", "/(a%7Cb)/1"},
		{"/{a}-{b}", "/---"},
		{"/{a}aa{b}", "/aaaaa"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, template, target string) {
		target, ok := model.NormalizePath(target, true)
		if !ok || target == "//" {
			t.Skip()
		}
		parsed := model.ParseTemplate(template)
		m := pathMatch(&face{}, &path{template: parsed}, false)
		expression := m.GetStringMatch().GetSafeRegex().GetRegex()
		re, err := regexp.Compile("^(?:" + expression + ")$")
		if err != nil {
			t.Fatalf("%q became %q: %v", template, expression, err)
		}
		got := re.MatchString(target + "//")
		if want := parsed.Match(segments(target)); got != want {
			t.Errorf("template %q, path %q: %q says %v, the template %v", template, target, expression, got, want)
		}
	})
}

func TestQuoteLeavesNothingToInterpret(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for c := range 128 {
		all.WriteByte(byte(c))
	}
	if !regexp.MustCompile("^(?s:" + quote(all.String()) + ")$").MatchString(all.String()) {
		t.Error("quoted text does not match itself")
	}
}
