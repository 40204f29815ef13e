package unify

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// index remembers which object has which content, so that it need not be read again before it is trusted, and that a file
// can be compared with the one that it is probably equal to, which is faster than to hash it (known.go). An entry counts
// as long as size, modification and change time are what they were. The index is a hint: without it everything works,
// more slowly.
type index struct {
	mu    sync.Mutex
	recs  map[uint64]record // by inode number
	size  int64             // of the file, as far as it was whole
	news  []record
	like  map[likeness][]uint64 // what was loaded, by inode number
	sizes map[uint64]bool
}

type record struct {
	ino, size    uint64
	mtime, ctime int64 // ns
	print        uint64
	digest       digest
}

// likeness is what equal contents have in common, and others seldom.
type likeness struct{ size, print uint64 }

const (
	indexName = "index"
	recordLen = 8*5 + 32 + 8
)

var crcTable = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

func (r *record) append(b []byte) []byte {
	at := len(b)
	for _, v := range [...]uint64{r.ino, r.size, uint64(r.mtime), uint64(r.ctime), r.print} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, r.digest[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(crc32.Checksum(b[at:], crcTable())))
}

func (r *record) parse(b []byte) bool {
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	r.ino, r.size, r.mtime, r.ctime, r.print = u(0), u(1), int64(u(2)), int64(u(3)), u(4)
	copy(r.digest[:], b[40:])
	return u(9) == uint64(crc32.Checksum(b[:72], crcTable()))
}

// loadIndex reads a store's index. A later record of an inode replaces an earlier one.
func (s *Store) loadIndex() *index {
	x := &index{}
	b, err := os.ReadFile(s.Path + "/" + indexName)
	if err != nil {
		b = nil
	}
	x.recs = make(map[uint64]record, len(b)/recordLen)
	for len(b) >= recordLen {
		var r record
		if r.parse(b) {
			x.recs[r.ino] = r
		}
		b = b[recordLen:]
		x.size += recordLen
	}
	x.like = make(map[likeness][]uint64, len(x.recs))
	x.sizes = make(map[uint64]bool, len(x.recs))
	for ino, r := range x.recs {
		l := likeness{r.size, r.print}
		x.like[l] = append(x.like[l], ino)
		x.sizes[r.size] = true
	}
	return x
}

func (st *stat) record(d digest, print uint64) record {
	return record{st.ino, st.size, st.mtime.Nano(), st.ctime.Nano(), print, d}
}

// hasSize says whether there may be an object of that size.
func (x *index) hasSize(size uint64) bool { return x != nil && x.sizes[size] }

// alike returns the objects that a content is probably one of; a few of them, if somebody has made many that are alike.
func (x *index) alike(l likeness) (list []record) {
	if x == nil {
		return nil
	}
	const most = 4
	inodes := x.like[l]
	if len(inodes) == 0 {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, ino := range inodes {
		if r, ok := x.recs[ino]; ok && len(list) < most && r.size == l.size && r.print == l.print {
			list = append(list, r)
		}
	}
	return list
}

// add remembers one.
func (x *index) add(st *stat, c *content) {
	r := st.record(c.digest, c.print)
	x.mu.Lock()
	if x.recs[r.ino] != r {
		x.recs[r.ino] = r
		x.news = append(x.news, r)
	}
	x.mu.Unlock()
}

// save appends what is new; or, where most of the file is out of date, writes it anew.
func (s *Store) save(x *index) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.news) == 0 {
		return nil
	}
	if x.size/recordLen > 2*int64(len(x.recs))+1000 {
		b := make([]byte, 0, len(x.recs)*recordLen)
		for _, r := range x.recs {
			b = r.append(b)
		}
		x.news = nil
		return s.writeFile(s.fd, indexName, b)
	}
	b := make([]byte, 0, len(x.news)*recordLen)
	for i := range x.news {
		b = x.news[i].append(b)
	}
	x.news = nil
	fd, err := unix.Openat(s.fd, indexName, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open the index of %s: %w", s.Path, err)
	}
	f := os.NewFile(uintptr(fd), indexName)
	defer f.Close()
	// A record that was cut short by a full disk or a kill is overwritten.
	at, err := f.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("the index of %s: %w", s.Path, err)
	}
	if _, err := f.WriteAt(b, at-at%recordLen); err != nil {
		return fmt.Errorf("write the index of %s: %w", s.Path, err)
	}
	return nil
}
