package git

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/postern-gateway/postern/adapter/source"
	"github.com/postern-gateway/postern/internal/whole"
)

// On disk a source has a folder, in it the projects of a commit under the commit's id, a link to those that are served, and
// this file, which says which those are. Each appears whole or not at all, in this order: folder, file, link.
const servedFile = "served.json"

// commitID is the name of a commit.
var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// served is the content of the file.
type served struct {
	Source   string `json:"source"`
	Commit   string `json:"commit"`
	Projects []kept `json:"projects"`
}

// kept is one project of a commit.
type kept struct {
	Path string `json:"path"` // in the repository; "" is its root
	Tree string `json:"tree"` // git's name of what is in it
	// Refused says why it was not unpacked.
	Refused string `json:"refused,omitempty"`
}

func (s *Source) servedFile() string { return filepath.Join(s.dir, servedFile) }

// read returns what is served, or nothing where nothing is. Somebody may have removed the file, to have another history served.
func (s *Source) read() (served, error) {
	var now served
	text, err := os.ReadFile(s.servedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return now, nil
	}
	if err != nil {
		return now, err
	}
	if err := json.Unmarshal(text, &now); err != nil || !commitID.MatchString(now.Commit) {
		return now, fmt.Errorf("%s is damaged; remove it, and the commit that the branch has is served", s.servedFile())
	}
	return now, nil
}

// restore serves what was kept, if it is what it was.
func (s *Source) restore() {
	now, err := s.read()
	s.clean(now.Commit) // what a kill left
	if err == nil && now.Commit != "" {
		err = s.verify(now)
	}
	if err == nil && now.Commit != "" {
		err = s.point(now.Commit)
	}
	if err != nil {
		s.log.Warn("what was fetched from git is not served from disk", "err", err)
		return
	}
	if now.Commit == "" {
		return
	}
	s.projects, s.content = s.found(now), now
	s.status.Commit = now.Commit
	s.log.Info("git source serves from disk until its repository answers", "commit", now.Commit, "projects", len(s.projects))
}

// verify sees that what is on disk is what the commit has.
func (s *Source) verify(now served) error {
	for _, k := range now.Projects {
		if k.Refused != "" {
			continue
		}
		folder := filepath.Join(s.dir, now.Commit, filepath.FromSlash(k.Path))
		id, err := treeOf(folder)
		if err != nil {
			return err
		}
		if id.String() != k.Tree {
			return fmt.Errorf("%s is not what commit %s has", folder, now.Commit)
		}
	}
	return nil
}

// found are the projects of a commit, by where they are.
func (s *Source) found(now served) map[string]source.Project {
	all := map[string]source.Project{}
	for _, k := range now.Projects {
		p := source.Project{
			Path: filepath.Join(s.dir, s.link, filepath.FromSlash(k.Path)), Source: "git " + s.name, Commit: now.Commit,
		}
		if k.Refused != "" {
			p.Err = fmt.Errorf("commit %s: %s", now.Commit, k.Refused)
		}
		all[p.Path] = p
	}
	return all
}

// serve has the projects of a commit served, and returns the paths of those that changed, appeared or went.
func (s *Source) serve(next *unpacked) ([]string, error) {
	was, err := s.read()
	if err != nil {
		return nil, err
	}
	now := served{Source: s.name, Commit: next.commit.String(), Projects: next.projects}
	text, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := whole.Write(s.servedFile(), 0o600, whole.Bytes(append(text, '\n'))); err != nil {
		return nil, err
	}
	if err := s.point(now.Commit); err != nil {
		return nil, err
	}
	projects := s.found(now)
	s.mu.Lock()
	before := s.projects
	s.projects, s.status.Commit = projects, now.Commit
	s.mu.Unlock()
	// why not with what the file said: it may have been written before, when the link could not be
	changed := s.changed(before, projects, s.content, now)
	s.content = now
	s.log.Info("git source has a new commit", "commit", now.Commit, "before", was.Commit, "projects", len(projects), "changed", len(changed))
	s.clean(now.Commit, was.Commit)
	return changed, nil
}

// changed are the paths at which something else is than before.
func (s *Source) changed(before, now map[string]source.Project, was, is served) []string {
	content := func(of served) map[string]kept {
		all := map[string]kept{}
		for _, k := range of.Projects {
			all[filepath.Join(s.dir, s.link, filepath.FromSlash(k.Path))] = k
		}
		return all
	}
	old, fresh := content(was), content(is)
	var paths []string
	for path := range now {
		if _, there := before[path]; !there || old[path] != fresh[path] {
			paths = append(paths, path)
		}
	}
	for path := range before {
		if _, there := now[path]; !there {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// point has the link point to a commit's folder.
func (s *Source) point(commit string) error {
	link := filepath.Join(s.dir, s.link)
	if to, err := os.Readlink(link); err == nil && to == commit {
		return nil
	}
	draft := link + ".tmp"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(commit, draft); err != nil {
		return err
	}
	return os.Rename(draft, link)
}

// clean removes what is of no use any more. The commit before stays: somebody may be reading it.
func (s *Source) clean(keep ...string) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return // the next time
	}
	for _, e := range entries {
		if name := e.Name(); commitID.MatchString(name) && !slices.Contains(keep, name) || strings.HasSuffix(name, ".tmp") {
			_ = os.RemoveAll(filepath.Join(s.dir, name)) // the next time
		}
	}
}

// treeOf is git's name of what is in a folder: a digest of all of it (gitformat-tree).
func treeOf(folder string) (plumbing.Hash, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	// why: to git a folder's name ends in a slash
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	var text bytes.Buffer
	for _, e := range entries {
		mode, id, err := nameOf(filepath.Join(folder, e.Name()), e)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		fmt.Fprintf(&text, "%s %s\x00%s", mode, e.Name(), id[:])
	}
	return plumbing.ComputeHash(plumbing.TreeObject, text.Bytes()), nil
}

// nameOf is what git calls a file or folder.
func nameOf(path string, e fs.DirEntry) (mode string, id plumbing.Hash, err error) {
	if e.IsDir() {
		id, err = treeOf(path)
		return modeFolder, id, err
	}
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() {
		return "", id, errors.Join(err, fmt.Errorf("%s is no plain file", path))
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", id, err
	}
	mode = modeFile
	if info.Mode()&0o100 != 0 {
		mode = modeProgram
	}
	return mode, plumbing.ComputeHash(plumbing.BlobObject, content), nil
}
