package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// logRelay turns what Envoy writes to its standard error into events of our own log. It is the io.Writer of the child.
type logRelay struct {
	log *slog.Logger

	mu    sync.Mutex
	quiet bool   // what is said from now on is part of an end that we asked for
	line  []byte // of which the end has not come
	last  string // words of the gravest kind said last
	grave slog.Level
}

const (
	longestLine  = 64 << 10 // a rejected configuration is repeated on one line
	longestWords = 600
)

// Write takes any part of the output.
func (r *logRelay) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		r.line = append(r.line, part[:min(len(part), longestLine-len(r.line))]...)
		if end < 0 {
			return n, nil
		}
		r.tell()
		p = p[end+1:]
	}
}

// flush tells what came without an end of line.
func (r *logRelay) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell()
}

func (r *logRelay) tell() {
	line := string(bytes.TrimSpace(r.line))
	r.line = r.line[:0]
	if line == "" {
		return
	}
	level, logger, words := parseLine(line)
	words = cut(words)
	if level >= slog.LevelError && level >= r.grave {
		r.grave, r.last = level, words
	}
	if r.quiet {
		level = slog.LevelDebug
	}
	r.log.Log(context.Background(), level, "envoy: "+words, "logger", logger)
}

// hush: Envoy complains of every connection that it closes itself on its way out.
func (r *logRelay) hush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet = true
}

// lastWords are what explains an end best: the last error, or nothing.
func (r *logRelay) lastWords() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// plain is Envoy's own format, which it uses until it has read its bootstrap: "[time][thread][level][logger] [file:line] words".
var plain = regexp.MustCompile(`^\[[^\]]*\]\[[^\]]*\]\[([a-z]+)\]\[([a-z0-9_]+)\] (?:\[[^\]]*\] )?(.*)$`)

func parseLine(line string) (level slog.Level, logger, words string) {
	var event struct{ Level, Logger, Msg string }
	if json.Unmarshal([]byte(line), &event) == nil && event.Msg != "" {
		return levelOf(event.Level), event.Logger, event.Msg
	}
	if m := plain.FindStringSubmatch(line); m != nil {
		return levelOf(m[1]), m[2], m[3]
	}
	return slog.LevelWarn, "", line
}

func levelOf(name string) slog.Level {
	switch name {
	case "trace", "debug":
		return slog.LevelDebug
	case "info":
		return slog.LevelDebug // why: Envoy's start tells a page at this level, and none of it is news
	case "warning", "warn":
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// cut keeps both ends of words: the first say what failed, the last why.
func cut(words string) string {
	words = strings.Join(strings.Fields(words), " ")
	if len(words) <= longestWords {
		return words
	}
	half := longestWords / 2
	return strings.ToValidUTF8(words[:half], "") + " … " + strings.ToValidUTF8(words[len(words)-half:], "")
}
