package git

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/test/fixture"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// tee also writes what is read.
func tee(r io.ReadCloser, w io.Writer) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r, w), r}
}

// sshServer lets one key in, and runs git-upload-pack for it.
type sshServer struct {
	t       *testing.T
	address string
	host    ssh.Signer
	key     string // file
	known   string // file
}

func newSigner(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer, key
}

func startSSH(t *testing.T) *sshServer {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshServer{t: t, address: l.Addr().String(), key: filepath.Join(dir, "key"), known: filepath.Join(dir, "known")}
	s.host, _ = newSigner(t)
	user, key := newSigner(t)
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	s.write(s.key, string(pem.EncodeToMemory(block)))
	s.write(s.known, knownhosts.Line([]string{s.address}, s.host.PublicKey())+"\n")
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(k.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, fmt.Errorf("who is this")
		}
		return nil, nil
	}}
	config.AddHostKey(s.host)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(conn, config)
		}
	}()
	return s
}

func (s *sshServer) write(path, content string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func serveSSH(raw net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, asked, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range asked {
				var command struct{ Text string }
				if r.Type != "exec" || ssh.Unmarshal(r.Payload, &command) != nil {
					_ = r.Reply(false, nil)
					continue
				}
				_ = r.Reply(true, nil)
				cmd := exec.Command("sh", "-c", command.Text)
				cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
				in, _ := cmd.StdinPipe()
				go func() { _, _ = io.Copy(in, channel); _ = in.Close() }() // the command ends before its input
				_ = cmd.Run()
				_ = channel.Close()
			}
		}()
	}
}

func TestSSH(t *testing.T) {
	t.Parallel()
	r := fixture.NewRepository(t)
	first := r.Commit(map[string]string{"project.yaml": "1"})
	server := startSSH(t)
	o := Options{URL: "ssh://" + server.address + r.Bare, SSHKey: server.key, KnownHosts: server.known}
	s := newSubject(t, o)
	s.serves(first)
	for range 20 {
		r.Git(r.Work, "commit", "-q", "--allow-empty", "-m", "one of many")
	}
	s.serves(r.Commit(map[string]string{"project.yaml": "2"}))
	s.reads("project.yaml", "2")

	o.Patience = 10 * time.Millisecond
	o.Username = "ann"
	other := newSubject(t, o)
	other.fails("unable to authenticate")
	o.Username = ""
	o.URL += ".none"
	other = newSubject(t, o)
	other.fails("the other side says: fatal: ", "does not appear to be a git repository")

	stranger, _ := newSigner(t)
	server.write(server.known, knownhosts.Line([]string{server.address}, stranger.PublicKey())+"\n")
	s.fails("the key that "+server.address+" shows, SHA256:", "is not the one in "+server.known)
	server.write(server.known, "")
	s.fails("is not the one in " + server.known)
	server.write(server.known, knownhosts.Line([]string{server.address}, server.host.PublicKey())+"\n")
	s.serves(s.Status().Commit) // keys are read anew
}

func TestSSHOptions(t *testing.T) {
	t.Parallel()
	server := startSSH(t)
	for url, want := range map[string]struct{ user, address, path, name string }{
		"git@git.example.com:shop/apis.git":              {"git", "git.example.com:22", "shop/apis.git", "git.example.com:shop/apis.git#main"},
		"ssh://ann@git.example.com:2222/shop/it's":       {"ann", "git.example.com:2222", "/shop/it's", "ssh://git.example.com:2222/shop/it's#main"},
		"ssh://git.example.com/~ann/apis":                {"git", "git.example.com:22", "~ann/apis", "ssh://git.example.com/~ann/apis#main"},
		"ssh://git:hunter2@git.example.com/~ann/apis":    {"git", "git.example.com:22", "~ann/apis", "ssh://git.example.com/~ann/apis#main"},
		"https://ann:hunter2@git.example.com/shop/apis/": {name: "https://git.example.com/shop/apis/#main"},
	} {
		s, err := New(Options{URL: url, Branch: "main", SSHKey: server.key, KnownHosts: server.known, Dir: t.TempDir()})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if s.Status().Source != "git "+want.name {
			t.Errorf("%s is shown as %q", url, s.Status().Source)
		}
	}
	if got := quote("it's"); got != `'it'\''s'` {
		t.Errorf("quoted as %s", got)
	}
	key, err := ssh.MarshalPrivateKeyWithPassphrase(func() ed25519.PrivateKey { _, k := newSigner(t); return k }(), "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	locked := server.key + ".locked"
	server.write(locked, string(pem.EncodeToMemory(key)))
	for words, o := range map[string]Options{
		"sshKey: open":                {SSHKey: "/nowhere", KnownHosts: server.known},
		"is locked with a passphrase": {SSHKey: locked, KnownHosts: server.known},
		"is no private key":           {SSHKey: server.known, KnownHosts: server.known},
		"knownHosts: ":                {SSHKey: server.key, KnownHosts: "/nowhere"},
	} {
		o.URL, o.Branch, o.Dir = "git@git.example.com:apis", "main", t.TempDir()
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

// TestAlgorithms: a host is asked for the kind of key that is known of it.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	server := startSSH(t)
	check, err := knownhosts.New(server.known)
	if err != nil {
		t.Fatal(err)
	}
	if got := algorithms(check, server.address); len(got) != 1 || got[0] != ssh.KeyAlgoED25519 {
		t.Errorf("asks for %v", got)
	}
	if got := algorithms(check, "elsewhere:22"); got != nil {
		t.Errorf("asks for %v", got)
	}
}
