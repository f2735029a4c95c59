package main

import (
	"bytes"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/internal/mtls"
	"github.com/postern-gateway/postern/internal/observe"
	"github.com/postern-gateway/postern/internal/socket"
	"github.com/postern-gateway/postern/toolkit/certs"
)

// pki is a folder with an authority and these certificates, as `postern certs` makes them.
func pki(t *testing.T, folder string, commands ...[]string) string {
	t.Helper()
	for _, c := range commands {
		var out, errOut bytes.Buffer
		if code := run(append(append([]string{"certs"}, c...), "--dir", folder), &out, &errOut); code != 0 {
			t.Fatalf("certs %v ends with %d: %s", c, code, errOut.String())
		}
	}
	return folder
}

// manage serves metrics over TLS, to whom accepts say.
func manage(t *testing.T, files mtls.Files) string {
	t.Helper()
	set, err := mtls.Load(files, mtls.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "postern_adapter_info", ConstLabels: prometheus.Labels{"version": "v1"}})
	registry := prometheus.NewRegistry()
	registry.MustRegister(info)
	server := &http.Server{Handler: observe.Handler(observe.Options{Metrics: registry, NotReady: func() []string { return nil }})}
	go func() { _ = server.Serve(set.Listen(l, mtls.RoleNone, mtls.RoleClient)) }()
	t.Cleanup(func() { _ = server.Close() })
	return "https://" + l.Addr().String()
}

func TestGatewaysByCertificate(t *testing.T) {
	t.Parallel()
	folder, err := filepath.Abs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ours := pki(t, filepath.Join(folder, "ours"), []string{"init"}, []string{"server", "adapter", "--role", "adapter"},
		[]string{"server", "enforcer", "--role", "enforcer"}, []string{"client", "ops", "--role", "client"})
	theirs := pki(t, filepath.Join(folder, "theirs"), []string{"init"}, []string{"client", "ops", "--role", "client"})
	of := func(folder, name string) mtls.Files {
		return mtls.Files{
			Cert: filepath.Join(folder, name+".pem"), Key: filepath.Join(folder, name+".key"), CA: filepath.Join(folder, certs.AuthorityFile),
		}
	}
	adapter, enforcer := manage(t, of(ours, "adapter")), manage(t, of(ours, "enforcer"))
	for _, test := range []struct {
		name, server string
		files        mtls.Files
		code         int
		said         string
	}{
		{"ours", adapter, of(ours, "ops"), exitOK, ""},
		{"no certificate", adapter, mtls.Files{CA: of(ours, "ops").CA}, exitUnreachable, "certificate"},
		{"another authority", adapter, of(theirs, "ops"), exitUnreachable, "certificate"},
		{"not an adapter", enforcer, of(ours, "ops"), exitUnreachable, "adapter"},
		{"nothing is trusted", adapter, mtls.Files{}, exitUnreachable, "certificate"},
		{"no key", adapter, mtls.Files{Cert: "a.pem"}, exitUsage, "belong together"},
		{"no such file", adapter, mtls.Files{CA: "nowhere.pem"}, exitBadInput, "nowhere.pem"},
	} {
		var out, errOut bytes.Buffer
		arguments := []string{"gateways", "--server", test.server}
		for flag, value := range map[string]string{"--cert": test.files.Cert, "--key": test.files.Key, "--ca": test.files.CA} {
			if value != "" {
				arguments = append(arguments, flag, value)
			}
		}
		if code := run(arguments, &out, &errOut); code != test.code || !strings.Contains(errOut.String(), test.said) {
			t.Errorf("%s: it ends with %d: %s%s", test.name, code, out.String(), errOut.String())
		}
	}
}

// TestWhereGatewaysAsks: by the configuration.
func TestWhereGatewaysAsks(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	sockets, err := socket.Sockets(data)
	if err != nil {
		t.Fatal(err)
	}
	for listen, want := range map[string]string{
		"127.0.0.1:9843":   "http://127.0.0.1:9843",
		"0.0.0.0:9843":     "http://127.0.0.1:9843",
		"[::]:9843":        "http://127.0.0.1:9843",
		"[::1]:9843":       "http://[::1]:9843",
		"unix:/run/m.sock": "unix:/run/m.sock",
		"unix:" + filepath.Join(data, "the.sock"): "unix:" + filepath.Join(sockets, "the.sock"),
	} {
		var s settings
		c := newGateways()
		s.part, s.insecure = "client", true
		t.Logf("listen %s", listen)
		cfg, _, err := s.load(c)
		if err != nil {
			t.Fatal(err)
		}
		cfg.DataDir, cfg.Management.Listen = data, listen
		if got, err := managementOf(cfg, false); err != nil || got != want {
			t.Errorf("%s is asked at %s (%v), want %s", listen, got, err, want)
		}
	}
}
