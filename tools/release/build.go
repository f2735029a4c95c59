package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A platform is what a binary is built for.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "-" + p.arch }

// A source is the checkout that is released.
type source struct {
	root    string
	version string
	when    time.Time // of the commit; every time in what is made
}

// open finds out what the checkout is called and of when it is: SOURCE_DATE_EPOCH, else the time of its commit.
func open(ctx context.Context, root, version string) (source, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return source{}, err
	}
	s := source{root: root, version: version}
	if s.version == "" {
		if s.version, err = s.ask(ctx, "git", "describe", "--tags", "--always", "--dirty"); err != nil {
			return source{}, err
		}
	}
	s.version = strings.TrimPrefix(s.version, "v")
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if epoch, err = s.ask(ctx, "git", "log", "-1", "--format=%ct"); err != nil {
			return source{}, fmt.Errorf("%w (SOURCE_DATE_EPOCH says the time where there is no git)", err)
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return source{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: seconds since 1970 are expected", epoch)
	}
	s.when = time.Unix(seconds, 0).UTC()
	return s, nil
}

// ask runs a program in the checkout and returns what it prints.
func (s source) ask(ctx context.Context, name string, args ...string) (string, error) {
	return s.run(ctx, nil, name, args...)
}

func (s source) run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), env...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errors.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// compile builds postern for a platform and returns where it lies. Nothing of the machine is in it: no path, no
// C library, no setting of its Go.
func (s source) compile(ctx context.Context, p platform, folder string) (string, error) {
	target := filepath.Join(folder, "postern-"+p.String())
	env := []string{
		"GOOS=" + p.os, "GOARCH=" + p.arch, "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOWORK=off", "GOTOOLCHAIN=local",
	}
	_, err := s.run(ctx, env, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+s.version, "-o", target, "./cmd/postern")
	return target, err
}

// shells are what there are completions for, and how their shells want the files called.
var shells = map[string]string{"bash": "postern.bash", "zsh": "_postern", "fish": "postern.fish", "powershell": "postern.ps1"}

// completions are made by the program itself, run from the source: the built one may be for another machine.
func (s source) completions(ctx context.Context) ([]file, error) {
	var files []file
	for shell, name := range shells {
		script, err := s.ask(ctx, "go", "run", "./cmd/postern", "completion", shell)
		if err != nil {
			return nil, err
		}
		files = append(files, text("completions/"+name, []byte(script+"\n")))
	}
	return files, nil
}

// page reads a file of the checkout.
func (s source) page(name string) (file, error) {
	content, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(name)))
	return text(name, content), err
}
