package git

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// What a pack may hold at most. It comes from strangers: nothing is made of it before all of this was checked.
const (
	maxObjects     = 1_000_000
	maxObjectBytes = 64 << 20 // of one object, unpacked
	maxAllBytes    = 2 << 30  // of all of them
	cachedBytes    = 8 << 20  // of objects that others are made from
)

// pack is what a fetch got, in a temporary file.
type pack struct {
	file    *os.File
	objects *packfile.Packfile
	cut     map[plumbing.Hash]bool // commits of which those before were not sent
}

// readPack takes a pack into a file in dir, checks it, and indexes it.
func readPack(dir string, r io.Reader) (*pack, error) {
	file, err := os.CreateTemp(dir, "pack-*.tmp")
	if err != nil {
		return nil, err
	}
	p := &pack{file: file}
	tooLarge := refuse("the commit is larger than %d MiB, packed; keep projects in a repository of their own", maxPacked>>20)
	if _, err := io.Copy(file, &bounded{r, maxPacked, tooLarge}); err != nil {
		p.close()
		return nil, fmt.Errorf("the commit does not arrive whole: %w", err)
	}
	if err := p.index(); err != nil {
		p.close()
		if errors.Is(err, errRefused) {
			return nil, err
		}
		return nil, fmt.Errorf("the commit arrived damaged: %w", err)
	}
	return p, nil
}

func (p *pack) close() {
	_ = p.file.Close() // it is of no use any more
	_ = os.Remove(p.file.Name())
}

// billyFile is a file as packfile wants it. Nobody else knows the file: there is nothing to lock.
type billyFile struct{ *os.File }

func (billyFile) Lock() error   { return nil }
func (billyFile) Unlock() error { return nil }

func (p *pack) index() error {
	empty, err := p.measure()
	if err != nil || empty {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w := new(idxfile.Writer)
	parser, err := packfile.NewParser(packfile.NewScanner(billyFile{p.file}), w)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(); err != nil {
		return err
	}
	index, err := w.Index()
	if err != nil {
		return err
	}
	p.objects = packfile.NewPackfileWithCache(index, nil, billyFile{p.file}, cache.NewObjectLRU(cachedBytes), 0)
	return nil
}

// measure goes over the pack without unpacking more than one object's beginning, and refuses what would be too large.
func (p *pack) measure() (empty bool, err error) {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	s := packfile.NewScanner(billyFile{p.file})
	_, count, err := s.Header()
	switch {
	case err != nil:
		return false, err
	case count == 0:
		return true, nil
	case count > maxObjects:
		return false, refuse("the commit has more than %d objects; keep projects in a repository of their own", maxObjects)
	}
	var total int64
	for range count {
		h, err := s.NextObjectHeader()
		if err != nil {
			return false, err
		}
		if h.Length > maxObjectBytes {
			return false, tooLargeObject
		}
		var begin beginning
		if _, _, err := s.NextObject(&begin); err != nil {
			return false, err
		}
		size := h.Length
		if h.Type.IsDelta() {
			if size = begin.target(); size < 0 || size > maxObjectBytes {
				return false, tooLargeObject
			}
		}
		if total += size; total > maxAllBytes {
			return false, refuse("the commit is larger than %d MiB, unpacked; keep projects in a repository of their own", maxAllBytes>>20)
		}
	}
	return false, nil
}

var tooLargeObject = refuse("the commit has a file of more than %d MiB; keep projects in a repository of their own", maxObjectBytes>>20)

// beginning keeps the first bytes of what is written to it.
type beginning struct {
	bytes [2 * binary.MaxVarintLen64]byte
	n     int
}

func (b *beginning) Write(p []byte) (int, error) {
	b.n += copy(b.bytes[b.n:], p)
	return len(p), nil
}

// target is the size of what a delta makes, which it says behind that of what it is made from (gitformat-pack); -1 is none.
func (b *beginning) target() int64 {
	_, n := binary.Uvarint(b.bytes[:b.n])
	if n <= 0 {
		return -1
	}
	size, n := binary.Uvarint(b.bytes[n:b.n])
	if n <= 0 || size > maxObjectBytes {
		return -1
	}
	return int64(size)
}

var errNotThere = errors.New("the repository did not send all of the commit")

// object returns one of a type, or errNotThere.
func (p *pack) object(id plumbing.Hash, kind plumbing.ObjectType) ([]byte, error) {
	if p.objects == nil {
		return nil, errNotThere
	}
	o, err := p.objects.Get(id)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, errNotThere
	}
	if err != nil {
		return nil, err
	}
	if o.Type() != kind {
		return nil, fmt.Errorf("%s is a %s, not a %s", id, o.Type(), kind)
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // it was only read
	return io.ReadAll(r)
}

// commit is what a commit says that matters here.
type commit struct {
	tree    plumbing.Hash
	parents []plumbing.Hash
}

func (p *pack) commit(id plumbing.Hash) (commit, error) {
	var c commit
	text, err := p.object(id, plumbing.CommitObject)
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch {
		case key == "tree" && commitID.MatchString(value):
			c.tree = plumbing.NewHash(value)
		case key == "parent" && commitID.MatchString(value):
			c.parents = append(c.parents, plumbing.NewHash(value))
		case key != "tree" && key != "parent": // the rest is for people
			return c, nil
		}
	}
	return c, nil
}

// follow looks for old among the commits that head was made from. More says that the pack ends before the history does.
func (p *pack) follow(head, old plumbing.Hash) (found, more bool, err error) {
	seen := map[plumbing.Hash]bool{head: true}
	for next := []plumbing.Hash{head}; len(next) > 0; {
		id := next[0]
		next = next[1:]
		if id == old {
			return true, false, nil
		}
		c, err := p.commit(id)
		if errors.Is(err, errNotThere) {
			continue // it is among those that old was made from, or beyond the cut
		}
		if err != nil {
			return false, false, err
		}
		more = more || p.cut[id]
		for _, parent := range c.parents {
			if !seen[parent] {
				seen[parent] = true
				next = append(next, parent)
			}
		}
	}
	return false, more, nil
}

// entry is one line of a tree.
type entry struct {
	mode string // as git writes it, in octal
	name string
	id   plumbing.Hash
}

const (
	modeFolder     = "40000"
	modeFile       = "100644"
	modeProgram    = "100755"
	modeLink       = "120000"
	modeRepository = "160000"
)

// tree lists a folder.
func (p *pack) tree(id plumbing.Hash) ([]entry, error) {
	text, err := p.object(id, plumbing.TreeObject)
	if err != nil {
		return nil, err
	}
	var all []entry
	for len(text) > 0 {
		var e entry
		space := bytes.IndexByte(text, ' ')
		end := bytes.IndexByte(text, 0)
		if space < 0 || end < space || len(text) < end+1+len(e.id) {
			return nil, errors.New("a folder's list is damaged")
		}
		e.mode, e.name = string(text[:space]), string(text[space+1:end])
		copy(e.id[:], text[end+1:])
		all = append(all, e)
		text = text[end+1+len(e.id):]
	}
	return all, nil
}
