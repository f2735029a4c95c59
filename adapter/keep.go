package adapter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/store"
)

// Keeping is the part of a Store that keeps what was good of projects that are followed, by their absolute path.
type Keeping interface {
	Keep(ctx context.Context, path, digest string, archive []byte) error
	Kept(ctx context.Context, path string) (k store.Kept, there bool, err error)
	KeptDigest(ctx context.Context, path string) (string, error)
	KeptPaths(ctx context.Context) ([]string, error)
	Forget(ctx context.Context, path string) error
}

// Bounds of what keeping costs.
const (
	maxKeptBytes = 32 << 20 // of a project's files, unpacked
	maxKeptFiles = 5000
	keepQuiet    = time.Second // from what the desk found good to its being kept: many edits are one
	// keepRest is how often as long as it has worked the keeper rests: it has at most a twentieth of one processor,
	// however much changes, and a tenth of that after a start. maxKeepRest bounds one rest.
	keepRest    = 19
	maxKeepRest = time.Minute
)

// keeper keeps what is good of projects that are followed in the store, from where an adapter has it that starts while one
// of them is broken. Its goroutine works beside everything else, and nobody waits for it.
type keeper struct {
	Keeping               // nil: nothing is kept
	ready   chan struct{} // of capacity one

	mu    sync.Mutex
	noted map[string]time.Time // by path: when it was found good, or gone

	said map[string]string // by path: the last words about it; its goroutine's alone
}

func newKeeper(s Store) *keeper {
	k := &keeper{ready: make(chan struct{}, 1), noted: map[string]time.Time{}, said: map[string]string{}}
	if s != nil {
		k.Keeping = s
	}
	return k
}

// note has projects looked at a while later. It never waits.
func (k *keeper) note(paths []string, now time.Time) {
	if k.Keeping == nil || len(paths) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, path := range paths {
		if was, there := k.noted[path]; !there || now.Sub(was) > keepQuiet { // else it is looked at soon, and then as it is then
			k.noted[path] = now
		}
	}
	select {
	case k.ready <- struct{}{}:
	default: // it is signalled already
	}
}

// next takes the project that was noted last of those that were quiet for long enough; or it says when one will be.
func (k *keeper) next(now time.Time) (path string, in time.Duration, any bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var latest time.Time
	for p, at := range k.noted {
		wait := keepQuiet - now.Sub(at)
		switch {
		case wait > 0:
			if !any || wait < in {
				in, any = wait, true
			}
		case path == "" || at.After(latest): // why the last: a start notes all of them, and an edit is not to wait for those
			path, latest = p, at
		}
	}
	if path != "" {
		delete(k.noted, path)
		return path, 0, true
	}
	return "", in, any
}

// rest is for how many times as long as it worked the keeper rests. A start notes all projects there are: a tenth of what an
// edit may take is enough for those, so that nobody pays for them who changes something meanwhile.
func (k *keeper) rest() time.Duration {
	const many = 50
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.noted) > many {
		return 10 * keepRest
	}
	return keepRest
}

// keepGood is the keeper's goroutine.
func (a *Adapter) keepGood(ctx context.Context) {
	k := a.keeper
	if k.Keeping == nil {
		return
	}
	if err := a.forgetOthers(ctx); err != nil && ctx.Err() == nil {
		a.log.Error("what is kept of projects that are not followed any more stays", "err", err)
	}
	for ctx.Err() == nil {
		path, in, any := k.next(time.Now())
		if path == "" {
			var due <-chan time.Time
			if any {
				due = time.After(in)
			}
			select {
			case <-due:
			case <-k.ready:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		k.say(a, path, a.keep(ctx, path))
		select {
		case <-time.After(min(k.rest()*time.Since(began), maxKeepRest)):
		case <-ctx.Done():
		}
	}
}

// say logs why something cannot be kept, once.
func (k *keeper) say(a *Adapter, path string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		delete(k.said, path)
		return
	}
	if words := err.Error(); k.said[path] != words {
		k.said[path] = words
		a.log.Warn("a good project cannot be kept for an adapter that starts while it is broken", "project", path, "err", err)
	}
}

// forgetOthers keeps nothing of projects that no source has any more.
func (a *Adapter) forgetOthers(ctx context.Context) error {
	followed := map[string]bool{}
	for _, path := range a.sources.Paths() {
		followed[absolute(path)] = true
	}
	kept, err := a.keeper.KeptPaths(ctx)
	for _, path := range kept {
		if !followed[path] {
			err = errors.Join(err, a.keeper.Forget(ctx, path))
		}
	}
	return err
}

// keep keeps what is at a path, if it is good.
func (a *Adapter) keep(ctx context.Context, path string) error {
	k, of := a.keeper, absolute(path)
	found, there := a.sources.Find(path)
	if !there {
		return k.Forget(ctx, of)
	}
	if found.Err != nil {
		return nil
	}
	archive, err := packed(path)
	if errors.Is(err, errTooLarge) {
		return errors.Join(err, k.Forget(ctx, of)) // why: what was kept becomes older and older
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(archive)
	digest := hex.EncodeToString(sum[:])
	if known, err := k.KeptDigest(ctx, of); err != nil || known == digest {
		return err
	}
	// why compile once more: somebody may have written since the desk looked, and what is kept has to be good as it is
	c, err := a.compileArchive(path, archive)
	if err != nil {
		return err
	}
	if c.refused() || a.names.owner(c.project.Name) != path {
		return nil // the desk will hear of it, too
	}
	if err := k.Keep(ctx, of, digest, archive); err != nil {
		return err
	}
	a.log.Debug("project kept as it is", "project", path, "bytes", len(archive))
	return nil
}

// compileArchive compiles an archive as what is at a path, and remembers nothing of it.
func (a *Adapter) compileArchive(path string, archive []byte) (compiled, error) {
	files, err := project.OpenBytes(archive)
	if err != nil {
		return compiled{}, err
	}
	return a.compileFiles(path, nameAt(path), files, &memory{}), nil
}

// recall compiles what was kept of the projects that are refused now.
func (a *Adapter) recall(ctx context.Context, found []compiled) []compiled {
	if a.keeper.Keeping == nil {
		return nil
	}
	var all []compiled
	for _, c := range found {
		if !c.refused() {
			continue
		}
		k, there, err := a.keeper.Kept(ctx, absolute(c.path))
		if errors.Is(err, store.ErrDamaged) {
			err = errors.Join(err, a.keeper.Forget(ctx, absolute(c.path)))
		}
		if err != nil {
			a.log.Error("what was kept of a project cannot be read", "project", c.path, "err", err)
		}
		if !there {
			continue
		}
		kept, err := a.compileArchive(c.path, k.Archive)
		if err == nil && kept.refused() {
			err = errors.New(firstRefusal(c.path, kept.problems))
		}
		if err != nil {
			a.log.Error("what was kept of a project is refused too", "project", c.path, "of", k.At, "err", err)
			continue
		}
		kept.kept, kept.problems = k.At, nil // why none: what it was warned of is another state of the files
		all = append(all, kept)
	}
	return all
}

// sayRecalled logs which projects are served as they were kept.
func (d *desk) sayRecalled(kept []compiled) {
	for _, c := range kept {
		if len(d.homes[c.path]) > 0 {
			d.log.Warn("a project is broken; serving what was kept of it, of "+c.kept.Format(time.RFC3339), "project", c.path)
		}
	}
}

// errTooLarge is what is told of a project that is not kept.
var errTooLarge = fmt.Errorf("it has more than %d files or %d MiB; while it is broken, do not restart the adapter", maxKeptFiles, maxKeptBytes>>20)

// packed is the project at a path in the one form that equal content has.
func packed(path string) ([]byte, error) {
	files, closer, err := project.Open(path)
	if err != nil {
		return nil, err
	}
	defer closer.Close() //nolint:errcheck // it was only read
	if err := measure(files); err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	err = project.Build(files, &archive)
	return archive.Bytes(), err
}

// measure refuses what would cost too much to keep.
func measure(files fs.FS) error {
	n, bytes := 0, int64(0)
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(entry.Name(), "."): // project.Build leaves it out, too
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		}
		if info, err := fs.Stat(files, name); err == nil {
			bytes += info.Size()
		}
		if n++; n > maxKeptFiles || bytes > maxKeptBytes {
			return errTooLarge
		}
		return nil
	})
}

// absolute is what a path is kept under: the next adapter may be started elsewhere.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
