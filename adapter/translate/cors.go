package translate

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/postern-gateway/postern/adapter/model"
)

// corsOf is an API's CORS, or the gateway's where it says nothing; nil is the answer to what no API is asked about.
func (v *virtualHost) corsOf(f *face) model.CORS {
	if f != nil && f.CORS != nil {
		return *f.CORS
	}
	return v.settings.CORS
}

func equalCORS(a, b model.CORS) bool {
	if !a.Enabled || !b.Enabled {
		return a.Enabled == b.Enabled
	}
	return slices.Equal(a.Origins, b.Origins) && slices.Equal(a.Methods, b.Methods) && slices.Equal(a.Headers, b.Headers) &&
		slices.Equal(a.Expose, b.Expose) && a.Credentials == b.Credentials && a.MaxAge == b.MaxAge
}

// corsPolicy is nil where CORS is off. Every field is set: a route's policy would take a missing one from its virtual
// host's.
func corsPolicy(c model.CORS) *anypb.Any {
	if !c.Enabled {
		return nil
	}
	p := &corsv3.CorsPolicy{
		AllowMethods:              strings.Join(c.Methods, ", "),
		AllowHeaders:              strings.Join(c.Headers, ", "),
		ExposeHeaders:             strings.Join(c.Expose, ", "),
		AllowCredentials:          wrapperspb.Bool(c.Credentials),
		AllowPrivateNetworkAccess: wrapperspb.Bool(false),
	}
	if c.MaxAge > 0 {
		p.MaxAge = strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	}
	for _, o := range c.Origins {
		p.AllowOriginStringMatch = append(p.AllowOriginStringMatch, origin(o))
	}
	return pack(p)
}

// origin matches an Origin header; "*" alone is any, and inside an origin any run of characters but "/".
func origin(o string) *matcherv3.StringMatcher {
	if o == "*" || !strings.Contains(o, "*") {
		return exact(o)
	}
	regex := strings.ReplaceAll(quote(o), `\*`, "[^/]*")
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}}
}
