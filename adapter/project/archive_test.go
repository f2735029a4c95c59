package project_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

var zeroTime = time.Unix(0, 0)

const minimal = `openapi: 3.0.3
info: {title: Pets, version: "1"}
servers: [{url: "http://backend/pets"}]
paths: {/pet: {get: {responses: {default: {description: ok}}}}}
`

// zipped packs entries as they are: "name: content" pairs, in order.
func zipped(t testing.TB, entries ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := w.Create(e[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openZip(data []byte) (fs.FS, error) {
	return project.OpenBytes(data)
}

func TestZipCompilesLikeItsFolder(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "shop/", "a b/"} {
		files, err := openZip(zipped(t, [2]string{prefix + "api_definitions/pets.yaml", minimal}, [2]string{"__MACOSX/x", ""}))
		if err != nil {
			t.Fatal(err)
		}
		got, problems := project.Compile(files, project.Options{Name: "p"})
		if prefix == "" { // beside the project, so no prefix to take away, and nothing to complain about
			problems = nil
		}
		want, _ := project.Compile(fstest.MapFS{"api_definitions/pets.yaml": {Data: []byte(minimal)}}, project.Options{Name: "p"})
		if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
			t.Errorf("prefix %q: %v\n%s", prefix, problems, diff)
		}
	}
}

func TestHostileZips(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		archive []byte
		want    string
	}{
		"not a zip":        {[]byte("PK, but no"), "nor a zip archive"},
		"empty":            {nil, "nor a zip archive"},
		"parent":           {zipped(t, [2]string{"../evil.yaml", "x"}), "leads out"},
		"parent inside":    {zipped(t, [2]string{"a/../../evil.yaml", "x"}), "leads out"},
		"absolute":         {zipped(t, [2]string{"/etc/passwd", "x"}), "leads out"},
		"drive":            {zipped(t, [2]string{"C:/evil.yaml", "x"}), "leads out"},
		"backslash":        {zipped(t, [2]string{`..\evil.yaml`, "x"}), "leads out"},
		"dot":              {zipped(t, [2]string{"./a.yaml", "x"}), "leads out"},
		"zero byte":        {zipped(t, [2]string{"a\x00.yaml", "x"}), "leads out"},
		"not UTF-8":        {zipped(t, [2]string{"a\xff.yaml", "x"}), "leads out"},
		"twice":            {zipped(t, [2]string{"a.yaml", "x"}, [2]string{"a.yaml", "y"}), "twice"},
		"file and folder":  {zipped(t, [2]string{"a", "x"}, [2]string{"a/b.yaml", "y"}), "file and a folder"},
		"link":             {special(t, func(h *zip.FileHeader) { h.SetMode(fs.ModeSymlink | 0o777) }), "link"},
		"device":           {special(t, func(h *zip.FileHeader) { h.SetMode(fs.ModeDevice | 0o777) }), "link or a device"},
		"encrypted":        {special(t, func(h *zip.FileHeader) { h.Flags |= 1 }), "encrypted"},
		"unusual method":   {special(t, func(h *zip.FileHeader) { h.Method = 12 }), "unusual method"},
		"bomb":             {zipped(t, [2]string{"a.yaml", strings.Repeat(" ", 10<<20)}), "times its size"},
		"one huge entry":   {zipped(t, [2]string{"a.yaml", strings.Repeat(" ", 17<<20)}), "more than 16 MiB"},
		"too many entries": {manyEntries(t, 20_001), "more than 20000 entries"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := openZip(c.archive)
			var p model.Problem
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &p) || p.Code != "bad-archive" {
				t.Errorf("got %v, want a problem that says %q", err, c.want)
			}
		})
	}
}

// special is an archive of one entry whose header was changed.
func special(t *testing.T, change func(*zip.FileHeader)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	h := &zip.FileHeader{Name: "a.yaml"}
	change(h)
	if _, err := w.CreateRaw(h); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func manyEntries(t *testing.T, n int) []byte {
	t.Helper()
	entries := make([][2]string, n)
	for i := range entries {
		entries[i][0] = fmt.Sprintf("f%d", i)
	}
	return zipped(t, entries...)
}

// An entry whose header lies about its size gives an error, not more bytes than it said.
func TestLyingSizes(t *testing.T) {
	t.Parallel()
	content := minimal + strings.Repeat("#\n", 1000)
	archive := zipped(t, [2]string{"api_definitions/a.yaml", content})
	at := bytes.LastIndex(archive, binary.LittleEndian.AppendUint32(nil, uint32(len(content))))
	if at < 0 {
		t.Fatal("no size found in the directory")
	}
	binary.LittleEndian.PutUint32(archive[at:], 10)
	files, err := openZip(archive)
	if err != nil {
		t.Fatal(err)
	}
	_, problems := project.Compile(files, project.Options{})
	if len(problems) == 0 || problems[0].Code != "unreadable" {
		t.Errorf("got %v", problems)
	}
}

func TestBuildIsDeterministic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("project.yaml", "name: shop\n")
	write("api_definitions/pets.yaml", minimal)
	write(".git/config", "hidden")
	write("api_definitions/.pets.yaml.swp", "hidden")
	write("api_definitions/pets.yaml~", "hidden")

	first := build(t, dir)
	if err := os.Chtimes(filepath.Join(dir, "project.yaml"), zeroTime, zeroTime); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "shop.zip")
	if err := os.WriteFile(archive, first, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{dir, archive} {
		if again := build(t, source); !bytes.Equal(first, again) {
			t.Errorf("%s: other bytes for the same content", source)
		}
	}
	r, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.File {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"api_definitions/pets.yaml", "project.yaml"}, names); diff != "" {
		t.Error(diff)
	}
}

func build(t *testing.T, source string) []byte {
	t.Helper()
	files, closer, err := project.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close() //nolint:errcheck // it was only read
	var b bytes.Buffer
	if err := project.Build(files, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Links inside a folder are followed (Kubernetes mounts ConfigMaps that way), links out of it are not.
func TestFolderLinks(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(outside, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range []string{"..data", "api_definitions"} {
		if err := os.Mkdir(filepath.Join(dir, f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "..data", "pets.yaml"), []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	link(t, "../..data/pets.yaml", filepath.Join(dir, "api_definitions", "pets.yaml"))
	files, closer, err := project.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close() //nolint:errcheck // it was only read
	if p, problems := project.Compile(files, project.Options{}); len(p.APIs) != 1 {
		t.Errorf("a link inside was not followed: %v", problems)
	}
	link(t, outside, filepath.Join(dir, "api_definitions", "secret.yaml"))
	p, problems := project.Compile(files, project.Options{})
	if len(p.APIs) != 0 || len(problems) != 1 || problems[0].Code != "unreadable" || strings.Contains(problems[0].Message, outside) {
		t.Errorf("a link out was followed: %v", problems)
	}
	if err := project.Build(files, &bytes.Buffer{}); err == nil {
		t.Error("a link out was packed")
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
