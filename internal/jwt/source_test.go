package jwt

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/idp"
)

// settle waits until nothing is being fetched.
func settle(t testing.TB, v *Verifier) {
	t.Helper()
	for _, i := range v.issuers.All() {
		i.source.mu.Lock()
		inflight := i.source.inflight
		i.source.mu.Unlock()
		if inflight == nil {
			continue
		}
		select {
		case <-inflight:
			i.source.mu.Lock() // the fetch ends under the lock
			i.source.mu.Unlock()
		case <-time.After(10 * time.Second):
			t.Fatal("a fetch does not end")
		}
	}
}

// tick lets the background work do what is due, and waits for it.
func tick(t testing.TB, v *Verifier) {
	t.Helper()
	v.refreshDue()
	settle(t, v)
}

func TestRotation(t *testing.T) {
	t.Parallel()
	clock, p := newClock(), provider(t, "ES256")
	v := newTestVerifier(t, Options{Now: clock.Now}, remote(p))
	old := p.Token(nil)
	want(t, v, old, Accepted) // fetched because it was asked for
	first := p.Key()
	second := idp.NewKey("second", "RS256")
	p.Use(first, second)
	want(t, v, p.Token(nil), Accepted)
	want(t, v, old, Accepted)
	if n := p.Fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2: one at first, one for the new kid", n)
	}
	p.Use(second)
	clock.Add(defaultLifetime)
	tick(t, v)
	want(t, v, old, Invalid) // its key is withdrawn
	want(t, v, p.Token(nil), Accepted)
}

// TestUnknownKeyFlood: tokens that name keys nobody has do not become fetches.
func TestUnknownKeyFlood(t *testing.T) {
	t.Parallel()
	clock, p := newClock(), provider(t, "ES256")
	v := newTestVerifier(t, Options{Now: clock.Now}, remote(p))
	good := p.Token(nil)
	want(t, v, good, Accepted)
	forger := idp.NewKey("x", "ES256")
	template := strings.SplitN(forger.Sign(p.Claims(nil), nil), ".", 2)[1]
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for n := range 500 {
				header := b64(map[string]any{"alg": "ES256", "kid": fmt.Sprintf("x-%d-%d", g, n)})
				if r := v.Verify(context.Background(), []byte(header+"."+template)); r.Reason != Invalid {
					t.Errorf("reason %d (%s)", r.Reason, r.Detail)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := p.Fetches.Load(); n > refetchBurst {
		t.Errorf("10,000 unknown keys caused %d fetches, want at most %d", n, refetchBurst)
	}
	want(t, v, good, Accepted)
	clock.Add(refetchEvery) // one more each while: an honest rotation is found even under the flood
	p.Rotate("ES256")
	want(t, v, p.Token(nil), Accepted)
	if n := v.refused.EstimatedSize(); n > refusedTokens {
		t.Errorf("%d refusals kept", n)
	}
}

// TestAway: while an issuer is away its known keys serve on, and what needs others can not be told.
func TestAway(t *testing.T) {
	t.Parallel()
	clock, p := newClock(), provider(t, "ES256")
	v := newTestVerifier(t, Options{Now: clock.Now}, remote(p))
	p.Down(true)
	long := p.Token(idp.Claims{"exp": clock.Now().Unix() + 1e6})
	want(t, v, long, Unavailable) // never had any keys
	p.Down(false)
	clock.Add(maxRetry)
	tick(t, v)
	want(t, v, long, Accepted)
	p.Down(true)
	for range 50 {
		clock.Add(time.Hour)
		tick(t, v)
		want(t, v, long, Accepted)
	}
	want(t, v, p.Key().Sign(p.Claims(idp.Claims{"sub": "new", "exp": clock.Now().Unix() + 60}), nil), Accepted)
	stranger := idp.NewKey("newer", "ES256")
	want(t, v, stranger.Sign(p.Claims(idp.Claims{"exp": clock.Now().Unix() + 60}), nil), Unavailable)
	p.Down(false)
	p.Use(stranger)
	clock.Add(maxRetry)
	tick(t, v)
	want(t, v, p.Token(idp.Claims{"exp": clock.Now().Unix() + 60}), Accepted)
	want(t, v, long, Invalid)
}

// TestAwayFlood: while an issuer is away, unknown keys can not be told, and still do not become fetches.
func TestAwayFlood(t *testing.T) {
	t.Parallel()
	clock, p := newClock(), provider(t, "ES256")
	v := newTestVerifier(t, Options{Now: clock.Now}, remote(p))
	want(t, v, p.Token(nil), Accepted)
	p.Down(true)
	for n := range 100 {
		k := p.Key()
		k.ID = fmt.Sprint(n)
		want(t, v, k.Sign(p.Claims(nil), nil), Unavailable)
	}
	if n := p.Fetches.Load(); n > refetchBurst {
		t.Errorf("%d fetches, want at most %d", n, refetchBurst)
	}
}

// TestLateAnswer: what a fetch brings for an issuer that was replaced meanwhile changes nothing.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	p := provider(t, "ES256")
	v := newTestVerifier(t, Options{}, remote(p))
	old, _ := v.issuers.Load(p.URL)
	p.Slow(50 * time.Millisecond)
	v.refreshDue()
	old.source.mu.Lock()
	done := old.source.inflight
	old.source.mu.Unlock()
	other := idp.NewKey("other", "ES256")
	if err := v.Apply([]*posternv1.Issuer{inline(p.URL, other)}, nil, true); err != nil {
		t.Fatal(err)
	}
	<-done
	old.source.mu.Lock()
	defer old.source.mu.Unlock()
	if old.keys.Load() != nil {
		t.Error("an issuer that was replaced has keys")
	}
}

// TestSlow: a request waits for keys only so long, and what was fetched meanwhile is there for the next.
func TestSlow(t *testing.T) {
	t.Parallel()
	p := provider(t, "ES256")
	p.Slow(patience + 300*time.Millisecond)
	v := newTestVerifier(t, Options{}, remote(p))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if r := v.Verify(ctx, []byte(p.Token(nil))); r.Reason != Unavailable {
		t.Errorf("result %+v", r)
	}
	began := time.Now()
	if r := v.Verify(t.Context(), []byte(p.Token(nil))); r.Reason != Unavailable || time.Since(began) > patience+200*time.Millisecond {
		t.Errorf("result %+v after %v", r, time.Since(began))
	}
	settle(t, v)
	want(t, v, p.Token(nil), Accepted)
	if n := p.Fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	clock, p := newClock(), provider(t, "RS256")
	v := newTestVerifier(t, Options{Now: clock.Now}, &posternv1.Issuer{Issuer: p.URL, Keys: &posternv1.Issuer_Discovery{Discovery: true}})
	want(t, v, p.Token(nil), Accepted)
	p.Pretend("https://elsewhere")
	p.Rotate("RS256")
	want(t, v, p.Token(nil), Unavailable) // a document of another issuer is not believed
	p.Pretend("")
	clock.Add(maxRetry)
	tick(t, v)
	want(t, v, p.Token(nil), Accepted)
}

// TestUnchanged: an answer that brings nothing new keeps what was verified.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for _, etag := range []string{"", `"1"`} {
		clock, p := newClock(), provider(t, "ES256")
		p.Header("ETag", etag)
		registry := prometheus.NewRegistry()
		v := newTestVerifier(t, Options{Now: clock.Now, Registerer: registry}, remote(p))
		want(t, v, p.Token(nil), Accepted)
		i, _ := v.issuers.Load(p.URL)
		keys := i.keys.Load()
		clock.Add(defaultLifetime)
		tick(t, v)
		if i.keys.Load() != keys {
			t.Errorf("etag %s: the same keys made a new generation", etag)
		}
		clock.Add(7 * time.Second)
		for name, value := range map[string]float64{"changed": 1, "unchanged": 1, "failed": 0} {
			if n := metric(t, registry, "postern_jwks_refresh_total", p.URL, name); n != value {
				t.Errorf("etag %s: %v refreshes were %s, want %v", etag, n, name, value)
			}
		}
		if age := metric(t, registry, "postern_jwks_age_seconds", p.URL); age != 7 {
			t.Errorf("etag %s: keys of an age of %v s, want 7", etag, age)
		}
		if err := v.Apply(nil, []string{p.URL}, true); err != nil {
			t.Fatal(err)
		}
		if n := metric(t, registry, "postern_jwks_refresh_total", p.URL); n != 0 {
			t.Error("an issuer that is gone still has series")
		}
	}
}

// metric sums the series of a metric that have all these label values.
func metric(t *testing.T, registry *prometheus.Registry, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var values []string
			for _, pair := range m.GetLabel() {
				values = append(values, pair.GetValue())
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(values, l) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// TestSettingsChange: new settings of an issuer keep its keys, even while it is away.
func TestSettingsChange(t *testing.T) {
	t.Parallel()
	clock, p := newClock(), provider(t, "ES256")
	v := newTestVerifier(t, Options{Now: clock.Now}, remote(p))
	token := p.Token(idp.Claims{"aud": "shop"})
	want(t, v, token, Accepted)
	p.Down(true)
	changed := remote(p)
	changed.Audiences = []string{"shop"}
	if err := v.Apply([]*posternv1.Issuer{changed}, nil, true); err != nil {
		t.Fatal(err)
	}
	want(t, v, token, Accepted)
	want(t, v, p.Token(idp.Claims{"aud": "other"}), Invalid)
	changed = remote(p)
	changed.Algorithms = []string{"RS256"}
	if err := v.Apply([]*posternv1.Issuer{changed}, nil, true); err != nil {
		t.Fatal(err)
	}
	want(t, v, token, Unavailable) // no key of that kind is known, and nobody to ask
}

// TestBadDocuments: whatever an issuer answers, the last good keys stay.
func TestBadDocuments(t *testing.T) {
	t.Parallel()
	k := idp.NewKey("k", "ES256")
	var mu sync.Mutex
	answer := func(w http.ResponseWriter) { _, _ = w.Write(idp.Set(k)) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer(w)
	}))
	t.Cleanup(server.Close)
	clock := newClock()
	v := newTestVerifier(t, Options{Now: clock.Now}, &posternv1.Issuer{Issuer: "i", Keys: &posternv1.Issuer_JwksUri{JwksUri: server.URL}})
	token := k.Sign(idp.Claims{"iss": "i", "exp": clock.Now().Unix() + 1e6}, nil)
	want(t, v, token, Accepted)
	for name, bad := range map[string]func(http.ResponseWriter){
		"empty":   func(http.ResponseWriter) {},
		"HTML":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) },
		"no keys": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"huge": func(w http.ResponseWriter) {
			_, _ = w.Write(append(idp.Set(k), bytes.Repeat([]byte(" "), maxDocument)...))
		},
		"304":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotModified) },
		"redirects": func(w http.ResponseWriter) { w.Header().Set("Location", "/again"); w.WriteHeader(http.StatusFound) },
		"symmetric": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)) },
		"cut short": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9999"); _, _ = w.Write(idp.Set(k)) },
		"204":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"many keys": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"keys":[` + strings.Repeat(`{"kty":"oct","k":"AAAA"},`, 200) + `{}]}`))
		},
		"not object": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`[1,2]`)) },
	} {
		mu.Lock()
		answer = bad
		mu.Unlock()
		clock.Add(maxLifetime)
		tick(t, v)
		want(t, v, token, Accepted)
		i, _ := v.issuers.Load("i")
		if i.source.failures == 0 {
			t.Errorf("%s: no failure", name)
		}
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect away from TLS was followed") }))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(secure.Close)
	client := newClient()
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	if _, err := fetch(t.Context(), client, document{url: secure.URL}); err == nil || !strings.Contains(err.Error(), "away from TLS") {
		t.Errorf("error %v", err)
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": defaultLifetime, "max-age=600": 10 * time.Minute, "public, MAX-AGE=600": 10 * time.Minute, `max-age="600"`: 10 * time.Minute,
		"max-age=0": minLifetime, "max-age=5": minLifetime, "no-store": minLifetime, "no-cache": minLifetime,
		"max-age=99999999": maxLifetime, "max-age=-1": defaultLifetime, "max-age=x": defaultLifetime, "private": defaultLifetime,
	} {
		if got := lifetime(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// TestRun has the background work fetch by itself, wake for a new issuer, and end.
func TestRun(t *testing.T) {
	t.Parallel()
	p := provider(t, "ES256")
	v := NewVerifier(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	if err := v.Apply([]*posternv1.Issuer{remote(p)}, nil, true); err != nil {
		t.Fatal(err)
	}
	i, _ := v.issuers.Load(p.URL)
	deadline := time.After(10 * time.Second)
	for i.keys.Load() == nil {
		select {
		case <-deadline:
			t.Fatal("no keys")
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestShown: what an address may hide does not come out with an error.
func TestShown(t *testing.T) {
	t.Parallel()
	p := provider(t, "ES256")
	secret := strings.Replace(p.JWKS(), "http://", "http://user:secret@", 1) + "?key=secret"
	p.Down(true)
	_, answered := fetch(t.Context(), newClient(), document{url: secret})
	p.Close()
	_, refused := fetch(t.Context(), newClient(), document{url: secret})
	_, discovered := discover(t.Context(), newClient(), secret, "i")
	for _, err := range []error{answered, refused, discovered} {
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("error %v", err)
		}
	}
}

// TestLog: no issuer is said once; an outage is said when it begins, and what is said holds no token.
func TestLog(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	clock, p := newClock(), provider(t, "ES256")
	v := newTestVerifier(t, Options{Now: clock.Now, Log: slog.New(slog.NewTextHandler(&text, nil))})
	token := p.Token(nil)
	want(t, v, token, Invalid)
	if err := v.Apply(nil, nil, true); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "answering 401"); n != 1 {
		t.Errorf("%d warnings that no issuer is configured", n)
	}
	if err := v.Apply([]*posternv1.Issuer{remote(p)}, nil, true); err != nil {
		t.Fatal(err)
	}
	want(t, v, token, Accepted)
	p.Down(true)
	for range 20 {
		clock.Add(maxLifetime)
		tick(t, v)
	}
	settle(t, v)
	if n := strings.Count(text.String(), "could not be fetched"); n != 1 {
		t.Errorf("%d warnings of one outage:\n%s", n, text.String())
	}
	if strings.Contains(text.String(), token) || strings.Contains(text.String(), "ann") {
		t.Error("a token or its subject was logged")
	}
}
