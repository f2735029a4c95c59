package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPages does what each page says, from top to bottom, in a checkout of its own.
func TestPages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Envoy for every page")
	}
	t.Parallel()
	programs := build(t)
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		if len(blocks) == 0 {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			follow(t, page, blocks, programs)
		})
	}
}

// follow acts on the blocks of one page.
func follow(t *testing.T, page string, blocks []block, programs string) {
	r := newReader(t, programs)
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
