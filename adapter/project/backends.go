package project

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

const (
	productionKey = "x-wso2-production-endpoints"
	sandboxKey    = "x-wso2-sandbox-endpoints"
)

// production finds where an operation's requests go: the innermost x-wso2-production-endpoints, else the innermost
// absolute servers. Where the operation's state is not served, none are needed.
func (d *definition) production(p place, closed bool) model.Backend {
	said := d.saidURLs("production")
	if n, l := p.inner(productionKey); n != nil && (l != atAPI || said == nil) {
		return *d.endpoints(n)
	}
	if said != nil {
		return *d.saidEndpoints(said, d.api().at(productionKey))
	}
	if n, _ := p.inner(sandboxKey); n != nil && !closed {
		d.refuse(n.keyAt(), "no-production-endpoints",
			"only sandbox endpoints are declared here; add %s too, for server URLs do not stand in for it then", productionKey)
		return model.Backend{}
	}
	for _, l := range p.levels() {
		if b := d.servers(l); b != nil {
			return *b
		}
	}
	if !closed {
		d.withoutBackend++
	}
	return model.Backend{}
}

// saidURLs are the URLs that project.yaml puts in the place of the API's own; nil if there are none.
func (d *definition) saidURLs(key string) *node {
	if n := d.said.get(key); len(n.items()) > 0 {
		return n
	}
	return nil
}

// sandbox is like production, for keys of that kind; nil where none is declared.
func (d *definition) sandbox(p place) *model.Backend {
	said := d.saidURLs("sandbox")
	n, l := p.inner(sandboxKey)
	switch {
	case n != nil && (l != atAPI || said == nil):
	case said != nil:
		return d.warnSandbox(said, d.saidEndpoints(said, d.api().at(sandboxKey)))
	default:
		return nil
	}
	return d.warnSandbox(n, d.endpoints(n))
}

// warnSandbox says once for an API that sandbox endpoints serve nobody yet.
func (d *definition) warnSandbox(n *node, b *model.Backend) *model.Backend {
	if !d.warnedSandbox {
		d.warnedSandbox = true
		d.warn(n.keyAt(), "not-served", "until keys tell production from sandbox, the production endpoints serve all requests; these serve none")
	}
	return b
}

// endpoints reads an endpoint object, or the one that "#/x-wso2-endpoints/NAME" refers to. Each is read once; nil never.
func (d *definition) endpoints(n *node) *model.Backend {
	if known, ok := d.backends[n]; ok {
		return known
	}
	d.backends[n] = &model.Backend{}
	found := n
	if n.kind == text {
		if found = d.byName(n); found == nil {
			return d.backends[n]
		}
	}
	d.backends[n] = d.endpointObject(found)
	return d.backends[n]
}

const referencePrefix = "#/x-wso2-endpoints/"

// byName finds the endpoint object that a reference names, nil if there is none.
func (d *definition) byName(n *node) *node {
	name, ok := strings.CutPrefix(n.value, referencePrefix)
	if !ok {
		d.refuse(n.at(), "bad-endpoint", "an endpoint is an object with urls, or a reference such as %q", referencePrefix+"orders")
		return nil
	}
	found := d.named[name]
	switch {
	case found == nil:
		d.refuse(n.at(), "unknown-endpoint", "x-wso2-endpoints has no %q%s", name, didYouMean(name, maps.Keys(d.named)))
	case found.kind != object: // said where it stands
		return nil
	}
	return found
}

// namedEndpoints reads the list of endpoints for references, used or not.
func (d *definition) namedEndpoints() {
	for _, item := range d.api().at("x-wso2-endpoints").items() {
		if !d.is(item, "each item of x-wso2-endpoints", object) {
			continue
		}
		for _, m := range item.members {
			if m.key == "securityConfig" {
				d.securityConfig(m)
				continue
			}
			if other := d.named[m.key]; other != nil {
				d.refuse(m.keyAt(), "duplicate-endpoint", "the endpoint %q is defined twice, first at %s; rename one of them", m.key, other.keyAt())
			}
			d.named[m.key] = m
			if d.is(m, "the endpoint "+m.key, object) {
				d.endpoints(m)
			}
		}
	}
}

// saidEndpoints are the URLs of project.yaml, with the configuration of the endpoints they stand in for.
func (d *definition) saidEndpoints(said, replaced *node) *model.Backend {
	if known, ok := d.backends[said]; ok {
		return known
	}
	b := model.Backend{Endpoints: d.urls(said)}
	if replaced != nil {
		config := d.endpoints(replaced)
		b.Timeout, b.Retry = config.Timeout, config.Retry
	}
	d.backends[said] = d.finish(&b)
	return d.backends[said]
}

func (d *definition) urls(n *node) []model.Endpoint {
	var out []model.Endpoint
	for _, item := range n.items() {
		if !d.is(item, "a URL", text) {
			continue
		}
		if address, ok := d.variables.expand(&d.report, item); ok {
			if e, ok := d.endpoint(item, address); ok {
				out = append(out, e)
			}
		}
	}
	return out
}

// endpointObject reads what compat.md §2 describes.
func (d *definition) endpointObject(n *node) *model.Backend {
	d.onlyMembersWarn(n, "an endpoint", "urls", "type", "advanceEndpointConfig", "securityConfig")
	var b model.Backend
	urls := n.get("urls")
	if urls == nil || urls.kind == list && len(urls.members) == 0 {
		d.refuse(n.at(), "bad-endpoint", "urls is missing; name at least one http:// or https:// URL")
	} else if d.is(urls, "urls", list) {
		b.Endpoints = d.urls(urls)
	}
	if v := n.get("type"); d.takes(v, "type", text) {
		switch strings.ToLower(v.value) {
		case "load_balance", "loadbalance", "http":
		case "failover":
			d.warn(v.at(), "not-served", "this build does not fail over: requests are spread over all urls as by load_balance")
		default:
			d.warn(v.at(), "unknown-value", "%q is not a type of endpoint; it is read as load_balance", v.value)
		}
	}
	d.securityConfig(n.get("securityConfig"))
	if v := n.get("advanceEndpointConfig"); d.takes(v, "advanceEndpointConfig", object) {
		d.advanced(v, &b)
	}
	return d.finish(&b)
}

func (d *definition) securityConfig(n *node) {
	if n != nil {
		d.refuse(n.keyAt(), "not-served", "this build sends backends no credentials of its own, so they would refuse what it sends; remove securityConfig")
	}
}

// advanced reads timeouts and retries.
func (d *definition) advanced(n *node, b *model.Backend) {
	d.onlyMembersWarn(n, "advanceEndpointConfig", "timeoutInMillis", "retryConfig", "circuitBreaker", "circuitBreakers")
	if v := n.get("timeoutInMillis"); v != nil {
		if ms, ok := d.millis(v); ok {
			b.Timeout = ms
		}
		if most := d.options.Settings.Timeouts.MaxRequest; most > 0 && b.Timeout > most {
			d.warn(v.at(), "timeout-cut", "the gateway waits %s at most (timeouts.maxRequest); the timeout is cut to that", most)
			b.Timeout = most
		}
	}
	for _, key := range []string{"circuitBreaker", "circuitBreakers"} {
		if v := n.get(key); v != nil {
			d.warn(v.keyAt(), "not-served", "this build has no circuit breakers of a backend's own; %s has no effect", key)
		}
	}
	if v := n.get("retryConfig"); d.takes(v, "retryConfig", object) {
		b.Retry = d.retry(v)
	}
}

// millis reads a length of time of at least a millisecond.
func (d *definition) millis(n *node) (time.Duration, bool) {
	ms, ok := n.integer()
	if !ok || ms < 1 || ms > int64(maxWindow/time.Millisecond) {
		d.warn(n.at(), "wrong-type", "%s must be a whole number of milliseconds, at least 1; it has no effect", n.key)
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// Choreo Connect's bounds of a retryConfig.
const (
	maxRetries     = 5
	minRetryStatus = 401
	maxRetryStatus = 598
	defaultStatus  = 504
)

// retry reads API Microgateway's retryConfig, of which Choreo Connect's is a part; nil if it repeats nothing.
func (d *definition) retry(n *node) *model.Retry {
	d.onlyMembersWarn(n, "retryConfig", "count", "intervalInMillis", "backOffFactor", "maxWaitIntervalInMillis", "statusCodes")
	count, ok := n.get("count").integer()
	if !ok {
		d.warn(n.keyAt(), "wrong-type", "retryConfig needs count, how often to repeat: a whole number from 0 to %d; nothing is repeated", maxRetries)
		return nil
	}
	if count < 0 || count > maxRetries {
		d.warn(n.get("count").at(), "retries-cut", "count is cut to %d", maxRetries)
		count = maxRetries
	}
	r := &model.Retry{Count: int(count), Statuses: d.retryStatuses(n.get("statusCodes"))}
	if v := n.get("intervalInMillis"); v != nil {
		r.Interval, _ = d.millis(v)
	}
	if v := n.get("maxWaitIntervalInMillis"); v != nil {
		r.MaxInterval, _ = d.millis(v)
	}
	if r.Interval > 0 && r.MaxInterval > 0 && r.MaxInterval < r.Interval {
		d.warn(n.get("maxWaitIntervalInMillis").at(), "unknown-value", "the longest pause is shorter than the first; the first is used")
		r.MaxInterval = r.Interval
	}
	if v := n.get("backOffFactor"); d.takes(v, "backOffFactor", number) && v.value != "2" && v.value != "2.0" {
		d.warn(v.at(), "not-served", "pauses between repetitions double, with some chance in them; another backOffFactor has no effect")
	}
	if count == 0 {
		return nil
	}
	return r
}

func (d *definition) retryStatuses(n *node) []uint32 {
	var out []uint32
	d.takes(n, "statusCodes", list)
	for _, item := range n.items() {
		code, ok := item.integer()
		if !ok || code < minRetryStatus || code > maxRetryStatus {
			d.warn(item.at(), "unknown-value", "a status to repeat at is between %d and %d; this one has no effect", minRetryStatus, maxRetryStatus)
			continue
		}
		out = append(out, uint32(code))
	}
	if len(out) == 0 {
		return []uint32{defaultStatus}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// finish adds what holds for all backends of the API.
func (d *definition) finish(b *model.Backend) *model.Backend {
	b.HTTP2 = d.api().at("x-wso2-http2-backend-enabled").isTrue()
	if slices.ContainsFunc(b.Endpoints, func(e model.Endpoint) bool { return e.TLS }) {
		b.CA = d.ca
	}
	return b
}
