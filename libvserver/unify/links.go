package unify

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// metaKey is what files that are to be one inode must have in common besides content and attributes.
type metaKey struct {
	size, mtime    int64
	mode, uid, gid uint32
}

func keyOf(st *stat) metaKey {
	return metaKey{int64(st.size), st.mtime.Nano(), st.mode, st.uid, st.gid}
}

func byMeta(a, b *file) int {
	x, y := keyOf(a.st), keyOf(b.st)
	return cmp.Or(cmp.Compare(x.size, y.size), cmp.Compare(x.mtime, y.mtime), cmp.Compare(x.mode, y.mode),
		cmp.Compare(x.uid, y.uid), cmp.Compare(x.gid, y.gid))
}

// linkDigest names a file of the links layout: content and metadata.
func linkDigest(content *digest, st *stat, xattrs []xattr) digest {
	k := keyOf(st)
	b := append([]byte(nil), content[:]...)
	for _, v := range []uint64{uint64(k.size), uint64(k.mtime), uint64(k.mode), uint64(k.uid), uint64(k.gid)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, x := range xattrs {
		b = append(append(append(append(b, x.name...), 0), strconv.Itoa(len(x.value))...), 0)
		b = append(b, x.value...)
	}
	return sha256.Sum256(b)
}

// pool is what the store has for the links layout: its files by inode number.
func (s *Store) pool() (inodes map[uint64]*file, err error) {
	inodes = map[uint64]*file{}
	im := &image{path: s.Path + "/" + tree.Links, fd: s.links}
	err = eachObject(s.links, func(name string) error {
		f := &file{in: im, path: name, st: &stat{}, pooled: true}
		if err := statAt(s.links, name, f.st); err != nil {
			return ignoreGone(err)
		}
		inodes[f.st.ino] = f
		return nil
	})
	if err != nil {
		err = fmt.Errorf("read %s/%s: %w", s.Path, tree.Links, err)
	}
	return inodes, err
}

// links unifies scanned trees in the links layout. Every file is replaced by itself, so a run that is killed leaves
// trees that are whole, and partly unified.
func (j *job) links(todo []*target, images []*image, files []*file) error {
	var pool map[uint64]*file
	if !j.engine {
		var err error
		if pool, err = j.pool(); err != nil {
			return err
		}
	}
	var wanted []*file
	keys := map[metaKey]bool{}
	for _, f := range files {
		switch {
		case f.keep != shared:
		case pool[f.st.ino] != nil:
			// It is shared already.
		case f.names > 1 && !j.engine || f.st.nlink > f.names:
			f.keep = linked
		default:
			wanted = append(wanted, f)
			keys[keyOf(f.st)] = true
		}
	}
	// What the store has is compared as if it were a file of a tree: a twin of it need not be hashed.
	for _, f := range pool {
		if keys[keyOf(f.st)] {
			wanted = append(wanted, f)
		}
	}
	n, bytes := 0, uint64(0)
	list := groups(wanted, byMeta, func(fs []*file) bool {
		if len(fs) < 2 {
			return false
		}
		n += len(fs)
		bytes += fs[0].st.size * uint64(len(fs))
		return true
	})
	j.progress.begin("reading", uint64(n), bytes)
	c := &comparer{progress: j.progress, attributes: true, layer: j.engine}
	contents, err := c.run(list)
	if err != nil {
		return err
	}

	names := make([]string, len(contents))
	for i, c := range contents {
		if c.pool != nil {
			names[i], c.obj = c.pool.path, *c.pool.st
			continue
		}
		d := linkDigest(&c.digest, c.files[0].st, c.files[0].xattrs)
		names[i] = d.name()
		if j.engine {
			names[i] = "e" + names[i][:2] + names[i][3:]
		}
	}
	if err := parallel(len(contents), func(i int) error {
		if contents[i].pool != nil {
			return nil
		}
		return j.linkObject(contents[i], names[i])
	}); err != nil {
		return err
	}
	name := map[*content]string{}
	for i, c := range contents {
		name[c] = names[i]
		j.res.Shared++
		if c.isNew {
			j.res.New++
			j.res.After += c.obj.blocks * 512
		}
	}
	var before, after atomic.Uint64
	for _, f := range files {
		before.Add(f.st.blocks * 512)
	}
	for i, im := range images {
		j.res.Files += im.files
		if j.o.DryRun || j.engine {
			continue
		}
		if err := j.rely(); err != nil {
			return err
		}
		t := &tree.Tree{Layout: tree.LayoutLinks, Verity: tree.VerityOff, Store: j.Path}
		if err := (attrs{fd: todo[i].fd}).set(tree.Attr, t.Value()); err != nil {
			return fmt.Errorf("mark %s: %w", im.path, err)
		}
	}
	total := 0
	for _, im := range images {
		total += len(im.dirs)
	}
	j.progress.begin("linking", uint64(total), 0)
	for _, im := range images {
		if err := parallelBy(max(waiters, workers()), len(im.dirs), func(i int) error {
			j.progress.read(1, 0)
			n, err := j.linkDir(im, im.dirs[i], name)
			after.Add(n)
			return err
		}); err != nil {
			return err
		}
	}
	j.res.Bytes += before.Load()
	j.res.After += after.Load()
	for i, t := range todo {
		status := "unified"
		if j.o.DryRun {
			status = "would be unified"
		}
		j.report(t, images[i], status, "")
	}
	return nil
}

func (j *job) intoPool(fd int, name string) error {
	if j.engine {
		return linkFd(fd, j.fd, name)
	}
	return linkInto(fd, j.Store.links, name)
}

// poolFd is where the shared files have a name. Those of an engine have one only as long as the run lasts: an image
// that is removed shall be gone.
func (j *job) poolFd() int {
	if j.engine {
		return j.fd
	}
	return j.Store.links
}

// linkObject makes the file that all files of a content become.
func (j *job) linkObject(c *content, name string) error {
	err := statAt(j.poolFd(), name, &c.obj)
	if err == nil {
		fd, err := openBeneath(j.poolFd(), name, readFile)
		if err != nil {
			return fmt.Errorf("open link object %s: %w", name, err)
		}
		defer closeFd(fd)
		f := c.files[0]
		mine, err := openBeneath(f.in.fd, f.path, readFile)
		if err != nil {
			return fmt.Errorf("open %s: %w", f.in.whole(f.path), err)
		}
		defer closeFd(mine)
		if keyOf(&c.obj) == keyOf(f.st) {
			ok, err := equalFiles(mine, fd)
			if err != nil {
				return fmt.Errorf("compare link object %s: %w", name, err)
			}
			if ok {
				return nil
			}
		}
		// It was changed in place, by one of its names: it is no longer what it is called.
		if j.o.DryRun {
			return nil
		}
		if err := unlinkAt(j.poolFd(), name, 0); err != nil {
			return fmt.Errorf("drop the changed link object %s: %w", name, err)
		}
		j.healed.Add(1)
	} else if err != unix.ENOENT {
		return fmt.Errorf("link object %s: %w", name, err)
	}
	c.isNew = true
	f := c.files[0]
	if j.o.DryRun {
		c.obj = *f.st
		return nil
	}
	fd, err := openBeneath(f.in.fd, f.path, readFile)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.in.whole(f.path), err)
	}
	defer closeFd(fd)
	if err := flushData(fd); err != nil {
		return fmt.Errorf("write %s to disk: %w", f.in.whole(f.path), err)
	}
	if err := j.intoPool(fd, name); err != nil && err != unix.EEXIST {
		return fmt.Errorf("link %s into the store: %w", f.in.whole(f.path), err)
	}
	if err := j.relinked(fd, f); err != nil {
		return err
	}
	return statAt(j.poolFd(), name, &c.obj)
}

// linkDir replaces what is in one directory. It returns what stays of its own, in bytes.
func (j *job) linkDir(im *image, d *dir, name map[*content]string) (own uint64, err error) {
	fd := -1
	defer func() {
		if fd >= 0 {
			closeFd(fd)
		}
	}()
	for i := range d.nodes {
		n := &d.nodes[i]
		f := n.file
		if f == nil {
			continue
		}
		if f.content == nil || name[f.content] == "" {
			if f.node == n {
				own += f.st.blocks * 512
			}
			continue
		}
		if f.content.obj.ino == f.st.ino || j.o.DryRun {
			continue
		}
		if fd < 0 {
			if fd, err = openBeneath(im.fd, d.path, readDir); err != nil {
				return own, fmt.Errorf("open %s: %w", im.whole(d.path), err)
			}
		}
		if err := j.replaceByLink(fd, n, name[f.content]); err != nil {
			return own, fmt.Errorf("replace %s by a link: %w", im.whole(d.join(n.name)), err)
		}
		if f.keep != shared {
			own += f.st.blocks * 512
		}
	}
	if fd >= 0 {
		if err := setTimes(fd, "", &d.st); err != nil {
			return own, fmt.Errorf("set the times of %s: %w", im.whole(d.path), err)
		}
	}
	return own, nil
}

// replaceByLink exchanges a name with a link to the shared file, and looks at what it got before that is removed.
func (j *job) replaceByLink(dirfd int, n *node, name string) error {
	f := n.file
	var now stat
	if err := statAt(dirfd, n.name, &now); err != nil {
		f.keep = busy
		return nil
	}
	if f.names > 1 { // another of its names may have been replaced already
		now.ctime = f.st.ctime
	}
	if !now.same(f.st) {
		f.keep = busy
		return nil
	}
	temp := "l" + strconv.FormatInt(j.temps.Add(1), 36)
	switch err := linkAt(j.poolFd(), name, j.fd, temp, 0); err {
	case nil:
	case unix.EMLINK:
		f.keep = full
		return nil
	case unix.ENOENT:
		f.keep = gone
		return nil
	default:
		return err
	}
	defer unlinkAt(j.fd, temp, 0)
	// What had this name may have been found to be damaged since, and replaced.
	if err := statAt(j.fd, temp, &now); err != nil {
		return err
	}
	if now.ino != f.content.obj.ino {
		f.keep = gone
		return nil
	}
	if err := exchange(j.fd, temp, dirfd, n.name); err != nil {
		if err == unix.EXDEV {
			return fmt.Errorf("it is on another mount than the store: %w", err)
		}
		return err
	}
	fd, err := openBeneath(j.fd, temp, readFile)
	if err == nil {
		err = lease(fd)
		if serr := statAt(fd, "", &now); err == nil {
			err = serr
		}
		closeFd(fd)
	}
	if err == nil && now.ino == f.st.ino && now.mtime == f.st.mtime && now.size == f.st.size {
		return nil
	}
	f.keep = busy
	return exchange(j.fd, temp, dirfd, n.name)
}
