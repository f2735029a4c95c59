package envoy

import "os"

// bundles are where systems keep the authorities they trust, all in one file. Source: Go, crypto/x509, root_linux.go.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch, Gentoo
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
	"/etc/pki/tls/certs/ca-bundle.crt",                  // older ones
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/ssl/cert.pem",                                 // macOS, BSD
}

// SystemCA is the file of authorities that this machine trusts, for Envoy to read; "" if it has none in one file.
func SystemCA() string {
	for _, file := range bundles {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}
