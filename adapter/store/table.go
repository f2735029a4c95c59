package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// table is a bucket of records: JSON behind a checksum of four bytes over key and JSON.
type table string

// The tables, and what their keys are.
const (
	projects   table = "projects"   // name → projectRecord, of those deployed
	undeployed table = "undeployed" // name → projectRecord, of those that were
	revisions  table = "revisions"  // name, 0, number → Revision
	claims     table = "claims"     // claim → claimRecord
	rollouts   table = "rollouts"   // id → Rollout
	open       table = "open"       // project → id of its open rollout
	ended      table = "ended"      // a sequence → id of a rollout that ended
	contents   table = "contents"   // digest → contentRecord
	keeping    table = "kept"       // path → keptRecord
)

var tables = []table{projects, undeployed, revisions, claims, rollouts, open, ended, contents, keeping}

// Two buckets are no tables: chunks has digest and number → a piece of an archive, which is verified by its digest; meta has
// the schema's version and the sums.
var (
	bucketChunks = []byte("chunks")
	bucketMeta   = []byte("meta")
	keySchema    = []byte("schema")
)

type projectRecord struct {
	Current uint64  `json:"current"`
	Kept    int     `json:"kept,omitempty"` // revisions that can be returned to; 0: they were not counted
	Claims  []Claim `json:"claims,omitempty"`
}

type claimRecord struct {
	Project string `json:"project"`
	// Committed: the deployed revision has it. Rollout: an open one of the same project wants it.
	Committed bool   `json:"committed,omitempty"`
	Rollout   string `json:"rollout,omitempty"`
}

type contentRecord struct {
	Size int `json:"size"`
	Refs int `json:"refs"` // revisions, open rollouts and what is kept that refer to it
}

// sum is over all records of a table, in any order: why, bbolt's pages have no checksums, and one bit that flips in them can
// take a whole subtree away without a word.
type sum struct {
	n   uint64
	xor [sha256.Size]byte
}

func (s *sum) toggle(key, value []byte) {
	h := sha256.New()
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(key)))
	h.Write(length[:])
	h.Write(key)
	h.Write(value)
	var one [sha256.Size]byte
	for i, b := range h.Sum(one[:0]) {
		s.xor[i] ^= b
	}
}

func (s *sum) add(key, value []byte)    { s.n++; s.toggle(key, value) }
func (s *sum) remove(key, value []byte) { s.n--; s.toggle(key, value) }

func (s *sum) bytes() []byte { return append(binary.BigEndian.AppendUint64(nil, s.n), s.xor[:]...) }

func sumOf(b []byte) (s sum, ok bool) {
	if len(b) != 8+sha256.Size {
		return s, false
	}
	s.n = binary.BigEndian.Uint64(b)
	copy(s.xor[:], b[8:])
	return s, true
}

// txn is a transaction that keeps checksums and sums. Without sums it is for reading.
type txn struct {
	*bbolt.Tx
	sums map[table]sum
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(key string, content []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(content)), checksum(key, content)), content...)
}

func checksum(key string, content []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, content)
}

// unseal returns what seal was given, which is valid as long as the transaction.
func unseal(t table, key string, value []byte) ([]byte, error) {
	if len(value) < 4 || binary.BigEndian.Uint32(value) != checksum(key, value[4:]) {
		return nil, fmt.Errorf("%w: record %q of %s", ErrDamaged, key, t)
	}
	return value[4:], nil
}

func (x *txn) bucket(name []byte) (*bbolt.Bucket, error) {
	if b := x.Bucket(name); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("%w: it has no %s", ErrDamaged, name)
}

// get reads a record, if there is one.
func (x *txn) get(t table, key string, into any) (bool, error) {
	b, err := x.bucket([]byte(t))
	if err != nil {
		return false, err
	}
	value := b.Get([]byte(key))
	if value == nil {
		return false, nil
	}
	return true, decode(t, key, value, into)
}

func decode(t table, key string, value []byte, into any) error {
	content, err := unseal(t, key, value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("record %q of %s: %w", key, t, err)
	}
	return nil
}

func (x *txn) put(t table, key string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	b, err := x.bucket([]byte(t))
	if err != nil {
		return err
	}
	s := x.sums[t]
	if old := b.Get([]byte(key)); old != nil {
		s.remove([]byte(key), old)
	}
	sealed := seal(key, content)
	s.add([]byte(key), sealed)
	x.sums[t] = s
	return b.Put([]byte(key), sealed)
}

func (x *txn) remove(t table, key string) error {
	b, err := x.bucket([]byte(t))
	if err != nil {
		return err
	}
	old := b.Get([]byte(key))
	if old == nil {
		return nil
	}
	s := x.sums[t]
	s.remove([]byte(key), old)
	x.sums[t] = s
	return b.Delete([]byte(key))
}

// readSums makes the sums those that a writing transaction starts from.
func (x *txn) readSums() error {
	meta, err := x.bucket(bucketMeta)
	if err != nil {
		return err
	}
	x.sums = make(map[table]sum, len(tables))
	for _, t := range tables {
		s, ok := sumOf(meta.Get(sumKey(t)))
		if !ok {
			return fmt.Errorf("%w: the sum of %s is missing", ErrDamaged, t)
		}
		x.sums[t] = s
	}
	return nil
}

// writeSums ends a writing transaction.
func (x *txn) writeSums() error {
	meta, err := x.bucket(bucketMeta)
	if err != nil {
		return err
	}
	for t, s := range x.sums {
		if now := s.bytes(); !bytes.Equal(meta.Get(sumKey(t)), now) {
			if err := meta.Put(sumKey(t), now); err != nil {
				return err
			}
		}
	}
	return nil
}

func sumKey(t table) []byte { return []byte("sum " + string(t)) }

// verify reads every record, and compares all with the sums.
func (x *txn) verify() error {
	if err := x.readSums(); err != nil {
		return err
	}
	for _, t := range tables {
		b, err := x.bucket([]byte(t))
		if err != nil {
			return err
		}
		var found sum
		err = b.ForEach(func(key, value []byte) error {
			found.add(key, value)
			_, err := unseal(t, string(key), value)
			return err
		})
		if err != nil {
			return err
		}
		if found != x.sums[t] {
			return fmt.Errorf("%w: %s has %d records, and not the %d that were written", ErrDamaged, t, found.n, x.sums[t].n)
		}
	}
	if _, err := x.bucket(bucketChunks); err != nil {
		return err
	}
	return nil
}
