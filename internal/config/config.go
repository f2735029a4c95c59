// Package config reads postern.yaml, once and strictly: flags over environment over file over the defaults, which are
// the documented postern.yaml beside this file. It must not import a part of the gateway but
// adapter/model, internal/mtls and proto.
package config

import (
	_ "embed"
	"time"
)

// defaults is the documented file: its values are the defaults, its comments the descriptions.
//
//go:embed postern.yaml
var defaults []byte

// Config is postern.yaml, resolved. The keys and their meaning are those of the documented file.
type Config struct {
	Label            string   `yaml:"label"`
	DataDir          string   `yaml:"dataDir"`
	Log              Log      `yaml:"log"`
	Listen           Listen   `yaml:"listen"`
	TLS              TLS      `yaml:"tls"`
	MTLS             MTLS     `yaml:"mtls"`
	Routing          Routing  `yaml:"routing"`
	CORS             CORS     `yaml:"cors"`
	Timeouts         Timeouts `yaml:"timeouts"`
	LimitsOnRequests Requests `yaml:"limitsOnRequests"`
	Errors           Errors   `yaml:"errors"`
	Backends         Backends `yaml:"backends"`

	Management  Management `yaml:"management"`
	XDS         XDS        `yaml:"xds"`
	Enforcer    Service    `yaml:"enforcer"`
	RateLimiter Service    `yaml:"ratelimiter"`
	Envoy       Envoy      `yaml:"envoy"`

	Sources []ProjectSource `yaml:"sources"`

	TokenIssuers  []Issuer   `yaml:"issuers"`
	Basic         Basic      `yaml:"basic"`
	APIKeys       File       `yaml:"apiKeys"`
	Subscriptions File       `yaml:"subscriptions"`
	Revocation    Revocation `yaml:"revocation"`
	BackendJWT    BackendJWT `yaml:"backendJWT"`
	Limits        Limits     `yaml:"limits"`
	Store         Store      `yaml:"store"`
	Pushes        Pushes     `yaml:"pushes"`

	file    string        // that was read, or would have been
	read    bool          // it was there
	dir     string        // of the file, which paths inside it are relative to
	origins map[string]at // where each key that is not a default was said
}

// Log is how this process logs, to stderr.
type Log struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error"`
	Format string `yaml:"format" enum:"text,json"`
}

// Listen is the data plane.
type Listen struct {
	HTTP  string `yaml:"http"`
	HTTPS string `yaml:"https"`
}

// TLS is what the https listener shows.
type TLS struct {
	Certificates []Certificate `yaml:"certificates"`
	MinVersion   string        `yaml:"minVersion" enum:"1.2,1.3"`
}

// Certificate is one certificate chain and its key, for some hosts.
type Certificate struct {
	Cert  string   `yaml:"cert"`
	Key   string   `yaml:"key"`
	Hosts []string `yaml:"hosts"`
}

// MTLS is about client certificates on the https listener.
type MTLS struct {
	Request bool       `yaml:"request"`
	Header  MTLSHeader `yaml:"header"`
	CRLs    []string   `yaml:"crls"`
}

// MTLSHeader is a load balancer that ends TLS and tells the client's certificate in a header.
type MTLSHeader struct {
	Name           string   `yaml:"name"`
	TrustedProxies []string `yaml:"trustedProxies"`
}

// Routing is how requests find their route table.
type Routing struct {
	Mode         string `yaml:"mode" enum:"scoped,flat,auto"`
	ScopeSegment int    `yaml:"scopeSegment" min:"1" max:"16"`
}

// CORS is the gateway-wide default.
type CORS struct {
	Enabled bool `yaml:"enabled"`
}

// Timeouts of the data plane.
type Timeouts struct {
	Request    time.Duration `yaml:"request"`
	Idle       time.Duration `yaml:"idle"`
	MaxRequest time.Duration `yaml:"maxRequest"`
}

// Requests are what a request may be at most.
type Requests struct {
	HeaderBytes    Bytes  `yaml:"headerBytes"`
	BodyBytes      Bytes  `yaml:"bodyBytes"`
	EscapedSlashes string `yaml:"escapedSlashes" enum:"reject,keep"`
}

// Errors is the shape of the gateway's own answers.
type Errors struct {
	Format string `yaml:"format" enum:"problem,fault,enforcer,router"`
}

// Backends are what projects may name as one.
type Backends struct {
	// Allow are hosts, host:port or CIDR that would be refused without a word of the operator's.
	Allow []string `yaml:"allow"`
}

// Management is REST, metrics, health.
type Management struct {
	Listen  string        `yaml:"listen"`
	TLS     ManagementTLS `yaml:"tls"`
	Tokens  string        `yaml:"tokens"`
	Issuers []Issuer      `yaml:"issuers"`
}

// ManagementTLS is the management listener's certificate, and who may connect.
type ManagementTLS struct {
	Cert     string `yaml:"cert"`
	Key      string `yaml:"key"`
	ClientCA string `yaml:"clientCA"`
}

// MutualTLS is a certificate, and who has signed the peer's.
type MutualTLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	CA   string `yaml:"ca"`
}

// XDS is where the adapter serves, and where the others find it.
type XDS struct {
	Listen    string    `yaml:"listen"`
	Addresses []string  `yaml:"addresses"`
	TLS       MutualTLS `yaml:"tls"`
}

// Service is the enforcer or the ratelimiter.
type Service struct {
	Listen  string        `yaml:"listen"`
	Address string        `yaml:"address"`
	Admin   string        `yaml:"admin"`
	TLS     MutualTLS     `yaml:"tls"`
	Timeout time.Duration `yaml:"timeout"`
}

// Envoy is the process that carries the traffic.
type Envoy struct {
	Path        string        `yaml:"path"`
	ID          string        `yaml:"id"`
	Concurrency int           `yaml:"concurrency" min:"0" max:"1024"`
	Admin       string        `yaml:"admin"`
	Drain       time.Duration `yaml:"drain"`
}

// Issuer is one issuer of tokens.
type Issuer struct {
	Issuer         string            `yaml:"issuer"`
	Audiences      []string          `yaml:"audiences"`
	JWKS           JWKS              `yaml:"jwks"`
	Algorithms     []string          `yaml:"algorithms"`
	Leeway         time.Duration     `yaml:"leeway" default:"5s"`
	RequiredClaims map[string]string `yaml:"requiredClaims"`
	Claims         Claims            `yaml:"claims"`
	Introspection  Introspection     `yaml:"introspection"`
}

// JWKS is where an issuer's keys are; none of the three is OpenID Connect Discovery.
type JWKS struct {
	URI         string `yaml:"uri"`
	File        string `yaml:"file"`
	Certificate string `yaml:"certificate"`
}

// Claims names the claims that say who and what.
type Claims struct {
	Subject string `yaml:"subject" default:"sub"`
	Scopes  string `yaml:"scopes" default:"scope"`
	Client  string `yaml:"client" default:"azp"`
	KeyType string `yaml:"keyType" default:"keytype"`
}

// Introspection asks the issuer about each token (RFC 7662).
type Introspection struct {
	URI          string        `yaml:"uri"`
	ClientID     string        `yaml:"clientID"`
	ClientSecret Secret        `yaml:"clientSecret"`
	Auth         string        `yaml:"auth" default:"basic" enum:"basic,post"`
	PositiveTTL  time.Duration `yaml:"positiveTTL" default:"60s"`
	NegativeTTL  time.Duration `yaml:"negativeTTL" default:"10s"`
}

// Basic is who may come with a name and a password.
type Basic struct {
	HTPasswd string `yaml:"htpasswd"`
	Users    []User `yaml:"users"`
}

// User is one name, the hash of its password, and its scopes.
type User struct {
	Name   string   `yaml:"name"`
	Hash   Secret   `yaml:"hash"`
	Scopes []string `yaml:"scopes"`
}

// File is a file that is read and followed.
type File struct {
	File string `yaml:"file"`
}

// Revocation is where revoked tokens are told.
type Revocation struct {
	Startup        string             `yaml:"startup" enum:"deny,serve"`
	StartupTimeout time.Duration      `yaml:"startupTimeout"`
	Sources        []RevocationSource `yaml:"sources"`
}

// RevocationSource is one of its fields.
type RevocationSource struct {
	File  *RevocationFile  `yaml:"file"`
	Etcd  *RevocationEtcd  `yaml:"etcd"`
	Redis *RevocationRedis `yaml:"redis"`
	AMQP  *RevocationAMQP  `yaml:"amqp"`
	JMS   *RevocationJMS   `yaml:"jms"`
}

// RevocationFile is a file of revoked tokens.
type RevocationFile struct {
	Path string `yaml:"path"`
}

// RevocationEtcd is a prefix in etcd.
type RevocationEtcd struct {
	Endpoints []string `yaml:"endpoints"`
	Prefix    string   `yaml:"prefix"`
}

// RevocationRedis is a set and a channel in Redis.
type RevocationRedis struct {
	Addresses []string `yaml:"addresses"`
	Key       string   `yaml:"key"`
	Channel   string   `yaml:"channel"`
}

// RevocationAMQP is an AMQP 0-9-1 exchange.
type RevocationAMQP struct {
	URL      Secret `yaml:"url"`
	Exchange string `yaml:"exchange"`
	Topic    string `yaml:"topic"`
}

// RevocationJMS is a JMS topic over AMQP 1.0.
type RevocationJMS struct {
	URL   Secret `yaml:"url"`
	Topic string `yaml:"topic"`
}

// BackendJWT is a token made for backends.
type BackendJWT struct {
	Enabled bool          `yaml:"enabled"`
	Header  string        `yaml:"header"`
	Key     string        `yaml:"key"`
	TTL     time.Duration `yaml:"ttl"`
}

// Limits is where limits are counted, and what holds while nobody can.
type Limits struct {
	Store     string `yaml:"store" enum:"memory,redis"`
	Redis     Redis  `yaml:"redis"`
	OnFailure string `yaml:"onFailure" enum:"allow,deny,local"`
	TierRule  string `yaml:"tierRule" enum:"operation,api"`
}

// Redis is how to reach one.
type Redis struct {
	Mode      string            `yaml:"mode" enum:"single,sentinel,cluster"`
	Addresses []string          `yaml:"addresses"`
	Master    string            `yaml:"master"`
	Username  string            `yaml:"username"`
	Password  Secret            `yaml:"password"`
	TLS       map[string]string `yaml:"tls"`
	Timeout   time.Duration     `yaml:"timeout"`
}

// Store is where projects and revisions are kept.
type Store struct {
	Kind    string `yaml:"kind" enum:"file,etcd"`
	Etcd    Etcd   `yaml:"etcd"`
	History int    `yaml:"history" min:"1" max:"100000"`
}

// Etcd is how to reach one.
type Etcd struct {
	Endpoints []string          `yaml:"endpoints"`
	Prefix    string            `yaml:"prefix"`
	Username  string            `yaml:"username"`
	Password  Secret            `yaml:"password"`
	TLS       map[string]string `yaml:"tls"`
}

// Pushes is what a push waits for.
type Pushes struct {
	Wait     time.Duration `yaml:"wait"`
	Require  string        `yaml:"require"`
	Breaking string        `yaml:"breaking" enum:"allow,refuse"`
}
