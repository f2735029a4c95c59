package lastgood

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// A mark is a frame that is written after the file was put on the disk: all before it was there then. It says where it
// stands and what the digest before it is, so that it can be found and believed whatever stands before it. What is not as
// it was written is damage when a mark follows, for then the disk has lost what it had. Without one it was on its way when
// the machine lost its power: pages reach the disk in any order, and the last frames may be there in part, or have zeros
// in their middle. Then the frames before it stand, for they are what was put up to some moment.
const (
	markValue = 8 + sha256.Size           // its place, and the digest before it
	markBody  = 8 + 1 + 1 + 1 + markValue // the time, the lengths of no type, no name and the value
	markSize  = headerSize + markBody     // its frame
	window    = 1 << 20                   // the part of a file that is searched at a time
)

// mark writes that all there is so far is on the disk.
func (j *journal) mark() error {
	b := newBody(j.savedAt)
	b.record("", "", append(binary.BigEndian.AppendUint64(nil, uint64(j.size)), j.digest[:]...))
	return j.write(b)
}

// drop leaves out what follows the last whole frame of a file that is this large, for a reason, or returns the reason as
// what the file is refused for.
func (j *journal) drop(size int64, reason error) error {
	if !errors.As(reason, &refusal{}) {
		return reason
	}
	at, err := j.findMark(size)
	if err != nil {
		return err
	}
	if at > 0 {
		return refuse("%v, and was whole up to byte %d", reason, at)
	}
	zeros, err := j.zeros(size)
	if err == nil && !zeros {
		j.log.Warn("the last writes before the end did not reach the disk; going on from those before",
			"file", j.path, "dropped_bytes", size-j.size, "as_of", j.savedAt.UTC(), "err", reason)
	}
	return err
}

// findMark returns where the first mark after the last whole frame is; 0: there is none.
func (j *journal) findMark(size int64) (int64, error) {
	prefix := binary.BigEndian.AppendUint32(nil, markBody)
	prefix = binary.BigEndian.AppendUint32(prefix, crc32.Checksum(prefix, castagnoli))
	var found int64
	err := j.search(size, func(at int64, part []byte) bool {
		for i := 0; ; i++ {
			next := bytes.Index(part[i:], prefix)
			if next < 0 {
				return false
			}
			if i += next; isMark(at+int64(i), part[i:]) {
				found = at + int64(i)
				return true
			}
		}
	})
	return found, err
}

// isMark says whether a mark begins here.
func isMark(at int64, frame []byte) bool {
	if len(frame) < markSize {
		return false
	}
	body := frame[headerSize:markSize]
	value := body[markBody-markValue:]
	digest := sha256.Sum256(append(bytes.Clone(value[8:]), body...))
	return binary.BigEndian.Uint64(value) == uint64(at) && bytes.Equal(digest[:], frame[8:headerSize])
}

// zeros says whether there is nothing else after the last whole frame.
func (j *journal) zeros(size int64) (bool, error) {
	only := true
	err := j.search(size, func(_ int64, part []byte) bool {
		only = len(bytes.Trim(part, "\x00")) == 0
		return !only
	})
	return only, err
}

// search hands over what follows the last whole frame in parts, until it is told that something was found. A part begins
// with the end of the one before, so that no mark is cut.
func (j *journal) search(size int64, found func(at int64, part []byte) bool) error {
	part := make([]byte, window)
	for at := j.size; at < size; at += window - markSize {
		n, err := j.file.ReadAt(part, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if found(at, part[:n]) {
			return nil
		}
	}
	return nil
}
