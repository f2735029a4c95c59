// Package observe is the part of the management listener that everybody who reaches it may read: /metrics, /healthz
// and /readyz, and pprof where it was asked for; and it is the guard before the rest. It must not import a part of the
// gateway: what it shows is passed in.
package observe

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options of the handler.
type Options struct {
	Metrics prometheus.Gatherer
	// NotReady tells why not everything committed is served, a reason a line; none at all is ready.
	NotReady func() []string
	// Notes are what is worth knowing of one that is ready all the same, a note a line; nil: there never are any.
	Notes func() []string
	Pprof bool // serve /debug/pprof/
	// API answers what is below /api/, and asks by itself who calls; nil: there is none.
	API http.Handler
	// Loopback: the listener is one that only this machine can reach, and so can only be named by loopback names.
	Loopback bool
}

// NewRegistry is a registry that has the process's and the Go runtime's own metrics.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler answers what needs no token, and has the API answer the rest. Whatever else is asked for does not exist.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := o.NotReady(); len(reasons) > 0 {
			writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "not ready", "reasons": reasons})
			return
		}
		answer := map[string]any{"status": "ready"}
		if o.Notes != nil {
			if notes := o.Notes(); len(notes) > 0 {
				answer["notes"] = notes
			}
		}
		writeJSON(w, http.StatusOK, answer)
	})
	if o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(&http.Request{Method: http.MethodGet, URL: r.URL, Host: r.Host}); pattern != "/" {
			w.Header().Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, "this can be read, not changed")
			return
		}
		problem(w, http.StatusNotFound, "nothing is served at "+r.URL.Path)
	})
	return guard(direct(mux, o.API), o.Loopback)
}

// direct keeps the mux from redirecting paths of the API that are not clean: none of them means another.
func direct(mux, api http.Handler) http.Handler {
	if api == nil {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// guard turns away what a web page in a browser on this machine can be made to send: requests under a name that an
// attacker's DNS has pointed here (DNS rebinding), and requests of other origins.
func guard(next http.Handler, loopback bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if loopback && !local(r.Host) {
			problem(w, http.StatusMisdirectedRequest, "this listener is called localhost, 127.0.0.1 or [::1], not "+r.Host)
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				problem(w, http.StatusForbidden, "requests of other origins are not answered")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// local says whether a Host header names this machine without asking a name server.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	body, _ := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	body, _ := json.Marshal(value) // strings in lists and maps
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
