// Package translate turns the model into what the data plane runs on: Envoy resources, the enforcer's policies and the
// limiter's rules, all from the same model in the same call, so that they cannot drift apart. It is pure: equal input
// gives equal bytes. It must not import gRPC or adapter/project.
//
// The way from an API to a request's answer: index.go (what changes when an API changes), api.go (an API, compiled),
// scope.go (its scopes), table.go (a scope's route table), tree.go (its matcher tree), route.go (one operation's
// route), cluster.go (its backend). What never changes with an API is made by listener.go and filters.go. Features have
// a file each: https.go, cors.go, extauthz.go, ratelimit.go, body.go, errors.go, accesslog.go, mutualtls.go, lifespan.go,
// probe.go with probes.go. blame.go says what a rejection is about.
package translate

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Resource is one xDS resource.
type Resource struct {
	Name    string
	Version string // posternv1.ContentHash of Message
	Message proto.Message
	// APIs it is made from ("name/version", sorted): whom to tell when a gateway refuses it. None: the gateway's own.
	APIs []string
}

func resource(name string, m proto.Message, apis ...string) Resource {
	return Resource{Name: name, Version: posternv1.ContentHash(m), Message: m, APIs: apis}
}

// Static is what settings alone decide, whatever is served: no push of an API changes it (design §4.6).
func Static(s model.Settings) (listeners, clusters []Resource) {
	for _, c := range staticClusters(s) {
		clusters = append(clusters, resource(c.GetName(), c))
	}
	if s.HTTP != "" {
		l := listener(HTTPListener, s.HTTP, s)
		listeners = append(listeners, resource(l.GetName(), l))
	}
	if s.HTTPS != "" {
		l := httpsListener(s)
		listeners = append(listeners, resource(l.GetName(), l))
	}
	if s.Probe != "" {
		l := probeListener(s)
		listeners = append(listeners, resource(l.GetName(), l))
	}
	return listeners, clusters
}

// pack is an Any whose bytes are the same every time; anypb.New's are not where there are maps.
func pack(m proto.Message) *anypb.Any {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil { // only invalid UTF-8 can cause it, and names and paths are escaped
		panic("translate: " + err.Error())
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: b}
}

func extension(name string, m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(m)}
}

// metadata is what a route or virtual host says about itself (posternv1.RouteMetadata).
func metadata(pairs ...string) *corev3.Metadata {
	fields := map[string]*structpb.Value{}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{posternv1.RouteMetadata: {Fields: fields}}}
}

func seconds(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// orElse is d, or the fallback where d says nothing.
func orElse(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

// ads is where everything that is not static comes from.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// quote escapes text so that RE2 matches it literally.
func quote(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if strings.IndexByte(`\.+*?()|[]{}^$`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
