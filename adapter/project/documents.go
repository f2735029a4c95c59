package project

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern-gateway/postern/adapter/model"
)

// documents are a project's YAML and JSON files, each read once, as one reader of them sees them: it is for one goroutine.
type documents struct {
	*shelf
	seen map[string]bool // what was asked for; true: by a $ref
}

// shelf is what all readers share. It is safe for concurrent use.
type shelf struct {
	files fs.FS
	mu    sync.Mutex
	read  map[string]*document
}

func newDocuments(files fs.FS) *documents {
	return &documents{shelf: &shelf{files: files, read: map[string]*document{}}, seen: map[string]bool{}}
}

// another is a reader that has not asked for anything yet.
func (d *documents) another() *documents { return &documents{shelf: d.shelf, seen: map[string]bool{}} }

// document is one file: fetched is about its bytes, parsed about what they say.
type document struct {
	fetched, parsed sync.Once
	data            []byte
	digest          [sha256.Size]byte // of data, or of why there is none
	root            *node
	json            []byte
	err             error       // a model.Problem
	referred        atomic.Bool // a $ref leads here
}

// refer is load for what a $ref names.
func (d *documents) refer(file string) (*document, error) {
	doc, err := d.load(file)
	if err == nil {
		doc.referred.Store(true)
		d.seen[file] = true
	}
	return doc, err
}

// load reads the document in file. Its error is a model.Problem, or fs.ErrNotExist.
func (d *documents) load(file string) (*document, error) {
	if _, asked := d.seen[file]; !asked {
		d.seen[file] = false
	}
	doc := d.fetch(file)
	doc.parsed.Do(func() {
		if doc.err != nil {
			return
		}
		data := doc.data
		doc.data = nil // why: it is not needed twice, and a project can be large
		if doc.root, doc.err = parse(file, data); doc.err != nil {
			return
		}
		if weight(doc.root, 1) > maxWeight {
			doc.err = refusal(model.Origin{File: file}, "document-too-large", "the document is too large for how deep its values are nested; move the inner ones out and refer to them")
			return
		}
		quoteVersions(doc.root)
		doc.json = appendJSON(nil, doc.root)
	})
	return doc, doc.err
}

// fetch reads the bytes of a document, and nothing into them.
func (s *shelf) fetch(file string) *document {
	s.mu.Lock()
	doc := s.read[file]
	if doc == nil {
		doc = &document{}
		s.read[file] = doc
	}
	s.mu.Unlock()
	doc.fetched.Do(func() {
		if doc.data, doc.err = readFile(s.files, file, maxDocumentBytes); doc.err != nil {
			doc.digest = sha256.Sum256([]byte("not read: " + doc.err.Error()))
			return
		}
		doc.digest = sha256.Sum256(doc.data)
	})
	return doc
}

// readFile reads a whole file of at most limit bytes. Its error is a model.Problem, or fs.ErrNotExist.
func readFile(files fs.FS, file string, limit int64) ([]byte, error) {
	f, err := files.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, unreadable(file, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, unreadable(file, err)
	case int64(len(data)) > limit:
		return nil, refusal(model.Origin{File: file}, "document-too-large", "the file is larger than %d MiB; split it", limit>>20)
	}
	return data, nil
}

// unreadable says why a file could not be read, without the path on the machine that holds it.
func unreadable(file string, err error) error {
	var p model.Problem
	if errors.As(err, &p) {
		return p
	}
	var in *fs.PathError
	if errors.As(err, &in) {
		err = in.Err
	}
	return refusal(model.Origin{File: file}, "unreadable", "the file cannot be read: %v", err)
}

// parse reads JSON as JSON and everything else as YAML.
func parse(file string, data []byte) (*node, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if strings.EqualFold(path.Ext(file), ".json") {
		return readJSON(file, data)
	}
	if head := bytes.TrimLeft(data, " \t\r\n"); len(head) > 0 && head[0] == '{' {
		if root, err := readJSON(file, data); err == nil {
			return root, nil
		}
	}
	return readYAML(file, data)
}

// maxWeight bounds the time kin-openapi takes: it reads every value once for each value that holds it.
const maxWeight = 100 << 20

// weight is the sum, over all values, of what they and all within them are long.
func weight(n *node, depth int) int {
	sum := depth * (len(n.key) + len(n.value) + len(`"":"",`))
	for _, m := range n.members {
		sum += weight(m, depth+1)
	}
	return sum
}

// quoteVersions makes strings of versions that were written as numbers ("version: 1.0"), as they were meant.
func quoteVersions(root *node) {
	for _, n := range []*node{root.get("openapi"), root.get("swagger"), root.get("info").get("version")} {
		if n != nil && n.kind == number {
			n.kind = text
		}
	}
}

// maxHops bounds how many $refs may lead from one to the next.
const maxHops = 16

// deref follows n's $ref, and the one found there, and so on. What is no reference is returned as it is.
func (d *documents) deref(n *node) (*node, error) {
	for range maxHops {
		ref := n.get("$ref")
		if ref == nil || ref.kind != text {
			return n, nil
		}
		target, err := d.follow(ref)
		if err != nil {
			return nil, err
		}
		n = target
	}
	return nil, refusal(n.at(), "circular-ref", "$ref leads from one reference to the next more than %d times; break the circle", maxHops)
}

// follow finds what one $ref names.
func (d *documents) follow(ref *node) (*node, error) {
	target, err := url.Parse(ref.value)
	if err != nil {
		return nil, refusal(ref.at(), "bad-ref", "%q is not a reference; write file.yaml#/path/inside or #/path/inside", ref.value)
	}
	file := ref.file
	if target.Path != "" || target.Scheme != "" || target.Host != "" {
		if file, err = within(path.Dir(ref.file), target); err != nil {
			return nil, refusal(ref.at(), "ref-outside", "%v", err)
		}
	}
	doc, err := d.refer(file)
	if errors.Is(err, fs.ErrNotExist) {
		inside := ""
		if target.Fragment == "" {
			inside = "; to refer to a place inside this document, begin with #/"
		}
		return nil, refusal(ref.at(), "unknown-ref", "there is no file %q in the project%s", file, inside)
	}
	if err != nil {
		return nil, err
	}
	found := doc.root.find(target.Fragment)
	if found == nil {
		return nil, refusal(ref.at(), "unknown-ref", "nothing is at %q in %s", target.Fragment, file)
	}
	return found, nil
}

// within is the file of the project that location names, seen from the folder dir.
func within(dir string, location *url.URL) (string, error) {
	if location.Scheme != "" || location.Host != "" || location.Opaque != "" {
		return "", fmt.Errorf("%q is outside the project; references never leave it: copy the file in", location.Redacted())
	}
	file := path.Join(dir, location.Path)
	if path.IsAbs(location.Path) || strings.Contains(location.Path, `\`) || !fs.ValidPath(file) {
		return "", fmt.Errorf("%q is outside the project; references never leave it: copy the file in", location.Path)
	}
	return file, nil
}
