package enforcer

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postern-gateway/postern/enforcer/policy"
)

// checkRequest is what Envoy sends for a browser's request, with everything we do not read around it.
func checkRequest(policy, operation, path string, headers map[string]string) *authv3.CheckRequest {
	all := map[string]string{
		":authority": "shop.example.com", ":method": "GET", ":path": path, ":scheme": "https",
		"accept": "application/json", "accept-encoding": "gzip, deflate, br", "accept-language": "de,en;q=0.7", "cache-control": "no-cache",
		"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "referer": "https://shop.example.com/cart",
		"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https", "x-request-id": "6f1b7d0e-7d4e-4a2b-9a57-0d5b4e9f7c11",
		"x-envoy-external-address": "203.0.113.7", "sec-fetch-mode": "cors",
	}
	maps.Copy(all, headers)
	address := func(ip string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: address("203.0.113.7", 40000), Destination: address("10.0.0.1", 9090),
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.Now(),
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "12345", Method: "GET", Headers: all, Path: path, Host: "shop.example.com", Scheme: "https", Size: -1, Protocol: "HTTP/2",
				Body: "not for us", RawBody: []byte{0xff, 0xfe},
			},
		},
		ContextExtensions: map[string]string{"api": "pets/1.0.0", "operation": operation, "policy": policy},
		MetadataContext:   &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"postern": {}}},
		TlsSession:        &authv3.AttributeContext_TLSSession{Sni: "shop.example.com"},
	}}
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// agree fails unless r holds what the stock decoder found, as far as policies look.
func agree(t *testing.T, r *Request, m *authv3.CheckRequest) {
	t.Helper()
	extensions, http := m.GetAttributes().GetContextExtensions(), m.GetAttributes().GetRequest().GetHttp()
	for name, pair := range map[string][2]string{
		"policy":    {string(r.policy), extensions["policy"]},
		"operation": {string(r.operation), extensions["operation"]},
		"path":      {string(r.Path()), http.GetPath()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
	for name, value := range http.GetHeaders() {
		if got := r.Header(name); got == nil || string(got) != value {
			t.Errorf("header %q is %q, want %q", name, got, value)
		}
	}
	for _, h := range r.headers {
		if _, there := http.GetHeaders()[string(h.name)]; !there {
			t.Errorf("a header %q that is not there", h.name)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	full := checkRequest("abc", "GET /pets/{id}", "/pets/1?x=%20", map[string]string{"authorization": "Bearer x", "empty": "", "": "nameless"})
	many := checkRequest("abc", "", "", nil)
	for i := range 100 {
		many.Attributes.Request.Http.Headers[strings.Repeat("x", i+1)] = "y"
	}
	for name, m := range map[string]*authv3.CheckRequest{
		"full": full, "many headers": many, "empty": {}, "no request": {Attributes: &authv3.AttributeContext{}},
		"no http": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Request
			if err := r.decode(encode(t, m)); err != nil {
				t.Fatal(err)
			}
			agree(t, &r, m)
			if r.Header("not-there") != nil {
				t.Error("a header that is not there has a value")
			}
		})
	}
	// Messages that come in parts are merged, and of an entry that comes twice the last one counts.
	other := checkRequest("def", "PUT /", "/other", map[string]string{"accept": "text/html", "authorization": "Bearer y"})
	parts := append(encode(t, full), encode(t, other)...)
	merged := new(authv3.CheckRequest)
	if err := proto.Unmarshal(parts, merged); err != nil {
		t.Fatal(err)
	}
	var r Request
	if err := r.decode(parts); err != nil {
		t.Fatal(err)
	}
	agree(t, &r, merged)
	if string(r.policy) != "def" || string(r.Header("authorization")) != "Bearer y" {
		t.Errorf("policy %q, authorization %q", r.policy, r.Header("authorization"))
	}
}

// TestCodecCopies: gRPC uses its buffers again as soon as Unmarshal is back.
func TestCodecCopies(t *testing.T) {
	t.Parallel()
	data := encode(t, checkRequest("abc", "GET /", "/", nil))
	var r Request
	if err := unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	clear(data)
	if string(r.policy) != "abc" {
		t.Errorf("policy %q after the buffer was used again", r.policy)
	}
}

// FuzzCheckRequest: whatever the stock decoder accepts we read alike, and nothing makes us panic.
func FuzzCheckRequest(f *testing.F) {
	full := encode(f, checkRequest("abc", "GET /pets/{id}", "/pets/1?x=1", map[string]string{"authorization": "Bearer x"}))
	f.Add(full)
	f.Add(append(bytes.Clone(full), full...))
	f.Add(full[:len(full)/2])
	f.Add([]byte{})
	f.Add(protowire.AppendTag(nil, checkAttributes, protowire.StartGroupType))
	f.Add([]byte{0x0a, 0x02, 0x52, 0x00})                               // an empty entry of context_extensions
	f.Add([]byte{0x0a, 0x06, 0x22, 0x04, 0x12, 0x02, 0x1a, 0x00})       // an empty header
	f.Add([]byte{0x0a, 0x08, 0x22, 0x06, 0x12, 0x04, 0x1a, 0x02, 8, 1}) // a key of another type
	blind := New(Options{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Request
		err := r.decode(bytes.Clone(data))
		m := new(authv3.CheckRequest)
		if proto.Unmarshal(data, m) != nil {
			if err == nil {
				d := blind.decide(t.Context(), &r)
				if d.Pass() {
					t.Error("passed by a server that knows no policy")
				}
			}
			return
		}
		if err != nil {
			t.Fatalf("the stock decoder accepts what ours refuses: %v", err)
		}
		agree(t, &r, m)
	})
}

func TestResponses(t *testing.T) {
	t.Parallel()
	set := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}
	}
	metadata := func(pairs ...string) *structpb.Struct {
		s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for i := 0; i < len(pairs); i += 2 {
			s.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
		}
		return s
	}
	denied := func(code int32, response *authv3.DeniedHttpResponse, metadata *structpb.Struct) *authv3.CheckResponse {
		return &authv3.CheckResponse{
			Status: &status.Status{Code: code}, DynamicMetadata: metadata,
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: response},
		}
	}
	long := strings.Repeat("ä", 9000) // lengths of one, two and three bytes
	for name, test := range map[string]struct {
		decision policy.Decision
		want     *authv3.CheckResponse
	}{
		"told": {policy.Decision{
			Reason: policy.Allowed, Client: "0123456789abcdef", Set: []policy.Header{{Name: "x-postern-subject", Value: "ann"}, {Name: "long", Value: long}},
			Remove: []string{"authorization", "x-postern-client"},
		}, &authv3.CheckResponse{
			Status: &status.Status{}, DynamicMetadata: metadata("client", "0123456789abcdef"),
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
				Headers:         []*corev3.HeaderValueOption{set("x-postern-subject", "ann"), set("long", long)},
				HeadersToRemove: []string{"authorization", "x-postern-client"},
			}},
		}},
		"anonymous": {policy.Decision{Reason: policy.Anonymous}, &authv3.CheckResponse{
			Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		}},
		"zero": {policy.Decision{}, denied(7, &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 403}, Body: "Forbidden.",
		}, metadata("code", "900908", "title", "Forbidden"))},
		"missing": {policy.Decision{Reason: policy.Missing, Detail: "none was sent", Challenge: `Bearer realm="x"`}, denied(16, &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 401}, Headers: []*corev3.HeaderValueOption{set("www-authenticate", `Bearer realm="x"`)}, Body: "none was sent",
		}, metadata("code", "900902", "title", "Unauthorized"))},
		"unavailable": {policy.Decision{Reason: policy.Unavailable, Detail: "later"}, denied(14, &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: 503}, Headers: []*corev3.HeaderValueOption{set("retry-after", "5")}, Body: "later",
		}, metadata("code", "900900", "title", "Service Unavailable"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := new(authv3.CheckResponse)
			if err := proto.Unmarshal(respond(&test.decision), got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
