package mtls

import (
	"context"

	"google.golang.org/grpc/peer"
)

// WithPeer is the context of a call by who has shown a certificate.
func WithPeer(ctx context.Context, who Identity) context.Context {
	return peer.NewContext(ctx, &peer.Peer{AuthInfo: authInfo{identity: who}})
}
