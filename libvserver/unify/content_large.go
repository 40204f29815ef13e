package unify

import (
	"bytes"
	"fmt"
	"slices"
)

// member is one of the files that are read side by side.
type member struct {
	f      *file
	fd     int
	block  []byte
	sparse bool
	data   uint64 // where its next data begins, if sparse
}

// part is members that are equal so far.
type part struct {
	members []*member
	hash    *hasher // nil: the digest is not wanted
}

// large compares files of one size block by block, a limited number at a time.
func (w *worker) large(files []*file) error {
	classes, files, err := w.knownLarge(files)
	if err != nil {
		return err
	}
	for len(files) > 0 && !w.stop.Load() {
		n := min(len(files), together)
		// One left over would be read alone.
		if len(files) == together+1 {
			n = together - 1
		}
		more, err := w.sideBySide(files[:n], len(files) > n || len(classes) > 0)
		if err != nil {
			return err
		}
		for _, k := range more {
			if k.nameless() { // what it might have been equal to was not
				again, err := w.sideBySide(k.content.files, false)
				if err != nil {
					return err
				}
				classes = append(classes, again...)
				continue
			}
			old := -1
			for i, c := range classes {
				if c.digest && k.digest && c.content.digest == k.content.digest && w.equalAttrs(c.rep, k.rep) {
					old = i
				}
			}
			if old < 0 {
				classes = append(classes, k)
				continue
			}
			for _, f := range k.content.files {
				classes[old].join(f)
			}
			if k.content.pool != nil {
				classes[old].content.pool = k.content.pool
			}
		}
		files = files[n:]
	}
	w.keep(classes)
	return nil
}

// sideBySide reads files from begin to end at the same time. more says that others will be compared by digest.
func (w *worker) sideBySide(files []*file, more bool) (classes []*class, err error) {
	open, err := w.openAll(files)
	defer closeAll(open)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	first := &part{members: open}
	digests := w.single || more
	pooled := slices.ContainsFunc(open, func(m *member) bool { return m.f.pooled })
	if digests || len(open) > 1 && !pooled {
		first.hash = &hasher{}
	}
	parts := []*part{first}
	size := files[0].st.size
	for at := uint64(0); at < size && len(parts) > 0; {
		if w.stop.Load() {
			return nil, nil
		}
		if n := hole(parts, at, size); n > 0 {
			for _, p := range parts {
				if p.hash != nil {
					p.hash.writeZeros(n)
				}
			}
			at += n
			w.progress.read(0, n*count(parts))
			continue
		}
		n := min(blockSize, size-at)
		w.progress.read(0, n*count(parts))
		if parts, err = w.step(parts, at, int(n), digests); err != nil {
			return nil, err
		}
		at += n
	}
	for _, p := range parts {
		more, err := w.finish(p)
		if err != nil {
			return nil, err
		}
		classes = append(classes, more...)
	}
	return classes, nil
}

// openAll opens at most so many files as are read side by side, but for those that somebody may change.
func (w *worker) openAll(files []*file) (open []*member, err error) {
	if w.blocks == nil {
		w.blocks = make([]byte, (together+1)*blockSize)
	}
	for i, f := range files {
		fd, ok, err := w.open(f)
		if err != nil {
			return open, err
		}
		if ok {
			open = append(open, &member{f: f, fd: fd, block: w.block(i), sparse: f.st.sparse()})
		}
	}
	return open, nil
}

func (w *worker) block(i int) []byte { return w.blocks[i*blockSize : (i+1)*blockSize] }

func closeAll(open []*member) {
	for _, m := range open {
		closeFd(m.fd)
	}
}

func count(parts []*part) (n uint64) {
	for _, p := range parts {
		n += uint64(len(p.members))
	}
	return n
}

// hole returns how many bytes from at on, in whole blocks, are holes in all files.
func hole(parts []*part, at, size uint64) uint64 {
	end := size
	for _, p := range parts {
		for _, m := range p.members {
			if !m.sparse {
				return 0
			}
			if m.data <= at {
				m.data = at + uint64(zerosAt(m.fd, int64(at), int64(size)))
			}
			end = min(end, m.data)
		}
	}
	if end <= at {
		return 0
	}
	if end == size {
		return size - at
	}
	return (end - at) / blockSize * blockSize
}

// step reads one block of every file and parts those that differ.
func (w *worker) step(parts []*part, at uint64, n int, digests bool) (after []*part, err error) {
	for _, p := range parts {
		for _, m := range p.members {
			got, err := preadFull(m.fd, m.block[:n], int64(at))
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", m.f.in.whole(m.f.path), err)
			}
			clear(m.block[got:n]) // it was cut: check will see that
		}
		split := []*part{{hash: p.hash}}
		for _, m := range p.members {
			to := -1
			for i, s := range split {
				if len(s.members) == 0 || bytes.Equal(s.members[0].block[:n], m.block[:n]) {
					to = i
					break
				}
			}
			if to < 0 {
				s := &part{}
				if p.hash != nil {
					s.hash = p.hash.clone()
				}
				split = append(split, s)
				to = len(split) - 1
			}
			split[to].members = append(split[to].members, m)
		}
		for _, s := range split {
			if !digests && len(s.members) == 1 {
				m := s.members[0]
				w.progress.read(1, m.f.st.size-at-uint64(n))
				continue // like no other: what follows is of no interest
			}
			if s.hash != nil {
				s.hash.write(s.members[0].block[:n])
			}
			after = append(after, s)
		}
	}
	return after, nil
}

// finish makes classes of a part whose files are equal to their ends.
func (w *worker) finish(p *part) (classes []*class, err error) {
	var sum digest
	if p.hash != nil {
		sum = p.hash.sum()
	}
	for _, m := range p.members {
		w.progress.read(1, 0)
		ok, err := w.check(m.fd, m.f)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		var k *class
		for _, c := range classes {
			if w.equalAttrs(c.rep, m.f) {
				k = c
			}
		}
		if k == nil {
			k = &class{content: &content{size: m.f.st.size, digest: sum}, rep: m.f, digest: p.hash != nil}
			classes = append(classes, k)
		}
		k.join(m.f)
		if w.single && len(k.content.files) == 1 {
			if k.content.print, err = printOf(m.fd, k.content.size); err != nil {
				return nil, fmt.Errorf("read %s: %w", m.f.in.whole(m.f.path), err)
			}
			if err := w.found(m.fd, k.content, m.f); err != nil {
				return nil, err
			}
		}
	}
	return classes, nil
}
