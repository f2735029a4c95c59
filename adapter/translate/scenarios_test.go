package translate_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

// exampleCA stands for the authority of the TLS backend, which is another at every run.
const exampleCA = "-----BEGIN CERTIFICATE-----\nexample\n-----END CERTIFICATE-----\n"

func scenarios() []scenario {
	var all []scenario
	for _, group := range [][]scenario{routing(), hosts(), scopes(), backends(), crossOrigin(), security(), limits(), lifecycle()} {
		all = append(all, group...)
	}
	return all
}

func routing() []scenario {
	return []scenario{
		{
			name: "one-api", apis: []model.API{api("petstore/1.0.0", "/petstore/1.0.0",
				ops("GET /pet/{petId}", "DELETE /pet/{petId}", "POST /pet", "GET /pet/findByStatus", "GET /")...)},
			calls: `
GET /petstore/1.0.0/pet/1?x=1&y=%20&x= => 200 GET /pet/{petId} -> pets /v2/pet/1?x=1&y=%20&x=
GET /petstore/1.0.0/pet/1/ => 200 GET /pet/{petId} -> pets /v2/pet/1/
DELETE /petstore/1.0.0/pet/1 => 200 DELETE /pet/{petId} -> pets /v2/pet/1
POST /petstore/1.0.0/pet => 200 POST /pet -> pets /v2/pet
POST /petstore/1.0.0/pet/?a => 200 POST /pet -> pets /v2/pet/?a
GET /petstore/1.0.0/pet/findByStatus?status=sold => 200 GET /pet/findByStatus -> pets /v2/pet/findByStatus?status=sold
GET /petstore/1.0.0/pet/findByStatusX => 200 GET /pet/{petId} -> pets /v2/pet/findByStatusX
GET /petstore/1.0.0 => 200 GET / -> pets /v2
GET /petstore/1.0.0?q => 200 GET / -> pets /v2?q
GET /petstore/1.0.0/ => 200 GET / -> pets /v2/
GET //petstore/./1.0.0/x/../pet/%37 => 200 GET /pet/{petId} -> pets /v2/pet/7
PUT /petstore/1.0.0/pet/1 => 405 DELETE, GET, HEAD
GET /petstore/1.0.0/pet => 405 POST
DELETE /petstore/1.0.0/pet/findByStatus => 405 GET, HEAD
GET /petstore/1.0.0/pet/1/2 => 404
GET /petstore/1.0.0/pet/findByStatus/2 => 404
GET /petstore/1.0.0/store => 404
GET /petstore/1.0.0x => 404
GET /petstore/2.0.0/pet/1 => 404
GET /petstor => 404
GET / => 404
GET /petstore/1.0.0/pet/a%2Fb => 400
GET /petstore/1.0.0/pet/a%00b => 400
`,
		},
		{name: "two-definitions", apis: []model.API{
			api("petstore/1.0.0", "/petstore/1.0.0", op("GET /pet/{petId}")),
			api("orders/v2", "/orders/v2", op("GET /order/{id}", to(backend("http://orders.test"))), op("POST /order", to(backend("http://orders.test")))),
		}, calls: `
GET /petstore/1.0.0/pet/1 => 200 GET /pet/{petId} -> pets /v2/pet/1
GET /orders/v2/order/1?q => 200 GET /order/{id} -> orders /order/1?q
POST /orders/v2/order => 200 POST /order -> orders /order
GET /orders/v2/pet/1 => 404
`},
		{name: "nested-base-paths", apis: []model.API{
			api("outer/1", "/shop", ops("GET /{a}", "GET /{a}/{b}", "GET /v2/items/{hidden}", "GET /*")...),
			api("inner/1", "/shop/v2", op("GET /items/{id}", to(backend("http://orders.test/inner"))), op("GET /{x}/y/{z}", to(backend("http://orders.test/inner")))),
		}, calls: `
GET /shop/a => 200 GET /{a} -> pets /v2/a
GET /shop/a/b => 200 GET /{a}/{b} -> pets /v2/a/b
GET /shop/a/b/c => 200 GET /* -> pets /v2/a/b/c
GET /shop/v2/items/1 => 200 GET /items/{id} -> orders /inner/items/1
GET /shop/v2/q/y/z => 200 GET /{x}/y/{z} -> orders /inner/q/y/z
GET /shop/v2/other => 404
GET /shop/v2 => 404
GET /shop/v2x => 200 GET /{a} -> pets /v2/v2x
`},
		{name: "root-api", apis: []model.API{
			api("root/1", "/", ops("GET /", "GET /users", "GET /users/{id}", "POST /health")...),
			api("users/1", "/users/admin", op("GET /list", to(backend("http://orders.test")))),
		}, calls: `
GET / => 200 GET / -> pets /v2/
GET /?a=b => 200 GET / -> pets /v2/?a=b
GET /users => 200 GET /users -> pets /v2/users
GET /users/1 => 200 GET /users/{id} -> pets /v2/users/1
GET /users/admin => 404
GET /users/admin/list => 200 GET /list -> orders /list
POST /health/ => 200 POST /health -> pets /v2/health/
GET /health => 405 POST
POST / => 405 GET, HEAD
GET /other => 404
`},
		{name: "wildcard", apis: []model.API{
			api("files/1", "/files", ops("GET /*", "PUT /a/{b}/*", "GET /a/{b}", "DELETE /c/*")...),
			api("bare/1", "/bare", op("GET /*", to(backend("http://orders.test")))),
		}, calls: `
GET /files => 200 GET /* -> pets /v2
GET /files/ => 200 GET /* -> pets /v2/
GET /files/x/y?z => 200 GET /* -> pets /v2/x/y?z
GET /files/a/1 => 200 GET /a/{b} -> pets /v2/a/1
PUT /files/a/1/ => 405 GET, HEAD
PUT /files/a/1/2/3 => 200 PUT /a/{b}/* -> pets /v2/a/1/2/3
DELETE /files/c => 200 DELETE /c/* -> pets /v2/c
DELETE /files/c/ => 200 DELETE /c/* -> pets /v2/c/
DELETE /files/c/d/e => 200 DELETE /c/* -> pets /v2/c/d/e
GET /files/c/d => 405 DELETE
GET /files/cd => 200 GET /* -> pets /v2/cd
GET /bare => 200 GET /* -> orders /
GET /bare?q => 200 GET /* -> orders /?q
GET /bare/ => 200 GET /* -> orders /
GET /bare/x => 200 GET /* -> orders /x
`},
		{name: "literal-before-template", apis: []model.API{api("lit/1", "/lit",
			ops("GET /{a}/x", "GET /y/{b}", "GET /y/x", "GET /{name}.json", "GET /{id}", "POST /report.json", "GET /{a}/{b}/{c}", "GET /y/{b}/z", "GET /pre-{x}-post")...)}, calls: `
GET /lit/1/x => 200 GET /{a}/x -> pets /v2/1/x
GET /lit/y/1 => 200 GET /y/{b} -> pets /v2/y/1
GET /lit/y/x => 200 GET /y/x -> pets /v2/y/x
GET /lit/a.json => 200 GET /{name}.json -> pets /v2/a.json
GET /lit/.json => 200 GET /{id} -> pets /v2/.json
GET /lit/ajson => 200 GET /{id} -> pets /v2/ajson
GET /lit/report.json => 405 POST
GET /lit/pre-1-post => 200 GET /pre-{x}-post -> pets /v2/pre-1-post
GET /lit/pre--post => 200 GET /{id} -> pets /v2/pre--post
GET /lit/y/1/z => 200 GET /y/{b}/z -> pets /v2/y/1/z
GET /lit/y/1/w => 200 GET /{a}/{b}/{c} -> pets /v2/y/1/w
GET /lit/y => 200 GET /{id} -> pets /v2/y
GET /lit/1/2 => 404
`},
		{name: "template-overlap-refused", refused: true, apis: []model.API{at(api("over/1", "/over", ops("GET /a{x}", "GET /{x}b")...))}},
		{name: "ambiguous-templates-refused", refused: true, apis: []model.API{at(api("amb/1", "/amb", ops("GET /pet/{id}", "GET /pet/{name}")...))}},
		{name: "base-path-taken-refused", refused: true, apis: []model.API{
			at(api("one/1", "/same", ops("GET /a")...)), at(api("two/1", "/same", ops("GET /b")...)),
		}},
		{name: "methods", apis: []model.API{api("m/1", "/m",
			ops("GET /all", "PUT /all", "POST /all", "DELETE /all", "PATCH /all", "OPTIONS /all", "TRACE /all", "GET /get", "HEAD /both", "GET /both", "HEAD /head", "POST /post/{id}")...)}, calls: `
GET /m/all => 200 GET /all -> pets /v2/all
PUT /m/all => 200 PUT /all -> pets /v2/all
POST /m/all => 200 POST /all -> pets /v2/all
PATCH /m/all => 200 PATCH /all -> pets /v2/all
OPTIONS /m/all => 200 OPTIONS /all -> pets /v2/all
TRACE /m/all => 200 TRACE /all -> pets /v2/all
HEAD /m/all => 200 GET /all
HEAD /m/get => 200 GET /get
OPTIONS /m/get => 405 GET, HEAD
HEAD /m/both => 200 HEAD /both
GET /m/both => 200 GET /both -> pets /v2/both
HEAD /m/head => 200 HEAD /head
GET /m/head => 405 HEAD
HEAD /m/post/1 => 405 POST
PURGE /m/all => 405 DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE
`},
		{name: "special-characters", apis: []model.API{api("sp/1.0+x", "/a.b+c(d)$e",
			ops("GET /x.y/{id}", "GET /p+q", "GET /(r)", "GET /$s", "GET /caf\u00e9/{id}", "GET /sp ace", "GET /pct%2e%28", "GET /it's,;=:@&!~*", "GET /[b]{id}^|", "GET /a.{x}+")...)}, calls: `
GET /a.b+c(d)$e/x.y/1 => 200 GET /x.y/{id} -> pets /v2/x.y/1
GET /a.b+c(d)$e/xzy/1 => 404
GET /aXb+c(d)$e/x.y/1 => 404
GET /a.b+c(d)$e/p+q => 200 GET /p+q -> pets /v2/p+q
GET /a.b+c(d)$e/pq => 404
GET /a.b+c(d)$e/(r) => 200 GET /(r) -> pets /v2/(r)
GET /a.b+c(d)$e/r => 404
GET /a.b+c(d)$e/$s => 200 GET /$s -> pets /v2/$s
GET /a.b+c(d)$e/caf%C3%A9/1 => 200 GET /caf` + "\u00e9" + `/{id} -> pets /v2/caf%C3%A9/1
GET /a.b+c(d)$e/sp%20ace => 200 GET /sp ace -> pets /v2/sp%20ace
GET /a.b+c(d)$e/pct.%28 => 200 GET /pct%2e%28 -> pets /v2/pct.%28
GET /a.b+c(d)$e/it's,;=:@&!~* => 200 GET /it's,;=:@&!~* -> pets /v2/it's,;=:@&!~*
GET /a.b+c(d)$e/%5Bb%5Dx%5E%7C => 200 GET /[b]{id}^| -> pets /v2/%5Bb%5Dx%5E%7C
GET /a.b+c(d)$e/a.x+ => 200 GET /a.{x}+ -> pets /v2/a.x+
GET /a.b+c(d)$e/abx+ => 404
`},
		{name: "escaped-slashes", settings: "escaped-slashes", apis: []model.API{api("esc/1", "/esc", ops("GET /{id}", "GET /a/b")...)}, calls: `
GET /esc/x%2Fy => 200 GET /{id} -> pets /v2/x%2Fy
GET /esc/a%2Fb => 200 GET /{id} -> pets /v2/a%2Fb
GET /esc/a/b => 200 GET /a/b -> pets /v2/a/b
`},
		{name: "every-character", apis: []model.API{api("every/1", "/every", op("GET /{id}", open, to(backend("http://pets.test/every"))))}, check: everyCharacter},
		{name: "500-operations", huge: true, apis: []model.API{manyOperations(500)}, calls: `
GET /many/r0/1 => 200 GET /r0/{id} -> pets /v2/r0/1
GET /many/r499/1 => 200 GET /r499/{id} -> pets /v2/r499/1
GET /many/r499 => 404
GET /many/r500/1 => 404
PUT /many/r250/1 => 405 GET, HEAD
`},
	}
}

// everyCharacter sends each byte, as it is and encoded: what is refused and what becomes of the rest is as
// model.NormalizePath says.
func everyCharacter(t *testing.T, g *gateway) {
	apis := []model.API{api("every/1", "/every", ops("GET /{id}")...)}
	paths := []string{"/every/%", "/every/%2", "/every/%zz", "/every/%2x", "/every/a%2f", "/every/%5c", "/every/a\\b", "/every/%e9", "/every/%C3%A9"}
	for c := byte('!'); c < 0x7f; c++ {
		paths = append(paths, "/every/x"+string(rune(c))+"y")
	}
	for c := range 256 {
		paths = append(paths, fmt.Sprintf("/every/x%%%02xy", c), fmt.Sprintf("/every/x%%%02Xy", c))
	}
	for _, path := range paths {
		a := g.call(t, "default", call{method: "GET", path: path})
		normal, _ := model.NormalizePath(path, false)
		switch want := model.Match(apis, "x", "GET", path, false); {
		case a.status != want.Status:
			t.Errorf("%s: Envoy answers %d, Match says %d", path, a.status, want.Status)
		case a.status == 200 && strings.SplitN(a.echo.Target, "?", 2)[0] != normal:
			t.Errorf("%s became %s, NormalizePath says %s", path, a.echo.Target, normal)
		}
	}
}

func manyOperations(n int) model.API {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("GET /r%d/{id}", i))
	}
	return api("many/1", "/many", ops(ids...)...)
}

// at gives every operation a place in a file, which problems name.
func at(a model.API) model.API {
	a.Origin = model.Origin{File: a.Name + ".yaml", Line: 2, Column: 1}
	for i := range a.Operations {
		a.Operations[i].Origin = model.Origin{File: a.Name + ".yaml", Line: 10 * (i + 1), Column: 5}
	}
	return a
}

func hosts() []scenario {
	return []scenario{{name: "hosts", apis: []model.API{
		on(api("any/1", "/shop", ops("GET /a", "GET /any")...)),
		on(api("exact/1", "/shop", op("GET /a", to(backend("http://orders.test")))), "a.example.com"),
		on(api("wild/1", "/shop", op("GET /a", to(backend("http://orders.test:8080"))), op("GET /wild", to(backend("http://orders.test:8080")))), "*.example.com"),
		on(api("deep/1", "/shop/deep", op("GET /a", to(backend("http://orders.test/deep")))), "*.example.com", "plain.test"),
	}, calls: `
GET /shop/a => 200 GET /a -> pets /v2/a
GET /shop/any @other.test => 200 GET /any -> pets /v2/any
GET /shop/a @a.example.com => 200 GET /a -> orders /a
GET /shop/a @A.Example.COM:9090 => 200 GET /a -> orders /a
GET /shop/any @a.example.com => 404
GET /shop/a @b.example.com => 200 GET /a -> orders2 /a
GET /shop/wild @x.y.example.com => 200 GET /wild -> orders2 /wild
GET /shop/a @example.com => 200 GET /a -> pets /v2/a
GET /shop/deep/a @a.example.com => 200 GET /a -> orders /deep/a
GET /shop/deep/a @b.example.com => 200 GET /a -> orders /deep/a
GET /shop/deep/a @plain.test => 200 GET /a -> orders /deep/a
GET /shop/a @plain.test => 200 GET /a -> pets /v2/a
GET /shop/deep/a @other.test => 404
`}, {name: "one-host-only", apis: []model.API{on(api("only/1", "/only", ops("GET /a")...), "a.example.com")}, calls: `
GET /only/a @a.example.com => 200 GET /a -> pets /v2/a
GET /only/a @b.example.com => 404
`}}
}

func scopes() []scenario {
	return []scenario{
		{name: "scope-segment-2", settings: "segment2", apis: []model.API{
			api("pets/1", "/api/pets", ops("GET /{id}")...),
			api("orders/1", "/api/orders", op("GET /{id}", to(backend("http://orders.test")))),
			api("root/1", "/", ops("GET /other/x/{y}", "GET /short")...),
		}, calls: `
GET /api/pets/1 => 200 GET /{id} -> pets /v2/1
GET /api/orders/1 => 200 GET /{id} -> orders /1
GET /api/orders => 404
GET /other/x/1 => 200 GET /other/x/{y} -> pets /v2/other/x/1
GET /short => 200 GET /short -> pets /v2/short
GET /short/ => 200 GET /short -> pets /v2/short/
GET /short/x => 404
`},
		{name: "no-route-scope-refused", refused: true, apis: []model.API{at(api("root/1", "/", ops("GET /{tenant}/x", "GET /ok")...))}},
		{name: "flat", settings: "flat", apis: []model.API{
			api("root/1", "/", ops("GET /{tenant}/x", "GET /ok", "GET /")...),
			api("pets/1", "/pets", op("GET /{id}", to(backend("http://orders.test/p")))),
		}, calls: `
GET /t/x => 200 GET /{tenant}/x -> pets /v2/t/x
GET /ok => 200 GET /ok -> pets /v2/ok
GET / => 200 GET / -> pets /v2/
GET /pets/1 => 200 GET /{id} -> orders /p/1
GET /pets/x => 200 GET /{id} -> orders /p/x
GET /pets/x/y => 404
GET /nothing => 404
POST /ok => 405 GET, HEAD
`},
	}
}

func backends() []scenario {
	spread := backend("http://orders.test", "http://orders.test:8080", "http://pets.test/v2", "http://pets.test/v2")
	tls := backend("https://secure.test/tls")
	tls.CA = exampleCA
	h2c := backend("http://h2.test/h2")
	h2c.HTTP2 = true
	slow := backend("http://slow.test")
	slow.Timeout = 100 * time.Millisecond
	retried := backend("http://flaky.test")
	retried.Retry = &model.Retry{Count: 2, Statuses: []uint32{503}, Interval: time.Millisecond, MaxInterval: 5 * time.Millisecond}
	return []scenario{
		{name: "backends-per-operation", apis: []model.API{api("per/1", "/per",
			op("GET /a"), op("POST /a", to(backend("http://orders.test"))), op("GET /b", to(backend("http://orders.test:8080/per/b"))),
			op("GET /same", to(backend("http://orders.test/per"))), op("GET /", to(backend("http://orders.test"))))}, calls: `
GET /per/a => 200 GET /a -> pets /v2/a
POST /per/a => 200 POST /a -> orders /a
GET /per/b => 200 GET /b -> orders2 /per/b/b
GET /per/same => 200 GET /same -> orders /per/same
GET /per => 200 GET / -> orders /
GET /per?q=/ => 200 GET / -> orders /?q=/
GET /per/ => 200 GET / -> orders /
`, check: func(t *testing.T, g *gateway) {
			for path, host := range map[string]string{"/per/a": "pets.test", "/per/b": "orders.test:8080"} {
				if a := g.call(t, "default", call{method: "GET", path: path}); a.echo.Host != host {
					t.Errorf("%s: the backend was called %q, want %q", path, a.echo.Host, host)
				}
			}
		}},
		{name: "several-urls", apis: []model.API{api("several/1", "/several", op("GET /a", to(spread)))}, check: spreadsEvenly},
		{name: "tls-backend", apis: []model.API{api("tls/1", "/tls", op("GET /a", to(tls)))}, calls: `
GET /tls/a => 200 GET /a -> secure /tls/a
`, check: func(t *testing.T, g *gateway) {
			a := g.call(t, "default", call{method: "GET", path: "/tls/a"})
			if a.echo.SNI != "secure.test" || a.echo.Proto != "HTTP/1.1" || a.echo.Host != "secure.test" {
				t.Errorf("the backend saw SNI %q, %s, Host %q", a.echo.SNI, a.echo.Proto, a.echo.Host)
			}
		}},
		{name: "tls-backends-http2", apis: []model.API{api("tls2/1", "/tls2", op("GET /a", to(func() model.Backend {
			b := backend("https://secure.test", "https://secure2.test:8443")
			b.CA, b.HTTP2 = exampleCA, true
			return b
		}())), op("GET /wrong", to(func() model.Backend {
			b := backend("https://wrong.test")
			b.CA = exampleCA
			return b
		}())), op("GET /untrusted", to(backend("https://secure.test"))))}, check: tlsBackends},
		{name: "large-body", apis: []model.API{api("large/1", "/large", ops("POST /a")...)}, check: func(t *testing.T, g *gateway) {
			body := strings.Repeat("x", 5<<20)
			if a := g.call(t, "default", call{method: "POST", path: "/large/a", body: body}); a.status != 200 || a.echo.Body != body {
				t.Errorf("%d, and %d bytes reached the backend", a.status, len(a.echo.Body))
			}
			res, err := http.Post("http://"+g.listeners["default"]+"/large/a", "text/plain", strings.NewReader(body+body+body)) // why: reads while it writes
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("a body of 15 MiB: %d, want 413", res.StatusCode)
			}
		}},
		{name: "h2c-backend", apis: []model.API{api("h2c/1", "/h2c", op("POST /a", to(h2c)))}, calls: `
POST /h2c/a => 200 POST /a -> h2 /h2/a
`, check: func(t *testing.T, g *gateway) {
			if a := g.call(t, "default", call{method: "POST", path: "/h2c/a", body: "hello"}); a.echo.Proto != "HTTP/2.0" || a.echo.Body != "hello" {
				t.Errorf("the backend saw %+v", a.echo)
			}
		}},
		{name: "timeouts", apis: []model.API{api("slow/1", "/slow", op("GET /a", to(slow)))}, check: func(t *testing.T, g *gateway) {
			if a := g.call(t, "default", call{method: "GET", path: "/slow/a"}); a.status != 504 || a.code != "102504" {
				t.Errorf("%d %s, want 504 102504", a.status, a.body)
			}
		}},
		{name: "retries", apis: []model.API{api("flaky/1", "/flaky",
			op("GET /get", to(retried)), op("POST /post", to(retried)), op("POST /any", to(func() model.Backend {
				b := retried
				b.Retry = &model.Retry{Count: 1, Statuses: []uint32{503, 504}, AnyMethod: true}
				return b
			}())))}, check: retries},
	}
}

func spreadsEvenly(t *testing.T, g *gateway) {
	seen := map[string]int{}
	const n = 400
	for range n {
		a := g.call(t, "default", call{method: "GET", path: "/several/a"})
		seen[a.echo.Backend+" "+a.echo.Target+" "+a.echo.Host]++
	}
	for name, parts := range map[string]int{"pets /v2/a pets.test": 2, "orders /a orders.test": 1, "orders2 /a orders.test:8080": 1} {
		if want := n * parts / 4; seen[name] < want*6/10 || seen[name] > want*14/10 {
			t.Errorf("%s had %d of %d requests, want about %d; all: %v", name, seen[name], n, want, seen)
		}
	}
}

func tlsBackends(t *testing.T, g *gateway) {
	seen := map[string]int{}
	for range 40 {
		a := g.call(t, "default", call{method: "GET", path: "/tls2/a"})
		seen[a.echo.Proto+" "+a.echo.SNI+" "+a.echo.Host]++
	}
	if len(seen) != 2 || seen["HTTP/2.0 secure.test secure.test"] == 0 || seen["HTTP/2.0 secure2.test secure2.test:8443"] == 0 {
		t.Errorf("the backends saw %v", seen)
	}
	for _, path := range []string{"/tls2/wrong", "/tls2/untrusted"} { // another name than asked for; an authority the system does not know
		if a := g.call(t, "default", call{method: "GET", path: path}); a.status != 503 || a.code != "102503" {
			t.Errorf("%s: %d %s, want 503 102503", path, a.status, a.body)
		}
	}
}

// flaky answers 503 twice for each value of the header x-test, and then 200.
func flaky() func(http.ResponseWriter, *http.Request) bool {
	var tries [64]atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) bool {
		if tries[len(r.Header.Get("X-Test"))].Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
}

// slow answers when the caller has given up.
func slow(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }

func retries(t *testing.T, g *gateway) {
	for i, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/flaky/get", 200}, {"POST", "/flaky/post", 503}, {"POST", "/flaky/any", 503}} {
		a := g.call(t, "default", call{method: c.method, path: c.path, headers: map[string]string{"x-test": strings.Repeat("x", i+1)}})
		if a.status != c.status || a.code != "" { // a backend's own answer is passed on as it is
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.body, c.status)
		}
	}
}

func crossOrigin() []scenario {
	wildcard := api("wild/1", "/wild", ops("GET /a", "PUT /a")...)
	wildcard.CORS = &model.CORS{
		Enabled: true, Origins: []string{"https://*.shop.example.com", "https://app.example.com"}, Methods: []string{"GET", "PUT"},
		Headers: []string{"authorization", "content-type"}, Expose: []string{"x-request-id", "retry-after"}, MaxAge: 10 * time.Minute,
	}
	credentials := api("cred/1", "/cred", ops("GET /a")...)
	credentials.CORS = &model.CORS{Enabled: true, Origins: []string{"https://app.example.com"}, Methods: []string{"GET"}, Credentials: true}
	without := api("without/1", "/cred/without", ops("GET /a")...)
	without.CORS = &model.CORS{}
	return []scenario{
		{name: "cors-wildcard-origin", apis: []model.API{wildcard}, check: corsWildcard},
		{name: "cors-credentials", settings: "cors", apis: []model.API{credentials, without, api("inherits/1", "/cred/inherits", ops("GET /a")...)}, check: corsMixed},
		{name: "cors-none", apis: []model.API{api("none/1", "/none", ops("GET /a")...)}, calls: `
OPTIONS /none/a => 405 GET, HEAD
`},
	}
}

func preflight(path, origin string) call {
	return call{method: "OPTIONS", path: path, headers: map[string]string{
		"origin": origin, "access-control-request-method": "GET", "access-control-request-headers": "authorization",
	}}
}

func corsWildcard(t *testing.T, g *gateway) {
	a := g.call(t, "default", preflight("/wild/a", "https://x.shop.example.com"))
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://x.shop.example.com", "Access-Control-Allow-Methods": "GET, PUT",
		"Access-Control-Allow-Headers": "authorization, content-type", "Access-Control-Max-Age": "600", "Access-Control-Allow-Credentials": "",
	} {
		if got := a.headers.Get(name); a.status != 200 || got != want {
			t.Errorf("preflight: %d, %s is %q, want %q", a.status, name, got, want)
		}
	}
	if checks, _ := g.take(); len(checks) != 0 {
		t.Errorf("the enforcer was asked about a preflight: %v", checks)
	}
	for _, origin := range []string{"https://evil.com", "https://shopXexample.com", "https://x.shop.example.com.evil.com", "http://app.example.com"} {
		if a := g.call(t, "default", preflight("/wild/a", origin)); a.status != 405 || a.headers.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight from %s: %d %v", origin, a.status, a.headers)
		}
	}
	for _, c := range []struct {
		method, path, deny string
		status             int
	}{{"GET", "/wild/a", "", 200}, {"GET", "/wild/a", "900902", 401}, {"POST", "/wild/a", "", 405}, {"GET", "/wild/b", "", 404}} {
		a := g.call(t, "default", call{method: c.method, path: c.path, headers: map[string]string{"origin": "https://app.example.com", "x-deny": c.deny}})
		if a.status != c.status || a.headers.Get("Access-Control-Allow-Origin") != "https://app.example.com" ||
			a.headers.Get("Access-Control-Expose-Headers") != "x-request-id, retry-after" {
			t.Errorf("%s %s: %d %v, want %d with CORS headers", c.method, c.path, a.status, a.headers, c.status)
		}
	}
}

func corsMixed(t *testing.T, g *gateway) {
	for _, c := range []struct{ path, origin, allowed, credentials string }{
		{"/cred/a", "https://app.example.com", "https://app.example.com", "true"},
		{"/cred/a", "https://evil.com", "", ""},
		{"/cred/missing", "https://app.example.com", "https://app.example.com", "true"},
		{"/cred/without/a", "https://app.example.com", "", ""},
		{"/cred/inherits/a", "https://evil.com", "https://evil.com", ""},
		{"/cred/inherits/missing", "https://evil.com", "https://evil.com", ""},
	} {
		for _, request := range []call{preflight(c.path, c.origin), {method: "GET", path: c.path, headers: map[string]string{"origin": c.origin}}} {
			a := g.call(t, "cors", request)
			if a.headers.Get("Access-Control-Allow-Origin") != c.allowed || a.headers.Get("Access-Control-Allow-Credentials") != c.credentials {
				t.Errorf("%s %s from %s: %d %v", request.method, c.path, c.origin, a.status, a.headers)
			}
		}
	}
}
