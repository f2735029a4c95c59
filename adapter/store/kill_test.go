package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-gateway/postern/adapter/store"
	"github.com/postern-gateway/postern/test/storetest"
)

const victim = "POSTERN_TEST_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(victim); path != "" {
		fmt.Println(pushForEver(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// pushForEver begins, commits and discards, in four projects at a time, and tells each revision once it is committed.
func pushForEver(path string) error {
	f, err := store.Open(store.Options{Path: path, History: storetest.History})
	if err != nil {
		return err
	}
	ctx, failed := context.Background(), make(chan error)
	if _, err := f.Expire(ctx, time.Now()); err != nil {
		return err
	}
	for i := range 4 {
		go func() {
			for {
				if err := pushOnce(f, fmt.Sprintf("project-%d", i)); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func pushOnce(f *store.File, name string) error {
	content := fmt.Sprintf("%s %d %s", name, rand.Int(), strings.Repeat("x", rand.N(150_000)))
	if err := keepOnce(f, "/"+name, content); err != nil {
		return err
	}
	c := storetest.Of(name, content, store.Claim(fmt.Sprintf("default /%s/%d", name, rand.N(3))))
	if rand.N(4) == 0 {
		c = storetest.Undeploy(name)
	}
	c.Lease = time.Now().Add(time.Hour)
	r, err := f.Begin(context.Background(), c)
	if errors.Is(err, store.ErrUnknown) {
		return nil // nothing is there to be undeployed
	}
	if err != nil {
		return err
	}
	if err := f.Acknowledge(context.Background(), r.ID, store.Ack{Gateway: "a"}); err != nil {
		return err
	}
	if rand.N(4) == 0 {
		return f.Discard(context.Background(), r.ID, nil)
	}
	made, err := f.Commit(context.Background(), r.ID, []byte(`{}`))
	if err != nil {
		return err
	}
	fmt.Printf("%s %d %s.\n", name, made.Number, made.Digest)
	return nil
}

// keepOnce keeps some content of a path, mostly what is pushed next, or nothing.
func keepOnce(f *store.File, path, content string) error {
	if rand.N(4) == 0 {
		return f.Forget(context.Background(), path)
	}
	c := storetest.Of(path, content)
	return f.Keep(context.Background(), path, c.Digest, c.Archive)
}

type told struct {
	name, digest string
	number       uint64
}

// TestKilled kills a process that pushes at full speed at some moment, many times. Afterwards every revision is there that
// it told of, and what it had begun is whole or not at all.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	newest := map[string]told{}
	pushes := 0
	for range 25 {
		for _, one := range killed(t, path) {
			pushes++
			if newest[one.name].number < one.number {
				newest[one.name] = one
			}
		}
		f := openAt(t, path)
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		for _, one := range newest {
			kept(t, f, one)
		}
		paths, err := f.KeptPaths(t.Context())
		for _, path := range paths {
			if k, there, err := f.Kept(t.Context(), path); err != nil || !there || !strings.HasPrefix("/"+string(k.Archive), path+" ") {
				t.Errorf("%s: %.30q, %v", path, k.Archive, err)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		over, err := f.Expire(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range over {
			if r.State != store.Discarded {
				t.Errorf("rollout %s is %s", r.ID, r.State)
			}
		}
		if err := errors.Join(f.Check(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d pushes were told of, and none is lost", pushes)
}

// kept holds that a revision is there, or later ones.
func kept(t *testing.T, f *store.File, one told) {
	t.Helper()
	all, err := f.Revisions(t.Context(), one.name)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Number == one.number && r.Digest != one.digest {
			t.Errorf("revision %d of %s is %q, and was told to be %q", r.Number, one.name, r.Digest, one.digest)
		}
		if r.Digest == "" {
			continue
		}
		if archive, err := f.Archive(t.Context(), r.Digest); err != nil || !strings.HasPrefix(string(archive), one.name+" ") {
			t.Errorf("revision %d of %s: %.30q, %v", r.Number, one.name, archive, err)
		}
	}
	if all[0].Number < one.number {
		t.Errorf("%s is at revision %d, and %d was told of", one.name, all[0].Number, one.number)
	}
}

// killed runs a process that pushes, kills it, and returns what it told.
func killed(t *testing.T, path string) (all []told) {
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
	time.AfterFunc(rand.N(100*time.Millisecond), func() { _ = c.Process.Kill() })
	rest, readErr := io.ReadAll(lines)
	_ = c.Wait()
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(line+string(rest)), "\n") {
		var one told
		if _, err := fmt.Sscanf(line, "%s %d %s", &one.name, &one.number, &one.digest); err != nil {
			t.Fatalf("it said %q", line)
		}
		one.digest = strings.TrimSuffix(one.digest, ".")
		all = append(all, one)
	}
	return all
}
