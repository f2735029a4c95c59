package enforcer

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/postern-gateway/postern/enforcer/policy"
)

// Check answers one ext_authz call. Whatever goes wrong is a denial that names its reason.
func (s *Server) Check(ctx context.Context, r *Request) *Response {
	began := time.Now()
	d := s.decide(ctx, r)
	s.metrics.decided(&d, time.Since(began))
	answer := respond(&d)
	return &answer
}

// decide finds the policy of the request's route and asks it.
func (s *Server) decide(ctx context.Context, r *Request) (d policy.Decision) {
	defer func() {
		if fault := recover(); fault != nil { // the next request is somebody else's
			s.log.Error("a check failed", "operation", string(r.operation), "err", fmt.Sprint(fault), "stack", string(debug.Stack()))
			d = policy.Deny(policy.Unavailable, "the request could not be checked")
		}
	}()
	operation, known := s.policies.Find(string(r.policy), string(r.operation))
	if !known {
		return policy.Deny(policy.NotKnown, "the policy of this operation is not known yet")
	}
	return operation.Decide(ctx, r)
}
