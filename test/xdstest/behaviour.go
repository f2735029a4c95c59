package xdstest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// Shorter names for what is on the wire.
type (
	Response = discoveryv3.DeltaDiscoveryResponse
	Request  = discoveryv3.DeltaDiscoveryRequest
)

// Behaviour is what a gateway does that an honest one does not. The zero value is an honest one. The functions are
// called by the gateway's own goroutine.
type Behaviour struct {
	// Refuse returns the words of a NACK for a resource, "" to accept it. A response with a refused one is refused
	// whole, and nothing of it taken.
	Refuse func(typeURL string, r *discoveryv3.Resource) string
	// Stall says of a response that it is taken and not answered: Gateway.Answer does it later.
	Stall func(*Response) bool
	// Delay is how long after it was taken a response is answered.
	Delay time.Duration
	// Leave says of a response that the stream ends with it, before anything of it is taken; with Returns, it is
	// opened again at once.
	Leave   func(*Response) bool
	Returns bool
	// Claim turns what the gateway has into what it says it has when it connects.
	Claim func(have map[string]map[string]string) map[string]map[string]string
	// Before and After are what it sends besides, before and after its answer to a response.
	Before, After func(*Response) []*Request
}

// Always says yes to every response.
func Always(*Response) bool { return true }

// Honest takes everything and says so.
var Honest = Behaviour{}

// Silent takes everything and says nothing.
var Silent = Behaviour{Stall: Always}

// Refusing refuses what has a name that begins like this, with these words.
func Refusing(prefix, words string) Behaviour {
	return Behaviour{Refuse: func(_ string, r *discoveryv3.Resource) string {
		if strings.HasPrefix(r.Name, prefix) {
			return words
		}
		return ""
	}}
}

// Late answers everything after so long.
func Late(d time.Duration) Behaviour { return Behaviour{Delay: d} }

// Leaving goes away the first time it is sent anything of a type, and comes back at once or never.
func Leaving(typeURL string, returns bool) Behaviour {
	var left atomic.Bool
	return Behaviour{Returns: returns, Leave: func(m *Response) bool {
		return m.TypeUrl == typeURL && len(m.Resources) > 0 && left.CompareAndSwap(false, true)
	}}
}

// Guessing answers nothing it was sent, and acknowledges what it was not: nonces that may come next, and none at all.
var Guessing = Behaviour{Stall: Always, Before: func(m *Response) []*Request { return guesses(m, nil) }}

// Slandering answers honestly, and refuses besides what it never was sent.
var Slandering = Behaviour{
	Before: func(m *Response) []*Request { return guesses(m, refused("never seen it")) },
	After:  func(m *Response) []*Request { return guesses(m, refused("never seen it")) },
}

func guesses(m *Response, why *rpcstatus.Status) []*Request {
	all := []*Request{{TypeUrl: m.TypeUrl, ErrorDetail: why}, {TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce + "0", ErrorDetail: why}}
	for i := range 100 {
		all = append(all, &Request{TypeUrl: m.TypeUrl, ResponseNonce: fmt.Sprint(i), ErrorDetail: why})
	}
	return all
}

// Contradicting accepts what it takes and refuses it then; with first, it refuses it before it accepts it, which leaves
// it with nothing.
func Contradicting(first bool) Behaviour {
	other := func(m *Response) []*Request {
		return []*Request{{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce, ErrorDetail: refused("and yet not")}}
	}
	if !first {
		return Behaviour{After: other}
	}
	return Behaviour{
		Refuse: func(string, *discoveryv3.Resource) string { return "no" },
		After: func(m *Response) []*Request {
			return []*Request{{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce}}
		},
	}
}

// Claiming says when it connects that it has this, whatever it has.
func Claiming(have map[string]map[string]string, then Behaviour) Behaviour {
	then.Claim = func(map[string]map[string]string) map[string]map[string]string { return have }
	return then
}

// Flooding sends so many stale answers, and asks as often for names that nobody has, with each response that has a
// resource in it.
func Flooding(n int) Behaviour {
	return Behaviour{After: func(m *Response) []*Request {
		if len(m.Resources) == 0 {
			return nil // else it would never end
		}
		var all []*Request
		for i := range n {
			all = append(all,
				&Request{TypeUrl: m.TypeUrl, ResponseNonce: "stale"},
				&Request{TypeUrl: m.TypeUrl, ResourceNamesSubscribe: []string{fmt.Sprint("nobody's ", i)}})
		}
		return all
	}}
}

func (b Behaviour) refusal(m *Response) string {
	var all []string
	for _, r := range m.Resources {
		if b.Refuse == nil {
			break
		}
		if words := b.Refuse(m.TypeUrl, r); words != "" {
			all = append(all, words)
		}
	}
	return strings.Join(all, "\n")
}

func refused(words string) *rpcstatus.Status {
	return &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: words}
}
