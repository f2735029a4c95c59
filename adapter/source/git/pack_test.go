package git

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // git's
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// object is one to pack: content of a type, and of which size it says to be.
type object struct {
	kind    plumbing.ObjectType
	content []byte
	says    int // 0 is the truth
}

func (o object) id() plumbing.Hash { return plumbing.ComputeHash(o.kind, o.content) }

// packOf packs as git does (gitformat-pack).
func packOf(objects ...object) []byte {
	var b bytes.Buffer
	b.WriteString("PACK")
	_ = binary.Write(&b, binary.BigEndian, []uint32{2, uint32(len(objects))})
	for _, o := range objects {
		size := len(o.content)
		if o.kind == plumbing.REFDeltaObject {
			size -= 20
		}
		if o.says != 0 {
			size = o.says
		}
		first := byte(o.kind)<<4 | byte(size&15)
		for size >>= 4; size > 0; size >>= 7 {
			b.WriteByte(first | 0x80)
			first = byte(size & 127)
		}
		b.WriteByte(first)
		content := o.content
		if o.kind == plumbing.REFDeltaObject {
			b.Write(content[:20])
			content = content[20:]
		}
		w := zlib.NewWriter(&b)
		_, _ = w.Write(content)
		_ = w.Close()
	}
	sum := sha1.Sum(b.Bytes()) //nolint:gosec // git's
	return append(b.Bytes(), sum[:]...)
}

func blob(content string) object { return object{kind: plumbing.BlobObject, content: []byte(content)} }

// treeWith is a tree of these, however it may be named.
func treeWith(entries ...entry) object {
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s\x00%s", e.mode, e.name, e.id[:])
	}
	return object{kind: plumbing.TreeObject, content: b.Bytes()}
}

func commitOf(tree object) object {
	return object{kind: plumbing.CommitObject, content: fmt.Appendf(nil, "tree %s\nauthor ann <a@example.com> 0 +0000\n\nchange\nparent not one\n", tree.id())}
}

func delta(base object, from, to int) object {
	id := base.id()
	content := binary.AppendUvarint(binary.AppendUvarint(id[:], uint64(from)), uint64(to))
	return object{kind: plumbing.REFDeltaObject, content: append(content, 0x90, 1)} // copy one byte
}

func TestPacksThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := packOf(blob("1"))
	many := packOf(blob("1"))
	binary.BigEndian.PutUint32(many[8:], 2_000_000)
	damaged := slices.Clone(good)
	damaged[len(damaged)-1] ^= 1
	for name, test := range map[string]struct {
		pack []byte
		want string
	}{
		"one object as large as 1 GiB":  {packOf(object{kind: plumbing.BlobObject, content: []byte("1"), says: 1 << 30}), "a file of more than 64 MiB"},
		"one that unpacks to more":      {packOf(object{kind: plumbing.BlobObject, content: make([]byte, 1<<20), says: 10}), "damaged"},
		"one made to be as large":       {packOf(blob("1"), delta(blob("1"), 1, 1<<40)), "a file of more than 64 MiB"},
		"one made of nothing there is":  {packOf(delta(blob("2"), 1, 1)), "damaged"},
		"one made to be another length": {packOf(blob("1"), delta(blob("1"), 1, 2)), "damaged"},
		"many objects":                  {many, "more than 1000000 objects"},
		"half":                          {good[:len(good)-25], "damaged"},
		"another digest":                {damaged, "damaged"},
		"nothing":                       {nil, "damaged"},
		"something else":                {[]byte("<html>" + strings.Repeat(" ", 100)), "damaged"},
	} {
		p, err := readPack(dir, bytes.NewReader(test.pack))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %s", name, err, test.want)
		}
		if err == nil {
			p.close()
		}
	}
	if _, err := readPack(dir, io.MultiReader(bytes.NewReader(good), endless{})); err == nil || !errors.Is(err, errRefused) {
		t.Errorf("a pack without end: %v", err)
	}
	p, err := readPack(dir, bytes.NewReader(packOf())) // nothing new
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.commit(plumbing.ZeroHash); !errors.Is(err, errNotThere) {
		t.Errorf("an object of an empty pack: %v", err)
	}
	p.close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestTreesThatAreRefused(t *testing.T) {
	t.Parallel()
	file := blob("1")
	project := entry{modeFile, "project.yaml", file.id()}
	deep := treeWith(project)
	nested := []object{deep}
	for range maxDepth + 2 {
		deep = treeWith(project, entry{modeFolder, "d", deep.id()})
		nested = append(nested, deep)
	}
	// Each folder has the one below twice: 2^20 files of 20 objects.
	wide := treeWith(project)
	doubled := []object{wide}
	for range 20 {
		wide = treeWith(entry{modeFolder, "a", wide.id()}, entry{modeFolder, "b", wide.id()}, project)
		doubled = append(doubled, wide)
	}
	for name, test := range map[string]struct {
		objects []object // the last is the root
		want    string
	}{
		"..":          {[]object{treeWith(project, entry{modeFile, "..", file.id()})}, `".." is no plain name`},
		"a path":      {[]object{treeWith(project, entry{modeFile, "../../evil", file.id()})}, `"../../evil" is no plain name`},
		"an absolute": {[]object{treeWith(project, entry{modeFile, "/etc/evil", file.id()})}, `is no plain name`},
		"no name":     {[]object{treeWith(project, entry{modeFile, "", file.id()})}, `is no plain name`},
		"twice":       {[]object{treeWith(project, project)}, `"project.yaml" is there twice`},
		"a mode":      {[]object{treeWith(project, entry{"100777", "x", file.id()})}, `"x" is neither a file nor a folder`},
		"deep":        {nested, "is deeper than 100 folders"},
		"wide":        {doubled, "at most 20000 files"},
		"a link":      {[]object{treeWith(project, entry{modeLink, "x", file.id()})}, `"x" is a link`},
	} {
		root := test.objects[len(test.objects)-1]
		head := commitOf(root)
		s, p := unpacking(t, append(test.objects, file, head)...)
		u, err := s.unpack(p, head.id())
		if err != nil || len(u.projects) != 1 || !strings.Contains(u.projects[0].Refused, test.want) {
			t.Errorf("%s: %+v, %v; want %s", name, u, err, test.want)
		}
		if left, err := os.ReadDir(filepath.Join(s.dir, head.id().String())); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", name, left, err)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "evil")); err == nil {
			t.Errorf("%s: written elsewhere", name)
		}
	}

	missing := commitOf(treeWith(project, entry{modeFile, "x", plumbing.NewHash("01")}))
	s, p := unpacking(t, treeWith(project, entry{modeFile, "x", plumbing.NewHash("01")}), file, missing)
	if _, err := s.unpack(p, missing.id()); !errors.Is(err, errNotThere) {
		t.Errorf("a file that is not there: %v", err)
	}
	other := commitOf(file)
	s, p = unpacking(t, file, other)
	if _, err := s.unpack(p, other.id()); err == nil || !strings.Contains(err.Error(), "is a blob, not a tree") {
		t.Errorf("a file for a tree: %v", err)
	}
}

// unpacking is a source, and a pack it got.
func unpacking(t *testing.T, objects ...object) (*Source, *pack) {
	t.Helper()
	s := &Source{dir: t.TempDir(), name: "x"}
	seen := map[plumbing.Hash]bool{}
	objects = slices.DeleteFunc(objects, func(o object) bool { was := seen[o.id()]; seen[o.id()] = true; return was })
	p, err := readPack(s.dir, bytes.NewReader(packOf(objects...)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return s, p
}

// FuzzPack: whatever is sent is taken or refused with words.
func FuzzPack(f *testing.F) {
	file := blob("1")
	tree := treeWith(entry{modeFile, "project.yaml", file.id()})
	head := commitOf(tree)
	f.Add(packOf(file, tree, head), head.content, tree.content)
	f.Add(packOf(blob("1"), delta(blob("1"), 1, 1)), head.content, tree.content)
	f.Fuzz(func(t *testing.T, sent, commit, tree []byte) {
		dir := t.TempDir()
		if p, err := readPack(dir, bytes.NewReader(sent)); err == nil {
			_, _, _ = p.follow(head.id(), plumbing.ZeroHash)
			p.close()
		}
		c, root := object{kind: plumbing.CommitObject, content: commit}, object{kind: plumbing.TreeObject, content: tree}
		p, err := readPack(dir, bytes.NewReader(packOf(c, root, file)))
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if _, err := p.commit(c.id()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.tree(root.id()); err == nil {
			_ = (&writer{pack: p}).project(filepath.Join(dir, "x"), place{"", root.id()})
		}
	})
}
