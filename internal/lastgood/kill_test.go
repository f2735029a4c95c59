package lastgood_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/postern-gateway/postern/internal/lastgood"
)

const victim = "POSTERN_TEST_LASTGOOD"

func TestMain(m *testing.M) {
	if path := os.Getenv(victim); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

// writeForEver writes the same number into two resources, and tells it once it is written.
func writeForEver(path string) {
	s, err := lastgood.Open(lastgood.Options{Path: path, Of: "envoy default"})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	content := strings.Repeat("x", 60_000) // so that the file is rewritten every now and then
	for i := 1; ; i++ {
		version := strconv.Itoa(i)
		s.Put(routes, []*discoveryv3.Resource{resource("a", version, content), resource("b", version, content)}, nil)
		s.Put(limits, []*discoveryv3.Resource{resource("c", version, "")}, nil)
		if err := s.Flush(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(version)
	}
}

// TestKilled kills a writer at some moment, many times: what is left is the last write that was told of or a later one, and
// all of it.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	for range 25 {
		told := killed(t, path)
		var l log
		s := open(t, path, &l)
		versions := map[string]int{}
		for _, typeURL := range []string{routes, limits} {
			resources, _, err := s.Load(typeURL)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range resources {
				versions[r.Name], _ = strconv.Atoi(r.Version)
			}
		}
		if len(versions) != 3 || versions["a"] != versions["b"] || versions["a"] != versions["c"] || versions["a"] < told || strings.Contains(l.String(), "is not used") {
			t.Fatalf("told of %d, found %v, and says %q", told, versions, l.String())
		}
		s.Close()
	}
}

// killed runs a writer, kills it, and returns the last number it told.
func killed(t *testing.T, path string) int {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), victim+"="+path)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n') // it is at work
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(rand.N(100*time.Millisecond), func() { _ = c.Process.Kill() })
	rest, _ := io.ReadAll(lines)
	_ = c.Wait()
	all := strings.Fields(line + string(rest))
	for i := len(all) - 1; i >= 0; i-- {
		if n, err := strconv.Atoi(all[i]); err == nil {
			return n
		}
	}
	t.Fatalf("the writer said %q", line)
	return 0
}
