package docs

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programs is the folder of what a reader has on PATH: made once, for all tests.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		return m.Run()
	}
	folder, err := os.MkdirTemp("", "p")
	if err == nil {
		defer func() { _ = os.RemoveAll(folder) }()
		programs = folder
		err = build(folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build(folder string) error {
	for program, source := range map[string]string{"postern": "./cmd/postern", "example-backend": "./examples/backend"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(folder, program), source)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
	}
	return nil
}

// TestPages does what each page says, from top to bottom, in a checkout of its own.
func TestPages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Envoy for every page")
	}
	t.Parallel()
	for _, page := range pages(t) {
		blocks := read(t, page)
		if len(blocks) == 0 || needsEngine(blocks) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			follow(t, newReader(t, freePort), page, blocks)
		})
	}
}

// follow acts on the blocks of one page.
func follow(t *testing.T, r *reader, page string, blocks []block) {
	for i, b := range blocks {
		if b.kind != "output" {
			t.Logf("%s:%d %s", page, b.line, b.kind)
		}
		switch b.kind {
		case "file":
			r.write(b.name, b.text)
		case "start":
			r.start(b)
		case "run":
			want := ""
			if i+1 < len(blocks) && blocks[i+1].kind == "output" {
				want = blocks[i+1].text
			}
			r.paste(b, want)
		}
		if t.Failed() {
			t.Fatalf("%s:%d: the page is wrong from here on", page, b.line)
		}
	}
}

// read returns what is to be acted on of a page.
func read(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", page, err)
	}
	return blocks
}

// pages are the README and everything under docs/, but for the decisions.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md"}
	err := fs.WalkDir(os.DirFS(root), "docs", func(name string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".md") && !strings.HasPrefix(name, "docs/decisions/") {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
