package unify

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// meta is a distinct tree's metadata tree.
type meta struct {
	digest string
	ref    int // an open descriptor of the reference
	bytes  uint64
	isNew  bool
}

// objectsLayout unifies scanned trees.
func (j *job) objectsLayout(todo []*target, images []*image, files []*file) (changed map[*target]error, err error) {
	verity, err := j.verity()
	if err != nil {
		return nil, err
	}
	contents, err := j.contents(files)
	if err != nil {
		return nil, err
	}
	if j.o.DryRun {
		j.count(images, contents)
		for i, t := range todo {
			j.report(t, images[i], "would be unified", "")
		}
		return nil, nil
	}
	metas, err := j.metaTrees(images, verity)
	defer func() {
		for _, m := range metas {
			unix.Close(m.ref)
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := j.confirm(contents); err != nil {
		return nil, err
	}
	// gc may have taken away a metadata tree that was not in use when this run found it: then all is made again.
	again := func(err error) (map[*target]error, error) {
		if !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		changed := map[*target]error{}
		for i, t := range todo {
			changed[t] = err
			_ = unix.Unlinkat(j.fd, numbered("s", i)+".tree", 0)
			if err := removeTree(j.fd, numbered("s", i)); err != nil {
				return nil, err
			}
		}
		return changed, nil
	}
	for i, im := range images {
		m := metas[im]
		t := &tree.Tree{Layout: tree.LayoutObjects, Verity: tree.VerityOff, Digest: m.digest, Store: j.Path}
		if err := j.stub(im, numbered("s", i), t, m.ref); err != nil {
			return again(err)
		}
		if err := j.journal(numbered("s", i), m.digest, im.path); err != nil {
			return nil, err
		}
	}
	// A metadata tree may have been gc's victim between its publication and the reference in the stub.
	for _, im := range images {
		var st stat
		if err := statAt(j.trees, metas[im].digest, &st); err != nil {
			return again(fmt.Errorf("metadata tree %s: %w", metas[im].digest, err))
		}
	}
	if err := j.barrier(); err != nil {
		return nil, err
	}
	changed = map[*target]error{}
	var done []int
	for i, t := range todo {
		if err := j.swap(t, numbered("s", i), &images[i].root.st); err != nil {
			changed[t] = err
			continue
		}
		done = append(done, i)
	}
	changedIn := j.settled(todo, images, done)
	removable := done[:0:0]
	for _, i := range done {
		if why := changedIn[i]; why != nil {
			changed[todo[i]] = why
			if err := j.swapBack(todo[i], numbered("s", i)); err != nil {
				return changed, err
			}
			continue
		}
		removable = append(removable, i)
	}
	total := 0
	var good []*image
	for _, i := range removable {
		total += images[i].files
		good = append(good, images[i])
	}
	j.count(good, contents)
	for m := range metasOf(metas) {
		if m.isNew {
			j.res.Meta += m.bytes
		}
	}
	j.progress.begin("removing", uint64(total), 0)
	for _, i := range removable {
		if err := j.remove(images[i], numbered("s", i)); err != nil {
			return changed, err
		}
		j.report(todo[i], images[i], "unified", metas[images[i]].digest)
	}
	// For a next try, the names must be free.
	for i := range todo {
		if err := removeTree(j.fd, numbered("s", i)); err != nil {
			return changed, err
		}
		_ = unix.Unlinkat(j.fd, numbered("s", i)+".tree", 0)
	}
	if err := j.remember(contents); err != nil {
		return changed, err
	}
	if verity != tree.VerityOff {
		return changed, j.sealTrees(todo, removable, metas, images, contents, verity)
	}
	return changed, nil
}

func metasOf(m map[*image]*meta) map[*meta]bool {
	set := map[*meta]bool{}
	for _, v := range m {
		set[v] = true
	}
	return set
}

// contents reads the files and has the store hold what is in them.
func (j *job) contents(files []*file) ([]*content, error) {
	var wanted []*file
	var bytes uint64
	for _, f := range files {
		if f.keep == shared {
			wanted = append(wanted, f)
			bytes += f.st.size
		}
	}
	j.progress.begin("reading", uint64(len(wanted)), bytes)
	c := &comparer{index: j.index, objects: j.objects, progress: j.progress, single: true, found: j.enter}
	if j.o.DryRun {
		c.found = j.look
	}
	bySize := func(a, b *file) int {
		switch {
		case a.st.size < b.st.size:
			return -1
		case a.st.size > b.st.size:
			return 1
		}
		return 0
	}
	healed := j.healed.Load()
	list := groups(wanted, bySize, nil)
	contents, err := c.run(list)
	if err != nil || j.healed.Load() == healed || c.known.Load() == 0 {
		return contents, err
	}
	// An object was not what the index says. A file that was found to be equal to it would become what it is now.
	again := &comparer{progress: j.progress, single: true, found: c.found}
	j.progress.begin("reading", uint64(len(wanted)), bytes)
	return again.run(list)
}

// look is enter in a dry run.
func (j *job) look(fd int, c *content, f *file) error {
	if statAt(j.objects, c.digest.name(), &c.obj) != nil {
		c.obj.blocks = f.st.blocks
		c.isNew = true
	}
	c.blocks = c.obj.blocks * 512
	return nil
}

// count adds to the result what trees took and take. Files that are in several trees count once.
func (j *job) count(images []*image, contents []*content) {
	seen := map[*file]bool{}
	for _, im := range images {
		j.res.Files += im.files
		im.each(func(d *dir, n *node) {
			if n.file == nil || seen[n.file] {
				return
			}
			if n.file.names > 1 {
				seen[n.file] = true
			}
			j.res.Bytes += n.file.st.blocks * 512
			if n.file.keep != shared {
				j.res.After += n.file.st.blocks * 512
			}
		})
	}
	for _, c := range contents {
		j.res.Shared++
		if c.isNew {
			j.res.New++
			j.res.After += c.blocks
		}
	}
}

// metaTrees sees to it that every image has its metadata tree in the store.
func (j *job) metaTrees(images []*image, v tree.Verity) (map[*image]*meta, error) {
	metas := map[*image]*meta{}
	byDigest := map[string]*meta{}
	total := 0
	names := make([]string, len(images))
	if err := parallel(len(images), func(i int) error {
		names[i] = images[i].name(v)
		return nil
	}); err != nil {
		return nil, err
	}
	for _, im := range images {
		total += im.files
	}
	j.progress.begin("building", uint64(total), 0)
	for i, im := range images {
		if m := byDigest[names[i]]; m != nil {
			metas[im] = m
			continue
		}
		m, err := j.metaTree(im, names[i], numbered("m", i), v)
		if err != nil {
			return metas, err
		}
		byDigest[names[i]] = m
		metas[im] = m
	}
	return metas, nil
}

// metaTree publishes one metadata tree. The reference comes first: gc takes a tree without one for an unused one.
func (j *job) metaTree(im *image, digest, temp string, v tree.Verity) (m *meta, err error) {
	m = &meta{digest: digest, ref: -1}
	var st stat
	known := statAt(j.trees, digest, &st) == nil
	refName := digest + ".ref"
	if statAt(j.trees, refName, &st) == unix.ENOENT {
		if err := j.writeFile(j.fd, refName, []byte(refText(j.Path, digest))); err != nil {
			return nil, err
		}
		err := unix.Fchmodat(j.fd, refName, 0o444, 0)
		if err == nil {
			err = unix.Linkat(j.fd, refName, j.trees, refName, 0)
		}
		if err != nil && err != unix.EEXIST {
			return nil, fmt.Errorf("reference of metadata tree %s: %w", digest, err)
		}
	}
	if m.ref, err = openBeneath(j.trees, refName, readFile); err != nil {
		return nil, fmt.Errorf("reference of metadata tree %s: %w", digest, err)
	}
	if known {
		return m, nil
	}
	if err := j.build(im, temp, v); err != nil {
		unix.Close(m.ref)
		return nil, err
	}
	err = unix.Renameat2(j.fd, temp, j.trees, digest, unix.RENAME_NOREPLACE)
	if err == unix.EEXIST {
		err = removeTree(j.fd, temp)
	}
	if err != nil {
		unix.Close(m.ref)
		return nil, fmt.Errorf("publish metadata tree %s: %w", digest, err)
	}
	m.isNew = true
	m.bytes, err = j.metaBytes(im, digest, v)
	return m, err
}

// metaBytes is what a metadata tree takes on disk: directories, and what else does not fit in its inode.
func (j *job) metaBytes(im *image, digest string, v tree.Verity) (sum uint64, err error) {
	fd, err := openBeneath(j.trees, digest, readDir)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for _, d := range im.dirs {
		var st stat
		path := d.path
		if path == "" {
			path = "."
		}
		if err := statAt(fd, path, &st); err != nil {
			return 0, err
		}
		sum += st.blocks * 512
		for i := range d.nodes {
			n := &d.nodes[i]
			big := len(n.target) >= 60 || len(n.xattrs) > 0 || n.file != nil && (len(n.file.xattrs) > 0 || v != tree.VerityOff)
			if n.file != nil && n.file.keep != shared {
				big = false
			}
			if big && statAt(fd, d.join(n.name), &st) == nil {
				sum += st.blocks * 512
			}
		}
	}
	return sum, nil
}

// confirm checks, once all metadata trees are there for gc to see, that every object still is. What gc took away before
// it could see them enters again.
func (j *job) confirm(contents []*content) error {
	return parallel(len(contents), func(i int) error {
		c := contents[i]
		var st stat
		err := statAt(j.objects, c.digest.name(), &st)
		if err == nil && st.ino == c.obj.ino {
			return nil
		}
		if err != nil && err != unix.ENOENT {
			return fmt.Errorf("object %s: %w", c.digest.name(), err)
		}
		for _, f := range c.files {
			fd, err := openBeneath(f.in.fd, f.path, readFile)
			if err != nil {
				continue
			}
			var now stat
			err = statAt(fd, "", &now)
			if err == nil && now.same(f.st) {
				c.isNew, c.known = false, false
				err = j.enter(fd, c, f)
				unix.Close(fd)
				return err
			}
			unix.Close(fd)
		}
		return fmt.Errorf("object %s is gone, and so are the files that had its content", c.digest.name())
	})
}

// settled says which of the swapped trees had been changed before they were out of reach.
func (j *job) settled(todo []*target, images []*image, done []int) map[int]error {
	changed := map[int]error{}
	found, err := writers(j.Path + "/" + tempDir + "/" + j.name)
	for _, i := range done {
		name := numbered("s", i)
		if err := cmp.Or(err, found[name]); err != nil {
			changed[i] = err
		} else if err := j.unchanged(images[i], name); err != nil {
			changed[i] = err
		}
	}
	// A file may be in several trees: an object that entered and was written to since is nobody's.
	if len(changed) > 0 {
		for _, i := range done {
			if changed[i] == nil {
				changed[i] = errors.New("a tree that was to be unified with it changed")
			}
		}
	}
	return changed
}

// remember notes the objects in the index, as they are now that the old trees' links to them are gone.
func (j *job) remember(contents []*content) error {
	return parallel(len(contents), func(i int) error {
		c := contents[i]
		if c.known {
			return nil
		}
		var st stat
		if err := statAt(j.objects, c.digest.name(), &st); err == nil && st.size == c.size {
			j.index.add(&st, c)
		}
		return nil
	})
}
