package apart

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/idp"
)

// TestMainJob is what the README promises, each answer a caller can get, from services apart.
func TestMainJob(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startAll()
	reader := l.token("read:pets")
	a := l.get("GET", "/petstore/1.0.0/pet/1?x=%2F1", reader)
	if a.status != 200 || !strings.Contains(a.body, `"/v2/pet/1?x=%2F1"`) || a.header.Get("X-RateLimit-Limit") != "1000" {
		t.Errorf("with a token: %v %v", a, a.header)
	}
	for _, test := range []struct {
		name, method, path, token string
		status                    int
		code, header              string
	}{
		{"no token", "GET", "/petstore/1.0.0/pet/1", "", 401, "900902", "Www-Authenticate"},
		{"no good token", "GET", "/petstore/1.0.0/pet/1", "x.y.z", 401, "900901", "Www-Authenticate"},
		{"a scope is missing", "DELETE", "/petstore/1.0.0/pet/1", reader, 403, "900910", ""},
		{"unknown path", "GET", "/petstore/1.0.0/nothing", reader, 404, "900906", ""},
		{"unknown method", "PATCH", "/petstore/1.0.0/pet/1", reader, 405, "900405", "Allow"},
	} {
		a := l.get(test.method, test.path, test.token)
		if a.status != test.status || a.code() != test.code || test.header != "" && a.header.Get(test.header) == "" {
			t.Errorf("%s: %v %v", test.name, a, a.header)
		}
	}
	l.throttled()
	l.backend.Close()
	if a := l.get("GET", "/petstore/1.0.0/pet/1", reader); a.status != 503 || a.code() != "102503" {
		t.Errorf("the backend is stopped: %v", a)
	}
	for _, name := range all {
		if out := l.run("healthy", name, "--ready", "--data-dir", filepath.Join(l.dir, name)); out != "" {
			t.Errorf("healthy %s says %q", name, out)
		}
		if _, metrics := l.parts[name].page("metrics"); !strings.Contains(metrics, "postern_") {
			t.Errorf("the %s has no metrics of its own", name)
		}
	}
}

// throttled: ten a minute. More than twenty calls see an end of it, whenever the minute turns.
func (l *lab) throttled() {
	l.t.Helper()
	for range 25 {
		a := l.get("GET", "/petstore/1.0.0/store/inventory", "")
		if a.status == 200 {
			continue
		}
		if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || a.code() != "900802" || err != nil || seconds < 1 || seconds > 60 {
			l.t.Errorf("throttled: %v %v", a, a.header)
		}
		return
	}
	l.t.Error("a limit of 10 let 25 requests pass")
}

// TestFromDisk: nobody needs an adapter to start again.
func TestFromDisk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startAll()
	token := l.token("")
	l.served(token)
	l.kept()
	l.parts["adapter"].stop()
	for _, name := range []string{"enforcer", "ratelimiter", "envoy"} {
		l.parts[name].kill()
	}
	began := time.Now()
	for _, name := range []string{"enforcer", "ratelimiter", "envoy"} {
		l.start(name)
	}
	for _, name := range []string{"enforcer", "ratelimiter", "envoy"} {
		l.parts[name].ready()
	}
	t.Logf("enforcer, ratelimiter and envoy serve again %v after they were started", time.Since(began).Round(time.Millisecond))
	l.served(token)
	if _, body := l.parts["envoy"].page("readyz"); !strings.Contains(body, "no adapter answers: envoy serves what was acknowledged by") {
		t.Errorf("the process beside envoy says %s", body)
	}
	if _, metrics := l.parts["envoy"].page("metrics"); !strings.Contains(metrics, `postern_relay_source{source="disk"} 1`) {
		t.Error("its metrics do not tell where the configuration is from")
	}
	for _, name := range []string{"enforcer", "ratelimiter"} {
		if _, body := l.parts[name].page("readyz"); !strings.Contains(body, "no adapter answers: the "+name+" serves what it was told by 20") {
			t.Errorf("the %s says %s", name, body)
		}
		if _, metrics := l.parts[name].page("metrics"); !strings.Contains(metrics, `postern_configuration_source{service="`+name+`",source="disk"} 1`) {
			t.Errorf("the metrics of the %s do not tell where the configuration is from", name)
		}
		l.parts[name].says("going on from what was told last")
	}

	l.start("adapter").ready()
	l.parts["envoy"].says("following an adapter")
	l.served(token)
	fixture.WaitFor(t, "the metrics to tell of the adapter", func() bool {
		_, metrics := l.parts["envoy"].page("metrics")
		return strings.Contains(metrics, `postern_relay_source{source="adapter"} 1`)
	})
	l.notSentAgain()
	l.edited()
}

// kept waits until both APIs are on the disk beside Envoy, a moment after it has acknowledged them.
func (l *lab) kept() {
	l.t.Helper()
	fixture.WaitFor(l.t, "what envoy acknowledged to be kept", func() bool {
		content, _ := os.ReadFile(filepath.Join(l.dir, "envoy", "envoy.lastgood"))
		of := func(typeURL string) int {
			return bytes.Count(content, []byte("type.googleapis.com/envoy.config."+typeURL))
		}
		// a record has its type once, and once more in the resource; each write names the types it is about
		return of("listener.v3.Listener") > 2 && of("cluster.v3.Cluster") > 2 && of("route.v3.RouteConfiguration") >= 5 && of("route.v3.ScopedRouteConfiguration") >= 5
	})
}

// served: each kind of call is answered.
func (l *lab) served(token string) {
	l.t.Helper()
	for path, token := range map[string]string{"/shop/open": "", "/shop/limited": "", "/shop/secure": token} {
		if a := l.get("GET", path, token); a.status != 200 {
			l.t.Errorf("%s: %v", path, a)
		}
	}
}

// notSentAgain: the adapter that was started again has sent nobody a resource, of any type and name, nor taken one away, and
// nothing was refused: everybody had all of it.
func (l *lab) notSentAgain() {
	l.t.Helper()
	for line := range strings.Lines(l.parts["adapter"].log.String()) {
		if strings.Contains(line, acknowledged) && !strings.Contains(line, " resources=[] removed=[]") {
			l.t.Errorf("sent again: %s", line)
		}
	}
	_, metrics := l.parts["adapter"].page("metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "postern_xds_total{") && strings.Contains(line, `outcome="nack"`) && !strings.HasSuffix(strings.TrimSpace(line), " 0") {
			l.t.Errorf("refused: %s", line)
		}
	}
}

// acknowledged is what an adapter says, at the level debug, of everything that was sent.
const acknowledged = `msg="gateway acknowledged"`

// edited: an edit is sent, which shows that notSentAgain would have seen others.
func (l *lab) edited() {
	l.t.Helper()
	l.write("shop/api_definitions/shop.yaml", strings.ReplaceAll(l.definition(), "/open:", "/opened:"))
	fixture.WaitFor(l.t, "an edit to be served", func() bool { return l.get("GET", "/shop/opened", "").status == 200 })
	fixture.WaitFor(l.t, "the adapter to say what it sent", func() bool {
		for line := range strings.Lines(l.parts["adapter"].log.String()) {
			if strings.Contains(line, acknowledged) && strings.Contains(line, "RouteConfiguration") && !strings.Contains(line, "resources=[]") {
				return true
			}
		}
		return false
	})
}

// TestBrokenDisk: a store that is damaged is told, kept, and done without.
func TestBrokenDisk(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.start("adapter")
	e := l.start("enforcer")
	e.ready()
	e.stop()
	path := filepath.Join(l.dir, "enforcer", "enforcer.lastgood")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	e = l.start("enforcer")
	e.says("the last good configuration is not used")
	e.ready()
}

// TestNotReadyWithoutEverything: without an adapter and without a last good state there is nothing to answer from.
func TestNotReadyWithoutEverything(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	e := l.start("enforcer")
	e.says("waiting for a configuration source")
	if status, body := e.page("readyz"); status != 503 || !strings.Contains(body, "the enforcer has not received everything") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := e.page("healthz"); status != 200 {
		t.Errorf("healthz answers %d", status)
	}
	l.start("adapter")
	e.ready()
	e.stop()
	if code := e.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("told to end, it ends with %d", code)
	}
	if left, _ := filepath.Glob(filepath.Join(l.dir, "enforcer", "*")); len(left) != 1 || filepath.Base(left[0]) != "enforcer.lastgood" {
		t.Errorf("it leaves %v", left)
	}
}

// TestForeignCertificate: who is not of this gateway gets nothing, and the log says why.
func TestForeignCertificate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	foreign := filepath.Join(l.dir, "foreign")
	l.run("certs", "set", "enforcer", "--dir", foreign)
	a := l.start("adapter")
	a.ready()
	e := l.start("enforcer", "POSTERN_XDS_TLS_CERT="+filepath.Join(foreign, "enforcer.pem"), "POSTERN_XDS_TLS_KEY="+filepath.Join(foreign, "enforcer.key"))
	a.says("its certificate comes from an unknown authority")
	if status, body := e.page("readyz"); status != 503 {
		t.Errorf("%d %s", status, body)
	}
}

// TestIssuersAreFollowed: a change of them, and of the files with their keys, takes no restart.
func TestIssuersAreFollowed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startAll()
	other := idp.New("ES256")
	t.Cleanup(other.Close)
	token := other.Token(idp.Claims{})
	answers := func(status int) {
		t.Helper()
		fixture.WaitFor(t, "a token of the other issuer to be answered "+strconv.Itoa(status), func() bool {
			return l.get("GET", "/shop/secure", token).status == status
		})
	}
	answers(401)
	l.write("keys.json", string(idp.Set(idp.NewKey("not yet", "ES256"))))
	l.write("postern.yaml", l.configuration()+"- {issuer: "+other.URL+", jwks: {file: keys.json}}\n")
	l.parts["adapter"].says("issuers of tokens have changed")
	l.write("keys.json", string(idp.Set(other.Key())))
	answers(200)

	l.write("postern.yaml", l.configuration()+"- {issuer: [")
	l.parts["adapter"].says("the configuration has changed and is rejected")
	answers(200)
	l.write("postern.yaml", strings.Replace(l.configuration(), "drain: 300ms", "drain: 400ms", 1)+"timeouts: {idle: 1m}\n")
	l.parts["adapter"].says(`the configuration has changed where it takes a restart" keys=timeouts.idle`)
	answers(401)
	l.served(l.token(""))
}

// TestStopLeavesNothing but what to go on from.
func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startAll()
	l.served(l.token(""))
	for _, name := range all {
		p := l.parts[name]
		p.stop()
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the %s ends with %d", name, code)
		}
		left, _ := filepath.Glob(filepath.Join(l.dir, name, "*"))
		for _, file := range left {
			if !strings.HasSuffix(file, ".lastgood") && !slices.Contains([]string{"postern.db", "tokens.yaml", "admin.token", "audit.log"}, filepath.Base(file)) {
				t.Errorf("the %s leaves %s", name, file)
			}
		}
	}
	if _, err := l.call(patient, "GET", "/shop/open", ""); err == nil {
		t.Error("an Envoy is left")
	}
}

// TestMetricsFromElsewhere: at an address that is not loopback they are for those with a certificate.
func TestMetricsFromElsewhere(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.run("certs", "set", "client=ops", "--dir", filepath.Join(l.dir, "certs"))
	_, port, _ := net.SplitHostPort(l.admin["enforcer"])
	e := l.start("enforcer", "POSTERN_ENFORCER_ADMIN=0.0.0.0:"+port)
	e.says("has started")
	if status, body := e.page("metrics"); status != 0 && status != 400 {
		t.Errorf("by plain HTTP: %d %s", status, body)
	}
	fetch := func(certificates ...tls.Certificate) (int, error) {
		c := &http.Client{Timeout: fixture.Patience, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates},
		}}
		defer c.CloseIdleConnections()
		res, err := c.Get("https://127.0.0.1:" + port + "/metrics")
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		return res.StatusCode, nil
	}
	if status, err := fetch(); err == nil {
		t.Errorf("without a certificate: %d", status)
	}
	for name, want := range map[string]int{"ops": 200, "envoy": 0} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(l.dir, "certs", name+".pem"), filepath.Join(l.dir, "certs", name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		if status, err := fetch(pair); status != want {
			t.Errorf("with the certificate of %s: %d %v", name, status, err)
		}
	}
}

// TestTwoGatewaysOnOnePort: the adapter says where Envoys listen, so of two on one machine the second waits, and says so.
func TestTwoGatewaysOnOnePort(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startAll()
	management := fixture.Address(t)
	second := l.start("envoy", "POSTERN_MANAGEMENT_LISTEN="+management, "POSTERN_DATA_DIR="+l.dir+"/second", "POSTERN_ENVOY_ID=envoy/2")
	second.at = management
	second.says(l.http + " is taken by envoy (pid ")
	if status, body := second.page("readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "envoy does not listen: "+l.http+" is taken by envoy") {
		t.Errorf("the second one's readiness: %d %s", status, body)
	}
}
