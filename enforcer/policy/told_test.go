package policy

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// TestTold is what a pass changes in the request: who calls is told, the credential is gone, and nothing that the client
// itself said under those names survives.
func TestTold(t *testing.T) {
	t.Parallel()
	mapped := operation(all(header()), all())
	mapped.IdentityHeaders = map[string]string{"email": "X-User-Mail", "missing": "x-user-level"}
	forwarding := operation(all(header()))
	forwarding.ForwardCredentials = true
	cookies := operation(all(bearer(inCookie, "sid"), bearer(inCookie, "tid")), all(header()))
	authorized := operation(all(header()))
	authorized.IdentityHeaders = map[string]string{"email": "authorization"}
	for name, test := range map[string]struct {
		policy  *posternv1.OperationPolicy
		request request
		want    Decision
	}{
		"all told": {mapped, with("authorization", "Bearer bob"), Decision{
			Reason: Allowed, Scheme: "authorization", Client: "0123456789abcdef",
			Set: []Header{
				{"x-postern-subject", "bob"}, {"x-postern-scopes", "read write"}, {"x-postern-client", "app"}, {"x-user-mail", "bob@example.com"},
			},
			Remove: []string{"x-user-level", "authorization"},
		}},
		"nothing to tell": {mapped, with("authorization", "Bearer bare"), Decision{
			Reason: Allowed, Scheme: "authorization",
			Remove: []string{"x-postern-subject", "x-postern-scopes", "x-postern-client", "x-user-level", "x-user-mail", "authorization"},
		}},
		"anonymous": {mapped, with(), Decision{
			Reason: Anonymous,
			Remove: []string{"x-postern-subject", "x-postern-scopes", "x-postern-client", "x-user-level", "x-user-mail"},
		}},
		"forwarded": {forwarding, with("authorization", "Bearer bob"), Decision{
			Reason: Allowed, Scheme: "authorization", Client: "0123456789abcdef",
			Set: []Header{{"x-postern-subject", "bob"}, {"x-postern-scopes", "read write"}, {"x-postern-client", "app"}},
		}},
		"query": {operation(all(bearer(inQuery, "t"))), with("path", "/p?b=%20&%74=ann&&a"), Decision{
			Reason: Allowed, Scheme: "t", Client: "0123456789abcdef",
			Set: []Header{
				{"x-postern-subject", "ann"}, {"x-postern-scopes", "read"}, {"x-postern-client", "app"}, {":path", "/p?b=%20&&a"},
			},
		}},
		"cookies": {cookies, with("cookie", "a=1; sid=ann;tid=bob; b=2"), Decision{
			Reason: Allowed, Scheme: "sid", Client: "0123456789abcdef",
			Set: []Header{
				{"x-postern-subject", "ann"}, {"x-postern-scopes", "read"}, {"x-postern-client", "app"}, {"cookie", "a=1; b=2"},
			},
		}},
		"no cookie left": {cookies, with("cookie", "sid=ann; tid=bob"), Decision{
			Reason: Allowed, Scheme: "sid", Client: "0123456789abcdef",
			Set:    []Header{{"x-postern-subject", "ann"}, {"x-postern-scopes", "read"}, {"x-postern-client", "app"}},
			Remove: []string{"cookie"},
		}},
		"the cookie that was not asked": {cookies, with("authorization", "Bearer ann", "cookie", "sid=zed; x=y"), Decision{
			Reason: Allowed, Scheme: "authorization", Client: "0123456789abcdef",
			Set: []Header{
				{"x-postern-subject", "ann"}, {"x-postern-scopes", "read"}, {"x-postern-client", "app"}, {"cookie", "x=y"},
			},
			Remove: []string{"authorization"},
		}},
		"its place taken": {authorized, with("authorization", "Bearer ann"), Decision{
			Reason: Allowed, Scheme: "authorization", Client: "0123456789abcdef",
			Set: []Header{
				{"x-postern-subject", "ann"}, {"x-postern-scopes", "read"}, {"x-postern-client", "app"}, {"authorization", "ann@example.com"},
			},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.want.API = "pets/1.0.0"
			got := compile(t, test.policy).Decide(t.Context(), test.request)
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	o := compile(t, operation(all(header("read", "write"))))
	realm := `Bearer realm="pets/1.0.0"`
	for token, want := range map[string]struct {
		status    int
		code      string
		challenge string
		retry     int
	}{
		"":             {401, "900902", realm, 0},
		"Bearer zed":   {401, "900901", realm + `, error="invalid_token", error_description="The signature of the token is not valid."`, 0},
		"Bearer old":   {401, "900903", realm + `, error="invalid_token", error_description="The token has expired."`, 0},
		"Bearer a,b":   {401, "900901", realm + `, error="invalid_request", error_description="Several credentials were sent where one is expected."`, 0},
		"Bearer ann":   {403, "900910", realm + `, error="insufficient_scope", error_description="The token does not have the scope that is needed.", scope="read write"`, 0},
		"Bearer later": {503, "900900", "", 5},
		"Basic QTpC":   {401, "900901", realm + `, error="invalid_token", error_description="The Authorization header is not of the form Bearer TOKEN."`, 0},
	} {
		d := o.Decide(t.Context(), with("authorization", token))
		if d.Status() != want.status || d.Code() != want.code || d.Challenge != want.challenge || d.RetryAfter() != want.retry {
			t.Errorf("%q: %d %s %d\n%s, want\n%d %s %d\n%s", token, d.Status(), d.Code(), d.RetryAfter(), d.Challenge,
				want.status, want.code, want.retry, want.challenge)
		}
	}
	sentences := regexp.MustCompile(`^[A-Z][^.]*\.$`)
	for _, token := range []string{"", "Bearer zed", "Bearer old", "Bearer a,b", "Bearer ann", "Bearer later", "Basic QTpC"} {
		if d := o.Decide(t.Context(), with("authorization", token)); !sentences.MatchString(d.Detail) {
			t.Errorf("%q is told %q, which is no sentence", token, d.Detail)
		}
	}
	nobody := compile(t, operation()).Decide(t.Context(), with())
	if nobody.Status() != 403 || nobody.Code() != "900908" || nobody.Challenge != "" || nobody.Detail != "Nobody may call this operation." {
		t.Errorf("nobody admitted: %+v", nobody)
	}
	unknown := Deny(NotKnown, "it is not known")
	if unknown.Status() != 503 || unknown.Code() != "900900" || unknown.RetryAfter() != 1 || unknown.Detail != "It is not known." {
		t.Errorf("policy not known: %+v", unknown)
	}
}
