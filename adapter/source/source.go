// Package source watches project folders and archives and says which of them changed. It does not
// read what is in them, and must not import the other packages of the adapter.
package source

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options of Watch. Zero values are the defaults.
type Options struct {
	// Paths are project folders and archives. They need not exist yet.
	Paths []string
	// Quiet is how long nothing may happen before changes are told: many edits at once are one. Cap
	// bounds it where something always happens.
	Quiet time.Duration // 25 ms
	Cap   time.Duration // 250 ms
	// Poll is how often paths are looked at where the system cannot tell of changes.
	Poll time.Duration // 1 s
	Log  *slog.Logger
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, fallback time.Duration) {
		if *d == 0 {
			*d = fallback
		}
	}
	or(&o.Quiet, 25*time.Millisecond)
	or(&o.Cap, 250*time.Millisecond)
	or(&o.Poll, time.Second)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Watch watches until ctx is done, then closes the channel. Each element names, sorted, the paths that
// may have changed since they were named last, as they stand in Options.Paths; while nobody receives,
// changes add up. Nothing is named for being there at the start; whoever reads the paths after Watch
// returned misses nothing.
func Watch(ctx context.Context, o Options) <-chan []string {
	o = o.withDefaults()
	w := &watcher{options: o, watched: map[string]map[*root]bool{}, changed: map[*root]bool{}, out: make(chan []string)}
	for _, path := range slices.Compact(slices.Sorted(slices.Values(o.Paths))) {
		w.roots = append(w.roots, newRoot(path))
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		o.Log.Warn("the system does not tell of file changes; looking instead", "every", o.Poll, "err", err)
	} else {
		w.notify = notify
	}
	for _, r := range w.roots {
		w.watch(r)
	}
	go w.run(ctx)
	return w.out
}

// watcher is the state of Watch; after Watch returned, its goroutine's alone.
type watcher struct {
	options Options
	notify  *fsnotify.Watcher // nil: the system does not tell
	roots   []*root
	watched map[string]map[*root]bool // directories, and whom they concern
	changed map[*root]bool
	next    int // the root that is looked at next though it is watched
	out     chan []string
}

// run collects changes, waits for quiet, and hands them on.
func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	var events <-chan fsnotify.Event
	var failures <-chan error
	if w.notify != nil {
		defer w.notify.Close()
		events, failures = w.notify.Events, w.notify.Errors
	}
	poll := time.NewTicker(w.options.Poll)
	defer poll.Stop()

	var quiet, limit <-chan time.Time // nil: nothing changed since out was made ready
	var out chan<- []string           // nil: not ready
	var names []string
	for {
		heard := false
		select {
		case e := <-events:
			heard = w.heard(e)
		case err := <-failures: // mostly an overflow: anything may have happened
			w.options.Log.Warn("file changes were lost; reading everything again", "err", err)
			for _, r := range w.roots {
				w.changed[r] = true
			}
			heard = true
		case <-poll.C:
			heard = w.look()
		case out <- names:
			clear(w.changed)
			out = nil
		case <-quiet:
			quiet, limit, out, names = nil, nil, w.out, w.settle()
		case <-limit:
			quiet, limit, out, names = nil, nil, w.out, w.settle()
		case <-ctx.Done():
			return
		}
		if heard {
			quiet, out = time.After(w.options.Quiet), nil
			if limit == nil {
				limit = time.After(w.options.Cap)
			}
		}
	}
}

// heard marks the roots an event concerns.
func (w *watcher) heard(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	any := false
	for r := range w.watched[filepath.Dir(e.Name)] {
		if r.tree[filepath.Dir(e.Name)] || r.names[e.Name] {
			w.changed[r], any = true, true
		}
	}
	for r := range w.watched[e.Name] { // the directory itself went
		w.changed[r], any = true, true
	}
	return any
}

// look compares with what was seen last: all that is not watched, and a part of what is, because
// some file systems forget to tell.
func (w *watcher) look() bool {
	any := false
	see := func(r *root) {
		if scan(r.path).print != r.print {
			w.changed[r], any = true, true
		}
	}
	for _, r := range w.roots {
		if r.unwatched {
			see(r)
		}
	}
	for range (len(w.roots) + 59) / 60 { // each of them once a minute, were they many
		see(w.roots[w.next%len(w.roots)])
		w.next++
	}
	return any
}

// settle watches what the changed roots consist of now, and names them. Whatever changes after that
// is heard of again, so that who reads a root when it is named misses nothing.
func (w *watcher) settle() []string {
	var names []string
	for r := range w.changed {
		w.watch(r)
		names = append(names, r.given)
	}
	slices.Sort(names)
	return names
}

// watch brings the watched directories in step with what a root consists of.
func (w *watcher) watch(r *root) {
	old := r.scanned
	r.scanned = scan(r.path)
	for dir := range old.dirs() {
		if !r.has(dir) {
			delete(w.watched[dir], r)
			if len(w.watched[dir]) == 0 {
				delete(w.watched, dir)
				if w.notify != nil {
					_ = w.notify.Remove(dir) // it may be gone by itself
				}
			}
		}
	}
	was := r.unwatched
	r.unwatched = w.notify == nil || len(r.outside) == 0
	for dir := range r.dirs() {
		if w.watched[dir] == nil {
			w.watched[dir] = map[*root]bool{}
		}
		w.watched[dir][r] = true
		if w.notify == nil {
			continue
		}
		// why always: another directory may have taken the place of the one watched
		if err := w.notify.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.unwatched = true
			if !was {
				w.options.Log.Warn("cannot be told of changes; looking instead", "path", r.given, "every", w.options.Poll, "err", err)
			}
			return
		}
	}
}
