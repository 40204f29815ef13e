package unify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// A reader for the little that is needed of containerd's metadata.db: the file format of bbolt (go.etcd.io/bbolt,
// internal/common: page.go, meta.go, bucket.go), read-only, of a file that nobody has open.

const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	boltBranch   = 0x01
	boltLeaf     = 0x02
	boltBucket   = 0x01 // flag of an element
	pageHeader   = 16
	boltMaxDepth = 64
)

var errBolt = errors.New("it is no bolt database of a known form, or damaged")

// bolt is a database in memory.
type bolt struct {
	b        []byte
	pageSize int
	root     uint64
}

func openBolt(b []byte) (*bolt, error) {
	var best *bolt
	var newest uint64
	for _, size := range []int{4096, 8192, 16384, 32768, 65536} {
		for page := range 2 {
			at := page*size + pageHeader
			if at+64 > len(b) {
				continue
			}
			m := b[at:]
			if binary.LittleEndian.Uint32(m) != boltMagic || binary.LittleEndian.Uint32(m[4:]) != boltVersion ||
				int(binary.LittleEndian.Uint32(m[8:])) != size {
				continue
			}
			h := fnv.New64a()
			h.Write(m[:56])
			if h.Sum64() != binary.LittleEndian.Uint64(m[56:]) {
				continue
			}
			if tx := binary.LittleEndian.Uint64(m[48:]); best == nil || tx > newest {
				best, newest = &bolt{b, size, binary.LittleEndian.Uint64(m[16:])}, tx
			}
		}
	}
	if best == nil {
		return nil, errBolt
	}
	return best, nil
}

// each calls f for every element of the bucket whose root is a page.
func (d *bolt) each(page uint64, f func(key, value []byte, bucket bool) error) error {
	return d.walk(page, 0, f)
}

func (d *bolt) walk(page uint64, depth int, f func(key, value []byte, bucket bool) error) error {
	at := page * uint64(d.pageSize)
	if depth > boltMaxDepth || page > uint64(len(d.b)/d.pageSize) || at+pageHeader > uint64(len(d.b)) {
		return errBolt
	}
	return d.elements(d.b[at:], depth, f)
}

// elements reads one page, or a bucket that is small enough to stand in its parent's page.
func (d *bolt) elements(p []byte, depth int, f func(key, value []byte, bucket bool) error) error {
	if len(p) < pageHeader {
		return errBolt
	}
	flags, count := binary.LittleEndian.Uint16(p[8:]), int(binary.LittleEndian.Uint16(p[10:]))
	for i := range count {
		at := pageHeader + 16*i
		if at+16 > len(p) {
			return errBolt
		}
		e := p[at:]
		u := func(i int) int { return int(binary.LittleEndian.Uint32(e[i:])) }
		switch {
		case flags&boltBranch != 0:
			if err := d.walk(binary.LittleEndian.Uint64(e[8:]), depth+1, f); err != nil {
				return err
			}
		case flags&boltLeaf != 0:
			pos, klen, vlen := u(4), u(8), u(12)
			if pos+klen+vlen > len(e) || pos < 0 || klen < 0 || vlen < 0 {
				return errBolt
			}
			if err := f(e[pos:pos+klen], e[pos+klen:pos+klen+vlen], u(0)&boltBucket != 0); err != nil {
				return err
			}
		default:
			return errBolt
		}
	}
	return nil
}

// bucket calls f for every element of a bucket in an element's value.
func (d *bolt) bucket(value []byte, f func(key, value []byte, bucket bool) error) error {
	if len(value) < 16 {
		return errBolt
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return d.each(root, f)
	}
	return d.elements(value[16:], 0, f)
}

// committedSnapshots reads from an overlayfs snapshotter's metadata.db (containerd, core/snapshots/storage/bolt.go) the
// ids of those snapshots that are layers of images, and how many are containers' own.
func committedSnapshots(b []byte) (ids []uint64, active int, err error) {
	const kindCommitted = 3
	d, err := openBolt(b)
	if err != nil {
		return nil, 0, err
	}
	inBucket := func(name string, f func(value []byte) error) func(key, value []byte, bucket bool) error {
		return func(key, value []byte, bucket bool) error {
			if !bucket || string(key) != name {
				return nil
			}
			return f(value)
		}
	}
	err = d.each(d.root, inBucket("v1", func(v1 []byte) error {
		return d.bucket(v1, inBucket("snapshots", func(all []byte) error {
			return d.bucket(all, func(name, one []byte, bucket bool) error {
				if !bucket {
					return nil
				}
				var id uint64
				kind := byte(0)
				if err := d.bucket(one, func(key, value []byte, _ bool) error {
					switch {
					case string(key) == "id":
						id, _ = binary.Uvarint(value)
					case string(key) == "kind" && len(value) == 1:
						kind = value[0]
					}
					return nil
				}); err != nil {
					return err
				}
				switch {
				case id == 0 || kind == 0:
					return fmt.Errorf("snapshot %q: %w", name, errBolt)
				case kind == kindCommitted:
					ids = append(ids, id)
				default:
					active++
				}
				return nil
			})
		}))
	}))
	return ids, active, err
}
