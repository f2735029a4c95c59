package adapter

import (
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// DecideRouting chooses, for routing.mode auto, how what is there can be routed: scoped, unless an
// operation has no literal at the scope segment, which has no scope then.
func DecideRouting(projects []model.Project, r model.Routing) model.Routing {
	r.Flat = false
	for _, p := range projects {
		for _, api := range p.APIs {
			for _, base := range api.BasePaths() {
				for _, o := range api.Operations {
					if !literalAt(strings.TrimSuffix(base, "/")+o.Path, r.Segment) {
						r.Flat = true
						return r
					}
				}
			}
		}
	}
	return r
}

// literalAt says whether the path's nth segment, from 1, is there and the same for all requests.
func literalAt(path string, n int) bool {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if n < 1 || n > len(segments) {
		return false
	}
	s := segments[n-1]
	return s != "" && s != "*" && !strings.Contains(s, "{")
}

func routingMode(r model.Routing) string {
	if r.Flat {
		return "flat"
	}
	return "scoped"
}
