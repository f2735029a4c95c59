package xds

import (
	"context"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// TestServiceOfSecrets: it serves secrets, and nothing else that the server has.
func TestServiceOfSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put(SecretType, Item{"key", "1"})
	r.put(ClusterType, Item{"a", "1"})
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	open := func(first *discoveryv3.DeltaDiscoveryRequest) secretv3.SecretDiscoveryService_DeltaSecretsClient {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		t.Cleanup(cancel)
		stream, err := secretv3.NewSecretDiscoveryServiceClient(conn).DeltaSecrets(ctx)
		if err != nil {
			t.Fatal(err)
		}
		first.Node = Node{ID: "gw-1"}.Proto()
		if err := stream.Send(first); err != nil {
			t.Fatal(err)
		}
		return stream
	}
	for _, typeURL := range []string{"", SecretType} {
		stream := open(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: []string{"key"}})
		for _, want := range []string{"+key@1", "+key@2"} {
			m, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if got := show(m); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			r.put(SecretType, Item{"key", "2"})
		}
		r.put(SecretType, Item{"key", "1"})
	}
	stream := open(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"*"}})
	if m, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v, %v", m, err)
	}
}
