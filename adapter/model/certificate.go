package model

// CertificateFiles are where a certificate of the https listener and its key are found.
type CertificateFiles struct {
	Name  string   // of the resource that Envoy gets
	Cert  string   // PEM: the certificate, then those that lead to its authority
	Key   string   // PEM
	Hosts []string // that the certificate must be good for; none: whatever it says
	// Origin is where this was configured, for messages.
	Origin string
}

// Certificate is one that was read, as PEM.
type Certificate struct {
	Name  string
	Chain []byte
	Key   []byte `yaml:"-"`
}

// TLS is what the https listener asks for and shows.
type TLS struct {
	// Certificates are their names. A client gets the one that is good for the host it names, else the first.
	Certificates []string `yaml:"certificates"`
	// MinVersion is "1.2" or "1.3"; "" is "1.2".
	MinVersion string `yaml:"minVersion"`
	// RequestClientCertificate asks every client for a certificate and lets it in with any, and with none.
	RequestClientCertificate bool `yaml:"requestClientCertificate"`
}
