package audit_test

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-gateway/postern/adapter/audit"
	"github.com/postern-gateway/postern/test/fixture"
)

func entries(t *testing.T, path string) []audit.Entry {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []audit.Entry
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e audit.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		all = append(all, e)
	}
	return all
}

func TestAppends(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "audit.log")
	for range 2 {
		l, err := audit.Open(audit.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(audit.Entry{Time: time.Now(), Who: "ci", Method: "PUT", Path: "/api/v1/projects/shop", Project: "shop", Revision: 7, Status: 200})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	all := entries(t, path)
	if len(all) != 2 || all[1].Who != "ci" || all[1].Revision != 7 {
		t.Errorf("%+v", all)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestRotates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := audit.Open(audit.Options{Path: path, MaxBytes: 1000, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		l.Write(audit.Entry{Who: strings.Repeat("x", 100)})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 1000 || info.Size() == 0 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
		entries(t, f)
	}
}

// TestFullDisk: /dev/full takes nothing. The calls go on, and the lines are in the process's own log.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	var log fixture.Log
	registry := prometheus.NewRegistry()
	l, err := audit.Open(audit.Options{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil)), Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	l.Write(audit.Entry{Who: "ci"})
	l.Write(audit.Entry{Who: "cj"})
	_ = l.Close()
	l.Write(audit.Entry{Who: "late"})
	if !strings.Contains(log.String(), "late") || !strings.Contains(log.String(), "cj") || !strings.Contains(log.String(), "no space left") {
		t.Errorf("the log says\n%s", log.String())
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() != 3 {
		t.Errorf("counted %v, %v", families, err)
	}
}

func TestNowhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := audit.Open(audit.Options{Path: filepath.Join(dir, "file", "audit.log")}); err == nil {
		t.Errorf("%+v", l)
	}
}

// TestSomebodyElseMovesTheFile: a line is never written to a file that nobody finds.
func TestSomebodyElseMovesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := audit.Open(audit.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	count := func(path string) int {
		text, _ := os.ReadFile(path)
		return strings.Count(string(text), "\n")
	}
	for i, change := range []func() error{
		func() error { return nil },
		func() error { return os.Rename(path, path+".old") },
		func() error { return os.Remove(path) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		l.Write(audit.Entry{ID: "x"})
		fixture.WaitFor(t, "the line", func() bool { return count(path) == 1 })
		if i == 1 && count(path+".old") != 1 {
			t.Error("the line before is gone")
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
