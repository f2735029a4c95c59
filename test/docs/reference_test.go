package docs

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	codeInSource = regexp.MustCompile(`"(9[0-9]{5}|102[0-9]{3}|70[0-9]{4})"`)
	codeInPage   = regexp.MustCompile(`(?m)^\| ([0-9]{6}) \|`)
	link         = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
)

// TestErrorCodes: the page of codes lists exactly those that the code can answer with.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, match := range codeInPage.FindAllStringSubmatch(string(page), -1) {
		listed[match[1]] = true
	}
	used := map[string]bool{}
	for _, folder := range []string{"adapter", "enforcer", "ratelimiter"} {
		err := fs.WalkDir(os.DirFS(filepath.Join(root, folder)), ".", func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			text, err := os.ReadFile(filepath.Join(root, folder, name))
			for _, match := range codeInSource.FindAllStringSubmatch(string(text), -1) {
				used[match[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if want, got := slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(listed)); !slices.Equal(want, got) {
		t.Errorf("docs/reference/errors.md lists\n%v, and the code answers with\n%v", got, want)
	}
}

// TestLinks: what a page links to in the repository is there.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := append(pages(t), "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/decisions/README.md")
	for _, page := range all {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), match[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, match[1])
			}
		}
	}
}
