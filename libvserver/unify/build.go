package unify

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// Attributes of a file in a metadata tree: Documentation/filesystems/overlayfs.rst, "Metadata only copy up" and
// "Data-only lower layers".
const (
	metacopy = "trusted.overlay.metacopy"
	redirect = "trusted.overlay.redirect"
)

// verityDigest is metacopy's value where the overlay shall check the object's digest (struct ovl_metacopy).
func verityDigest(d *digest) string { return "\x00\x24\x00\x01" + string(d[:]) }

// parallel calls f for every index below n on all cores until one fails.
func parallel(n int, f func(i int) error) error { return parallelBy(workers(), n, f) }

// parallelBy is parallel with so many workers.
func parallelBy(most, n int, f func(i int) error) error {
	var next, failed atomic.Int64
	var once sync.Once
	var first error
	var all sync.WaitGroup
	for range min(most, n) {
		all.Go(func() {
			for failed.Load() == 0 {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					failed.Store(1)
				}
			}
		})
	}
	all.Wait()
	return first
}

// builder makes one metadata tree.
type builder struct {
	r      *run
	im     *image
	fd     int // its root
	verity tree.Verity
	plain  bool // not a metadata tree of the image but a plain tree of a metadata tree's image
}

// build makes the metadata tree of an image as name in the run's directory.
func (r *run) build(im *image, name string, v tree.Verity) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("build the metadata tree of %s: %w", im.path, err)
		}
	}()
	if err := mkdirAt(r.fd, name, 0o700); err != nil {
		return err
	}
	fd, err := openBeneath(r.fd, name, readDir)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	return (&builder{r: r, im: im, fd: fd, verity: v}).all()
}

func (b *builder) all() error {
	im, fd := b.im, b.fd
	for _, d := range im.dirs[1:] {
		if err := mkdirAt(fd, d.path, 0o700); err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
	}
	if err := parallel(len(im.dirs), func(i int) error { return b.fill(im.dirs[i]) }); err != nil {
		return err
	}
	// A hard link's first name may be in any directory.
	if len(im.mine) > 0 {
		if err := b.hardLinks(); err != nil {
			return err
		}
	}
	// Last, since what is made in a directory changes its times, and it may be read-only.
	return parallel(len(im.dirs), func(i int) error {
		d := im.dirs[i]
		fd, err := openBeneath(b.fd, d.path, readDir)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		defer closeFd(fd)
		if err := dress(fd, &d.node.st, d.xattrs, true); err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		return nil
	})
}

// dress gives what fd has open the owner, mode, attributes and times. special: the mode has to be set.
func dress(fd int, st *stat, xattrs []xattr, special bool) error {
	if st.uid != 0 || st.gid != 0 {
		if err := unix.Fchown(fd, int(st.uid), int(st.gid)); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
		special = true
	}
	if special || st.mode&0o7000 != 0 {
		if err := unix.Fchmod(fd, st.mode&0o7777); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	for _, x := range xattrs {
		if x.name == tree.Attr {
			continue
		}
		if err := (attrs{fd: fd}).set(x.name, x.value); err != nil {
			return fmt.Errorf("set attribute %s: %w", x.name, err)
		}
	}
	if err := setTimes(fd, "", st); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// fill makes what is in one directory, but for further names of what has one.
func (b *builder) fill(d *dir) error {
	if len(d.nodes) == 0 {
		return nil
	}
	fd, err := openBeneath(b.fd, d.path, readDir)
	if err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	defer closeFd(fd)
	for i := range d.nodes {
		n := &d.nodes[i]
		if n.first != nil && n.first != n {
			continue
		}
		if err := b.make(fd, d, n); err != nil {
			return fmt.Errorf("%s: %w", d.join(n.name), err)
		}
	}
	b.r.progress.read(uint64(len(d.nodes)), 0)
	return nil
}

func (b *builder) make(fd int, d *dir, n *node) error {
	switch {
	case n.st.kind() == unix.S_IFREG && n.file != nil && n.file.keep != shared:
		return b.keep(fd, d, n)
	case n.st.kind() == unix.S_IFREG && b.plain:
		return b.fetch(fd, d, n)
	case n.st.kind() == unix.S_IFREG:
		return b.stand(fd, n)
	case n.st.kind() == unix.S_IFLNK:
		if err := unix.Symlinkat(n.target, fd, n.name); err != nil {
			return err
		}
	default:
		if err := unix.Mknodat(fd, n.name, n.st.mode&unix.S_IFMT|0o600, int(n.st.rdev)); err != nil {
			return err
		}
	}
	return dressAt(fd, n)
}

// dressAt is dress of what can't be opened.
func dressAt(fd int, n *node) error {
	if n.st.uid != 0 || n.st.gid != 0 {
		if err := unix.Fchownat(fd, n.name, int(n.st.uid), int(n.st.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
	}
	if n.st.kind() != unix.S_IFLNK {
		if err := unix.Fchmodat(fd, n.name, n.st.mode&0o7777, 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	for _, x := range n.xattrs {
		if err := (attrs{path: xattrPath(fd, n.name)}).set(x.name, x.value); err != nil {
			return fmt.Errorf("set attribute %s: %w", x.name, err)
		}
	}
	if err := setTimes(fd, n.name, &n.st); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// stand makes the file that stands for an object, or an empty file.
func (b *builder) stand(dirfd int, n *node) error {
	mode := n.st.mode & 0o777
	fd, err := createAt(dirfd, n.name, mode)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	xattrs := n.xattrs
	if f := n.file; f != nil {
		xattrs = f.xattrs
		d := &f.content.digest
		value := ""
		if b.verity == tree.VerityRequire || b.verity == tree.VerityOn && n.st.size >= sealMin {
			value = verityDigest(d)
		}
		if err := (attrs{fd: fd}).set(redirect, "/"+d.name()); err != nil {
			return fmt.Errorf("set attribute %s: %w", redirect, err)
		}
		if err := (attrs{fd: fd}).set(metacopy, value); err != nil {
			return fmt.Errorf("set attribute %s: %w", metacopy, err)
		}
		if err := truncateFd(fd, int64(n.st.size)); err != nil {
			return fmt.Errorf("set size: %w", err)
		}
	}
	return dress(fd, &n.st, xattrs, false)
}

// keep gives a file that is not shared a place in the metadata tree: the inode itself.
func (b *builder) keep(dirfd int, d *dir, n *node) error {
	fd, err := openBeneath(b.im.fd, d.join(n.name), unix.O_PATH)
	if err != nil {
		return err
	}
	defer closeFd(fd)
	if err := linkFd(fd, dirfd, n.name); err != nil {
		return err
	}
	var now stat
	if err := statAt(fd, "", &now); err != nil {
		return err
	}
	if now.ino != n.st.ino {
		return errChanged
	}
	n.file.adopt(&now)
	return nil
}

// hardLinks makes the further names of inodes that have several.
func (b *builder) hardLinks() error {
	for _, d := range b.im.dirs {
		for i := range d.nodes {
			n := &d.nodes[i]
			if n.first == nil || n.first == n {
				continue
			}
			if err := unix.Linkat(b.fd, n.first.path, b.fd, d.join(n.name), 0); err != nil {
				return fmt.Errorf("%s: link to %s: %w", d.join(n.name), n.first.path, err)
			}
		}
	}
	return nil
}

// stub makes what takes the tree's place, as name in the run's directory: a directory like the tree's root with the
// reference in it.
func (r *run) stub(im *image, name string, t *tree.Tree, ref int) error {
	fail := func(err error) error { return fmt.Errorf("make the unified tree for %s: %w", im.path, err) }
	if err := mkdirAt(r.fd, name, 0o700); err != nil {
		return fail(err)
	}
	fd, err := openBeneath(r.fd, name, readDir)
	if err != nil {
		return fail(err)
	}
	defer closeFd(fd)
	if err := linkFd(ref, fd, tree.RefName); err != nil {
		return fail(err)
	}
	if err := (attrs{fd: fd}).set(tree.Attr, t.Value()); err != nil {
		return fail(err)
	}
	if err := dress(fd, &im.root.st, im.root.xattrs, true); err != nil {
		return fail(err)
	}
	return nil
}

// refText is what the reference says to a person who looks into the directory.
func refText(store, digest string) string {
	return strings.Join([]string{
		"This directory is a unified tree: its files are shared with others, in the object store",
		store + ", where trees/" + digest + " says what it holds.",
		"vsrun runs it as a root filesystem; vsrun ununify makes a plain directory of it again.",
		"Don't remove this file: the store counts by it who needs the tree.",
		"",
	}, "\n")
}
