// Package docs runs what the README and the pages of docs/ show, as a reader would, and compares what comes out with
// what the page says. It imports nothing of the product: it meets it as a user does.
package docs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A block is a fenced block that a reader acts on or looks at. Its fence says what it is:
//
//	```sh test                the reader pastes it; it must succeed, or end with exit=N
//	```sh test background=X   the reader starts it in another terminal; a later one of the same name replaces it.
//	                          ready=ADDRESS is where it serves; else it is a gateway, and /readyz is asked
//	```text output            what the block before it must have printed; "..." stands for anything
//	```yaml file=PATH         the reader writes it into that file
//
// The word engine marks what needs a container engine: a page with it is run by `make compose-test`, not by `make test`.
// The word eventually lets a block be pasted again until its output is as shown: for what takes a moment.
type block struct {
	line       int
	kind       string // "run", "start", "output", "file"
	name       string // of a started process, or a file
	ready      string // the address that a started process serves on; "" is the gateway
	exit       int
	eventually bool
	engine     bool
	text       string
}

// parse returns the blocks of a page that are to be acted on, in order.
func parse(page string) ([]block, error) {
	var blocks []block
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		indent, info, opens := strings.Cut(lines[i], "```")
		if !opens || strings.TrimSpace(indent) != "" {
			continue
		}
		begin := i + 1
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
		}
		if i == len(lines) {
			return nil, fmt.Errorf("line %d: the block is not closed", begin)
		}
		b, acts, err := classify(info)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", begin, err)
		}
		if !acts {
			continue
		}
		b.line = begin
		for _, line := range lines[begin:i] {
			b.text += strings.TrimPrefix(line, indent) + "\n"
		}
		if b.kind == "output" && (len(blocks) == 0 || blocks[len(blocks)-1].kind != "run") {
			return nil, fmt.Errorf("line %d: output of nothing", begin)
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// classify reads a fence. Blocks without any of our words are only looked at.
func classify(info string) (b block, acts bool, err error) {
	words := strings.Fields(info)
	if len(words) < 2 {
		return b, false, nil
	}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "test":
			b.kind = "run"
		case "background":
			b.kind, b.name = "start", value
		case "ready":
			b.ready = value
		case "output":
			b.kind = "output"
		case "file":
			b.kind, b.name = "file", value
		case "eventually":
			b.eventually = true
		case "engine":
			b.engine = true
		case "exit":
			if _, err := fmt.Sscan(value, &b.exit); err != nil {
				return b, false, fmt.Errorf("exit=%s: %w", value, err)
			}
		default:
			return b, false, fmt.Errorf("unknown word %q after %q", word, words[0])
		}
	}
	return b, b.kind != "", nil
}

// needsEngine says whether a page is for machines with a container engine.
func needsEngine(blocks []block) bool {
	return slices.ContainsFunc(blocks, func(b block) bool { return b.engine })
}

// shows says whether got is what a page shows: the same lines, where a line "..." stands for any number of lines and
// "..." within a line for any text.
func shows(want, got string) bool {
	return matchLines(split(want), split(got))
}

func split(text string) []string {
	lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(text), "\r", ""), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t")
	}
	return lines
}

func matchLines(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if strings.TrimSpace(want[0]) == "..." {
		for i := range len(got) + 1 {
			if matchLines(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && matchLine(want[0], got[0]) && matchLines(want[1:], got[1:])
}

func matchLine(want, got string) bool {
	parts := strings.Split(want, "...")
	if len(parts) == 1 {
		return want == got
	}
	rest, ok := strings.CutPrefix(got, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

func TestParse(t *testing.T) {
	t.Parallel()
	page := "text\n```sh test exit=1\nfalse\n```\n```text output\n...\n```\n```go\nnothing\n```\n" +
		"   ```yaml file=a/b.yaml\n   a: 1\n     b: 2\n   ```\n```sh test background=gateway\nrun\n```\n"
	got, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{
		{line: 2, kind: "run", exit: 1, text: "false\n"},
		{line: 5, kind: "output", text: "...\n"},
		{line: 11, kind: "file", name: "a/b.yaml", text: "a: 1\n  b: 2\n"},
		{line: 15, kind: "start", name: "gateway", text: "run\n"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, bad := range []string{"```sh test\n", "```sh tset\n```\n", "```text output\n```\n"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestShows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		yes       bool
	}{
		{"a\nb", "a\nb\n", true},
		{"a", "a\nb", false},
		{"a\n...", "a\nb\nc", true},
		{"...\nc", "a\nb\nc", true},
		{"a ... c", "a b c", true},
		{"a ... c", "a b d", false},
		{"...", "", true},
		{"HTTP/1.1 200 OK\n...", "HTTP/1.1 200 OK\r\ndate: x\r\n", true},
	} {
		if shows(c.want, c.got) != c.yes {
			t.Errorf("%q shows %q: want %v", c.want, c.got, c.yes)
		}
	}
}
