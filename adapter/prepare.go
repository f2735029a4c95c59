package adapter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/adapter/store"
)

// push is a Push on its way. Its goroutine alone touches it, but for what a mutex says.
type push struct {
	adapter *Adapter
	Push
	ctx     context.Context
	cancel  context.CancelFunc
	began   time.Time
	turn    *pushedProject
	purpose purpose
	// undeploys: nothing of the project is to be served any longer.
	undeploys bool
	named     bool // it has its name for this push, as long as it is not committed

	before   store.Project
	archive  []byte // canonical
	files    fs.FS  // of archive
	digest   string
	compiled compiled
	labels   []string // where it is served, before or after, sorted
	joined   []string // those of them that it is new to
	record   store.Rollout
	parts    []*part

	info rolloutBoard
}

// purpose is what a push is for.
type purpose int

const (
	deploying purpose = iota
	// refreshing: what is committed is compiled again, because time or the environment has changed; nothing is stored.
	refreshing
	// comparing: what it would come to is all that is asked.
	comparing
)

// part is one label's.
type part struct {
	*stage
	loop   *loop
	told   chan staged
	answer staged
}

// Push serves a project, everywhere or not at all, and returns when that is decided. Its error is a *PushError, or
// what Push.Allowed said.
func (a *Adapter) Push(ctx context.Context, p Push) (Outcome, error) {
	one, err := a.preparePush(ctx, p, deploying)
	if err != nil {
		a.pushes.observe(one, err)
		return one.outcome(), one.explained(err)
	}
	defer one.end()
	out, err := one.carry()
	a.pushes.observe(one, err)
	return out, err
}

// Begin checks a push as far as can be done without the gateways, and goes on by itself. Outcome.Rollout is what to ask
// for (Rollout); where nothing is to be done there is none.
func (a *Adapter) Begin(ctx context.Context, p Push) (Outcome, error) {
	one, err := a.preparePush(context.WithoutCancel(ctx), p, deploying)
	if err != nil {
		a.pushes.observe(one, err)
		return one.outcome(), one.explained(err)
	}
	switch {
	case one.unchanged():
		defer one.end()
		one.confirmNow()
		return one.outcome(), nil
	case p.DryRun:
		defer one.end()
		return one.carry()
	}
	if err := one.begin(); err != nil {
		one.end()
		a.pushes.observe(one, err)
		return one.outcome(), one.explained(err)
	}
	a.pushes.background.Go(func() {
		defer one.end()
		_, err := one.carry() // it is told by Rollout
		a.pushes.observe(one, err)
	})
	return one.outcome(), nil
}

// explained is an error with how far the push came.
func (p *push) explained(err error) error {
	failed := new(PushError)
	if !errors.As(err, &failed) {
		return err
	}
	told := *failed // why a copy: some are everybody's
	told.Outcome = p.outcome()
	return &told
}

// preparePush does what needs no gateway: it reads, compiles and judges. The push has its project's turn until its end.
func (a *Adapter) preparePush(ctx context.Context, p Push, purpose purpose) (*push, error) {
	if p.Wait == 0 {
		p.Wait = a.options.Pushes.Wait
	}
	if p.Require == (publish.Require{}) {
		p.Require = a.options.Pushes.Require
	}
	one := &push{adapter: a, Push: p, began: time.Now(), purpose: purpose, undeploys: p.Archive == nil && p.Revision == 0}
	one.info.outcome = Outcome{Project: p.Project}
	life := a.pushes.running()
	switch {
	case a.pushes.store == nil:
		return one, errNoStore
	case life == nil || life.Err() != nil:
		return one, &PushError{Reason: Unavailable, Words: "the adapter is starting or stopping; try again"}
	case !project.ValidName(p.Project):
		return one, &PushError{Reason: Invalid, Words: fmt.Sprintf("%q cannot be a project's name; use letters, digits and . _ ~ -, a letter or digit first", p.Project)}
	}
	one.ctx, one.cancel = context.WithTimeout(ctx, p.Wait)
	stop := context.AfterFunc(life, one.cancel)
	cancel := one.cancel
	one.cancel = func() { stop(); cancel() }
	turn, err := a.pushes.enter(one.ctx, p.Project)
	if err != nil {
		one.cancel()
		return one, &PushError{Reason: Busy, Words: "another push of " + p.Project + " took all the time there was; try again"}
	}
	one.turn = turn
	steps := []func() error{one.look, one.read, one.compile, one.permit, one.agree, one.claimName, one.gate}
	if purpose == comparing {
		steps = []func() error{one.look, one.read, one.compile, one.permit}
	}
	done := false
	defer func() {
		if !done { // why: who panics must not keep the turn
			one.end()
		}
	}()
	for _, step := range steps {
		if err := step(); err != nil {
			return one, err
		}
	}
	done = true
	return one, nil
}

// end gives the turn to the next push.
func (p *push) end() {
	p.cancel()
	if p.record.ID != "" {
		p.adapter.pushes.forget(p.record.ID)
	}
	if p.named && !p.outcome().Committed {
		p.adapter.releaseName(pushPath(p.Project))
	}
	p.adapter.pushes.leave(p.Project, p.turn)
}

// look reads what there is.
func (p *push) look() error {
	var err error
	p.before, err = p.adapter.pushes.store.Project(p.ctx, p.Project)
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		return storeError(err)
	}
	current := p.before.Current
	if err := p.allows(current.Labels); err != nil { // why already: from here on, whatever fails tells of what there is
		return err
	}
	if err := p.allowsOwner(); err != nil {
		return err
	}
	if p.undeploys && current.Digest == "" {
		return &PushError{Reason: Unknown, Words: "no project " + p.Project + " was pushed"}
	}
	p.info.set(func(o *Outcome) {
		if o.Created = current.Digest == ""; !o.Created {
			o.Revision = current.Number
		}
	})
	return nil
}

// agree says whether what there is may be replaced. It is asked after permit: not everybody may know what there is.
func (p *push) agree() error {
	current := p.before.Current
	there := current.Digest != ""
	switch {
	case p.IfNone && there:
		return &PushError{Reason: Outdated, Words: fmt.Sprintf("%s is there already, with revision %d", p.Project, current.Number)}
	case p.IfRevision != 0 && !there:
		return &PushError{Reason: Outdated, Words: fmt.Sprintf("%s is not there, and revision %d was to be replaced", p.Project, p.IfRevision)}
	case p.IfRevision != 0 && p.IfRevision != current.Number:
		return &PushError{Reason: Outdated, Words: fmt.Sprintf("%s has revision %d by now, and not %d", p.Project, current.Number, p.IfRevision)}
	}
	return nil
}

// read gets the project's files, in the one form that equal content has.
func (p *push) read() error {
	switch {
	case p.Revision != 0:
		return p.readRevision()
	case p.Archive == nil:
		return nil
	}
	files, err := project.OpenBytes(p.Archive)
	if err != nil {
		return invalid(problemOf(err))
	}
	var canonical bytes.Buffer
	if err := project.Build(files, &canonical); err != nil {
		return invalid(problemOf(err))
	}
	return p.take(canonical.Bytes())
}

// readRevision gets the files of an earlier revision.
func (p *push) readRevision() error {
	archive, revision, err := p.adapter.Archive(p.ctx, p.Project, p.Revision)
	if err != nil {
		return err
	}
	if err := p.allows(revision.Labels); err != nil {
		return err
	}
	return p.take(archive)
}

func (p *push) take(canonical []byte) error {
	sum := sha256.Sum256(canonical)
	p.archive, p.digest = canonical, hex.EncodeToString(sum[:])
	p.Archive = nil // why: what was sent is not needed any more, and may be large
	p.info.set(func(o *Outcome) { o.Digest = p.digest })
	files, err := project.OpenBytes(canonical)
	if err != nil {
		return invalid(problemOf(err))
	}
	p.files = files
	return nil
}

// problemOf is what an archive is refused for.
func problemOf(err error) model.Problem {
	problem := model.Problem{}
	if !errors.As(err, &problem) {
		problem = model.Problem{Code: "bad-archive", Message: err.Error()}
	}
	return problem
}

func invalid(problems ...model.Problem) error { return &PushError{Reason: Invalid, Problems: problems} }

// compile compiles the project, and finds out where it is served before or after.
func (p *push) compile() error {
	p.compiled = compiled{path: pushPath(p.Project), project: model.Project{Name: p.Project}}
	if p.files != nil {
		p.compiled = p.adapter.compileFiles(pushPath(p.Project), p.Project, p.files, p.turn.memory)
		problems := p.compiled.problems
		if name := p.compiled.project.Name; name != p.Project && name != "" {
			problems = append(problems, model.Problem{
				Origin: model.Origin{File: "project.yaml"}, Code: "other-name",
				Message: fmt.Sprintf("the project calls itself %s and is pushed as %s: push it as %s, or take the name out of project.yaml", name, p.Project, name),
			})
		}
		if model.Refusing(problems) {
			return invalid(problems...)
		}
	}
	now := p.compiled.project.Labels
	if only := p.adapter.options.Label; only != "" {
		now = slices.DeleteFunc(slices.Clone(now), func(l string) bool { return l != only })
	}
	for _, label := range now {
		if !slices.Contains(p.turn.labels, label) && !slices.Contains(p.joined, label) {
			p.joined = append(p.joined, label)
		}
	}
	p.labels = slices.Sorted(slices.Values(slices.Concat(p.turn.labels, p.joined)))
	p.info.set(func(o *Outcome) {
		o.Warnings = slices.Clone(p.compiled.problems)
		o.APIs = pushedAPIs(p.compiled.project.APIs)
		if p.files != nil && len(now) == 0 {
			o.Warnings = append(o.Warnings, model.Problem{
				Origin: model.Origin{File: "project.yaml"}, Severity: model.Warning, Code: "other-labels", Message: elsewhere(p.compiled, p.adapter.options.Label),
			})
		}
	})
	return nil
}

// permit asks whether the labels may be pushed to: all that the project names or has named.
func (p *push) permit() error {
	return p.allows(slices.Concat(p.compiled.project.Labels, p.before.Current.Labels))
}

// allows asks whether these labels may be pushed to.
func (p *push) allows(labels []string) error {
	if p.Allowed == nil || len(labels) == 0 {
		return nil
	}
	return p.Allowed(slices.Compact(slices.Sorted(slices.Values(labels))))
}

// allowsOwner asks whether the labels may be pushed to of a project of this name that another source has: it is compared
// with, and what is in the way of a push is told.
func (p *push) allowsOwner() error {
	path := p.adapter.names.owner(p.Project)
	if p.Allowed == nil || path == "" || path == pushPath(p.Project) {
		return nil
	}
	var labels []string // none are known of one that has come this moment
	for _, s := range p.adapter.board.at(p.Project) {
		if s.Path == path {
			labels = s.Labels
		}
	}
	return p.Allowed(slices.Compact(slices.Sorted(slices.Values(labels))))
}

// claimName sees to it that no other source has the project.
func (p *push) claimName() error {
	if holder, _ := p.adapter.names.claim(p.Project, pushPath(p.Project)); holder != "" {
		return &PushError{Reason: Conflict, Words: fmt.Sprintf(
			"the project %s comes from %s already, and a project has one source: take it out there, or push it under another name", p.Project, p.adapter.describe(holder))}
	}
	p.named = p.before.Current.Digest == "" // else it keeps the name whatever becomes of this
	return nil
}

// unchanged says that all of it is served already.
func (p *push) unchanged() bool {
	if p.undeploys || p.digest != p.before.Current.Digest || len(p.joined) > 0 {
		return false
	}
	for _, label := range p.labels {
		l := p.adapter.lookupLoop(label)
		if l == nil {
			return false
		}
		for i, api := range p.compiled.project.APIs {
			s, there := l.board.get(ref{p.compiled.path, api.ID()})
			if !there || s.State != Live || s.Revision != short(p.compiled.revisions[i]) {
				return false
			}
		}
	}
	return true
}

// gate refuses what breaks consumers, if the gateway is told to. What went on once may go on again.
func (p *push) gate() error {
	if !p.adapter.options.Pushes.RefuseBreaking || p.AllowBreaking || p.purpose == refreshing || p.Revision != 0 || p.digest == p.before.Current.Digest {
		return nil
	}
	report, err := p.compare()
	if err != nil {
		return err
	}
	if !report.Breaking {
		return nil
	}
	return &PushError{
		Reason: Breaking, Problems: breaking(report),
		Words: "it breaks those who call what is served, which this gateway does not let through (pushes.breaking): keep to what they rely on, or serve it as another version beside",
	}
}
