// Package skew holds the tests that parts of two versions work together: each part of this build with those of the build
// before (the commit in the file previous), and with an adapter that asks for more than it knows. It must import nothing of
// the product: it starts its programs.
package skew

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/postern-gateway/postern/test/gateway"
)

const root = "../.."

// programs are the builds, by version.
var programs = map[string]string{}

// The versions there are.
const (
	current  = "current"
	previous = "previous" // the commit in the file of this name
	tomorrow = "tomorrow" // this one, but that it asks enforcers and ratelimiters for what none knows yet
)

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
		err = build(folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds all versions side by side.
func build(folder string) error {
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for version, make := range map[string]func() (string, error){
		current:  func() (string, error) { return buildCurrent(folder) },
		previous: func() (string, error) { return buildPrevious(folder) },
		tomorrow: func() (string, error) { return buildTomorrow(folder) },
	} {
		group.Go(func() {
			program, err := make()
			mu.Lock()
			defer mu.Unlock()
			programs[version] = program
			if err != nil {
				failed = fmt.Errorf("the %s version: %w", version, err)
			}
		})
	}
	group.Wait()
	return failed
}

func buildCurrent(folder string) (string, error) {
	program := filepath.Join(folder, current)
	return program, gateway.Build(program)
}

// buildPrevious builds what the file previous names, once: the program is kept under .tools. POSTERN_PREVIOUS names one that
// is there already.
func buildPrevious(folder string) (string, error) {
	if program := os.Getenv("POSTERN_PREVIOUS"); program != "" {
		return program, nil
	}
	text, err := os.ReadFile("previous")
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(string(text))
	kept, err := filepath.Abs(filepath.Join(root, ".tools", "previous", commit+"-"+runtime.Version(), "postern"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	if out, err := command(root, "git", "cat-file", "-e", commit+"^{commit}"); err != nil {
		return "", fmt.Errorf("commit %s is not in this checkout's history: get it whole (git fetch --unshallow), "+
			"or name a program of that version by POSTERN_PREVIOUS\n%s", commit, out)
	}
	source := filepath.Join(folder, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(folder, "source.tar")
	program := filepath.Join(folder, previous)
	for _, c := range [][]string{
		{root, "git", "archive", "--output", archive, commit},
		{folder, "tar", "-xf", archive, "-C", source},
		{source, "go", "build", "-ldflags", "-X main.version=" + previous, "-o", program, "./cmd/postern"},
	} {
		if out, err := command(c[0], c[1], c[2:]...); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", c[1:], err, out)
		}
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return "", err
	}
	beside := fmt.Sprintf("%s.%d", kept, os.Getpid()) // another test may be at the same
	if out, err := command(folder, "cp", program, beside); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return kept, os.Rename(beside, kept)
}

// additions are what makes this build one of tomorrow: an operation whose path names tomorrow asks for a word that no
// enforcer knows yet, its limit for one that no ratelimiter does.
var additions = map[string][2]string{
	"adapter/translate/extauthz.go": {
		"		p.Requires = []string{posternv1.RequiresBearer}\n",
		"		p.Requires = []string{posternv1.RequiresBearer}\n" +
			"		for _, o := range p.Operations {\n			if o.Operation == \"GET /tomorrow\" {\n				p.Requires = append(p.Requires, \"tomorrow\")\n			}\n		}\n",
	},
	"adapter/translate/ratelimit.go": {
		"	name := posternv1.NameLimits(l)\n",
		"	for _, rule := range l.Rules {\n		if rule.Operation == \"GET /tomorrow-often\" {\n			l.Requires = append(l.Requires, \"tomorrow\")\n		}\n	}\n" +
			"	name := posternv1.NameLimits(l)\n",
	},
}

func buildTomorrow(folder string) (string, error) {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, change := range additions {
		file, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			return "", err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		changed := strings.Replace(string(text), change[0], change[1], 1)
		if changed == string(text) {
			return "", fmt.Errorf("%s no longer has the line %q: say in test/skew how it asks for a word now", name, strings.TrimSpace(change[0]))
		}
		replacement := filepath.Join(folder, filepath.Base(name))
		if err := os.WriteFile(replacement, []byte(changed), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[file] = replacement
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	list := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return "", err
	}
	program := filepath.Join(folder, tomorrow)
	if out, err := command(root, "go", "build", "-overlay", list, "-o", program, "./cmd/postern"); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

func command(folder, name string, arguments ...string) ([]byte, error) {
	cmd := exec.Command(name, arguments...)
	cmd.Dir = folder
	return cmd.CombinedOutput()
}
