package lastgood_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/postern-gateway/postern/internal/lastgood"
)

const (
	routes = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	limits = "type.googleapis.com/postern.v1.Limits"
)

func resource(name, version, content string) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: routes, Value: []byte(content)}}
}

// log collects what a store says.
type log struct{ bytes.Buffer }

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&l.Buffer, nil)) }

func open(t *testing.T, path string, l *log) *lastgood.Store {
	t.Helper()
	s, err := lastgood.Open(lastgood.Options{Path: path, Of: "envoy default", Log: l.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// held is what a store has of a type, as "name version content".
func held(t *testing.T, s *lastgood.Store, typeURL string) []string {
	t.Helper()
	resources, known, err := s.Load(typeURL)
	if err != nil {
		t.Fatal(err)
	}
	if !known {
		return []string{"unknown"}
	}
	text := []string{}
	for _, r := range resources {
		text = append(text, fmt.Sprintf("%s %s %s", r.Name, r.Version, r.Resource.Value))
	}
	slices.Sort(text)
	return text
}

func expect(t *testing.T, s *lastgood.Store, typeURL string, want ...string) {
	t.Helper()
	if got := held(t, s, typeURL); !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", typeURL, got, want)
	}
}

func TestWhatWasPutIsThereAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	var l log
	s := open(t, path, &l)
	expect(t, s, routes, "unknown")
	if !s.SavedAt().IsZero() {
		t.Errorf("saved at %v before anything was put", s.SavedAt())
	}
	s.Put(routes, []*discoveryv3.Resource{resource("a", "1", "x"), resource("b", "1", "y")}, nil)
	s.Put(limits, nil, nil)
	expect(t, s, routes, "a 1 x", "b 1 y") // whether it is on the disk yet or not
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.Put(routes, []*discoveryv3.Resource{resource("b", "2", "z")}, []string{"a", "never there"})
	expect(t, s, routes, "b 2 z")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, &l)
	expect(t, again, routes, "b 2 z")
	expect(t, again, limits) // known, and none
	if age := time.Since(again.SavedAt()); age < 0 || age > time.Minute {
		t.Errorf("saved %v ago", age)
	}
	if l.Len() > 0 {
		t.Errorf("logged:\n%s", l.String())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestPutIsWrittenSoon(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	s := open(t, path, &log{})
	before := size(t, path)
	s.Put(routes, []*discoveryv3.Resource{resource("a", "1", "x")}, nil)
	deadline := time.Now().Add(10 * time.Second)
	for size(t, path) == before {
		if time.Now().After(deadline) {
			t.Fatal("nothing was written")
		}
		time.Sleep(time.Millisecond)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestTwoOpeners(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	s := open(t, path, &log{})
	_, err := lastgood.Open(lastgood.Options{Path: path, Of: "envoy default"})
	if err == nil || !strings.Contains(err.Error(), path+" is in use by another process") {
		t.Errorf("the second: %v", err)
	}
	s.Close()
	open(t, path, &log{})
}

// filled is the bytes of a file with some history.
func filled(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lastgood")
	s := open(t, path, &log{})
	for i := range 4 {
		s.Put(routes, []*discoveryv3.Resource{resource("a", fmt.Sprint(i), "x"), resource(fmt.Sprint("b", i), "1", "y")}, nil)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// markSize is what a mark takes up.
const markSize = 91

var whole = []string{"a 3 x", "b0 1 y", "b1 1 y", "b2 1 y", "b3 1 y"}

// TestAnyFlippedBitIsFound flips each byte of a file in turn. In the mark at its end it costs that mark.
func TestAnyFlippedBitIsFound(t *testing.T) {
	t.Parallel()
	content := filled(t)
	path := filepath.Join(t.TempDir(), "lastgood")
	for i := range content {
		damaged := slices.Clone(content)
		damaged[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		var l log
		s := open(t, path, &l)
		if i >= len(content)-markSize {
			if expect(t, s, routes, whole...); !strings.Contains(l.String(), "did not reach the disk") {
				t.Fatalf("with byte %d of %d changed it says %q", i, len(content), l.String())
			}
			s.Close()
			continue
		}
		if got := held(t, s, routes); !slices.Equal(got, []string{"unknown"}) {
			t.Fatalf("with byte %d of %d changed it holds %q", i, len(content), got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(l.String(), "the last good configuration is not used") || !strings.Contains(l.String(), path+".refused") {
			t.Fatalf("with byte %d changed it says %q", i, l.String())
		}
		if kept, err := os.ReadFile(path + ".refused"); err != nil || !bytes.Equal(kept, damaged) {
			t.Fatalf("the damaged file is not kept: %v", err)
		}
	}
}

// TestACutOffWriteIsDropped cuts a file at each byte: what is left is what was there before some write.
func TestACutOffWriteIsDropped(t *testing.T) {
	t.Parallel()
	content := filled(t)
	states := [][]string{{"unknown"}, {"a 0 x", "b0 1 y"}, {"a 1 x", "b0 1 y", "b1 1 y"}, {"a 2 x", "b0 1 y", "b1 1 y", "b2 1 y"}, whole}
	path := filepath.Join(t.TempDir(), "lastgood")
	reached := 0
	for n := range len(content) + 1 {
		if err := os.WriteFile(path, content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		var l log
		s := open(t, path, &l)
		got := held(t, s, routes)
		if reached+1 < len(states) && slices.Equal(got, states[reached+1]) {
			reached++
		}
		if !slices.Equal(got, states[reached]) || strings.Contains(l.String(), "is not used") {
			t.Fatalf("cut at byte %d it holds %q, and says %q", n, got, l.String())
		}
		l.Reset()
		s.Put(routes, []*discoveryv3.Resource{resource("new", "1", "z")}, nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path, &l)
		if got := held(t, s, routes); !slices.Contains(got, "new 1 z") || l.Len() > 0 {
			t.Fatalf("cut at byte %d and written again it holds %q, and says %q", n, got, l.String())
		}
		s.Close()
	}
	if reached != len(states)-1 {
		t.Errorf("only %d states were seen", reached)
	}
}

func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		want    string
	}{
		"another kind": {"SQLite format 3\x00 and so on", "does not begin with"},
		"a newer one":  {"postern last good 2 of envoy default\n", "does not begin with"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "lastgood")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var l log
			expect(t, open(t, path, &l), routes, "unknown")
			if !strings.Contains(l.String(), c.want) {
				t.Errorf("got %s want %s", l.String(), c.want)
			}
			if kept, err := os.ReadFile(path + ".refused"); err != nil || string(kept) != c.content {
				t.Errorf("kept %q, %v", kept, err)
			}
		})
	}
}

// TestAnotherLabelsFileStays: one start with the wrong label must not cost the right one its last good.
func TestAnotherLabelsFileStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	content := filled(t)
	for _, of := range []string{"envoy partner", "envoy", "envoy default and more"} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var l log
		_, err := lastgood.Open(lastgood.Options{Path: path, Of: of, Log: l.logger()})
		want := fmt.Sprintf(`%s is of "envoy default" and this is %q: use another dataDir, or remove that file`, path, of)
		if err == nil || !strings.Contains(err.Error(), want) || l.Len() > 0 {
			t.Errorf("error %v, want %s; logged %q", err, want, l.String())
		}
		s := open(t, path, &l)
		expect(t, s, routes, whole...)
		s.Close()
	}
}

// TestOldWritesAreForgotten: the file does not grow with every change.
func TestOldWritesAreForgotten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	var l log
	s := open(t, path, &l)
	large := strings.Repeat("x", 100_000)
	s.Put(limits, nil, nil)
	s.Put(routes, []*discoveryv3.Resource{resource("b", "1", "y")}, nil)
	for i := range 100 {
		s.Put(routes, []*discoveryv3.Resource{resource("a", fmt.Sprint(i), large)}, nil)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := size(t, path); n > 2_000_000 {
		t.Errorf("%d bytes for one resource of %d", n, len(large))
	}
	expect(t, s, routes, "a 99 "+large, "b 1 y")
	s.Close()
	again := open(t, path, &l)
	expect(t, again, routes, "a 99 "+large, "b 1 y")
	expect(t, again, limits)
	if l.Len() > 0 {
		t.Errorf("it says %q", l.String())
	}
}

// TestDamageWhileItIsOpen: what the disk lost later is an error, not a wrong resource.
func TestDamageWhileItIsOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	s := open(t, path, &log{})
	s.Put(routes, []*discoveryv3.Resource{resource("a", "1", "treasure")}, nil)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(content, []byte("treasure"), []byte("trash..."), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Load(routes); err == nil || !strings.Contains(err.Error(), `"a" was damaged`) {
		t.Errorf("got %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("postern last good 1 of envoy default\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "lastgood")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := lastgood.Open(lastgood.Options{Path: path, Of: "envoy default", Log: (&log{}).logger()}); err == nil {
			held(t, s, routes)
			s.Close()
		}
	})
}

// BenchmarkChange writes one change to a file of ten and of ten thousand resources: both cost the same.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := lastgood.Open(lastgood.Options{Path: filepath.Join(b.TempDir(), "lastgood"), Of: "bench"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			content := strings.Repeat("x", 2000)
			for i := range n {
				s.Put(routes, []*discoveryv3.Resource{resource(fmt.Sprint("r", i), "1", content)}, nil)
			}
			if err := s.Flush(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s.Put(routes, []*discoveryv3.Resource{resource("r1", "2", content)}, nil)
				if err := s.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
