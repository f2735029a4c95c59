package git

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// shell is a repository behind ssh. The files of keys are read anew for each connection: they may be replaced at any time.
type shell struct {
	user, address, path string
	key, known          string // files
}

func newShell(o Options, user, host, port, path string) (remote, error) {
	s := shell{user: user, address: net.JoinHostPort(host, port), path: path, key: o.SSHKey, known: o.KnownHosts}
	if o.Username != "" {
		s.user = o.Username
	}
	if s.user == "" {
		s.user = "git"
	}
	if _, err := s.config(); err != nil {
		return nil, err
	}
	return connected{begin: s.begin}, nil
}

// config is who this is, and who the server has to be.
func (s shell) config() (*ssh.ClientConfig, error) {
	text, err := os.ReadFile(s.key)
	if err != nil {
		return nil, fmt.Errorf("sshKey: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("sshKey: %s is locked with a passphrase; use one without, that may only read this repository", s.key)
	}
	if err != nil {
		return nil, fmt.Errorf("sshKey: %s is no private key: %w", s.key, err)
	}
	check, err := knownhosts.New(s.known)
	if err != nil {
		return nil, fmt.Errorf("knownHosts: %w", err)
	}
	return &ssh.ClientConfig{
		User: s.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: 10 * time.Second,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			err := check(host, remote, key)
			var unlike *knownhosts.KeyError
			if errors.As(err, &unlike) {
				return fmt.Errorf("the key that %s shows, %s, is not the one in %s", host, ssh.FingerprintSHA256(key), s.known)
			}
			return err
		},
		HostKeyAlgorithms: algorithms(check, s.address),
	}, nil
}

// algorithms are those of the keys that are known of a host: else it might show another key of its own, which nobody knows.
func algorithms(check ssh.HostKeyCallback, address string) []string {
	var unlike *knownhosts.KeyError
	if err := check(address, &net.TCPAddr{IP: net.IPv4zero}, nobodysKey{}); !errors.As(err, &unlike) {
		return nil
	}
	var all []string
	for _, known := range unlike.Want {
		if kind := known.Key.Type(); kind == ssh.KeyAlgoRSA {
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			all = append(all, kind)
		}
	}
	return all
}

// nobodysKey is a key that no host has.
type nobodysKey struct{}

func (nobodysKey) Type() string                        { return "none" }
func (nobodysKey) Marshal() []byte                     { return []byte("none") }
func (nobodysKey) Verify([]byte, *ssh.Signature) error { return errors.New("nobody's key") }

func (s shell) begin(ctx context.Context) (*conversation, error) {
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	raw, err := (&net.Dialer{Timeout: config.Timeout}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // which ends all that follows
	conn, channels, requests, err := ssh.NewClientConn(raw, s.address, config)
	if err != nil {
		stop()
		_ = raw.Close() // the first error says more
		return nil, err
	}
	client := ssh.NewClient(conn, channels, requests)
	talk := &conversation{errors: &words{}, close: func() error {
		stop()
		_ = client.Close() // what it said was read
		return nil
	}}
	if err := talk.over(client, "git-upload-pack "+quote(s.path)); err != nil {
		_ = talk.close() // the first error says more
		return nil, err
	}
	return talk, nil
}

// over starts a command at the other side.
func (t *conversation) over(client *ssh.Client, command string) error {
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	session.Stderr = t.errors
	if t.in, err = session.StdinPipe(); err != nil {
		return err
	}
	if t.out, err = session.StdoutPipe(); err != nil {
		return err
	}
	return session.Start(command)
}

// quote makes a text one word of a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
