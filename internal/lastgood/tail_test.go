package lastgood

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
)

const kind = "type.googleapis.com/postern.v1.Limits"

const page = 4096

// written makes a file of two frames that are on the disk, with a mark after each, and so many that are not. It returns
// its bytes, and where each of the latter begins.
func written(t *testing.T, unsynced int) (content []byte, starts []int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lastgood")
	j, err := open(path, "enforcer default", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	for i := range 2 + unsynced {
		if i >= 2 {
			starts = append(starts, int(j.size))
		}
		name := fmt.Sprint("r", i)
		large := &discoveryv3.Resource{Name: name, Version: "1", Resource: &anypb.Any{Value: bytes.Repeat([]byte(name), 3*page)}}
		if err := j.append(changes{kind: {name: large}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			if err := j.sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if content, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return content, starts
}

// reopened is what a store with these bytes has, and what it says.
func reopened(t *testing.T, content []byte) (names []string, said string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lastgood")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is dropped is gone the second time
		var log bytes.Buffer
		s, err := Open(Options{Path: path, Of: "enforcer default", Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		resources, _, err := s.Load(kind)
		if err != nil {
			t.Fatal(err)
		}
		now := []string{}
		for _, r := range resources {
			now = append(now, r.Name)
		}
		slices.Sort(now)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if names == nil {
			names, said = now, log.String()
			continue
		}
		if !slices.Equal(names, now) || log.Len() > 0 {
			t.Errorf("first %q, then %q and %q", names, now, log.String())
		}
	}
	return names, said
}

const dropped = "did not reach the disk"

// TestATornLastWrite: after a power failure any page of what was not on the disk yet may be zeros.
func TestATornLastWrite(t *testing.T) {
	t.Parallel()
	content, starts := written(t, 1)
	for at := starts[0] / page * page; at < len(content); at += page {
		torn := slices.Clone(content)
		clear(torn[max(at, starts[0]):min(at+page, len(torn))])
		if names, said := reopened(t, torn); !slices.Equal(names, []string{"r0", "r1"}) || !strings.Contains(said, dropped) {
			t.Errorf("without the page at %d: %q, and it says %q", at, names, said)
		}
		clear(torn[max(at, starts[0]):])
		if names, _ := reopened(t, torn); !slices.Equal(names, []string{"r0", "r1"}) {
			t.Errorf("without the pages from %d: %q", at, names)
		}
	}
}

// TestAHoleInWhatWasNotSynced: of several writes that were not on the disk yet those before the hole stand.
func TestAHoleInWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	content, starts := written(t, 4)
	for i, start := range starts {
		holed := slices.Clone(content)
		clear(holed[start+100 : start+100+page])
		want := []string{"r0", "r1", "r2", "r3", "r4", "r5"}[:2+i]
		if names, said := reopened(t, holed); !slices.Equal(names, want) || !strings.Contains(said, dropped) {
			t.Errorf("with a hole at %d: %q, want %q, and it says %q", start, names, want, said)
		}
	}
}

// TestZerosInTheMiddle: of what was on the disk nothing is ever dropped without a word.
func TestZerosInTheMiddle(t *testing.T) {
	t.Parallel()
	content, starts := written(t, 0)
	if len(starts) > 0 {
		t.Fatal(starts)
	}
	first := len(title + "enforcer default\n")
	for _, n := range []int{headerSize, page, 5 * page} {
		holed := slices.Clone(content)
		clear(holed[first : first+n])
		path := filepath.Join(t.TempDir(), "lastgood")
		if err := os.WriteFile(path, holed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(path, "enforcer default", slog.New(slog.DiscardHandler))
		if _, ok := err.(refusal); !ok || !strings.Contains(err.Error(), "and was whole up to byte") {
			t.Errorf("%d zeros: %v", n, err)
		}
	}
	if names, said := reopened(t, append(content, make([]byte, 5000)...)); len(names) != 2 || said != "" {
		t.Errorf("zeros at the end: %q, and it says %q", names, said)
	}
}

// TestAKilledProcessLeavesWhatIsMarkedLater: the next one puts it on the disk.
func TestAKilledProcessLeavesWhatIsMarkedLater(t *testing.T) {
	t.Parallel()
	content, starts := written(t, 2)
	path := filepath.Join(t.TempDir(), "lastgood")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Path: path, Of: "enforcer default"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if content, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	content[starts[0]+100] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(path, "enforcer default", slog.Default()); err == nil {
		t.Error("damage of what was on the disk is not refused")
	}
}

// TestAFileThatCannotBeRewritten takes each write once, and says once what is wrong.
func TestAFileThatCannotBeRewritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	var log bytes.Buffer
	s, err := Open(Options{Path: path, Of: "enforcer default", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // why: where permissions are not asked for, this stands in the way too
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("x"), 500_000)
	for i := range 8 {
		s.Put(kind, []*discoveryv3.Resource{{Name: "a", Version: fmt.Sprint(i), Resource: &anypb.Any{Value: large}}}, nil)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.j.size; n > 9*500_000 {
		t.Errorf("%d bytes for 8 writes of 500000", n)
	}
	if n := strings.Count(log.String(), "cannot be rewritten"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, log.String())
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	s.j.crowded = time.Now().Add(-2 * time.Minute)
	s.Put(kind, nil, []string{"b"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 600_000 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestConfirm: the age is that of the last word of a source, and costs a few bytes.
func TestConfirm(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lastgood")
	reopen := func() *Store {
		s, err := Open(Options{Path: path, Of: "enforcer default"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	s := reopen()
	s.Put(kind, []*discoveryv3.Resource{{Name: "a", Version: "1"}}, nil)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	put, before := s.SavedAt(), s.j.size
	s.Confirm()
	confirmed := s.SavedAt()
	if !confirmed.After(put) {
		t.Errorf("put %v, confirmed %v", put, confirmed)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if grown := s.j.size - before; grown <= 0 || grown > 200 {
		t.Errorf("grown by %d bytes", grown)
	}
	s = reopen()
	s.Drop(kind, []string{"a"}) // nobody's word
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.j.doubtful = true // why: rewriting must not make it younger either
	s.loose = true
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen()
	if got := s.SavedAt(); !got.Equal(confirmed) {
		t.Errorf("confirmed %v, after a restart %v", confirmed, got)
	}
	if resources, known, _ := s.Load(kind); len(resources) > 0 || !known {
		t.Errorf("%v %v", resources, known)
	}
}
