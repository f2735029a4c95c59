package diff_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-gateway/postern/adapter/diff"
	"github.com/postern-gateway/postern/adapter/model"
	"github.com/postern-gateway/postern/adapter/project"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden compares the projects before/ and after/ of each folder of testdata with what report.json says. One that is
// not there is nothing.
func TestGolden(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("testdata/*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			got, err := diff.Compare(compiled(t, folder, "before"), compiled(t, folder, "after"))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(folder, "report.json"), got)
			same, err := diff.Compare(compiled(t, folder, "after"), compiled(t, folder, "after"))
			if err != nil || len(same.APIs) > 0 || same.Breaking {
				t.Errorf("compared with itself: %+v, %v", same, err)
			}
		})
	}
}

func compiled(t *testing.T, folder, side string) diff.Side {
	t.Helper()
	name := filepath.Join(folder, side)
	if _, err := os.Stat(name); os.IsNotExist(err) {
		return diff.Side{}
	}
	return compile(t, os.DirFS(name))
}

func compile(t *testing.T, files fs.FS) diff.Side {
	t.Helper()
	p, problems := project.Compile(files, project.Options{Name: "shop", Settings: model.Settings{Timeouts: model.Timeouts{MaxRequest: time.Minute}}})
	if model.Refusing(problems) {
		t.Fatal(problems)
	}
	return diff.Side{Files: files, APIs: p.APIs}
}

func golden(t *testing.T, file string, value any) {
	t.Helper()
	var got bytes.Buffer
	encoder := json.NewEncoder(&got)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("%s (-want +got); -update rewrites it\n%s", file, d)
	}
}
