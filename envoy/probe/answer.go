package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// answer is what Envoy says it makes of a request; "" is nothing.
type answer struct {
	status                          int
	api, operation, policy, cluster string
}

// errAway is no answer at all.
var errAway = errors.New("envoy does not answer")

// slow is how long one request may take: no other server is asked for it.
const slow = time.Second

func (p *Prober) request(ctx context.Context, c *posternv1.Check) (answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slow) // why not ctx: at its end, too, each is asked once
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, c.GetMethod(), "http://envoy/", nil)
	if err != nil {
		return answer{}, err
	}
	request.Host = c.GetHost()
	request.URL = &url.URL{Scheme: "http", Host: "envoy", Opaque: c.GetPath()} // byte for byte
	request.Header.Set("User-Agent", "postern-probe")
	response, err := p.client.RoundTrip(request)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errAway, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	response.Body.Close()
	h := response.Header
	return answer{
		status: response.StatusCode, api: h.Get(posternv1.ProbeAPI), operation: h.Get(posternv1.ProbeOperation),
		policy: h.Get(posternv1.ProbePolicy), cluster: h.Get(posternv1.ProbeCluster),
	}, nil
}

// judge says what is wrong with an answer, if anything.
func judge(api string, c *posternv1.Check, a answer) error {
	switch {
	case a.status != http.StatusOK:
		return fmt.Errorf("was answered %d", a.status)
	case a.api == "" && a.cluster == "":
		return errors.New("found no route table (404)")
	case a.operation == "" && a.cluster == "":
		return fmt.Errorf("found no route (404)%s", in(a.api, api))
	case a.cluster == posternv1.NotFoundCluster:
		return fmt.Errorf("found no operation (404)%s", in(a.api, api))
	case a.cluster == posternv1.MethodNotAllowedCluster:
		return fmt.Errorf("found no such method (405)%s", in(a.api, api))
	case a.api != api || a.operation != c.GetOperation():
		return fmt.Errorf("led to %s of %s", a.operation, a.api)
	case a.policy != c.GetPolicy():
		return fmt.Errorf("found policy %s, not %s", short(a.policy), short(c.GetPolicy()))
	case !slices.Contains(c.GetClusters(), a.cluster):
		return fmt.Errorf("goes to cluster %s, not %s", or(a.cluster, "none"), strings.Join(c.GetClusters(), " or "))
	}
	return nil
}

// in says whose answer it is, if it is somebody else's.
func in(api, expected string) string {
	if api == "" || api == expected {
		return ""
	}
	return " in " + api
}

func short(policy string) string { return or(policy[:min(len(policy), 12)], "none") }

func or(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// most is how long the words may be: adapters cut longer ones.
const most = 500

// summary is the first failure, and which others there are.
func summary(probe *posternv1.Probe, failures []error) error {
	var words strings.Builder
	n := 0
	for i, err := range failures {
		if err == nil {
			continue
		}
		c := probe.GetChecks()[i]
		switch n++; {
		case errors.Is(err, errAway):
			return fmt.Errorf("probe of %s: %s", probe.GetApi(), cut(err.Error(), most-len(probe.GetApi())-len("probe of : ")))
		case n == 1:
			fmt.Fprintf(&words, "probe of %s: %s: %s http://%s%s %s", probe.GetApi(), c.GetOperation(), c.GetMethod(), c.GetHost(), c.GetPath(), err)
		default:
			fmt.Fprintf(&words, "; %s %s", c.GetOperation(), err)
		}
	}
	if n == 0 {
		return nil
	}
	text := words.String()
	if len(text) > most {
		more := fmt.Sprintf(" … (%d operations)", n)
		text = cut(text, most-len(more)) + more
	}
	return errors.New(text)
}

func cut(text string, at int) string {
	if len(text) <= at {
		return text
	}
	return strings.ToValidUTF8(text[:max(at, 0)], "")
}
