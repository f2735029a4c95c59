package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Between two rounds over all addresses a client waits this long, growing from the one to the other.
const (
	minBackOff = 200 * time.Millisecond
	maxBackOff = time.Second
)

// Update is one response of the server, decoded as far as this package knows it.
type Update struct {
	TypeURL   string
	Resources []*discoveryv3.Resource
	Removed   []string
	// Complete: with this update, and from now on, everything there was has arrived.
	Complete bool
}

// ClientOptions of Run.
type ClientOptions struct {
	// Addresses of servers, "unix:/path" or "host:port", tried in turn.
	Addresses []string
	// Node, Label and Role are who we are.
	Node, Label, Role string
	// Version of this build, for those who look after many.
	Version string
	// Types are the type URLs to follow, each of them whole.
	Types []string
	// Apply takes one update in. It is called by one goroutine, again after every reconnect with what
	// changed meanwhile. An error refuses the whole update: nothing of it may have been applied. The
	// server then sends what was in it again, each resource by itself.
	Apply func(Update) error
	// Log is told when the connection comes and goes, and what was refused. nil: slog.Default().
	Log *slog.Logger
	// Credentials of the connection; nil: none (for unix sockets and loopback).
	Credentials credentials.TransportCredentials
	// Store keeps what Apply took; nil: nobody does. What is in it is applied before the first connection.
	Store Store
	// Source is told where the configuration comes from; nil: nobody is.
	Source *Source
}

// Store is where a client finds again what it had when it ended.
type Store interface {
	// Load returns the resources of a type; known says that these are all there were.
	Load(typeURL string) (resources []*discoveryv3.Resource, known bool, err error)
	// Put replaces and removes resources, and makes their type known. It must not wait for a disk.
	Put(typeURL string, put []*discoveryv3.Resource, remove []string)
	// Drop removes resources that no server has said anything of.
	Drop(typeURL string, names []string)
	// Confirm notes that a server has the say at this moment. It must not wait for a disk.
	Confirm()
	// SavedAt is when a server last had the say; the zero time: never.
	SavedAt() time.Time
}

// Run follows a server until ctx is done, which is the only way it ends, except for options that
// cannot work. While no server is there, what was applied stays.
func Run(ctx context.Context, o ClientOptions) error {
	switch {
	case len(o.Addresses) == 0:
		return errors.New("xds: no address to connect to")
	case o.Node == "":
		return errors.New("xds: a node needs an id")
	case o.Apply == nil || len(o.Types) == 0:
		return errors.New("xds: nothing to follow")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	if o.Source == nil {
		o.Source = NewSource(o.Role)
	}
	c := &client{options: o, types: map[string]*followed{}, told: map[string]time.Time{}}
	for _, typeURL := range o.Types {
		c.types[typeURL] = &followed{versions: map[string]string{}, unstored: map[string]*discoveryv3.Resource{}}
	}
	c.recall()
	return c.run(ctx)
}

// client keeps, over all connections, what it has.
type client struct {
	options ClientOptions
	types   map[string]*followed
	told    map[string]time.Time // when the log was told last of a reason why no server answers
}

type followed struct {
	versions map[string]string // by name, as last accepted
	complete bool
	unstored map[string]*discoveryv3.Resource // accepted, while the set is not complete
}

func (c *client) run(ctx context.Context) error {
	wait := minBackOff
	for {
		var reasons []string
		for _, address := range c.options.Addresses {
			answered, err := c.follow(ctx, address)
			if ctx.Err() != nil {
				return nil
			}
			if answered {
				wait = minBackOff
				c.options.Log.Warn("configuration source lost, keeping what it gave", "address", address, "err", Words(err))
				continue
			}
			reasons = append(reasons, address+": "+Reason(ctx, address, c.options.Credentials, Words(err)))
		}
		if len(reasons) == len(c.options.Addresses) { // why: one that was lost may be back at once
			c.wait(reasons)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait/2)): // why: not all clients at the same moment
		}
		wait = min(2*wait, maxBackOff)
	}
}

// follow stays with one server while it lasts; answered says that it ever sent anything.
func (c *client) follow(ctx context.Context, address string) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := grpc.NewClient(target(address),
		grpc.WithTransportCredentials(c.options.Credentials),
		grpc.WithNoProxy(), // the parts of one gateway talk directly
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 3 * time.Second}))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return false, err
	}
	for i, typeURL := range c.options.Types {
		if err := stream.Send(c.subscribe(typeURL, i == 0)); err != nil {
			_, err = stream.Recv() // the reason is the stream's, not Send's EOF
			return false, err
		}
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return answered, err
		}
		if !answered {
			answered = true
			c.found(ctx, address)
			defer c.lost()
		}
		if err := stream.Send(c.take(response)); err != nil {
			_, err = stream.Recv()
			return answered, err
		}
	}
}

// target is address as gRPC wants it: a name is resolved by the system, once for each connection.
// why not "dns:": gRPC then asks for TXT records too, and waits for a name server that does not answer.
func target(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return address
	}
	return "passthrough:///" + address
}

func (c *client) subscribe(typeURL string, first bool) *discoveryv3.DeltaDiscoveryRequest {
	r := &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl:                 typeURL,
		ResourceNamesSubscribe:  []string{Wildcard},
		InitialResourceVersions: maps.Clone(c.types[typeURL].versions),
	}
	if first {
		r.Node = Node{ID: c.options.Node, Label: c.options.Label, Role: c.options.Role, Version: c.options.Version}.Proto()
	}
	return r
}

// take hands a response to Apply and returns the answer to it.
func (c *client) take(r *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}
	err := c.apply(r)
	if err != nil {
		c.options.Log.Error("configuration refused", "type", r.TypeUrl, "err", err)
		answer.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
	}
	return answer
}

func (c *client) apply(r *discoveryv3.DeltaDiscoveryResponse) error {
	t, ok := c.types[r.TypeUrl]
	if !ok {
		return fmt.Errorf("nobody subscribed to %s", r.TypeUrl)
	}
	complete := t.complete || r.SystemVersionInfo != partial
	u := Update{TypeURL: r.TypeUrl, Resources: r.Resources, Removed: r.RemovedResources, Complete: complete}
	if err := c.options.Apply(u); err != nil {
		if complete && !t.complete {
			// why: one bad resource must not keep its reader from ever being ready for the others
			t.complete = c.options.Apply(Update{TypeURL: r.TypeUrl, Complete: true}) == nil
			c.remember(r.TypeUrl, nil, nil)
		}
		return err
	}
	t.complete = complete
	c.remember(r.TypeUrl, r.Resources, r.RemovedResources)
	for _, name := range r.RemovedResources {
		delete(t.versions, name)
	}
	for _, res := range r.Resources {
		t.versions[res.Name] = res.Version
	}
	return nil
}
