package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/postern-gateway/postern/adapter/model"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
)

// Routes that lead to these clusters are answered by a filter before the enforcer is asked. A cluster to match on costs
// nothing a route, where a filter's settings on each of them would.
const (
	notFoundCluster         = posternv1.NotFoundCluster
	methodNotAllowedCluster = posternv1.MethodNotAllowedCluster
	// Those that lead to these two ask for the filter themselves: it costs nothing where no route does.
	blockedCluster = "postern-blocked"
	retiredCluster = "postern-retired"
)

// stateCluster is where what is in a state leads to; "" if it is served.
func stateCluster(l model.Lifecycle) string {
	return map[model.Lifecycle]string{model.Blocked: blockedCluster, model.Retired: retiredCluster}[l]
}

// stateAnswer has the filter for states end the requests of a route.
func stateAnswer(l model.Lifecycle) *anypb.Any {
	return pack(answerFilter(stateCluster(l), uint32(l.Status())))
}

// answerFilter ends requests whose route leads to the cluster with a status.
func answerFilter(cluster string, status uint32) proto.Message {
	return &faultv3.HTTPFault{
		UpstreamCluster: cluster,
		Abort: &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: status},
			Percentage: &typev3.FractionalPercent{Numerator: 100},
		},
		DisableDownstreamClusterStats: true,
	}
}

// nowhere is a cluster without endpoints: should its filter ever let a request through, the answer is 503.
func nowhere(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}}
}
