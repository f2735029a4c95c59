package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/postern-gateway/postern/adapter/model"
)

// checkPrivateKeys refuses to let private keys out: Envoys get those of the https listener where they get everything else.
func (l *loader) checkPrivateKeys(c *Config) {
	makes := c.Listen.HTTPS != "" && l.Dev
	if len(c.TLS.Certificates) == 0 && !makes || c.XDS.TLS.Said() || strings.HasPrefix(c.XDS.Listen, "unix:") {
		return
	}
	remedy := "configure xds.tls, or use a unix socket"
	if l.Part == Run {
		remedy = "use a unix socket"
	}
	l.problem(c.origin("xds.listen"), "xds.listen", "%s is plain text for whoever connects, and the private keys of tls.certificates would be told there; %s",
		c.XDS.Listen, remedy)
}

// checkDataPlane looks at where consumers connect.
func (l *loader) checkDataPlane(c *Config) {
	if c.Listen.HTTP == "" && c.Listen.HTTPS == "" {
		l.problem(c.origin("listen.http"), "listen.http", `"" switches the only listener off; write an address like 0.0.0.0:9090, or listen.https`)
	}
	l.checkDataAddress(c, "listen.http", c.Listen.HTTP, "9090")
	l.checkDataAddress(c, "listen.https", c.Listen.HTTPS, "9095")
	l.checkPrivateKeys(c)
	if c.Listen.HTTPS == "" {
		if len(c.TLS.Certificates) > 0 {
			l.warnings = append(l.warnings, l.unused(c, "tls.certificates", "nothing shows them: listen.https is off"))
		}
		if c.MTLS.Request {
			l.warnings = append(l.warnings, l.unused(c, "mtls.request", "no client is asked for a certificate: listen.https is off"))
		}
		return
	}
	if c.Listen.HTTPS == c.Listen.HTTP {
		l.problem(c.origin("listen.https"), "listen.https", "%s is listen.http's address too; give each its own port", c.Listen.HTTPS)
	}
	if len(c.TLS.Certificates) == 0 && !l.Dev && l.Part != Everything {
		l.problem(c.origin("listen.https"), "listen.https", "needs a certificate: list its files in tls.certificates, like [{cert: shop.pem, key: shop.key}]; with --dev one is made")
	}
	for i, certificate := range c.TLS.Certificates {
		key := fmt.Sprintf("tls.certificates[%d]", i)
		if certificate.Cert == "" {
			l.problem(c.origin(key), key+".cert", "is missing; write the file of the certificate")
		}
		if certificate.Key == "" {
			l.problem(c.origin(key), key+".key", "is missing; write the file of the certificate's private key")
		}
	}
}

func (l *loader) unused(c *Config, key, why string) string {
	if origin := c.origin(key); origin.source != "" {
		return origin.String() + ": " + key + ": " + why
	}
	return key + ": " + why
}

func (l *loader) checkDataAddress(c *Config, key, text, port string) {
	if text == "" {
		return
	}
	address, err := netip.ParseAddrPort(text)
	switch {
	case err != nil || address.Port() == 0:
		l.problem(c.origin(key), key, "%q is not an IP address with a port; write one like 0.0.0.0:%s or [::1]:%s", text, port, port)
	case l.Dev && !address.Addr().IsLoopback():
		l.problem(c.origin(key), key, "%s is reachable from elsewhere, and --dev hands out tokens: it listens on loopback addresses only, like 127.0.0.1:%s", text, port)
	}
}

// Certificates are the files of the https listener's certificates, each with a name of its own: that of the first host it
// is for, or of its file.
func (c *Config) Certificates() []model.CertificateFiles {
	var all []model.CertificateFiles
	taken := map[string]bool{}
	for i, certificate := range c.TLS.Certificates {
		base := strings.TrimSuffix(filepath.Base(certificate.Cert), filepath.Ext(certificate.Cert))
		if len(certificate.Hosts) > 0 {
			base = certificate.Hosts[0]
		}
		name := "https/" + base
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("https/%s-%d", base, n)
		}
		taken[name] = true
		key := fmt.Sprintf("tls.certificates[%d]", i)
		origin := key
		if place := c.origin(key); place.source != "" {
			origin = place.String() + ": " + key
		}
		all = append(all, model.CertificateFiles{Name: name, Cert: certificate.Cert, Key: certificate.Key, Hosts: certificate.Hosts, Origin: origin})
	}
	return all
}

// tls is what the https listener needs, if there is one.
func (c *Config) tls() model.TLS {
	if c.Listen.HTTPS == "" {
		return model.TLS{}
	}
	t := model.TLS{MinVersion: c.TLS.MinVersion, RequestClientCertificate: c.MTLS.Request}
	for _, certificate := range c.Certificates() {
		t.Certificates = append(t.Certificates, certificate.Name)
	}
	return t
}
