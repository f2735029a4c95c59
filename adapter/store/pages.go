package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"syscall"
)

// What bbolt's file looks like. Its own Tx.Check reads the same, and faults on damaged pages in a goroutine where nobody can
// recover. Source: go.etcd.io/bbolt v1.5.0, internal/common: page.go, meta.go, bucket.go.
const (
	pageHeader     = 16 // id 8, flags 2, count 2, overflow 4
	elementSize    = 16 // branch: key's position 4, its size 4, page 8; leaf: flags 4, position 4, sizes of key and value 4 each
	bucketHeader   = 16 // root page 8, sequence 8
	metaSize       = 64 // magic 4, version 4, page size 4, flags 4, bucket 16, freelist 8, pages 8, transaction 8, checksum 8
	branchPage     = 0x01
	leafPage       = 0x02
	freelistPage   = 0x10
	bucketElement  = 0x01
	manyFree       = 0xffff // as a count: it is in the first eight bytes
	deepest        = 64
	smallestOfFile = 4 * 1024
)

// pages walks a file's pages.
type pages struct {
	data  []byte
	size  int    // of a page
	high  uint64 // pages from here on are not used
	taken []bool // pages that something refers to
	// within a bucket: those of the store hold no others.
	within bool
}

type head struct{ root, freelist, high, transaction uint64 }

var order = binary.NativeEndian // as bbolt writes it

// checkPages reports the first way in which a file's pages contradict one another: what no checksum of records finds, and
// what has later writes go over pages that are in use. one says that one of the two heads is damaged, so that what holds is the
// transaction before the last one, unless the machine lost power while it was written.
func checkPages(file *os.File, pageSize int) (one bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() < smallestOfFile || info.Size() < int64(2*pageSize) {
		return false, fmt.Errorf("%w: it has %d bytes", ErrDamaged, info.Size())
	}
	data, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return false, err
	}
	err = guard(func() error {
		p := &pages{data: data, size: pageSize}
		one, err = p.check()
		return err
	})
	if unmapped := syscall.Munmap(data); err == nil {
		err = unmapped
	}
	return one, err
}

func (p *pages) check() (one bool, err error) {
	a, okA := p.head(0)
	b, okB := p.head(1)
	if !okA && !okB {
		return false, fmt.Errorf("%w: neither of its heads is whole", ErrDamaged)
	}
	now := a
	if !okA || okB && b.transaction > a.transaction {
		now = b
	}
	if now.high > uint64(len(p.data)/p.size) {
		return false, fmt.Errorf("%w: it ends before its page %d", ErrDamaged, now.high-1)
	}
	p.high, p.taken = now.high, make([]bool, now.high)
	if err := p.walk(now.root, nil, nil, 0); err != nil {
		return false, err
	}
	return okA != okB, p.free(now.freelist)
}

func (p *pages) head(i int) (h head, ok bool) {
	m := p.data[i*p.size+pageHeader:][:metaSize]
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8])
	h = head{root: order.Uint64(m[16:]), freelist: order.Uint64(m[32:]), high: order.Uint64(m[40:]), transaction: order.Uint64(m[48:])}
	return h, sum.Sum64() == order.Uint64(m[56:])
}

func damagedPage(id uint64, words string) error {
	return fmt.Errorf("%w: page %d %s", ErrDamaged, id, words)
}

// take returns a page with what overflows it, which nothing else may refer to.
func (p *pages) take(id uint64) ([]byte, error) {
	if id < 2 || id >= p.high {
		return nil, damagedPage(id, "is none of the file's")
	}
	page := p.data[id*uint64(p.size):]
	end := id + uint64(order.Uint32(page[12:]))
	if order.Uint64(page) != id || end >= p.high {
		return nil, damagedPage(id, "is not what it says it is")
	}
	for i := id; i <= end; i++ {
		if p.taken[i] {
			return nil, damagedPage(i, "is referred to twice")
		}
		p.taken[i] = true
	}
	return page[:(end-id+1)*uint64(p.size)], nil
}

// walk takes a page and all below it. Its first key is least, by which bbolt finds it again to change it, and all are below
// most; nil is none.
func (p *pages) walk(id uint64, least, most []byte, depth int) error {
	page, err := p.take(id)
	if err != nil {
		return err
	}
	if depth > deepest {
		return damagedPage(id, "is too deep")
	}
	return p.elements(id, page, least, most, depth)
}

// elements looks at what is in a page of a bucket.
func (p *pages) elements(id uint64, page, least, most []byte, depth int) error {
	kind, n := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if kind != branchPage && kind != leafPage || pageHeader+n*elementSize > len(page) || kind == branchPage && n == 0 {
		return damagedPage(id, "is no page of a bucket")
	}
	keys, values := make([][]byte, n), make([][]byte, n)
	for i := range n {
		var ok bool
		if keys[i], values[i], ok = element(kind, page, pageHeader+i*elementSize); !ok {
			return damagedPage(id, "points out of itself")
		}
		if len(keys[i]) == 0 || i == 0 && least != nil && !bytes.Equal(keys[i], least) || i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 ||
			most != nil && bytes.Compare(keys[i], most) >= 0 {
			return damagedPage(id, "is out of order")
		}
	}
	for i := range n {
		at := page[pageHeader+i*elementSize:]
		var err error
		switch {
		case kind == branchPage:
			end := most
			if i+1 < n {
				end = keys[i+1]
			}
			err = p.walk(order.Uint64(at[8:]), keys[i], end, depth+1)
		case order.Uint32(at) == bucketElement:
			err = p.bucket(id, values[i], depth)
		case order.Uint32(at) != 0:
			err = damagedPage(id, "has a record of no kind")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// element returns the key at an element of a page, and its value if it is a leaf.
func element(kind uint16, page []byte, at int) (key, value []byte, ok bool) {
	e := page[at : at+elementSize]
	from, keySize, valueSize := uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])), uint64(0)
	if kind == leafPage {
		from, keySize, valueSize = uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
	}
	from += uint64(at)
	if from+keySize+valueSize > uint64(len(page)) {
		return nil, nil, false
	}
	return page[from : from+keySize], page[from+keySize : from+keySize+valueSize], true
}

// bucket looks at one that has pages of its own, or is so small that it is in its value.
func (p *pages) bucket(id uint64, value []byte, depth int) error {
	if p.within || len(value) < bucketHeader {
		return damagedPage(id, "has a bucket that is cut off, or where none can be")
	}
	p.within = true
	defer func() { p.within = false }()
	if root := order.Uint64(value); root != 0 {
		return p.walk(root, nil, nil, depth+1)
	}
	if inline := value[bucketHeader:]; len(inline) >= pageHeader && order.Uint16(inline[8:]) == leafPage {
		return p.elements(id, inline, nil, nil, depth)
	}
	return damagedPage(id, "has a bucket that is no page")
}

// free looks at the list of free pages, none of which may be in use.
func (p *pages) free(id uint64) error {
	page, err := p.take(id)
	if err != nil {
		return err
	}
	n, ids := uint64(order.Uint16(page[10:])), page[pageHeader:]
	if n == manyFree {
		n, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(page[8:]) != freelistPage || n > uint64(len(ids)/8) {
		return damagedPage(id, "is no list of free pages")
	}
	for i := range n {
		free := order.Uint64(ids[i*8:])
		if free < 2 || free >= p.high || p.taken[free] {
			return damagedPage(free, "cannot be free")
		}
		p.taken[free] = true
	}
	return nil
}
