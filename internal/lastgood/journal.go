package lastgood

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/postern-gateway/postern/internal/whole"
)

// The file is a journal: a line that says what it is and whose, and after it one frame for each write:
//
//	length of the body (4 bytes, big endian) | CRC-32C of those 4 | SHA-256 of the digest before and the body | body
//
// A body is the time when a source last had the say (Unix nanoseconds, 8 bytes; 0: never) and records of type, name and the
// marshalled resource, each with its length before it (a varint); the resource's is one more than its bytes, and 0 says that
// the resource is gone. A record with an empty name says only that the type is known, one with an empty type is a mark (see
// tail.go), and a body without records says the time. The digest before that of the first frame is that of the line.
//
// What is not as it was written is damage if it lies before a mark, and else the end of what reached the disk. Frames of
// which little is current are rewritten into a new file.
const (
	title      = "postern last good 1 of "
	headerSize = 4 + 4 + sha256.Size
	// A file is rewritten when more than half of it, and at least this much, is no longer current.
	slack = 1 << 20
	// Rewriting goes in frames of about this size.
	portion = 1 << 20
	maxBody = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal is the open file. It is for one goroutine at a time.
type journal struct {
	path, of string
	log      *slog.Logger
	file     *os.File
	size     int64 // up to the last whole frame
	digest   [sha256.Size]byte
	index    map[string]map[string]entry // by type and name
	live     int64                       // bytes of current records, about
	savedAt  time.Time                   // when a source last had the say
	marked   bool                        // the last frame is a mark
	doubtful bool                        // the disk has failed to take what was written
	crowded  time.Time                   // when rewriting failed last
}

// entry is where a resource lies in the file.
type entry struct {
	at  int64
	n   int
	sum [sha256.Size]byte
}

// open reads a file to its end, or makes an empty one. What it must not use is a refusal.
func open(path, of string, log *slog.Logger) (*journal, error) {
	j := &journal{path: path, of: of, log: log}
	there, err := exists(path)
	if err != nil {
		return nil, err
	}
	if !there {
		return j, j.begin(path)
	}
	if j.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if err = j.readAll(); err == nil {
		err = j.file.Truncate(j.size)
	}
	if err != nil {
		j.file.Close()
		return nil, err
	}
	return j, nil
}

// line is the first of the file.
func (j *journal) line() string { return title + strings.ReplaceAll(j.of, "\n", " ") + "\n" }

// begin makes an empty file at path.
func (j *journal) begin(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	line := j.line()
	if _, err := file.WriteAt([]byte(line), 0); err != nil {
		file.Close()
		return err
	}
	j.file, j.size, j.live = file, int64(len(line)), 0
	j.digest, j.index = sha256.Sum256([]byte(line)), map[string]map[string]entry{}
	return nil
}

// readAll reads what open found.
func (j *journal) readAll() error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	line := j.line()
	first := make([]byte, len(line)+100)
	n, err := j.file.ReadAt(first, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch first = first[:n]; {
	case bytes.HasPrefix(first, []byte(line)):
	case strings.HasPrefix(line, string(first)):
		return j.restart() // the very first write was cut off
	case bytes.HasPrefix(first, []byte(title)):
		return j.foreign(first, info.Size())
	default:
		return refuse("it does not begin with %q", title)
	}
	j.size, j.digest, j.index = int64(len(line)), sha256.Sum256([]byte(line)), map[string]map[string]entry{}
	for j.size < info.Size() {
		if err := j.readFrame(info.Size() - j.size); err != nil {
			return j.drop(info.Size(), err)
		}
	}
	return nil
}

// foreign says that a file which begins with this is somebody else's, if it is not the line that is damaged.
func (j *journal) foreign(first []byte, size int64) error {
	holds, _, whole := bytes.Cut(first[len(title):], []byte("\n"))
	line := title + string(holds) + "\n"
	theirs := &journal{file: j.file, size: int64(len(line)), digest: sha256.Sum256([]byte(line)), index: map[string]map[string]entry{}}
	if !whole || theirs.size < size && theirs.readFrame(size-theirs.size) != nil {
		return refuse("its first line is damaged, or it is of %q and this is %q", holds, j.of)
	}
	return fmt.Errorf("%s is of %q and this is %q: use another dataDir, or remove that file", j.path, holds, j.of)
}

func (j *journal) restart() error {
	if err := j.file.Close(); err != nil {
		return err
	}
	return j.begin(j.path)
}

// readFrame reads the frame at j.size. One that is not as it was written is a refusal.
func (j *journal) readFrame(rest int64) error {
	if rest < headerSize {
		return refuse("it ends within the frame at byte %d", j.size)
	}
	var header [headerSize]byte
	if _, err := j.file.ReadAt(header[:], j.size); err != nil {
		return err
	}
	if crc32.Checksum(header[:4], castagnoli) != binary.BigEndian.Uint32(header[4:]) {
		return refuse("it is damaged at byte %d", j.size)
	}
	n := int64(binary.BigEndian.Uint32(header[:]))
	if rest-headerSize < n {
		return refuse("it ends within the frame at byte %d", j.size)
	}
	body := make([]byte, n)
	if _, err := j.file.ReadAt(body, j.size+headerSize); err != nil {
		return err
	}
	digest := j.chain(body)
	if !bytes.Equal(digest[:], header[8:]) {
		return refuse("it is damaged between bytes %d and %d", j.size, j.size+headerSize+n)
	}
	if err := j.take(body); err != nil {
		return refuse("what was written at byte %d is no record: %v", j.size, err)
	}
	j.size, j.digest = j.size+headerSize+n, digest
	return nil
}

// chain is the digest of the next frame: none can be left out or come twice.
func (j *journal) chain(body []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(j.digest[:])
	h.Write(body)
	return [sha256.Size]byte(h.Sum(nil))
}

// take enters the records of the frame at j.size.
func (j *journal) take(body []byte) error {
	r := reader{body: body}
	when := r.bytes(8)
	j.marked = false
	for r.err == nil && len(r.body) > r.at {
		typeURL, name := r.text(), r.text()
		n := r.length()
		value := r.bytes(max(n-1, 0))
		if r.err != nil {
			break
		}
		if typeURL == "" {
			j.marked = true
			continue
		}
		of, ok := j.index[typeURL]
		if !ok {
			of = map[string]entry{}
			j.index[typeURL] = of
		}
		if old, ok := of[name]; ok {
			j.live -= recordSize(typeURL, name, old.n)
		}
		if n == 0 {
			delete(of, name)
			continue
		}
		of[name] = entry{at: j.size + headerSize + int64(r.at-len(value)), n: len(value), sum: sha256.Sum256(value)}
		j.live += recordSize(typeURL, name, len(value))
	}
	if r.err == nil {
		j.savedAt = fromNano(int64(binary.BigEndian.Uint64(when)))
	}
	return r.err
}

// read reads one resource.
func (j *journal) read(name string, e entry) (*discoveryv3.Resource, error) {
	value := make([]byte, e.n)
	if _, err := j.file.ReadAt(value, e.at); err != nil {
		return nil, err
	}
	if sha256.Sum256(value) != e.sum {
		return nil, fmt.Errorf("%q was damaged since the file was opened", name)
	}
	r := new(discoveryv3.Resource)
	return r, proto.Unmarshal(value, r)
}

// append writes changes as one frame: after a crash all of them are there, or none. said is when a source had the say.
func (j *journal) append(c changes, said time.Time) error {
	b := newBody(said)
	for typeURL, resources := range c {
		b.record(typeURL, "", nil)
		for name, r := range resources {
			if r == nil {
				b.record(typeURL, name, nil)
				continue
			}
			value, err := proto.Marshal(r)
			if err != nil {
				return fmt.Errorf("resource %q: %w", name, err)
			}
			b.record(typeURL, name, value)
		}
	}
	if err := j.write(b); err != nil {
		return err
	}
	if garbage := j.size - j.live; garbage > j.live+slack && time.Since(j.crowded) > time.Minute {
		if err := j.rewrite(); err != nil {
			j.crowded = time.Now()
			j.log.Error("the last good configuration cannot be rewritten; its file grows until it can", "file", j.path, "err", err)
		}
	}
	return nil // why: it is written, and must not be again
}

// write adds a frame: from then on it outlives this process, and after sync the machine.
func (j *journal) write(b body) error {
	frame := []byte(b)
	content := frame[headerSize:]
	if len(content) > maxBody {
		return fmt.Errorf("%d bytes are too much for one write", len(content))
	}
	digest := j.chain(content)
	binary.BigEndian.PutUint32(frame, uint32(len(content)))
	binary.BigEndian.PutUint32(frame[4:], crc32.Checksum(frame[:4], castagnoli))
	copy(frame[8:], digest[:])
	if _, err := j.file.WriteAt(frame, j.size); err != nil {
		return errors.Join(err, j.file.Truncate(j.size))
	}
	if err := j.take(content); err != nil {
		return err
	}
	j.size, j.digest = j.size+int64(len(frame)), digest
	return nil
}

// rewrite puts what is current into a new file, which takes the place of the old one when it is whole.
func (j *journal) rewrite() error {
	next := &journal{path: j.path, of: j.of, log: j.log}
	path := j.path + ".new"
	if err := next.begin(path); err != nil {
		return err
	}
	err := j.copyTo(next)
	if err == nil {
		err = next.sync()
	}
	if err == nil {
		err = next.file.Sync() // why again: with its mark, no part of it will ever pass for the whole
	}
	if err == nil {
		err = os.Rename(path, j.path)
	}
	if err != nil {
		next.file.Close()
		return errors.Join(err, os.Remove(path))
	}
	j.file.Close()
	*j = *next
	return whole.SyncFolder(filepath.Dir(j.path))
}

func (j *journal) copyTo(next *journal) error {
	b := newBody(j.savedAt)
	for typeURL, resources := range j.index {
		b.record(typeURL, "", nil)
		for name, e := range resources {
			value := make([]byte, e.n)
			if _, err := j.file.ReadAt(value, e.at); err != nil {
				return err
			}
			if sha256.Sum256(value) != e.sum {
				return fmt.Errorf("%q was damaged since the file was opened", name)
			}
			b.record(typeURL, name, value)
			if len(b) > portion {
				if err := next.write(b); err != nil {
					return err
				}
				b = newBody(j.savedAt)
			}
		}
	}
	return next.write(b)
}

// sync puts the file on the disk, and marks that it is there. Once that has failed nobody knows what of it is there: then
// only a new file will do.
func (j *journal) sync() error {
	if j.doubtful {
		return j.rewrite()
	}
	if err := j.file.Sync(); err != nil {
		j.doubtful = true
		return err
	}
	if j.marked {
		return nil
	}
	return j.mark()
}

func (j *journal) close() error { return j.file.Close() }

// body is a frame in the making: room for its header, and its records.
type body []byte

func newBody(said time.Time) body {
	return binary.BigEndian.AppendUint64(make(body, headerSize, 4096), uint64(nano(said)))
}

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// record adds a resource, or with nil that it is gone.
func (b *body) record(typeURL, name string, value []byte) {
	out := []byte(*b)
	for _, text := range []string{typeURL, name} {
		out = append(binary.AppendUvarint(out, uint64(len(text))), text...)
	}
	if value == nil {
		*b = binary.AppendUvarint(out, 0)
		return
	}
	*b = append(binary.AppendUvarint(out, uint64(len(value))+1), value...)
}

// recordSize is about what a record takes up.
func recordSize(typeURL, name string, n int) int64 { return int64(len(typeURL) + len(name) + n + 4) }

// reader reads what record wrote.
type reader struct {
	body []byte
	at   int
	err  error
}

func (r *reader) length() int {
	n, size := binary.Uvarint(r.body[r.at:])
	if r.err == nil && (size <= 0 || n > maxBody) {
		r.err = fmt.Errorf("no length at byte %d", r.at)
	}
	if r.err != nil {
		return 0
	}
	r.at += size
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if r.err == nil && n > len(r.body)-r.at {
		r.err = fmt.Errorf("%d bytes are missing at byte %d", n-len(r.body)+r.at, r.at)
	}
	if r.err != nil {
		return nil
	}
	r.at += n
	return r.body[r.at-n : r.at]
}

func (r *reader) text() string { return string(r.bytes(r.length())) }
