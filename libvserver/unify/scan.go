package unify

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// node is one name in a tree.
type node struct {
	name   string
	st     stat
	target string  // a symlink's
	xattrs []xattr // a regular file's come with its content
	file   *file   // a regular file that is not empty
	first  *node   // of the names of one inode in this tree: the first, in the order of paths; nil if it has one name only
	path   string  // set only where first is
}

// reason says why a file is not shared.
type reason byte

const (
	shared reason = iota
	excluded
	busy     // open for writing, or changed meanwhile
	tooSmall // below the least size
	linked   // links layout: it has several names
	full     // links layout: what the store has of it can't get another name
	gone     // links layout: gc removed what the store had of it
)

// dir is a directory of a tree.
type dir struct {
	node
	path  string // from the tree's root; "" for the root itself
	nodes []node // what is in it, but for directories; in the order of names
	subs  []*dir
}

// file is the inode of a regular file that is not empty, with all its names in all trees of a run.
type file struct {
	in      *image
	path    string // its first name's, for opening
	st      *stat
	node    *node
	names   uint32 // found in this run
	content *content
	xattrs  []xattr
	keep    reason
	pooled  bool // links layout: it is the store's
}

// image is a tree in memory.
type image struct {
	path  string // absolute
	fd    int
	root  *dir
	dirs  []*dir // parents first
	files int    // names of regular files
	bytes uint64 // of regular files, each inode once
	mine  map[uint64]*node
}

func (d *dir) join(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// whole is a path for messages.
func (im *image) whole(path string) string {
	if path == "" {
		return im.path
	}
	return im.path + "/" + path
}

// scanner walks a tree with several workers.
type scanner struct {
	im       *image
	mu       sync.Mutex
	more     *sync.Cond
	queue    []*dir
	busy     int
	err      error
	progress *Progress
	layer    bool // it may be an overlay's layer
}

var errLayer = errors.New("it is made for overlayfs (a whiteout or an overlay attribute): the tree is a layer of an overlay")

// scan reads a whole tree's metadata. The tree is at fd, which the image keeps.
func scan(path string, fd int, p *Progress) (*image, error) {
	return (&scanner{progress: p}).scan(path, fd)
}

func (s *scanner) scan(path string, fd int) (*image, error) {
	im := &image{path: path, fd: fd, root: &dir{}, mine: map[uint64]*node{}}
	if err := statAt(fd, "", &im.root.st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	s.im, s.queue = im, []*dir{im.root}
	s.more = sync.NewCond(&s.mu)
	var all sync.WaitGroup
	for range workers() {
		all.Go(s.work)
	}
	all.Wait()
	if s.err != nil {
		return nil, s.err
	}
	im.settle(im.root)
	return im, nil
}

func (s *scanner) work() {
	buf := newDirBuffer()
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && s.busy > 0 && s.err == nil {
			s.more.Wait()
		}
		if s.err != nil || len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		d := s.queue[len(s.queue)-1]
		s.queue = s.queue[:len(s.queue)-1]
		s.busy++
		s.mu.Unlock()

		err := s.read(d, buf)

		s.mu.Lock()
		s.busy--
		if err != nil && s.err == nil {
			s.err = err
		}
		s.queue = append(s.queue, d.subs...)
		if len(d.subs) > 0 || s.busy == 0 || s.err != nil {
			s.more.Broadcast()
		}
		s.mu.Unlock()
	}
}

// read reads one directory.
func (s *scanner) read(d *dir, buf []byte) error {
	fail := func(name, what string, err error) error {
		path := d.path
		if name != "" {
			path = d.join(name)
		}
		if err == unix.EXDEV {
			return fmt.Errorf("%s: something is mounted there: unmount it first", s.im.whole(path))
		}
		return fmt.Errorf("%s %s: %w", what, s.im.whole(path), err)
	}
	fd, err := openBeneath(s.im.fd, d.path, readDir)
	if err != nil {
		return fail("", "open", err)
	}
	defer closeFd(fd)
	if d.xattrs, err = (attrs{fd: fd}).read(buf); err != nil {
		return fail("", "attributes of", err)
	}
	for _, x := range d.xattrs {
		if x.name == tree.Attr && d.path == "" {
			continue
		}
		if isOverlay(x.name) && !s.layer {
			return fail("", "unify", errLayer)
		}
	}
	list, err := readEntries(fd, buf)
	if err != nil {
		return fail("", "read directory", err)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	others := 0
	for _, e := range list {
		if e.kind != unix.S_IFDIR {
			others++
		}
	}
	d.nodes = make([]node, 0, others)
	for _, e := range list {
		if len(d.path)+len("/")+len(e.name) >= unix.PathMax {
			return fmt.Errorf("unify %s: in it, %.60s/... has a path of more than %d bytes", s.im.path, d.path, unix.PathMax-1)
		}
		n := node{name: e.name}
		if err := statAt(fd, e.name, &n.st); err != nil {
			return fail(e.name, "stat", err)
		}
		if n.st.mount || n.st.dev != s.im.root.st.dev {
			return fail(e.name, "", unix.EXDEV)
		}
		if n.st.immutable {
			return fail(e.name, "unify", errors.New("it is immutable or append-only (chattr -i -a)"))
		}
		switch n.st.kind() {
		case unix.S_IFDIR:
			d.subs = append(d.subs, &dir{node: n, path: d.join(e.name)})
			continue
		case unix.S_IFCHR:
			if n.st.rdev == 0 && !s.layer {
				return fail(e.name, "unify", errLayer)
			}
		case unix.S_IFLNK:
			k, err := unix.Readlinkat(fd, e.name, buf)
			if err != nil {
				return fail(e.name, "readlink", err)
			}
			n.target = string(buf[:k])
		}
		if n.st.kind() != unix.S_IFREG || n.st.size == 0 {
			if n.xattrs, err = (attrs{path: xattrPath(fd, e.name)}).read(buf); err != nil {
				return fail(e.name, "attributes of", err)
			}
		}
		d.nodes = append(d.nodes, n)
	}
	s.progress.found(len(d.nodes))
	return nil
}

// settle completes what needs an order: the list of directories, the files, hard links.
func (im *image) settle(d *dir) {
	im.dirs = append(im.dirs, d)
	for i := range d.nodes {
		n := &d.nodes[i]
		if n.st.nlink > 1 {
			n.path = d.join(n.name)
			if first := im.mine[n.st.ino]; first != nil {
				n.first = first
			} else {
				im.mine[n.st.ino] = n
				n.first = n
			}
		}
		if n.st.kind() == unix.S_IFREG {
			im.files++
			if n.first == nil || n.first == n {
				im.bytes += n.st.size
			}
		}
	}
	sort.Slice(d.subs, func(i, j int) bool { return d.subs[i].name < d.subs[j].name })
	for _, sub := range d.subs {
		im.settle(sub)
	}
}

// each calls f for every name that is no directory.
func (im *image) each(f func(d *dir, n *node)) {
	for _, d := range im.dirs {
		for i := range d.nodes {
			f(d, &d.nodes[i])
		}
	}
}

// inodes makes the files of all images. Names of one inode, in one tree or in several, are one file.
func inodes(images []*image, ex *excludes, least uint64) []*file {
	total := 0
	for _, im := range images {
		total += im.files
	}
	all := make([]file, 0, total)
	list := make([]*file, 0, total)
	known := map[uint64]*file{}
	for _, im := range images {
		im.each(func(d *dir, n *node) {
			if n.st.kind() != unix.S_IFREG || n.st.size == 0 {
				return
			}
			keep := shared
			switch {
			case n.st.size < least:
				keep = tooSmall
			case ex.match(d, n.name):
				keep = excluded
			}
			if n.st.nlink > 1 {
				if f := known[n.st.ino]; f != nil {
					n.file = f
					f.names++
					f.keep = max(f.keep, keep)
					return
				}
			}
			all = append(all, file{in: im, path: d.join(n.name), st: &n.st, node: n, names: 1, keep: keep})
			f := &all[len(all)-1]
			n.file = f
			list = append(list, f)
			if n.st.nlink > 1 {
				known[n.st.ino] = f
			}
		})
	}
	return list
}

func isOverlay(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}
