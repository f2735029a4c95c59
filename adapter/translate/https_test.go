package translate_test

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/translate"
	"github.com/postern-gateway/postern/test/fixture"
)

// TestCertificateThatIsLate: nobody answers for it, neither yes nor no. The plain listener opens all the same, and the
// other once the certificate is there.
func TestCertificateThatIsLate(t *testing.T) {
	t.Parallel()
	s := variants()["default"]
	s.HTTP, s.HTTPS, s.TLS = "127.0.0.1:0", "127.0.0.1:0", model.TLS{Certificates: []string{"https/a.test"}}
	server := fixture.StartXDS(t)
	listeners, _ := translate.Static(s)
	known := make(chan error, 1)
	go func() { known <- server.Apply([]proto.Message{listeners[0].Message, listeners[1].Message}, nil) }() // why: Envoy is to find them when it starts
	began := time.Now()
	envoy := fixture.StartEnvoy(t, fixture.EnvoyOptions{XDS: server.Address})
	must(t, <-known)
	plain, secure := envoy.Address(t, translate.HTTPListener), envoy.Address(t, translate.HTTPSListener)
	fixture.WaitFor(t, "the plain listener", func() bool {
		res, err := http.Get("http://" + plain + "/")
		if err != nil {
			return false
		}
		res.Body.Close()
		return true
	})
	t.Logf("the plain listener was open after %v", time.Since(began))
	authority := fixture.NewAuthority(t)
	handshake := func() error {
		conn, err := tls.Dial("tcp", secure, &tls.Config{ServerName: "a.test", RootCAs: authority.Pool})
		if err == nil {
			conn.Close()
		}
		return err
	}
	if handshake() == nil {
		t.Error("there is a handshake without a certificate")
	}
	c := authority.Issue(t, time.Hour, "a.test")
	for _, r := range translate.Secrets([]model.Certificate{{Name: "https/a.test", Chain: c.Cert, Key: c.Key}}) {
		server.Put(t, r.Message)
	}
	fixture.WaitFor(t, "a handshake", func() bool { return handshake() == nil })
}
