package unify

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// UnunifyOptions say which trees are to be plain ones again.
type UnunifyOptions struct {
	Trees    []string
	DryRun   bool
	Progress *Progress
}

// Ununify makes plain trees of unified ones: every file is a file of its own again. A tree that is none is left alone.
func Ununify(o *UnunifyOptions) (*Result, error) {
	begun := time.Now()
	unix.Umask(0)
	if len(o.Trees) == 0 {
		return nil, errors.New("no tree is given")
	}
	res := &Result{DryRun: o.DryRun}
	defer func() { res.Seconds = time.Since(begun).Seconds() }()
	for _, path := range o.Trees {
		tr, err := ununify(path, o, res)
		if err != nil {
			return res, err
		}
		res.Trees = append(res.Trees, *tr)
	}
	return res, nil
}

func ununify(path string, o *UnunifyOptions, res *Result) (tr *TreeResult, err error) {
	t, err := openTarget(path)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := t.lock(); err != nil {
		return nil, err
	}
	tr = &TreeResult{Path: t.path, Status: "plain already"}
	if t.was == nil {
		return tr, nil
	}
	s, err := OpenStore(t.was.Store, false)
	if err != nil {
		return nil, fmt.Errorf("ununify %s: %w", t.path, err)
	}
	defer s.Close()
	res.Store, res.Layout = s.Path, t.was.Layout.String()
	if err := s.fits(t); err != nil {
		return nil, err
	}
	if err := refuseUsed([]*target{t}); err != nil {
		return nil, err
	}
	r, notes, err := s.begin(o.Progress)
	if err != nil {
		return nil, err
	}
	res.Notes = append(res.Notes, notes...)
	defer func() {
		if ferr := r.finish(); err == nil {
			err = ferr
		}
	}()
	tr.Status, tr.Digest = "plain again", t.was.Digest
	if o.DryRun {
		tr.Status = "would be plain again"
	}
	if t.was.Layout == tree.LayoutLinks {
		return tr, r.unlink(t, o, tr)
	}
	return tr, r.dissolve(t, o, tr)
}

// dissolve builds a plain tree and puts it in the place of one of the objects layout.
func (r *run) dissolve(t *target, o *UnunifyOptions, tr *TreeResult) error {
	list, err := readEntries(t.fd, newDirBuffer())
	if err != nil {
		return fmt.Errorf("read %s: %w", t.path, err)
	}
	for _, e := range list {
		if e.name != tree.RefName {
			return fmt.Errorf("%s holds %s, which is no part of the unified tree: move it away", t.path, e.name)
		}
	}
	var root stat
	if err := statAt(t.fd, "", &root); err != nil {
		return fmt.Errorf("stat %s: %w", t.path, err)
	}
	lower, data, err := t.was.Open(t.path)
	if err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	unix.Close(lower)
	unix.Close(data)
	meta, err := openBeneath(r.trees, t.was.Digest, readDir)
	if err != nil {
		return fmt.Errorf("metadata tree %s: %w", t.was.Digest, err)
	}
	defer unix.Close(meta)
	r.progress.begin("scanning", 0, 0)
	im, err := (&scanner{progress: r.progress, layer: true}).scan(t.was.Lower(t.path), meta)
	if err != nil {
		return err
	}
	tr.Files, tr.Bytes = im.files, im.bytes
	if o.DryRun {
		return nil
	}
	const name = "u0"
	if err := unix.Mkdirat(r.fd, name, 0o700); err != nil {
		return fmt.Errorf("make the plain tree for %s: %w", t.path, err)
	}
	fd, err := openBeneath(r.fd, name, readDir)
	if err != nil {
		return fmt.Errorf("make the plain tree for %s: %w", t.path, err)
	}
	defer unix.Close(fd)
	r.progress.begin("copying", uint64(im.files), im.bytes)
	if err := (&builder{r: r, im: im, fd: fd, plain: true}).all(); err != nil {
		return fmt.Errorf("make the plain tree for %s: %w", t.path, err)
	}
	if err := r.sync(); err != nil {
		return err
	}
	if err := r.swap(t, name, &root); err != nil {
		return err
	}
	return removeTree(r.fd, name)
}

// fetch makes a plain file of one in a metadata tree.
func (b *builder) fetch(dirfd int, d *dir, n *node) error {
	meta, err := openBeneath(b.im.fd, d.join(n.name), readFile)
	if err != nil {
		return err
	}
	defer unix.Close(meta)
	all, err := (attrs{fd: meta}).read(newDirBuffer())
	if err != nil {
		return err
	}
	object := ""
	var own []xattr
	for _, x := range all {
		switch {
		case x.name == redirect:
			object = strings.TrimPrefix(x.value, "/")
		case !isOverlay(x.name):
			own = append(own, x)
		}
	}
	from := meta
	if object != "" {
		if from, err = openBeneath(b.r.objects, object, readFile); err != nil {
			return fmt.Errorf("object %s: %w", object, err)
		}
		defer unix.Close(from)
		var st stat
		if err := statAt(from, "", &st); err != nil {
			return fmt.Errorf("object %s: %w", object, err)
		}
		if st.size != n.st.size {
			return fmt.Errorf("object %s is damaged: it has %d bytes instead of %d", object, st.size, n.st.size)
		}
	}
	fd, err := unix.Openat(dirfd, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, n.st.mode&0o777)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if n.st.size > 0 {
		if err := copyContent(from, fd, n.st.size); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
	b.r.progress.read(0, n.st.size)
	return dress(fd, &n.st, own, false)
}

// unlink gives every file of a tree of the links layout an inode of its own.
func (r *run) unlink(t *target, o *UnunifyOptions, tr *TreeResult) error {
	inodes, err := r.pool()
	if err != nil {
		return err
	}
	r.progress.begin("scanning", 0, 0)
	im, err := scan(t.path, t.fd, r.progress)
	if err != nil {
		return err
	}
	tr.Files, tr.Bytes = im.files, im.bytes
	if o.DryRun {
		return nil
	}
	r.progress.begin("copying", uint64(im.files), im.bytes)
	var next atomic.Int64
	err = parallel(len(im.dirs), func(i int) error {
		d := im.dirs[i]
		fd, err := openBeneath(im.fd, d.path, readDir)
		if err != nil {
			return fmt.Errorf("open %s: %w", im.whole(d.path), err)
		}
		defer unix.Close(fd)
		touched := false
		for k := range d.nodes {
			n := &d.nodes[k]
			r.progress.read(1, n.st.size)
			if n.st.kind() != unix.S_IFREG || inodes[n.st.ino] == nil {
				continue
			}
			touched = true
			if err := r.ownInode(fd, n, "l"+strconv.FormatInt(next.Add(1), 36)); err != nil {
				return fmt.Errorf("copy %s: %w", im.whole(d.join(n.name)), err)
			}
		}
		if touched {
			if err := setTimes(fd, "", &d.st); err != nil {
				return fmt.Errorf("set the times of %s: %w", im.whole(d.path), err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.sync(); err != nil {
		return err
	}
	if err := unix.Fremovexattr(t.fd, tree.Attr); err != nil {
		return fmt.Errorf("unmark %s: %w", t.path, err)
	}
	return nil
}

// ownInode replaces a name by a copy.
func (r *run) ownInode(dirfd int, n *node, temp string) error {
	from, err := openBeneath(dirfd, n.name, readFile)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	xattrs, err := (attrs{fd: from}).read(newDirBuffer())
	if err != nil {
		return err
	}
	fd, err := unix.Openat(r.fd, temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, n.st.mode&0o777)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = copyContent(from, fd, n.st.size)
	if err == nil {
		err = dress(fd, &n.st, xattrs, false)
	}
	if err == nil {
		err = unix.Renameat(r.fd, temp, dirfd, n.name)
	}
	if err != nil {
		_ = unix.Unlinkat(r.fd, temp, 0)
	}
	return err
}
