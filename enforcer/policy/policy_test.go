package policy

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/enforcer/authn"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// tokens is a verifier that knows these tokens and refuses the others.
type tokens map[string]authn.Result

func (t tokens) Verify(_ context.Context, token []byte) authn.Result {
	if r, ok := t[string(token)]; ok {
		return r
	}
	return authn.Result{Detail: "the signature of the token is not valid"}
}

func person(subject string, scopes ...string) authn.Result {
	return authn.Result{Reason: authn.Accepted, Identity: &authn.Identity{
		Issuer: "i", Subject: subject, Client: "app", Scopes: scopes, ScopeList: strings.Join(scopes, " "), Hash: "0123456789abcdef",
		Claims: map[string]string{"email": subject + "@example.com", "sub": subject},
	}}
}

var known = tokens{
	"ann":   person("ann", "read"),
	"bob":   person("bob", "read", "write"),
	"old":   {Reason: authn.Expired, Detail: "the token has expired"},
	"later": {Reason: authn.Unavailable, Detail: "the keys can not be had"},
	"bare":  {Reason: authn.Accepted, Identity: &authn.Identity{Issuer: "i"}},
}

// request is a path with headers.
type request struct {
	path    string
	headers map[string]string
}

func (r request) Path() []byte { return []byte(r.path) }

func (r request) Header(name string) []byte {
	if v, ok := r.headers[name]; ok {
		return []byte(v)
	}
	return nil
}

func with(pairs ...string) request {
	r := request{path: "/pets", headers: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "path" {
			r.path = pairs[i+1]
			continue
		}
		r.headers[pairs[i]] = pairs[i+1]
	}
	return r
}

func bearer(place posternv1.Bearer_Place, key string, scopes ...string) *posternv1.Requirement {
	return &posternv1.Requirement{
		Scheme: key, Scopes: scopes, Kind: &posternv1.Requirement_Bearer{Bearer: &posternv1.Bearer{Place: place, Key: key}},
	}
}

func header(scopes ...string) *posternv1.Requirement {
	return bearer(posternv1.Bearer_PLACE_HEADER, "authorization", scopes...)
}

func anyOf(scopes ...string) *posternv1.Requirement {
	r := header(scopes...)
	r.AnyScope = true
	return r
}

func all(r ...*posternv1.Requirement) *posternv1.Alternative {
	return &posternv1.Alternative{Requirements: r}
}

func operation(alternatives ...*posternv1.Alternative) *posternv1.OperationPolicy {
	return &posternv1.OperationPolicy{Operation: "GET /pets", Alternatives: alternatives}
}

// compile makes a policy of one operation, found as a request would.
func compile(t testing.TB, m *posternv1.OperationPolicy) *Operation {
	t.Helper()
	p := &posternv1.Policy{Api: "pets/1.0.0", Operations: []*posternv1.OperationPolicy{m}, Requires: []string{posternv1.RequiresBearer}}
	name := posternv1.ContentHash(p)
	data, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := Compile(name, data, p, known)
	if err != nil {
		t.Fatal(err)
	}
	table := NewTable()
	table.Add(name, compiled)
	o, ok := table.Find(name, m.GetOperation())
	if !ok {
		t.Fatal("the operation is not found")
	}
	return o
}

const (
	inHeader = posternv1.Bearer_PLACE_HEADER
	inQuery  = posternv1.Bearer_PLACE_QUERY
	inCookie = posternv1.Bearer_PLACE_COOKIE
)

func TestDecide(t *testing.T) {
	t.Parallel()
	x := func(scopes ...string) *posternv1.Requirement { return bearer(inHeader, "x-token", scopes...) }
	for name, test := range map[string]struct {
		policy *posternv1.OperationPolicy
		cases  map[string]struct {
			request request
			reason  Reason
		}
	}{
		"nobody": {operation(), cases{
			"nothing": {with(), Refused},
			"a token": {with("authorization", "Bearer bob"), Refused},
		}},
		"no place": {operation(all(bearer(0, "authorization"))), cases{
			"nothing": {with(), Missing},
			"a token": {with("authorization", "Bearer bob"), Missing},
		}},
		"anonymous only": {operation(all()), cases{
			"nothing":    {with(), Anonymous},
			"some token": {with("authorization", "Bearer x"), Anonymous},
		}},
		"one scheme": {operation(all(header())), cases{
			"good":                  {with("authorization", "Bearer ann"), Allowed},
			"lower case":            {with("authorization", "bearer ann"), Allowed},
			"upper case":            {with("authorization", "BEARER  ann "), Allowed},
			"nothing":               {with(), Missing},
			"empty header":          {with("authorization", " "), Missing},
			"bad":                   {with("authorization", "Bearer x"), Invalid},
			"expired":               {with("authorization", "Bearer old"), Expired},
			"keys away":             {with("authorization", "Bearer later"), Unavailable},
			"no token":              {with("authorization", "Bearer"), Invalid},
			"no scheme":             {with("authorization", "ann"), Invalid},
			"basic":                 {with("authorization", "Basic YTpi"), Invalid},
			"glued":                 {with("authorization", "Bearerann"), Invalid},
			"a tab":                 {with("authorization", "Bearer\tann"), Invalid},
			"two words":             {with("authorization", "Bearer ann bob"), Invalid},
			"two headers":           {with("authorization", "Bearer ann,Bearer ann"), Several},
			"two headers, one bare": {with("authorization", "Bearer ann,x"), Several},
			"other header":          {with("x-token", "ann"), Missing},
			"in the query":          {with("path", "/pets?authorization=ann&access_token=ann"), Missing},
		}},
		"all scopes": {operation(all(header("read", "write"))), cases{
			"both":    {with("authorization", "Bearer bob"), Allowed},
			"one":     {with("authorization", "Bearer ann"), Scope},
			"none":    {with("authorization", "Bearer bare"), Scope},
			"nothing": {with(), Missing},
		}},
		"any scope": {operation(all(anyOf("write", "read"))), cases{
			"both": {with("authorization", "Bearer bob"), Allowed},
			"one":  {with("authorization", "Bearer ann"), Allowed},
			"none": {with("authorization", "Bearer bare"), Scope},
		}},
		"scope is exact": {operation(all(header("rea"))), cases{
			"longer": {with("authorization", "Bearer ann"), Scope},
		}},
		"or": {operation(all(header("write")), all(x("read"))), cases{
			"first":             {with("authorization", "Bearer bob"), Allowed},
			"second":            {with("x-token", "ann"), Allowed},
			"second, prefixed":  {with("x-token", "Bearer ann"), Allowed},
			"scope beats none":  {with("authorization", "Bearer ann"), Scope},
			"bad beats none":    {with("x-token", "zed"), Invalid},
			"unknown beats":     {with("x-token", "later", "authorization", "Bearer ann"), Unavailable},
			"scope beats bad":   {with("x-token", "zed", "authorization", "Bearer ann"), Scope},
			"expired beats bad": {with("x-token", "old", "authorization", "Bearer zed"), Expired},
			"both":              {with("x-token", "ann", "authorization", "Bearer bob"), Several},
			"good beside bad":   {with("x-token", "zed", "authorization", "Bearer bob"), Several},
			"nothing":           {with(), Missing},
		}},
		"and": {operation(all(header("read"), x("write"))), cases{
			"both":             {with("authorization", "Bearer ann", "x-token", "bob"), Allowed},
			"first alone":      {with("authorization", "Bearer ann"), Missing},
			"second alone":     {with("x-token", "bob"), Missing},
			"second bad":       {with("authorization", "Bearer ann", "x-token", "zed"), Invalid},
			"second scope":     {with("authorization", "Bearer ann", "x-token", "ann"), Scope},
			"bad beats scope":  {with("authorization", "Bearer zed", "x-token", "ann"), Invalid},
			"no beats unknown": {with("authorization", "Bearer later", "x-token", "zed"), Invalid},
			"unknown":          {with("authorization", "Bearer later", "x-token", "bob"), Unavailable},
		}},
		"and of one place": {operation(all(header("read"), header("write"))), cases{
			"both scopes": {with("authorization", "Bearer bob"), Allowed},
			"one scope":   {with("authorization", "Bearer ann"), Scope},
		}},
		"one or both": {operation(all(header()), all(header(), x())), cases{
			"one":  {with("authorization", "Bearer ann"), Allowed},
			"both": {with("authorization", "Bearer ann", "x-token", "bob"), Allowed},
		}},
		"optional": {operation(all(header("write")), all()), cases{
			"nothing":       {with(), Anonymous},
			"good":          {with("authorization", "Bearer bob"), Allowed},
			"bad":           {with("authorization", "Bearer zed"), Invalid},
			"basic":         {with("authorization", "Basic YTpi"), Invalid},
			"expired":       {with("authorization", "Bearer old"), Expired},
			"unknown":       {with("authorization", "Bearer later"), Unavailable},
			"without scope": {with("authorization", "Bearer ann"), Anonymous},
		}},
		"query": {operation(all(bearer(inQuery, "access_token"))), cases{
			"good":          {with("path", "/pets?a=1&access_token=ann&b=2"), Allowed},
			"escaped name":  {with("path", "/pets?access%5Ftoken=ann"), Allowed},
			"escaped value": {with("path", "/pets?access_token=%61nn"), Allowed},
			"twice":         {with("path", "/pets?access_token=ann&access_token=ann"), Several},
			"twice, hidden": {with("path", "/pets?access_token=ann&%61ccess_token=bob"), Several},
			"empty":         {with("path", "/pets?access_token="), Invalid},
			"bad escape":    {with("path", "/pets?access_token=%zz"), Invalid},
			"in the path":   {with("path", "/access_token=ann"), Missing},
			"other case":    {with("path", "/pets?Access_Token=ann"), Missing},
			"no query":      {with(), Missing},
		}},
		"cookie": {operation(all(bearer(inCookie, "sid"))), cases{
			"good":       {with("cookie", "a=b; sid=ann; c"), Allowed},
			"quoted":     {with("cookie", `sid="ann"`), Allowed},
			"twice":      {with("cookie", "sid=ann; sid=ann"), Several},
			"joined":     {with("cookie", "sid=ann,sid=ann"), Several},
			"bad":        {with("cookie", "sid=zed"), Invalid},
			"empty":      {with("cookie", "sid="), Invalid},
			"other name": {with("cookie", "xsid=ann; sid2=ann; SID=ann"), Missing},
			"no value":   {with("cookie", "sid"), Missing},
		}},
		"header or cookie": {operation(all(header()), all(bearer(inCookie, "sid"))), cases{
			"a browser sends its cookie too": {with("authorization", "Bearer ann", "cookie", "sid=zed"), Allowed},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := compile(t, test.policy)
			for name, c := range test.cases {
				d := o.Decide(t.Context(), c.request)
				if d.Reason != c.reason {
					t.Errorf("%s: %v (%s), want %v", name, d.Reason, d.Detail, c.reason)
				}
				if (d.Detail == "") != d.Pass() {
					t.Errorf("%s: %v with the detail %q", name, d.Reason, d.Detail)
				}
				if d.API != "pets/1.0.0" {
					t.Errorf("%s: api %q", name, d.API)
				}
			}
		})
	}
}

type cases = map[string]struct {
	request request
	reason  Reason
}

// counting counts what is asked of a verifier.
type counting struct {
	tokens
	asked map[string]int
}

func (c counting) Verify(ctx context.Context, token []byte) authn.Result {
	c.asked[string(token)]++
	return c.tokens.Verify(ctx, token)
}

// TestAskedOnce: however many requirements name a credential, it is verified once.
func TestAskedOnce(t *testing.T) {
	t.Parallel()
	o := compile(t, operation(all(header("admin")), all(header("read"), header("write")), all(anyOf("x", "read"))))
	c := counting{known, map[string]int{}}
	o.tokens = c
	if d := o.Decide(t.Context(), with("authorization", "Bearer ann")); d.Reason != Allowed || c.asked["ann"] != 1 {
		t.Errorf("%v, asked %v", d.Reason, c.asked)
	}
}

// TestZeroValues: forgetting something denies.
func TestZeroValues(t *testing.T) {
	t.Parallel()
	var d Decision
	if d.Pass() || d.Status() != 403 {
		t.Errorf("the zero decision: %d", d.Status())
	}
	got := new(Operation).Decide(t.Context(), with("authorization", "Bearer bob"))
	if got.Pass() {
		t.Error("the zero operation admits")
	}
	for r := range Reason(Reasons) {
		d := Decision{Reason: r}
		if d.Status() < 400 || d.Code() == "" || r.String() == "" {
			t.Errorf("reason %d has no status, code or name", r)
		}
	}
	if _, ok := NewTable().Find("", ""); ok {
		t.Error("an empty table finds something")
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	good := func() *posternv1.Policy {
		return &posternv1.Policy{Api: "pets/1.0.0", Operations: []*posternv1.OperationPolicy{operation(all(header()))}}
	}
	mapping := func(claim, header string, more ...string) *posternv1.OperationPolicy {
		o := operation(all())
		o.IdentityHeaders = map[string]string{claim: header}
		if len(more) > 0 {
			o.IdentityHeaders[more[0]] = more[1]
		}
		return o
	}
	for name, test := range map[string]struct {
		change func(*posternv1.Policy)
		says   string
	}{
		"unknown word": {func(p *posternv1.Policy) { p.Requires = []string{"bearer", "mtls"} }, `requires "mtls"`},
		"twice":        {func(p *posternv1.Policy) { p.Operations = append(p.Operations, p.Operations[0]) }, "twice"},
		"unknown kind": {func(p *posternv1.Policy) {
			p.Operations = []*posternv1.OperationPolicy{operation(all(&posternv1.Requirement{Scheme: "s"}))}
		}, `scheme "s": a kind of security`},
		"unknown place": {func(p *posternv1.Policy) { p.Operations = []*posternv1.OperationPolicy{operation(all(bearer(9, "k")))} }, "a place"},
		"header name": {func(p *posternv1.Policy) {
			p.Operations = []*posternv1.OperationPolicy{operation(all(bearer(inHeader, "X-Token")))}
		}, "lower case"},
		"pseudo-header": {func(p *posternv1.Policy) {
			p.Operations = []*posternv1.OperationPolicy{operation(all(bearer(inHeader, ":path")))}
		}, "lower case"},
		"no cookie name": {func(p *posternv1.Policy) {
			p.Operations = []*posternv1.OperationPolicy{operation(all(bearer(inCookie, "")))}
		}, "no name"},
		"claim into host": {func(p *posternv1.Policy) { p.Operations = []*posternv1.OperationPolicy{mapping("c", "Host")} }, "can not go"},
		"claim into scope": {func(p *posternv1.Policy) {
			p.Operations = []*posternv1.OperationPolicy{mapping("c", "x-postern-scope")}
		}, "can not go"},
		"claim, newline": {func(p *posternv1.Policy) { p.Operations = []*posternv1.OperationPolicy{mapping("c", "a\nb")} }, "can not go"},
		"two claims": {func(p *posternv1.Policy) {
			p.Operations = []*posternv1.OperationPolicy{mapping("c", "x-a", "d", "X-A")}
		}, "two claims"},
	} {
		p := good()
		test.change(p)
		_, err := Compile(posternv1.ContentHash(p), nil, p, known)
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "pets/1.0.0") {
			t.Errorf("%s: error %v, want one that says %q", name, err, test.says)
		}
	}
	p := good()
	name := posternv1.ContentHash(p)
	p.Api = "other/1.0.0"
	if _, err := Compile(name, nil, p, known); err == nil || !strings.Contains(err.Error(), "hash") {
		t.Errorf("a name that is not the hash: error %v", err)
	}
}

// TestNewerContent: a newer adapter's policy, with fields this build does not know, keeps its name.
func TestNewerContent(t *testing.T) {
	t.Parallel()
	p := &posternv1.Policy{Api: "pets/1.0.0", Operations: []*posternv1.OperationPolicy{operation(all(header()))}}
	newer, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	// A field before the known ones, so that encoding it again would not give the same bytes.
	newer = append(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "new"), newer...)
	m, err := Decode(newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(hashOf(newer), newer, m, known); err != nil {
		t.Error(err)
	}
	if _, err := Decode([]byte{0xff}); err == nil {
		t.Error("nonsense was decoded")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := NewTable()
	p := &Policy{API: "a", operations: map[string]*Operation{"GET /": {}}}
	table.Add("h", p)
	if _, ok := table.Find("h", "GET /"); !ok || !table.Has("h") || table.Len() != 1 {
		t.Error("a policy that was added is not found")
	}
	if _, ok := table.Find("h", "PUT /"); ok {
		t.Error("an operation that is not there is found")
	}
	if removed, ok := table.Remove("h"); !ok || removed != p || table.Has("h") {
		t.Error("a policy is not removed")
	}
}

func TestSchemes(t *testing.T) {
	t.Parallel()
	p := &posternv1.Policy{Api: "a", Operations: []*posternv1.OperationPolicy{
		operation(all(bearer(inHeader, "b")), all(header(), bearer(inCookie, "a"))),
		{Operation: "PUT /pets", Alternatives: []*posternv1.Alternative{all(bearer(inHeader, "b"))}},
	}}
	compiled, err := Compile(posternv1.ContentHash(p), nil, p, known)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(compiled.Schemes, []string{"a", "authorization", "b"}) {
		t.Errorf("schemes %q", compiled.Schemes)
	}
	if len(slices.Collect(maps.Keys(compiled.operations))) != 2 {
		t.Error("operations are missing")
	}
}
