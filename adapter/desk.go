package adapter

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
)

// desk hands what became of the sources to the labels it is for: compiled once, published by each of them. Its goroutine
// alone touches it. What it does for a change costs what the change costs, however many labels there are.
type desk struct {
	*Adapter
	memories  memories                   // by path: what is not compiled again
	homes     map[string][]string        // by path: the labels that have it, sorted
	warned    map[string][]model.Problem // by path: warnings that were logged
	elsewhere map[string]string          // by path: that it is for others was logged, in these words
	due       map[string]time.Time       // by path: when it comes out otherwise by itself
}

func newDesk(a *Adapter, known memories) *desk {
	return &desk{
		Adapter: a, memories: known, homes: map[string][]string{}, warned: map[string][]model.Problem{}, elsewhere: map[string]string{},
		due: map[string]time.Time{},
	}
}

// run is its goroutine.
func (d *desk) run(ctx context.Context, changes <-chan []string, failed <-chan error) error {
	tick := time.NewTicker(d.pace())
	defer tick.Stop()
	for {
		select {
		case paths := <-changes:
			if err := d.refresh(paths); err != nil {
				return err
			}
		case <-d.again.ready:
			if err := d.refresh(d.again.take()); err != nil {
				return err
			}
		case now := <-tick.C:
			d.sweep(now, d.pace())
			if err := d.refresh(d.overdue(now)); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// refresh compiles what is at these paths and delivers it. A pushed project is brought up to date by a push of its own.
func (d *desk) refresh(paths []string) error {
	var here []string
	for _, path := range unique(paths) {
		if name, pushed := pushedName(path); pushed {
			d.pushes.background.Go(func() { d.refreshPushed(name) })
			continue
		}
		here = append(here, path)
	}
	if len(here) == 0 {
		return nil
	}
	return d.deliver(d.compileAll(here, d.memories.of))
}

// overdue are the paths of projects that come out otherwise by now. Each is named once.
func (d *desk) overdue(now time.Time) []string {
	var paths []string
	for path, due := range d.due {
		if !due.After(now) {
			paths = append(paths, path)
			delete(d.due, path)
		}
	}
	return append(paths, d.pushes.overdue(now)...)
}

// named sees to it that a project has its name for itself: one of another source that has it already is refused. What had
// another name before, or is gone, makes room for others.
func (d *desk) named(c *compiled) {
	switch name := c.project.Name; {
	case c.gone:
		d.names.forget(c.path)
		d.releaseName(c.path)
	case c.refused():
	default:
		holder, next := d.names.claim(name, c.path)
		if holder != "" {
			d.names.wait(name, c.path)
			c.problems = append(c.problems, model.Problem{Origin: model.Origin{File: "project.yaml"}, Code: "source-conflict", Message: fmt.Sprintf(
				"the project %s comes from %s already, and a project has one source: this one is %s; take one of them away, or give one another name in its project.yaml",
				name, d.describe(holder), d.describe(c.path))})
			return
		}
		d.revisit(next)
	}
}

// deliver hands projects to the labels they are for now, and to those they were for, who withdraw them. It waits for
// nobody: each label publishes by itself.
func (d *desk) deliver(found []compiled) error {
	if d.options.Label != "" {
		if err := d.hand(d.options.Label, nil, 0); err != nil { // it is there whatever is for it
			return err
		}
	}
	var moved []string // what the keeper is to look at
	handed := map[string][]compiled{}
	joined := map[string]int{} // by label: how many projects more than before
	for _, c := range found {
		d.named(&c)
		d.report(c)
		if delete(d.due, c.path); !c.due.IsZero() {
			d.due[c.path] = c.due
		}
		was := d.homes[c.path]
		is := d.labelsOf(c, was)
		for _, label := range is {
			handed[label] = append(handed[label], c)
			if !slices.Contains(was, label) {
				joined[label]++
			}
		}
		for _, label := range was {
			if !slices.Contains(is, label) {
				handed[label] = append(handed[label], c.withdrawn())
				joined[label]--
			}
		}
		if d.homes[c.path] = is; len(is) == 0 {
			delete(d.homes, c.path)
		}
		if c.gone {
			d.forget(c.path)
		}
		if _, pushed := pushedName(c.path); !pushed && !c.refused() && c.kept.IsZero() {
			moved = append(moved, c.path)
		}
	}
	for _, label := range slices.Sorted(maps.Keys(handed)) {
		if err := d.hand(label, handed[label], joined[label]); err != nil {
			return err
		}
	}
	d.keeper.note(moved, time.Now())
	return nil
}

// hand puts projects into a label's inbox.
func (d *desk) hand(name string, projects []compiled, joined int) error {
	d.labels.mu.Lock()
	defer d.labels.mu.Unlock()
	l, err := d.label(name)
	if err != nil {
		return fmt.Errorf("label %s: %w", name, err)
	}
	l.projects += joined
	l.inbox.put(projects)
	return nil
}

// forget keeps nothing of a path that is gone.
func (d *desk) forget(path string) {
	d.board.without(path)
	delete(d.memories, path)
	delete(d.warned, path)
	delete(d.elsewhere, path)
}

// labelsOf are the labels that a project goes to. What a project that is refused is for nobody can tell: it stays where
// it was.
func (d *desk) labelsOf(c compiled, was []string) []string {
	switch {
	case c.gone:
		return nil
	case c.refused():
		return was
	}
	labels := slices.Compact(slices.Sorted(slices.Values(c.project.Labels)))
	only := d.options.Label
	if only == "" {
		return labels
	}
	if slices.Contains(labels, only) {
		delete(d.elsewhere, c.path)
		return []string{only}
	}
	words := elsewhere(c, only)
	if d.elsewhere[c.path] != words {
		d.log.Warn(words, "path", c.path)
	}
	d.elsewhere[c.path] = words
	return nil
}

// elsewhere says why nothing of a project is served, though nothing is wrong with it.
func elsewhere(c compiled, only string) string {
	return fmt.Sprintf("project %s is for labels [%s]; this gateway serves label %s", c.project.Name, strings.Join(c.project.Labels, ", "), only)
}

// unplaced is a problem without its place in its file, which moves with every edit above it.
func unplaced(p model.Problem) model.Problem {
	p.Line, p.Column, p.Pointer = 0, 0, ""
	return p
}

// report logs what is wrong with a project, a line a problem; warnings once. It notes what became of the project.
func (d *desk) report(c compiled) {
	told := map[model.Problem]bool{}
	for _, p := range d.warned[c.path] {
		told[unplaced(p)] = true
	}
	d.warned[c.path] = nil
	var fresh []model.Problem
	for _, p := range c.problems {
		if p.Severity == model.Warning {
			d.warned[c.path] = append(d.warned[c.path], p)
			if told[unplaced(p)] {
				continue
			}
		}
		fresh = append(fresh, p)
	}
	logProblems(d.log, c.path, fresh)
	if c.refused() {
		d.log.Error("project rejected; what is served of it stays", "project", c.path, "problems", len(c.problems))
	}
	if c.gone {
		d.log.Info("project is gone from its source; nothing of it is served any longer", "project", c.path)
		return
	}
	s := ProjectStatus{Path: c.path, Name: d.nameOf(c), Labels: c.project.Labels, State: Live, Problems: c.problems}
	switch only := d.options.Label; {
	case c.refused():
		s.State = Rejected
		if was := d.homes[c.path]; len(was) > 0 { // why: what is served there is not for others to see
			s.Labels = was
		}
	case only != "" && !slices.Contains(c.project.Labels, only):
		s.Words = elsewhere(c, only)
	}
	d.board.put(s)
}

// nameOf is the project's, as far as it is known.
func (d *desk) nameOf(c compiled) string {
	if name, pushed := pushedName(c.path); pushed {
		return name
	}
	if name := d.names.nameOf(c.path); name != "" && c.refused() {
		return name // what is served of it is served under this one
	}
	if name := c.project.Name; name != "" {
		return name
	}
	return strings.TrimSuffix(filepath.Base(c.path), ".zip")
}

func logProblems(log *slog.Logger, path string, problems []model.Problem) {
	for _, p := range problems {
		level := slog.LevelError
		if p.Severity == model.Warning {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, p.Message, "at", at(path, p), "code", p.Code)
	}
}
