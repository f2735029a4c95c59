// Package audit keeps who has changed what through the management API, and who was refused: a JSON line for each call, in
// files of bounded size. It knows no HTTP and must not import the rest of the adapter.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Entry is one call. No field has a secret.
type Entry struct {
	Time     time.Time `json:"time"`
	ID       string    `json:"id"`             // of the answer
	Who      string    `json:"who,omitempty"`  // "" is unknown
	By       string    `json:"by,omitempty"`   // token, jwt, certificate, socket
	From     string    `json:"from"`           // an address, or "socket"
	Method   string    `json:"method"`         // of the request
	Path     string    `json:"path"`           // without its query
	What     string    `json:"what,omitempty"` // the operation of the API
	Project  string    `json:"project,omitempty"`
	Revision uint64    `json:"revision,omitempty"`
	Digest   string    `json:"digest,omitempty"`
	Rollout  string    `json:"rollout,omitempty"`
	DryRun   bool      `json:"dryRun,omitempty"`
	Breaking bool      `json:"breaking,omitempty"` // what breaks consumers was allowed
	Status   int       `json:"status"`
	Outcome  string    `json:"outcome,omitempty"` // of a push that went on after its answer, in the line of its end
	Code     string    `json:"code,omitempty"`    // of a refusal
	Detail   string    `json:"detail,omitempty"`  // of a refusal
	Seconds  float64   `json:"seconds"`
	// Before is how many calls like this one were refused since the line before, and not written: of an address with wrong
	// credentials, or of a caller who asked too often or for what he may not do.
	Before int `json:"before,omitempty"`
}

// Options of a Log.
type Options struct {
	Path       string
	MaxBytes   int64 // of one file; 0: 16 MiB
	Keep       int   // older files, Path.1 the newest of them; 0: 8
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Log writes entries, in the order in which they come. Nobody waits for the disk: where it is full or slow, what cannot be
// written is counted and goes to the process's own log instead, and the calls go on.
type Log struct {
	options Options
	lost    prometheus.Counter
	entries chan Entry
	done    chan struct{}

	mu     sync.RWMutex // of closed
	closed bool

	file *os.File // nil: it could not be opened
	size int64
	bad  bool // the last line was not written
}

// waiting is how many entries may wait for the disk.
const waiting = 1024

// Open opens the log for appending, for this user alone.
func Open(o Options) (*Log, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 20
	}
	if o.Keep == 0 {
		o.Keep = 8
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	l := &Log{options: o, entries: make(chan Entry, waiting), done: make(chan struct{}), lost: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "postern_audit_lost_total",
		Help: "Lines that the audit log has not taken, because the disk was full or slow; they are in the process's own log.",
	})}
	if o.Registerer != nil {
		if err := o.Registerer.Register(l.lost); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	go l.run()
	return l, nil
}

func (l *Log) open() error {
	file, err := os.OpenFile(l.options.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

// What a line has at most of a word that a caller can choose: who makes them long must not push others' lines out of the log.
const longestWord, longestDetail = 512, 1024

func (e *Entry) shorten() {
	for _, word := range []*string{&e.Who, &e.Method, &e.Path, &e.Project, &e.Rollout, &e.Code} {
		*word = cut(*word, longestWord)
	}
	e.Detail = cut(e.Detail, longestDetail)
}

func cut(word string, most int) string {
	if len(word) <= most {
		return word
	}
	return strings.ToValidUTF8(word[:most], "") + "…"
}

// Write takes an entry. It never waits.
func (l *Log) Write(e Entry) {
	e.shorten()
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		l.lose(e, errors.New("it is closed"))
		return
	}
	select {
	case l.entries <- e:
	default:
		l.lose(e, errors.New("the disk is too slow"))
	}
}

// Close writes what waits. What comes afterwards is lost as if the disk were full.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.entries)
	}
	l.mu.Unlock()
	<-l.done
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

func (l *Log) run() {
	defer close(l.done)
	for e := range l.entries {
		if err := l.append(e); err != nil {
			l.bad = true
			l.lose(e, err)
			continue
		}
		if l.bad {
			l.bad = false
			l.options.Log.Info("the audit log is written again", "file", l.options.Path)
		}
	}
}

func (l *Log) append(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	l.find()
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.size > 0 && l.size+int64(len(line)) > l.options.MaxBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	if err != nil && n > 0 {
		// why: half a line would spoil the next one
		if l.file.Truncate(l.size-int64(n)) == nil {
			l.size -= int64(n)
		}
	}
	return err
}

// find has the file opened anew if it is not at its path any longer: somebody else has rotated or removed it.
func (l *Log) find() {
	if l.file == nil {
		return
	}
	ours, err := l.file.Stat()
	there, e := os.Stat(l.options.Path)
	if err == nil && e == nil && os.SameFile(ours, there) {
		return
	}
	_ = l.file.Close()
	l.file = nil
}

// rotate makes the file Path.1, what was that Path.2, and so on, and begins a new one.
func (l *Log) rotate() error {
	for i := l.options.Keep - 1; i >= 0; i-- {
		from := l.options.Path
		if i > 0 {
			from = numbered(from, i)
		}
		if err := os.Rename(from, numbered(l.options.Path, i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_ = l.file.Close()
	l.file = nil
	return l.open()
}

func numbered(path string, i int) string { return fmt.Sprintf("%s.%d", path, i) }

// lose puts an entry into the process's own log.
func (l *Log) lose(e Entry, err error) {
	l.lost.Inc()
	line, _ := json.Marshal(e)
	l.options.Log.Error("the audit log does not take a line, which is here instead", "file", l.options.Path, "err", err, "line", string(line))
}
