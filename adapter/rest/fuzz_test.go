package rest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/internal/mtls"
)

// anybody knows one token.
type anybody struct{}

func (anybody) Token(token string) (access.Caller, bool) {
	return access.Caller{Name: "fuzz", By: access.ByToken, Grants: access.Grants{{Role: access.Admin}}}, token == "t"
}

func (anybody) Certificate(mtls.Identity) (access.Caller, bool) { return access.Caller{}, false }

// FuzzCall: whatever is asked for, the answer is one of this API's, and a stranger gets nothing. No adapter is behind it: what
// would reach one panics and is not looked at further.
func FuzzCall(f *testing.F) {
	f.Add("PUT", "/api/v1/projects/shop?wait=1s", "Bearer t", "application/json", []byte("{}"))
	f.Add("POST", "/api/v1/explain", "Bearer t", "application/json", []byte(`{"url": "/a", "label": "x"}`))
	f.Add("GET", "/api/v1/apis/a/b?limit=1", "bearer  t", "", []byte(nil))
	f.Add("POST", "/api/mgw/adapter/0.1/oauth2/token", "Basic dDp0", "application/json", []byte(`{"username":"fuzz","password":"t"}`))
	f.Add("POST", "/api/mgw/adapter/0.1/apis", "Basic ZnV6ejp0", "multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nPK\r\n--x--"))
	f.Add("OPTIONS", "/api/v1/%2e%2e/openapi.yaml", "Bearer t", "", []byte(nil))
	f.Fuzz(func(t *testing.T, method, target, authorization, contentType string, body []byte) {
		r, err := http.NewRequestWithContext(context.Background(), method, "http://x"+target, bytes.NewReader(body))
		if err != nil || !strings.HasPrefix(r.URL.Path, "/api/") {
			return
		}
		r.Header["Authorization"], r.Header["Content-Type"] = []string{authorization}, []string{contentType}
		s, err := New(Options{Register: anybody{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		reached := reaches(s, w, r)
		_, password, _ := r.BasicAuth()
		known := password == "t" || strings.TrimSpace(authorization[min(len(authorization), len("bearer")):]) == "t"
		if login := strings.HasSuffix(r.URL.Path, legacyLogin); (reached || w.Code < 300 && w.Body.Len() > 0) && !known && !login {
			t.Errorf("%s %s: %d for a stranger", method, target, w.Code)
		}
		if w.Code >= 400 && !strings.HasSuffix(w.Header().Get("Content-Type"), "json") {
			t.Errorf("%s %s: %d as %s", method, target, w.Code, w.Header().Get("Content-Type"))
		}
	})
}

// reaches says whether a call gets as far as the adapter, of which there is none.
func reaches(s *Server, w *httptest.ResponseRecorder, r *http.Request) (reached bool) {
	defer func() { reached = reached || recover() != nil }()
	s.ServeHTTP(w, r)
	return w.Code == http.StatusInternalServerError // what a panic comes to
}

// FuzzConvert: no bytes make a project that has no name, or panic.
func FuzzConvert(f *testing.F) {
	for _, files := range []map[string][]byte{
		{"api.yaml": []byte("data: {name: Pets, version: 1.0.0, context: /pets}"), "Definitions/swagger.yaml": []byte("openapi: 3.0.3")},
		{"x/api.json": []byte(`{"data": {"name": "Pets", "version": "1", "endpointConfig": {"production_endpoints": [{"url": "http://a"}]}}}`), "x/Definitions/swagger.json": []byte("{}")},
		{"project.yaml": []byte("name: shop")},
	} {
		archive, err := pack(files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		p, err := convert(archive)
		if err == nil && (!projectName.MatchString(p.name) || len(p.archive) == 0) {
			t.Errorf("%+v", p)
		}
	})
}
