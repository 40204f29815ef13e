package unify

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"golang.org/x/sys/unix"
)

// A file of a tree that the store knows already, such as a copy of a guest, is mostly equal to an object. Which one it may
// be, a checksum of it tells, by way of the index; then the two are compared byte by byte, which takes a fraction of the
// time of a SHA-256.

// printed is how much of a large file is looked at in each of three places.
const printed = 4096

// printOf is the print of a large file: of its beginning, middle and end.
func printOf(fd int, size uint64) (uint64, error) {
	var buf [3 * printed]byte
	for i, at := range [...]uint64{0, size / 2, size - printed} {
		if _, err := preadFull(fd, buf[i*printed:(i+1)*printed], int64(at)); err != nil {
			return 0, err
		}
	}
	return uint64(crc32.Checksum(buf[:], crcTable())), nil
}

// openKnown opens an object, if it still is what the index knows.
func (c *comparer) openKnown(r *record, st *stat) (fd int, ok bool) {
	fd, err := openBeneath(c.objects, r.digest.name(), readFile)
	if err != nil {
		return -1, false
	}
	if err := statAt(fd, "", st); err != nil || st.kind() != unix.S_IFREG || st.record(r.digest, r.print) != *r {
		closeFd(fd)
		return -1, false
	}
	return fd, true
}

// is notes that a content is an object's.
func (c *comparer) is(k *content, r *record, obj *stat) {
	k.digest, k.obj, k.blocks, k.known = r.digest, *obj, obj.blocks*512, true
	c.known.Add(1)
}

// knownSmall looks for the object that has the content data, of the inode ino.
func (w *worker) knownSmall(c *content, data []byte, ino uint64) bool {
	c.print = uint64(crc32.Checksum(data, crcTable()))
	for _, r := range w.index.alike(likeness{c.size, c.print}) {
		var obj stat
		fd, ok := w.openKnown(&r, &obj)
		if !ok {
			continue
		}
		if w.other == nil {
			w.other = make([]byte, smallFile)
		}
		n, err := preadFull(fd, w.other[:len(data)], 0)
		closeFd(fd)
		if err != nil || !bytes.Equal(w.other[:n], data) {
			continue
		}
		if obj.ino == ino {
			return false // comparer.found takes care of it
		}
		w.is(c, &r, &obj)
		return true
	}
	return false
}

// knownLarge looks for objects that files of one size are equal to. rest is the others.
func (w *worker) knownLarge(files []*file) (classes []*class, rest []*file, err error) {
	if !w.single || !w.index.hasSize(files[0].st.size) {
		return nil, files, nil
	}
	for len(files) > 0 && !w.stop.Load() {
		n := min(len(files), together)
		more, other, err := w.likeObjects(files[:n])
		if err != nil {
			return nil, nil, err
		}
		for _, k := range more {
			classes = merge(classes, k)
		}
		rest = append(rest, other...)
		files = files[n:]
	}
	return classes, rest, nil
}

// merge adds a class whose digest is known.
func merge(classes []*class, k *class) []*class {
	for _, c := range classes {
		if c.content.digest == k.content.digest {
			for _, f := range k.content.files {
				c.join(f)
			}
			return classes
		}
	}
	return append(classes, k)
}

// likeObjects compares each of some files with the objects that it may be.
func (w *worker) likeObjects(files []*file) (classes []*class, rest []*file, err error) {
	open, err := w.openAll(files)
	defer closeAll(open)
	if err != nil {
		return nil, nil, err
	}
	size := files[0].st.size
	prints := map[uint64][]*member{}
	for _, m := range open {
		print, err := printOf(m.fd, size)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", m.f.in.whole(m.f.path), err)
		}
		prints[print] = append(prints[print], m)
	}
	for print, members := range prints {
		for _, r := range w.index.alike(likeness{size, print}) {
			var k *class
			if k, members, err = w.like(&r, members); err != nil {
				return nil, nil, err
			}
			if k != nil {
				classes = append(classes, k)
			}
		}
		for _, m := range members {
			rest = append(rest, m.f)
		}
	}
	return classes, rest, nil
}

// like compares files with an object, side by side. k is nil if none is equal to it.
func (w *worker) like(r *record, members []*member) (k *class, rest []*member, err error) {
	if len(members) == 0 {
		return nil, nil, nil
	}
	var obj stat
	fd, ok := w.openKnown(r, &obj)
	if !ok {
		return nil, members, nil
	}
	defer closeFd(fd)
	its := &member{fd: fd, block: w.block(together), sparse: obj.sparse()}
	for at := uint64(0); at < r.size && len(members) > 0; {
		if w.stop.Load() {
			return nil, nil, nil
		}
		if n := hole([]*part{{members: append(members[:len(members):len(members)], its)}}, at, r.size); n > 0 {
			at += n
			w.progress.read(0, n*uint64(len(members)))
			continue
		}
		n := min(blockSize, r.size-at)
		w.progress.read(0, n*uint64(len(members)))
		if got, err := preadFull(fd, its.block[:n], int64(at)); err != nil || got < int(n) {
			return nil, append(rest, members...), nil
		}
		var equal []*member
		for _, m := range members {
			got, err := preadFull(m.fd, m.block[:n], int64(at))
			if err != nil {
				return nil, nil, fmt.Errorf("read %s: %w", m.f.in.whole(m.f.path), err)
			}
			if got == int(n) && bytes.Equal(m.block[:n], its.block[:n]) {
				equal = append(equal, m)
			} else {
				rest = append(rest, m)
			}
		}
		members = equal
		at += n
	}
	for _, m := range members {
		if obj.ino == m.f.st.ino {
			rest = append(rest, m)
			continue
		}
		w.progress.read(1, 0)
		ok, err := w.check(m.fd, m.f)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			continue
		}
		if k == nil {
			k = &class{content: &content{size: r.size, print: r.print}, rep: m.f, digest: true}
			w.is(k.content, r, &obj)
		}
		k.join(m.f)
	}
	return k, rest, nil
}
