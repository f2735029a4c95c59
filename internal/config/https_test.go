package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/internal/config"
)

func run(o *config.Options) { o.Part = config.Run }

func TestHTTPS(t *testing.T) {
	t.Parallel()
	c, warnings, err := load(t, `
listen: {http: "", https: ":9095"}
mtls: {request: true}
tls:
  minVersion: "1.3"
  certificates:
  - {cert: certs/shop.pem, key: certs/shop.key, hosts: [shop.test, x.test]}
  - {cert: certs/shop.crt, key: /etc/shop.key}
  - {cert: other/shop.pem, key: other/shop.key}
`, nil, run)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	s := c.Settings()
	want := model.TLS{Certificates: []string{"https/shop.test", "https/shop", "https/shop-2"}, MinVersion: "1.3", RequestClientCertificate: true}
	if diff := cmp.Diff(want, s.TLS); diff != "" || s.HTTPS != "0.0.0.0:9095" {
		t.Errorf("%s %s", s.HTTPS, diff)
	}
	files := c.Certificates()
	dir := filepath.Dir(filepath.Dir(files[0].Cert))
	if files[0].Key != filepath.Join(dir, "certs", "shop.key") || files[1].Key != "/etc/shop.key" || !strings.HasSuffix(files[1].Origin, "postern.yaml:8:5: tls.certificates[1]") {
		t.Errorf("%+v", files)
	}
}

func TestHTTPSWrong(t *testing.T) {
	t.Parallel()
	dev := func(o *config.Options) { o.Part, o.Dev = config.Run, true }
	const pair = "tls: {certificates: [{cert: a.pem, key: a.key}]}\n"
	for name, c := range map[string]struct {
		text   string
		change func(*config.Options)
		want   string // of the error, or of the warning
	}{
		"no certificate":         {"listen: {https: '0.0.0.0:9095'}", run, "postern.yaml:1:17: listen.https: needs a certificate: list its files in tls.certificates, like [{cert: shop.pem, key: shop.key}]; with --dev one is made"},
		"no certificate, a tool": {"listen: {https: '0.0.0.0:9095'}", func(*config.Options) {}, ""},
		"made":                   {"listen: {https: '127.0.0.1:9095'}", dev, ""},
		"no file":                {"listen: {https: '0.0.0.0:9095'}\ntls: {certificates: [{cert: a.pem}]}", run, "postern.yaml:2:22: tls.certificates[0].key: is missing; write the file of the certificate's private key"},
		"no key":                 {"listen: {https: '0.0.0.0:9095'}\ntls: {certificates: [{key: a.pem}]}", run, "postern.yaml:2:22: tls.certificates[0].cert: is missing; write the file of the certificate"},
		"name":                   {"listen: {https: 'localhost:9095'}\n" + pair, run, `postern.yaml:1:17: listen.https: "localhost:9095" is not an IP address with a port; write one like 0.0.0.0:9095 or [::1]:9095`},
		"dev for all":            {"listen: {https: '0.0.0.0:9095'}\n" + pair, dev, "listen.https: 0.0.0.0:9095 is reachable from elsewhere, and --dev hands out tokens: it listens on loopback addresses only, like 127.0.0.1:9095"},
		"one port":               {"listen: {https: '0.0.0.0:9090'}\n" + pair, run, "listen.https: 0.0.0.0:9090 is listen.http's address too; give each its own port"},
		"nothing listens":        {pair, run, "postern.yaml:1:21: tls.certificates: nothing shows them: listen.https is off"},
		"nobody is asked":        {"mtls: {request: true}", run, "mtls.request: no client is asked for a certificate: listen.https is off"},
		"keys in plain text":     {"listen: {https: '0.0.0.0:9095'}\nxds:\n  listen: 127.0.0.1:18000\n" + pair, as(config.Adapter), "postern.yaml:3:11: xds.listen: 127.0.0.1:18000 is plain text for whoever connects, and the private keys of tls.certificates would be told there; configure xds.tls, or use a unix socket"},
		"and insecurely":         {"listen: {https: '0.0.0.0:9095'}\nxds: {listen: '0.0.0.0:18000'}\n" + pair, func(o *config.Options) { o.Part, o.Insecure = config.Adapter, true }, "postern.yaml:2:15: xds.listen: 0.0.0.0:18000 is plain text for whoever connects"},
		"in one process":         {"listen: {https: '0.0.0.0:9095'}\nxds: {listen: '127.0.0.1:18000'}\n" + pair, run, "would be told there; use a unix socket"},
		"a made one":             {"listen: {https: '127.0.0.1:9095'}\nxds: {listen: '127.0.0.1:18000'}\n", dev, "would be told there; use a unix socket"},
		"keys by TLS":            {"listen: {https: '0.0.0.0:9095'}\nxds: {listen: '0.0.0.0:18000', tls: {cert: a, key: b, ca: c}}\nenforcer: {address: 'a:1'}\n" + pair, func(o *config.Options) { o.Part = config.Adapter }, ""},
		"version":                {"tls: {minVersion: '1.1'}", run, "tls.minVersion"},
	} {
		_, warnings, err := load(t, c.text, nil, c.change)
		got := strings.Join(warnings, "\n")
		if err != nil {
			got += err.Error()
		}
		if (c.want == "" && got != "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
