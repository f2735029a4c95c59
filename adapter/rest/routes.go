package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/postern-gateway/postern/adapter/access"
)

// basePath is where the API is, for all its operations.
const basePath = "/api/v1"

// route is one operation.
type route struct {
	method string
	path   string // below the base path, with {parameters}
	name   string // operationId of the document
	role   access.Role
	query  []string // the parameters it knows
	handle func(*call) error
	// changes: it is for the audit log, however it ends.
	changes bool
}

// pushQuery are the parameters of everything that makes a rollout.
var pushQuery = []string{"wait", "require", "dry-run", "breaking"}

// routes are all operations of the document.
func routes() []route {
	return []route{
		{method: "GET", path: "/projects", name: "listProjects", role: access.Viewer, query: []string{"limit", "after"}, handle: (*call).listProjects},
		{method: "GET", path: "/projects/{name}", name: "getProject", role: access.Viewer, handle: (*call).getProject},
		{method: "PUT", path: "/projects/{name}", name: "putProject", role: access.Deployer, query: pushQuery, handle: (*call).putProject, changes: true},
		{method: "DELETE", path: "/projects/{name}", name: "deleteProject", role: access.Deployer, query: append(slices.Clone(pushQuery), "now"), handle: (*call).deleteProject, changes: true},
		{method: "GET", path: "/projects/{name}/archive", name: "getArchive", role: access.Viewer, query: []string{"revision"}, handle: (*call).getArchive},
		{method: "GET", path: "/projects/{name}/revisions", name: "listRevisions", role: access.Viewer, handle: (*call).listRevisions},
		{method: "POST", path: "/projects/{name}/rollback", name: "rollBackProject", role: access.Deployer, query: pushQuery, handle: (*call).rollBack, changes: true},
		{method: "POST", path: "/projects/{name}/diff", name: "diffProject", role: access.Deployer, handle: (*call).diffProject},
		{method: "GET", path: "/apis", name: "listApis", role: access.Viewer, query: []string{"limit", "after", "project", "label", "state"}, handle: (*call).listAPIs},
		{method: "GET", path: "/apis/{name}/{version}", name: "getApi", role: access.Viewer, handle: (*call).getAPI},
		{method: "GET", path: "/gateways", name: "listGateways", role: access.Viewer, handle: (*call).listGateways},
		{method: "GET", path: "/rollouts/{id}", name: "getRollout", role: access.Viewer, handle: (*call).getRollout},
		{method: "POST", path: "/explain", name: "explainRequest", role: access.Viewer, handle: (*call).explain},
		{method: "GET", path: "/backup", name: "getBackup", role: access.Admin, handle: (*call).backup, changes: true},
		{method: "GET", path: "/whoami", name: "whoAmI", handle: (*call).whoAmI},
		{method: "GET", path: "/openapi.yaml", name: "getDocument", handle: (*call).document},
		{method: "GET", path: "/openapi.json", name: "getDocumentAsJson", handle: (*call).documentAsJSON},
	}
}

var allRoutes = routes()

// find looks for the operation at a path below the base path, and fills in the path's parameters. One without a handler has
// been answered.
func (c *call) find(routes []route, path string) (route, error) {
	var methods []string
	for _, r := range routes {
		params, ok := match(r.path, path)
		if !ok {
			continue
		}
		if r.method == c.r.Method || r.method == http.MethodGet && c.r.Method == http.MethodHead {
			c.params = params
			return r, nil
		}
		methods = append(methods, r.method)
	}
	if methods == nil {
		return route{}, refuse(http.StatusNotFound, "unknown", "nothing is served at %s; %s/openapi.yaml says what there is", c.r.URL.Path, basePath)
	}
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	allow := strings.Join(append(methods, http.MethodOptions), ", ")
	c.w.Header().Set("Allow", allow)
	if c.r.Method == http.MethodOptions {
		c.w.WriteHeader(http.StatusNoContent)
		return route{}, nil
	}
	return route{}, refuse(http.StatusMethodNotAllowed, "method-not-allowed", "%s takes %s", c.r.URL.Path, allow)
}

// match holds an escaped path against a template. A parameter is one segment that is not empty.
func match(template, path string) (map[string]string, bool) {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	params := map[string]string{}
	for i, segment := range want {
		name, isParameter := strings.CutPrefix(segment, "{")
		if !isParameter {
			if segment != have[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(have[i])
		if err != nil || value == "" {
			return nil, false
		}
		params[strings.TrimSuffix(name, "}")] = value
	}
	return params, true
}
