package mtls

import (
	"context"
	"net"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/postern-gateway/postern/internal/xds"
)

// Authorize is what an xDS server asks about who connects (xds.ServerOptions.Authorize): a node must be what its
// certificate says. Where there is no TLS, which is on unix sockets and loopback, any node will do. Refusals are logged and
// counted.
func (s *Set) Authorize(ctx context.Context, n xds.Node) error {
	who, ok := Peer(ctx)
	if !ok {
		return nil
	}
	err := who.Admits(n)
	if err == nil {
		return nil
	}
	var remote net.Addr
	if p, ok := peer.FromContext(ctx); ok {
		remote = p.Addr
	}
	s.refusals.count.Inc()
	s.refusals.say(remote, "gateway refused", err.Error())
	return status.Error(codes.PermissionDenied, err.Error())
}
