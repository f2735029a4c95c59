package policy

import (
	"context"
	"slices"

	"github.com/postern-gateway/postern/enforcer/authn"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Decide judges one request: who calls, may they, and what the backend is told.
func (o *Operation) Decide(ctx context.Context, r authn.Request) Decision {
	// 1 what does the request present
	var store [2]credential
	found := append(store[:0], make([]credential, len(o.places))...)
	presented := false
	for i, place := range o.places {
		found[i].Presented = place.Read(r)
		presented = presented || found[i].Any()
	}
	if !presented && o.anonymous {
		return Decision{Reason: Anonymous, API: o.api, Remove: o.hidden}
	}

	// 2 who calls, and may they: the first alternative that holds, else the failure that helps most
	var nearest failure
	for _, a := range o.alternatives {
		f := o.try(ctx, a, found)
		if f.reason == Allowed && !o.crowded(a, found) {
			return o.allow(r, a[0], found)
		}
		if f.reason == Allowed {
			f.reason, f.detail = Several, "tokens were sent in more than one way"
		}
		if f.reason > nearest.reason {
			nearest = f
		}
	}
	if nearest.reason == Scope && o.anonymous { // whom anybody is good enough for
		return o.allowAnonymous(r, found)
	}
	return o.refuse(nearest)
}

// credential is what a request presents at a place, and what became of it once somebody asked.
type credential struct {
	authn.Presented
	judged bool
	result authn.Result
}

// failure is why an alternative did not hold.
type failure struct {
	reason      Reason
	requirement requirement
	detail      string
}

// try asks for all requirements of an alternative. Of several that fail, the one that the caller has to mend first counts;
// what could not be told counts only if nothing was refused.
func (o *Operation) try(ctx context.Context, a alternative, found []credential) failure {
	first := failure{reason: Allowed, requirement: a[0]}
	for _, r := range a {
		reason, detail := o.judge(ctx, r, &found[r.place])
		if reason < first.reason {
			first = failure{reason, r, detail}
		}
	}
	return first
}

// judge asks whether one requirement holds. A credential that several requirements name is verified once.
func (o *Operation) judge(ctx context.Context, r requirement, c *credential) (Reason, string) {
	switch {
	case c.Several:
		return Several, c.Fault
	case c.Fault != "":
		return Invalid, c.Fault
	case c.Token == nil:
		return Missing, "a credential is needed and none was sent"
	}
	if !c.judged {
		c.result, c.judged = o.tokens.Verify(ctx, c.Token), true
	}
	if c.result.Reason != authn.Accepted {
		return reasonOf(c.result.Reason), c.result.Detail
	}
	if !r.admits(c.result.Identity.Scopes) {
		return Scope, "the token does not have the scope that is needed"
	}
	return Allowed, ""
}

func (r requirement) admits(scopes []string) bool {
	if len(r.scopes) == 0 {
		return true
	}
	for _, want := range r.scopes {
		if slices.Contains(scopes, want) == r.any {
			return r.any // one is there and enough, or one is missing and all are needed
		}
	}
	return !r.any
}

// crowded says that the request sends tokens in another way beside those that a asks for (RFC 6750 §2). Cookies do not
// count, for browsers send them unasked.
func (o *Operation) crowded(a alternative, found []credential) bool {
	for i, c := range found {
		if c.Any() && o.places[i].Place != posternv1.Bearer_PLACE_COOKIE &&
			!slices.ContainsFunc(a, func(r requirement) bool { return r.place == i }) {
			return true
		}
	}
	return false
}

// allow admits the request and tells the backend who calls: the subject of the alternative's first requirement.
func (o *Operation) allow(r authn.Request, by requirement, found []credential) Decision {
	id := found[by.place].result.Identity
	d := Decision{Reason: Allowed, API: o.api, Scheme: by.scheme, Client: id.Hash}
	d.Set = make([]Header, 0, len(o.hidden)+1)
	d.Remove = make([]string, 0, len(o.hidden)+len(o.places))
	d.tell(posternv1.HeaderSubject, id.Subject)
	d.tell(posternv1.HeaderScopes, id.ScopeList)
	d.tell(posternv1.HeaderClient, id.Client)
	for _, h := range o.identity {
		d.tell(h.header, id.Claims[h.claim])
	}
	o.strip(&d, r, found)
	return d
}

// allowAnonymous admits a caller whose credential is good and not enough as one without.
func (o *Operation) allowAnonymous(r authn.Request, found []credential) Decision {
	d := Decision{Reason: Anonymous, API: o.api, Remove: slices.Clone(o.hidden)}
	o.strip(&d, r, found)
	return d
}

// tell sets a header to value; without one, what the client sent under its name must not survive.
func (d *Decision) tell(header, value string) {
	if value == "" {
		d.Remove = append(d.Remove, header)
		return
	}
	d.Set = append(d.Set, Header{header, value})
}

// strip takes every credential the operation knows of out of the request to the backend.
func (o *Operation) strip(d *Decision, r authn.Request, found []credential) {
	if o.forward {
		return
	}
	var cookies, parameters []string
	for i, place := range o.places {
		if !found[i].Any() {
			continue
		}
		switch place.Place {
		case posternv1.Bearer_PLACE_HEADER:
			if !slices.ContainsFunc(d.Set, func(h Header) bool { return h.Name == place.Key }) {
				d.Remove = append(d.Remove, place.Key)
			}
		case posternv1.Bearer_PLACE_QUERY:
			parameters = append(parameters, place.Key)
		case posternv1.Bearer_PLACE_COOKIE:
			cookies = append(cookies, place.Key)
		}
	}
	if len(parameters) > 0 {
		// The path is replaced whole: Envoy's own way to remove a parameter sorts and escapes the others anew.
		d.tell(":path", authn.WithoutParameters(r.Path(), parameters))
	}
	if len(cookies) > 0 {
		d.tell("cookie", authn.WithoutCookies(r.Header("cookie"), cookies))
	}
}

func (o *Operation) refuse(f failure) Decision {
	if f.reason == Refused {
		f.detail = "nobody may call this operation"
	}
	d := Decision{Reason: f.reason, API: o.api, Scheme: f.requirement.scheme, Detail: sentence(f.detail)}
	if status := d.Status(); status == 401 || f.reason == Scope {
		d.Challenge = challenge(o.api, f.reason, d.Detail, f.requirement.scopes)
	}
	return d
}
