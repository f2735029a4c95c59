package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// chunkSize is how an archive is cut: why, a store of several adapters has limits on values, and bbolt looks for so many
// free pages in a row.
const chunkSize = 64 << 10

func digestOf(archive []byte) string {
	digest := sha256.Sum256(archive)
	return hex.EncodeToString(digest[:])
}

func chunkKey(digest string, i int) []byte {
	return binary.BigEndian.AppendUint32([]byte(digest), uint32(i))
}

func chunkOf(archive []byte, i int) []byte {
	return archive[i*chunkSize : min((i+1)*chunkSize, len(archive))]
}

func chunksOf(size int) int { return (size + chunkSize - 1) / chunkSize }

// retain has one more refer to an archive, which is written if it is not there. Without one it must be there.
func (x *txn) retain(digest string, archive []byte) error {
	var c contentRecord
	there, err := x.get(contents, digest, &c)
	if err != nil {
		return err
	}
	if archive != nil {
		if err := x.writeChunks(digest, archive); err != nil {
			return err
		}
		c.Size = len(archive)
	} else if !there {
		return refusal{fmt.Errorf("archive %s: %w", digest, ErrUnknown)}
	}
	c.Refs++
	return x.put(contents, digest, c)
}

// writeChunks leaves alone what is there as it should be, so that the same archive again costs no writing, and mends what is damaged.
func (x *txn) writeChunks(digest string, archive []byte) error {
	b, err := x.bucket(bucketChunks)
	if err != nil {
		return err
	}
	for i := range chunksOf(len(archive)) {
		key, chunk := chunkKey(digest, i), chunkOf(archive, i)
		if bytes.Equal(b.Get(key), chunk) {
			continue
		}
		if err := b.Put(key, chunk); err != nil {
			return err
		}
	}
	return nil
}

// release has one less refer to an archive, which goes with the last one.
func (x *txn) release(digest string) error {
	if digest == "" {
		return nil
	}
	var c contentRecord
	there, err := x.get(contents, digest, &c)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%w: archive %s is referred to and not there", ErrDamaged, digest)
	}
	if c.Refs--; c.Refs > 0 {
		return x.put(contents, digest, c)
	}
	b, err := x.bucket(bucketChunks)
	if err != nil {
		return err
	}
	for i := range chunksOf(c.Size) {
		if err := b.Delete(chunkKey(digest, i)); err != nil {
			return err
		}
	}
	return x.remove(contents, digest)
}

// archive reads one, and verifies it.
func (x *txn) archive(digest string) ([]byte, error) {
	var c contentRecord
	there, err := x.get(contents, digest, &c)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("archive %s: %w", digest, ErrUnknown)
	}
	b, err := x.bucket(bucketChunks)
	if err != nil {
		return nil, err
	}
	archive := make([]byte, 0, c.Size)
	for i := range chunksOf(c.Size) {
		archive = append(archive, b.Get(chunkKey(digest, i))...)
	}
	if digestOf(archive) != digest {
		return nil, fmt.Errorf("%w: archive %s is not what was pushed", ErrDamaged, digest)
	}
	return archive, nil
}
