package show_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/toolkit/show"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	const in = `{
		"forward_credentials": true, "key": "authorization", "place": "header",
		"headers": [{"key": "Authorization", "value": "Basic aGk6aG8="}, {"key": "x-a", "value": "b"}],
		"tls": {"private_key": {"inline_string": "-----BEGIN", "filename": "/k"}, "certificate_chain": {"filename": "/c"}},
		"client_secret": "s", "redis": {"password": "p", "username": "u"}, "uri": "amqp://me:pw@host/x"
	}`
	const want = `{
		"forward_credentials": true, "key": "authorization", "place": "header",
		"headers": [{"key": "Authorization", "value": "[redacted]"}, {"key": "x-a", "value": "b"}],
		"tls": {"private_key": {"inline_string": "[redacted]", "filename": "[redacted]"}, "certificate_chain": {"filename": "/c"}},
		"client_secret": "[redacted]", "redis": {"password": "[redacted]", "username": "u"}, "uri": "amqp://[redacted]@host/x"
	}`
	var value, wanted any
	if err := json.Unmarshal([]byte(in), &value); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, show.Redact(value)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestYAML(t *testing.T) {
	t.Parallel()
	r, err := show.Of("n", "v", []string{"a/1"}, &posternv1.Limits{Api: "a/1", Rules: []*posternv1.LimitRule{{Id: "x/0", Limit: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := show.YAML(&b, []show.Group{{Name: "ratelimiter limits", Resources: []show.Resource{r}}, {Name: "none"}}); err != nil {
		t.Fatal(err)
	}
	want := `ratelimiter limits:
  - name: "n"
    version: v
    apis:
      - a/1
    content:
      api: a/1
      rules:
        - id: x/0
          limit: "7"
none: []
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
