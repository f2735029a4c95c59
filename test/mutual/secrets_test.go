package mutual

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/postern-gateway/postern/internal/xds"
	posternv1 "github.com/postern-gateway/postern/proto/postern/v1"
	"github.com/postern-gateway/postern/test/fixture"
	"github.com/postern-gateway/postern/test/gateway"
)

func read(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNoSecretForStrangers asks every TCP port of every part, as somebody without a certificate, for everything they have,
// and finds no key in what comes back, in what was logged, nor in a file or socket that others could open.
func TestNoSecretForStrangers(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
	s.plainAdapterWithKeys()
	ports := listening(t, s.folder)
	for name, address := range s.address {
		if !slices.Contains(ports, address) {
			t.Errorf("nothing was found at %s (%s), and so nothing asked there", address, name)
		}
	}
	var said bytes.Buffer
	for _, address := range ports {
		for _, secure := range []bool{false, true} {
			said.WriteString(askHTTP(address, secure))
			said.WriteString(askGRPC(t, address, secure))
		}
	}
	if !strings.Contains(said.String(), "go_goroutines") {
		t.Error("not even metrics were found: has anything been asked?")
	}
	for name, p := range s.parts {
		fmt.Fprintf(&said, "%s: %s", name, &p.log)
	}
	for _, key := range keys(t, s.folder) {
		if bytes.Contains(said.Bytes(), key) {
			t.Error("a private key was told")
		}
	}
	if strings.Contains(said.String(), "PRIVATE KEY") {
		t.Error("a private key was told")
	}
	closed(t, filepath.Join(s.folder, "data"))
}

// plainAdapterWithKeys is not to be had: one that serves HTTPS and would tell its keys to whoever connects.
func (s *system) plainAdapterWithKeys() {
	s.t.Helper()
	s.write("plain.yaml", fmt.Sprintf("dataDir: data/plain\nlisten: {https: %q}\nxds:\n  listen: %q\n"+
		"tls: {certificates: [{cert: certs/shop.pem, key: certs/shop.key}]}\n", fixture.Address(s.t), fixture.Address(s.t)))
	for _, flags := range [][]string{nil, {"--insecure"}} {
		ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, program, append([]string{"adapter", "--config", "plain.yaml", "pets"}, flags...)...)
		cmd.Dir = s.folder
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil || !strings.Contains(string(out), "plain.yaml:4:11: xds.listen: ") || !strings.Contains(string(out), "configure xds.tls, or use a unix socket") {
			s.t.Errorf("with %q: %v\n%s", flags, err, out)
		}
	}
}

// listening are the addresses where the processes in folder listen, as the kernel has them.
func listening(t *testing.T, folder string) []string {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("which ports a process has is known on Linux only")
	}
	owners := map[string]string{} // address by inode
	line := regexp.MustCompile(`: ([0-9A-F]{8}):([0-9A-F]{4}) [0-9A-F:]+ 0A (?:\S+ ){5,}?\s*(\d+) `)
	for _, m := range line.FindAllStringSubmatch(regexp.MustCompile(` +`).ReplaceAllString(string(table), " "), -1) {
		var ip [4]byte
		var port int
		_, _ = fmt.Sscanf(m[1], "%02x%02x%02x%02x", &ip[3], &ip[2], &ip[1], &ip[0])
		_, _ = fmt.Sscanf(m[2], "%x", &port)
		owners[m[3]] = fmt.Sprintf("%d.%d.%d.%d:%d", ip[0], ip[1], ip[2], ip[3], port)
	}
	var found []string
	for _, process := range gateway.Processes(folder) {
		pid, _, _ := strings.Cut(process, " ")
		links, _ := filepath.Glob("/proc/" + pid + "/fd/*")
		for _, link := range links {
			to, _ := os.Readlink(link)
			if address, ok := owners[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")]; ok {
				found = append(found, address)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// stranger is TLS without a certificate, which believes anybody.
func stranger() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}
}

func askHTTP(address string, secure bool) string {
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: stranger(), ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	var said strings.Builder
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/config_dump", "/certs", "/debug/pprof/heap", "/api/v1/projects"} {
		response, err := client.Get(scheme + address + path)
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		said.Write(text)
	}
	return said.String()
}

// askGRPC asks for all resources of all types, and for the secrets by their names.
func askGRPC(t *testing.T, address string, secure bool) string {
	t.Helper()
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(stranger())
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !connected(conn) {
		return ""
	}
	// why so short: the streams are all open at once, and one that is silent tells nothing
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var asking errgroup.Group
	var mu sync.Mutex
	var said strings.Builder
	ask := func(open func() (deltaStream, error), request *discoveryv3.DeltaDiscoveryRequest) {
		asking.Go(func() error {
			text := answer(t, address, open, request)
			mu.Lock()
			defer mu.Unlock()
			said.WriteString(text)
			return nil
		})
	}
	names := []string{xds.Wildcard, posternv1.IdentitySecret, posternv1.AuthoritiesSecret}
	for _, role := range []string{xds.RoleEnvoy, xds.RoleEnforcer, xds.RoleRateLimiter} {
		node := xds.Node{ID: "edge-1", Label: xds.DefaultLabel, Role: role}.Proto()
		for _, typeURL := range []string{xds.SecretType, xds.ClusterType, xds.RouteType, posternv1.IssuerType, posternv1.PolicyType, posternv1.LimitsType} {
			request := &discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names}
			ask(func() (deltaStream, error) {
				return discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
			}, request)
			ask(func() (deltaStream, error) { return secretv3.NewSecretDiscoveryServiceClient(conn).DeltaSecrets(ctx) }, request)
		}
	}
	_ = asking.Wait()
	return said.String()
}

// deltaStream is a stream of either service.
type deltaStream interface {
	Send(*discoveryv3.DeltaDiscoveryRequest) error
	Recv() (*discoveryv3.DeltaDiscoveryResponse, error)
}

func answer(t *testing.T, address string, open func() (deltaStream, error), request *discoveryv3.DeltaDiscoveryRequest) string {
	t.Helper()
	stream, err := open()
	if err != nil {
		return err.Error()
	}
	_ = stream.Send(request) // Recv says why not
	response, err := stream.Recv()
	if err != nil {
		return err.Error()
	}
	if len(response.Resources) > 0 {
		t.Errorf("%s tells a stranger %d resources of %s", address, len(response.Resources), request.TypeUrl)
	}
	return response.String()
}

// connected says whether somebody speaks gRPC with us there, or HTTP/2 at least.
func connected(conn *grpc.ClientConn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	conn.Connect()
	for {
		switch state := conn.GetState(); state {
		case connectivity.Ready:
			return true
		case connectivity.TransientFailure:
			return false
		default:
			if !conn.WaitForStateChange(ctx, state) {
				return false
			}
		}
	}
}

// keys are the private keys below a folder, as they would look in what is told: their bytes, and in base 64.
func keys(t *testing.T, folder string) [][]byte {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(folder, "certs", "*.key"))
	var found [][]byte
	for _, file := range files {
		block, _ := pem.Decode([]byte(read(t, filepath.Dir(file), filepath.Base(file))))
		if block == nil {
			t.Fatalf("%s is no key", file)
		}
		found = append(found, block.Bytes, []byte(base64.StdEncoding.EncodeToString(block.Bytes))[:64])
	}
	if len(found) == 0 {
		t.Fatal("there are no keys")
	}
	return found
}

// closed looks for what other users of the machine could open in a data folder.
func closed(t *testing.T, folder string) {
	t.Helper()
	sockets := 0
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Type() == fs.ModeSocket {
			sockets++
		}
		if path != folder && info.Mode().Perm()&0o077 != 0 && !entry.IsDir() {
			if parent, err := os.Stat(filepath.Dir(path)); err != nil || parent.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s is open to others: %s", path, info.Mode())
			}
		}
		return nil
	})
	if err != nil || sockets == 0 {
		t.Errorf("%d sockets, %v", sockets, err)
	}
}
