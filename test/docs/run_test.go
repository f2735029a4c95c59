package docs

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// pasted is a line that `make run` prints: a command, and behind "#" the status it shows.
var pasted = regexp.MustCompile(`(?m)^  ((?:curl|for|kill) .*?) +# (\d{3})`)

// TestMakeRun pastes what `make run` prints, line by line.
func TestMakeRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real Envoy")
	}
	t.Parallel()
	r := newReader(t, freePort)
	r.start(block{text: "make run\n", name: "gateway"})
	screen := &r.terminals["gateway"].screen
	for deadline := time.Now().Add(patient); !strings.Contains(screen.String(), "Ctrl-C stops everything"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no lines to paste:%s", r.screens())
		}
	}
	text := screen.String()
	if _, code := r.shell(strings.Join(regexp.MustCompile(`(?m)^  (READER|WRITER)=.*$`).FindAllString(text, -1), "\n")); code != 0 {
		t.Fatalf("no tokens to paste:%s", r.screens())
	}
	lines := pasted.FindAllStringSubmatch(text, -1)
	if len(lines) != 8 {
		t.Fatalf("%d lines to paste, want 8:%s", len(lines), r.screens())
	}
	for _, line := range lines {
		command, status := line[1], line[2]
		output, ok := "", false
		// why twice: a minute may end between the first and the eleventh request
		for try := 0; try < 2 && !ok; try++ {
			output, _ = r.shell(command)
			ok = strings.Contains(output, "HTTP/1.1 "+status+" ")
		}
		if !ok {
			t.Errorf("%s\nshows something else than %s:\n%s", command, status, output)
		}
		if status >= "400" && (!strings.Contains(output, "content-type: application/problem+json") || !strings.Contains(output, `"code":"`)) {
			t.Errorf("%s\nshows no problem with a code:\n%s", command, output)
		}
		if header := map[string]string{"401": "www-authenticate:", "405": "allow: DELETE, GET, HEAD", "429": "retry-after:"}[status]; !strings.Contains(output, header) {
			t.Errorf("%s\nshows no %s\n%s", command, header, output)
		}
	}
}
