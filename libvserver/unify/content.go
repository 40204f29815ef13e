package unify

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// content is what equal files have in common.
type content struct {
	digest digest
	print  uint64 // see likeness; 0 where nobody asks for it
	size   uint64
	files  []*file
	blocks uint64 // bytes on disk of the one that stays
	obj    stat   // the object's inode, once there is one
	isNew  bool   // it entered the store in this run
	known  bool   // it is the object that the index says
	pool   *file  // links layout: what the store has of it
}

// group is files of one size (and, in the links layout, of one owner, mode and time), which alone can be equal.
type group struct {
	files []*file
	bytes uint64
}

// comparer finds out which files are equal.
type comparer struct {
	index    *index // if not nil: of what is in objects, the directory
	objects  int
	progress *Progress
	// single: a file that is like no other is of interest, too, so that its digest is wanted.
	single bool
	// attributes: files are equal only if their extended attributes are.
	attributes bool
	// layer: the files may have attributes of overlayfs.
	layer bool
	// found gets each content that is not known to be an object, while the file that fd has open, one of c.files, can't be
	// open for writing.
	found func(fd int, c *content, by *file) error

	next  atomic.Int64
	stop  atomic.Bool
	known atomic.Int64 // contents that are equal to an object
	mu    sync.Mutex
	all   []*content
	err   error
	seed  maphash.Seed
}

const (
	// smallFile is up to which size a file is read at once and kept for comparing.
	smallFile = 64 << 10
	// blockSize is how much of each of the large files is looked at at a time: the blocks of some files fit into a
	// core's cache. A multiple of verityBlock.
	blockSize = 64 << 10
	// together is how many large files are read side by side.
	together = 16
	// keepBytes bounds the contents of small files that a worker holds.
	keepBytes = 32 << 20
)

// groups sorts files into groups: large ones first, so that no core is left with one at the end, then in the order of
// inodes, which is the one of the disk.
func groups(files []*file, key func(a, b *file) int, wanted func(files []*file) bool) []group {
	sort.Slice(files, func(i, j int) bool {
		if c := key(files[i], files[j]); c != 0 {
			return c < 0
		}
		return files[i].st.ino < files[j].st.ino
	})
	var list []group
	for at := 0; at < len(files); {
		end := at + 1
		for end < len(files) && key(files[at], files[end]) == 0 {
			end++
		}
		if wanted == nil || wanted(files[at:end]) {
			list = append(list, group{files[at:end:end], files[at].st.size * uint64(end-at)})
		}
		at = end
	}
	const large = 4 << 20
	sort.Slice(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		if a.bytes >= large || b.bytes >= large {
			return a.bytes > b.bytes
		}
		return a.files[0].st.ino < b.files[0].st.ino
	})
	return list
}

// run compares all groups, on all cores.
func (c *comparer) run(list []group) ([]*content, error) {
	c.seed = maphash.MakeSeed()
	var all sync.WaitGroup
	for range min(workers(), len(list)) {
		all.Go(func() {
			w := &worker{comparer: c, buf: make([]byte, 64<<10)}
			for !c.stop.Load() {
				i := int(c.next.Add(1)) - 1
				if i >= len(list) {
					break
				}
				if err := w.group(&list[i]); err != nil {
					c.fail(err)
				}
			}
			c.mu.Lock()
			c.all = append(c.all, w.done...)
			c.mu.Unlock()
		})
	}
	all.Wait()
	return c.all, c.err
}

func (c *comparer) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.stop.Store(true)
}

// worker is one core's part.
type worker struct {
	*comparer
	buf    []byte // for lists of attributes
	kept   []byte // small contents
	blocks []byte
	other  []byte // of a small object
	done   []*content
}

func (w *worker) group(g *group) error {
	var err error
	if g.files[0].st.size <= smallFile {
		err = w.small(g.files)
	} else {
		err = w.large(g.files)
	}
	return err
}

// open opens a file to be read. ok is false, and the file kept as it is, if somebody may change it.
func (w *worker) open(f *file) (fd int, ok bool, err error) {
	fd, err = openBeneath(f.in.fd, f.path, readFile)
	if err == unix.ENOENT && f.pooled { // gc was there
		return -1, false, nil
	}
	if err != nil {
		return -1, false, fmt.Errorf("open %s: %w", f.in.whole(f.path), err)
	}
	if lease(fd) != nil {
		f.keep = busy
		closeFd(fd)
		w.progress.read(1, f.st.size)
		return -1, false, nil
	}
	return fd, true, nil
}

var errChanged = errors.New("it changed while the tree was being unified")

// check ends the reading of a file: its attributes, and whether it is still the file that was scanned.
func (w *worker) check(fd int, f *file) (ok bool, err error) {
	if f.xattrs, err = (attrs{fd: fd}).read(w.buf); err != nil {
		return false, fmt.Errorf("attributes of %s: %w", f.in.whole(f.path), err)
	}
	for i := range f.xattrs {
		if isOverlay(f.xattrs[i].name) && !w.layer {
			return false, fmt.Errorf("unify %s: %w", f.in.whole(f.path), errLayer)
		}
	}
	var now stat
	if err := statAt(fd, "", &now); err != nil {
		return false, fmt.Errorf("stat %s: %w", f.in.whole(f.path), err)
	}
	if f.pooled { // others may link to it
		now.ctime = f.st.ctime
	}
	if !now.same(f.st) {
		f.keep = busy
		return false, nil
	}
	return true, nil
}

// class is a content that is being found.
type class struct {
	content *content
	rep     *file
	data    []byte // of small files
	digest  bool   // content.digest is known
}

func (w *worker) equalAttrs(a, b *file) bool {
	if !w.attributes {
		return true
	}
	if len(a.xattrs) != len(b.xattrs) {
		return false
	}
	for i := range a.xattrs {
		if a.xattrs[i] != b.xattrs[i] {
			return false
		}
	}
	return true
}

// small reads files of one size whole.
func (w *worker) small(files []*file) error {
	size := int(files[0].st.size)
	w.kept = w.kept[:0]
	var classes []*class
	byHash := map[uint64][]*class{}
	byDigest := map[digest][]*class{}
	for _, f := range files {
		fd, ok, err := w.open(f)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		err = func() error {
			defer closeFd(fd)
			at := len(w.kept)
			if cap(w.kept)-at < size {
				// What classes hold stays in the old array.
				w.kept = make([]byte, 0, max(4*size, min(size*len(files), 1<<20)))
				at = 0
			}
			data := w.kept[at : at+size]
			n, err := preadFull(fd, data, 0)
			if err != nil {
				return fmt.Errorf("read %s: %w", f.in.whole(f.path), err)
			}
			w.progress.read(1, f.st.size)
			ok, err := w.check(fd, f)
			if err != nil {
				return err
			}
			if !ok || n != size {
				f.keep = busy
				return nil
			}
			h := maphash.Bytes(w.seed, data)
			for _, k := range byHash[h] {
				if bytes.Equal(k.data, data) && w.equalAttrs(k.rep, f) {
					k.join(f)
					return nil
				}
			}
			k := &class{content: &content{size: f.st.size}, rep: f, data: data}
			if w.single {
				k.digest = w.knownSmall(k.content, data, f.st.ino)
			}
			known := k.digest
			if len(classes)*size > keepBytes {
				// Too many to hold: these are told apart by their digests.
				k.setDigest(data)
				for _, other := range byDigest[k.content.digest] {
					if w.equalAttrs(other.rep, f) {
						other.join(f)
						return nil
					}
				}
				k.data = nil
				byDigest[k.content.digest] = append(byDigest[k.content.digest], k)
			} else {
				byHash[h] = append(byHash[h], k)
				w.kept = w.kept[:at+size]
			}
			k.join(f)
			classes = append(classes, k)
			if !w.single || known {
				return nil
			}
			k.setDigest(data)
			return w.found(fd, k.content, f)
		}()
		if err != nil {
			return err
		}
	}
	for _, k := range classes {
		if k.nameless() {
			k.setDigest(k.data)
		}
	}
	w.keep(classes)
	return nil
}

func (k *class) join(f *file) {
	if f.pooled {
		k.content.pool = f
		return
	}
	k.content.files = append(k.content.files, f)
	f.content = k.content
}

func (k *class) setDigest(data []byte) {
	if !k.digest && data != nil {
		var h hasher
		h.write(data)
		k.content.digest, k.digest = h.sum(), true
	}
}

// keep hands on the contents of interest.
func (w *worker) keep(classes []*class) {
	for _, k := range classes {
		c := k.content
		if w.single || len(c.files) > 1 || len(c.files) == 1 && c.pool != nil {
			w.done = append(w.done, c)
			continue
		}
		for _, f := range c.files {
			f.content = nil
		}
	}
}

// nameless says whether a content has to be named by its digest, which is not known yet.
func (k *class) nameless() bool {
	return !k.digest && len(k.content.files) > 1 && k.content.pool == nil
}
