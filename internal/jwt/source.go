package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How often keys are fetched. Cache headers are believed between the bounds.
const (
	minLifetime     = time.Minute
	defaultLifetime = 5 * time.Minute
	maxLifetime     = time.Hour
	firstRetry      = time.Second // doubled at each failure
	maxRetry        = time.Minute
	fetchTimeout    = 5 * time.Second
	maxDocument     = 1 << 20

	// Requests that name an unknown key may ask for a fetch, all of them together this often.
	refetchBurst = 3
	refetchEvery = 10 * time.Second
)

// source is where an issuer's keys come from: a JWK set at a URL, or a discovery document that names one. The jwx
// cache is not used: it has no clock to pass in, no outcome to report, and no bound on fetches that requests ask for.
type source struct {
	url string
	// discovers is the issuer that the document at url must be of; "" if url is the JWK set itself.
	discovers string

	mu       sync.Mutex
	inflight chan struct{} // closed when the fetch that is under way is done; nil if none is
	retired  bool          // what a fetch brings now is of no use
	document document      // the last good one; it serves on while the issuer is away
	fetched  time.Time     // when it was last known to be up to date
	due      time.Time     // when to look again
	failures int           // in a row
	budget   budget
}

// document is a JWK set as it was served.
type document struct {
	body     []byte
	url      string
	etag     string
	lifetime time.Duration
}

func newSource(address, discovers string) (*source, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("its keys are to come from something that is not an absolute http or https URL")
	}
	return &source{url: address, discovers: discovers}, nil
}

// inherit takes over what an older source of the same place knows, so that a change of an issuer's settings does not
// leave it without keys.
func (s *source) inherit(older *source) {
	if older == nil || older.url != s.url || older.discovers != s.discovers {
		return
	}
	older.mu.Lock()
	defer older.mu.Unlock()
	s.document, s.fetched, s.due, s.failures, s.budget = older.document, older.fetched, older.due, older.failures, older.budget
}

// get fetches the JWK set. A document that did not change comes back as it was.
func (s *source) get(ctx context.Context, client *http.Client) (document, error) {
	known, address := s.document, s.url
	if s.discovers != "" {
		found, err := discover(ctx, client, s.url, s.discovers)
		if err != nil {
			return document{}, err
		}
		address = found
	}
	if known.url != address {
		known = document{url: address}
	}
	return fetch(ctx, client, known)
}

// discover reads an OpenID provider's configuration (OpenID Connect Discovery 1.0 §4.3).
func discover(ctx context.Context, client *http.Client, address, issuer string) (string, error) {
	doc, err := fetch(ctx, client, document{url: address})
	if err != nil {
		return "", err
	}
	var provider struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(doc.body, &provider); err != nil {
		return "", fmt.Errorf("the discovery document at %s is not JSON: %w", shown(address), err)
	}
	if provider.Issuer != issuer {
		return "", fmt.Errorf("the discovery document at %s is of the issuer %q", shown(address), provider.Issuer)
	}
	keys, err := newSource(provider.Keys, "")
	if err != nil {
		return "", fmt.Errorf("the discovery document at %s: %w", shown(address), err)
	}
	if strings.HasPrefix(address, "https:") && !strings.HasPrefix(keys.url, "https:") {
		return "", fmt.Errorf("the discovery document at %s names keys without TLS", shown(address))
	}
	return keys.url, nil
}

// fetch gets a document, or learns that the known one is still the present one.
func fetch(ctx context.Context, client *http.Client, known document) (document, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, known.url, nil)
	if err != nil {
		return document{}, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if known.etag != "" {
		request.Header.Set("If-None-Match", known.etag)
	}
	response, err := client.Do(request)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err // which does not repeat the URL with all that is in it
		}
		return document{}, fmt.Errorf("%s: %w", shown(known.url), err)
	}
	defer response.Body.Close()
	known.lifetime = lifetime(response.Header)
	switch {
	case response.StatusCode == http.StatusNotModified && known.etag != "":
		return known, nil
	case response.StatusCode != http.StatusOK:
		return document{}, fmt.Errorf("%s answered %s", shown(known.url), response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	switch {
	case err != nil:
		return document{}, fmt.Errorf("%s: %w", shown(known.url), err)
	case len(body) > maxDocument:
		return document{}, fmt.Errorf("%s answered more than %d bytes", shown(known.url), maxDocument)
	}
	return document{body: body, url: known.url, etag: response.Header.Get("ETag"), lifetime: known.lifetime}, nil
}

// shown is an address without what may be secret in it.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "its URL"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// lifetime is how long an answer may be kept (RFC 9111 §5.2.2), within our bounds.
func lifetime(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.ToLower(h.Get("Cache-Control")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return minLifetime
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				return min(max(time.Duration(seconds)*time.Second, minLifetime), maxLifetime)
			}
		}
	}
	return defaultLifetime
}

// newClient follows few redirects, and none from TLS to plain HTTP.
func newClient() *http.Client {
	return &http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) >= 3 {
			return errors.New("too many redirects")
		}
		if via[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
			return errors.New("a redirect away from TLS")
		}
		return nil
	}}
}

// budget bounds the fetches that requests ask for: a burst, then one at a time.
type budget struct {
	spent int
	since time.Time
}

func (b *budget) take(now time.Time) bool {
	if earned := int(now.Sub(b.since) / refetchEvery); earned > 0 {
		b.spent, b.since = max(b.spent-earned, 0), now
	}
	if b.spent >= refetchBurst {
		return false
	}
	b.spent++
	return true
}
