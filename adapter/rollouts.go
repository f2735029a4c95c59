package adapter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/store"
)

// rolloutBoard is what a push shows to others.
type rolloutBoard struct {
	mu      sync.Mutex
	outcome Outcome
	ended   time.Time
	err     *PushError
}

func (b *rolloutBoard) set(change func(*Outcome)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.outcome)
}

func (b *rolloutBoard) finish(err *PushError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.err = time.Now(), err
}

func (p *push) outcome() Outcome {
	p.info.mu.Lock()
	defer p.info.mu.Unlock()
	out := p.info.outcome
	out.Warnings, out.Gateways = slices.Clone(out.Warnings), slices.Clone(out.Gateways)
	return out
}

// rollout is the push as others see it.
func (p *push) rollout() RolloutInfo {
	out := p.outcome()
	p.info.mu.Lock()
	defer p.info.mu.Unlock()
	return RolloutInfo{
		ID: p.record.ID, Project: p.Project, Author: p.Author, Began: p.began, Deadline: p.began.Add(p.Wait),
		Ended: p.info.ended, Outcome: out, Err: p.info.err, Labels: p.labelsShown(),
	}
}

// labelsShown are those that the project is to have; where it is to be gone, those that it had.
func (p *push) labelsShown() []string {
	if labels := p.compiled.project.Labels; len(labels) > 0 {
		return labels
	}
	return p.before.Current.Labels
}

// labelsStored are the same of a rollout that has ended, as far as its base is kept.
func (a *Adapter) labelsStored(ctx context.Context, r store.Rollout) ([]string, error) {
	if len(r.Labels) > 0 || r.Base == 0 {
		return r.Labels, nil
	}
	all, err := a.pushes.store.Revisions(ctx, r.Project)
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		return nil, storeError(err)
	}
	for _, before := range all {
		if before.Number == r.Base {
			return before.Labels, nil
		}
	}
	return nil, nil
}

// Rollout is a push under way, or one of those that have ended lately. Its error is a *PushError.
func (a *Adapter) Rollout(ctx context.Context, id string) (RolloutInfo, error) {
	if a.pushes.store == nil {
		return RolloutInfo{}, errNoStore
	}
	a.pushes.mu.Lock()
	active := a.pushes.active[id]
	a.pushes.mu.Unlock()
	if active != nil {
		info := active.rollout()
		if info.Ended.IsZero() && len(info.Outcome.Gateways) == 0 {
			info.Outcome.Gateways, _ = active.standing()
		}
		return info, nil
	}
	r, err := a.pushes.store.Rollout(ctx, id)
	if errors.Is(err, store.ErrUnknown) {
		return RolloutInfo{}, &PushError{Reason: Unknown, Words: fmt.Sprintf("no rollout %.64s is known; the last %d are kept", id, store.EndedKept)}
	}
	if err != nil {
		return RolloutInfo{}, storeError(err)
	}
	labels, err := a.labelsStored(ctx, r)
	if err != nil {
		return RolloutInfo{}, err
	}
	info := RolloutInfo{ID: r.ID, Project: r.Project, Author: r.Author, Began: r.Began, Deadline: r.Deadline, Ended: r.Ended, Labels: labels}
	if len(r.Outcome) > 0 {
		err := json.Unmarshal(r.Outcome, &info)
		info.ID, info.Labels = r.ID, labels
		if r.Revision != 0 { // which was not known when the outcome was written
			info.Outcome.Revision = r.Revision
		}
		return info, err
	}
	info.Outcome = Outcome{Rollout: r.ID, Project: r.Project}
	if !r.Ended.IsZero() {
		info.Err = &PushError{Reason: Unavailable, Words: "the adapter ended while it was under way", Outcome: info.Outcome}
	}
	return info, nil
}

// Projects are those of all sources that come after a name, by name and path: of at most limit names, and then all there
// are of each. Those of labels that visible says no to are left out; nil: none are. It fails when ctx is done.
func (a *Adapter) Projects(ctx context.Context, after string, limit int, visible func(labels []string) bool) (projects []ProjectInfo, more bool, err error) {
	if !a.Started() {
		return nil, false, errStarting
	}
	for names := 0; ctx.Err() == nil; {
		page := a.board.after(after, stride)
		for _, name := range page {
			found := a.board.at(name)
			if visible != nil {
				found = slices.DeleteFunc(found, func(s ProjectStatus) bool { return !visible(s.Labels) })
			}
			if len(found) == 0 {
				continue
			}
			if names == limit {
				return projects, true, nil
			}
			names++
			for _, s := range found {
				info, err := a.projectInfo(ctx, s)
				if err != nil {
					return nil, false, err
				}
				projects = append(projects, info)
			}
		}
		if len(page) < stride {
			return projects, false, nil
		}
		after = page[len(page)-1]
	}
	return nil, false, ctx.Err()
}

// Project is one of them. Its error is a *PushError.
func (a *Adapter) Project(ctx context.Context, name string) (ProjectInfo, error) {
	if !a.Started() {
		return ProjectInfo{}, errStarting
	}
	for _, s := range a.board.named(name) {
		return a.projectInfo(ctx, s)
	}
	return ProjectInfo{}, unknownProject(name)
}

// errStarting is told while nobody can say yet what there is.
var errStarting = &PushError{Reason: Unavailable, Words: "the adapter is starting; try again"}

func unknownProject(name string) *PushError {
	return &PushError{Reason: Unknown, Words: "there is no project " + name}
}

func (a *Adapter) projectInfo(ctx context.Context, s ProjectStatus) (ProjectInfo, error) {
	info := ProjectInfo{Name: s.Name, Source: a.describe(s.Path), Labels: s.Labels, State: s.State, Words: s.Words, Problems: s.Problems, WordsAt: map[string]string{}}
	if name, pushed := pushedName(s.Path); pushed {
		info.Source = "push"
		stored, err := a.pushes.store.Project(ctx, name)
		if err != nil && !errors.Is(err, store.ErrUnknown) {
			return info, storeError(err)
		}
		r := stored.Current
		info.Revision, info.Digest, info.Author, info.At = r.Number, r.Digest, r.Author, r.At
	} else if p, there := a.sources.Find(s.Path); there && p.Commit != "" {
		info.Digest = p.Commit
	}
	seen := map[string]bool{}
	served, stale := false, false
	for _, l := range a.known() {
		for _, api := range l.board.of(s.Path) {
			if api.API != nil && !seen[api.ID] {
				info.APIs = append(info.APIs, pushedAPIs([]model.API{*api.API})...)
				seen[api.ID] = true
			}
			served, stale = served || api.API != nil, stale || api.State != Live
			if info.Words == "" {
				info.Words = api.Words
			}
			if api.Words != "" {
				info.WordsAt[l.name] = api.Words
			}
		}
	}
	info.State = stateOf(s.State, served, stale)
	slices.SortFunc(info.APIs, func(x, y PushedAPI) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Version, y.Version))
	})
	return info, nil
}

// stateOf is a project's state: what became of its files, seeing what is served of them.
func stateOf(files State, served, stale bool) State {
	switch {
	case !served && (stale || files == Rejected):
		return Rejected
	case stale || files == Rejected:
		return Stale
	}
	return files
}

// Revisions are the states a pushed project was in, the newest first, also if it is undeployed now. Its error is a
// *PushError.
func (a *Adapter) Revisions(ctx context.Context, name string) ([]RevisionInfo, error) {
	if a.pushes.store == nil {
		return nil, errNoStore
	}
	project, err := a.pushes.store.Project(ctx, name)
	if errors.Is(err, store.ErrUnknown) {
		return nil, a.neverPushed(name)
	}
	if err != nil {
		return nil, storeError(err)
	}
	all, err := a.pushes.store.Revisions(ctx, name)
	if err != nil {
		return nil, storeError(err)
	}
	infos := make([]RevisionInfo, len(all))
	for i, r := range all {
		infos[i] = revisionInfo(r, project.Current.Number)
	}
	return infos, nil
}

// neverPushed says of a project without revisions where it comes from, if there is one.
func (a *Adapter) neverPushed(name string) *PushError {
	words := fmt.Sprintf("%s was never pushed, and so has no revisions", name)
	for _, s := range a.board.named(name) {
		return &PushError{Reason: Unknown, Words: words + "; it comes from " + a.describe(s.Path)}
	}
	return &PushError{Reason: Unknown, Words: words}
}

func revisionInfo(r store.Revision, current uint64) RevisionInfo {
	info := RevisionInfo{Number: r.Number, Digest: r.Digest, Labels: r.Labels, Author: r.Author, At: r.At, Current: r.Number == current}
	for _, api := range r.APIs {
		info.APIs = append(info.APIs, PushedAPI{Name: api.Name, Version: api.Version, BasePath: api.BasePath, State: model.Lifecycle(api.State)})
	}
	return info
}

// Archive is a pushed project as a zip, as it was at a revision; 0 is the current one. Its error is a *PushError.
func (a *Adapter) Archive(ctx context.Context, name string, revision uint64) ([]byte, RevisionInfo, error) {
	all, err := a.Revisions(ctx, name)
	if err != nil {
		return nil, RevisionInfo{}, err
	}
	i := slices.IndexFunc(all, func(r RevisionInfo) bool { return r.Number == revision || revision == 0 && r.Current })
	switch {
	case i < 0:
		return nil, RevisionInfo{}, &PushError{Reason: Unknown, Words: fmt.Sprintf("no revision %d of %s is kept", revision, name)}
	case all[i].Digest == "":
		return nil, RevisionInfo{}, &PushError{Reason: Unknown, Words: fmt.Sprintf("%s was undeployed with revision %d: there are no files of it", name, all[i].Number)}
	}
	archive, err := a.pushes.store.Archive(ctx, all[i].Digest)
	if err != nil {
		return nil, RevisionInfo{}, storeError(err)
	}
	return archive, all[i], nil
}

// Served are the APIs that the gateways of a label serve, by id.
func (a *Adapter) Served(label string) []model.API {
	l := a.lookupLoop(label)
	if l == nil {
		return nil
	}
	var apis []model.API
	for _, s := range l.board.all() {
		if s.API != nil {
			apis = append(apis, *s.API)
		}
	}
	slices.SortFunc(apis, func(x, y model.API) int { return cmp.Compare(x.ID(), y.ID()) })
	return apis
}

// Settings are what APIs are translated with.
func (a *Adapter) Settings() model.Settings { return a.options.Settings }

// Backup writes everything that was pushed, as it is at one moment (store.File). Its error is a *PushError.
func (a *Adapter) Backup(ctx context.Context, w io.Writer) error {
	if a.pushes.store == nil {
		return errNoStore
	}
	if err := a.pushes.store.Backup(ctx, w); err != nil {
		return storeError(err)
	}
	return nil
}
