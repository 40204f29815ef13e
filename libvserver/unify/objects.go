package unify

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

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
	if changed, err = j.stubs(todo, images, metas); err != nil || changed != nil {
		return changed, err
	}
	if err := j.barrier(); err != nil {
		return nil, err
	}
	changed, done, err := j.swapAll(todo, images)
	if err != nil {
		return changed, err
	}
	var good []*image
	for _, i := range done {
		good = append(good, images[i])
	}
	j.count(good, contents)
	for m := range metasOf(metas) {
		if m.isNew {
			j.res.Meta += m.bytes
		}
	}
	if err := j.removeOld(todo, images, done, metas); err != nil {
		return changed, err
	}
	if err := j.remember(contents); err != nil {
		return changed, err
	}
	if verity != tree.VerityOff {
		return changed, j.sealTrees(todo, done, metas, images, contents, verity)
	}
	return changed, nil
}

// stubs makes what takes the trees' places, as s0, s1, ... in the run's directory. gc may have taken away a metadata tree
// that was not in use when this run found it: then all is to be made again, and changed has all trees.
func (j *job) stubs(todo []*target, images []*image, metas map[*image]*meta) (changed map[*target]error, err error) {
	again := func(err error) (map[*target]error, error) {
		if !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		changed := map[*target]error{}
		for _, t := range todo {
			changed[t] = err
		}
		return changed, j.removeStubs(len(todo))
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
	// It may have been gc's victim between its publication and the reference in the stub.
	for _, im := range images {
		var st stat
		if err := statAt(j.trees, metas[im].digest, &st); err != nil {
			return again(fmt.Errorf("metadata tree %s: %w", metas[im].digest, err))
		}
	}
	return nil, nil
}

// removeStubs removes what n trees were to be swapped with: for a next try, the names must be free.
func (j *job) removeStubs(n int) error {
	for i := range n {
		if err := removeTree(j.fd, numbered("s", i)); err != nil {
			return err
		}
		_ = unix.Unlinkat(j.fd, numbered("s", i)+".tree", 0)
	}
	return nil
}

// swapAll puts the stubs in the trees' places. done are the indices of the trees of which this is final; those that had
// been changed before they were out of reach are in their places again.
func (j *job) swapAll(todo []*target, images []*image) (changed map[*target]error, done []int, err error) {
	changed = map[*target]error{}
	var swapped []int
	for i, t := range todo {
		if err := j.swap(t, numbered("s", i), &images[i].root.st); err != nil {
			changed[t] = err
			continue
		}
		swapped = append(swapped, i)
	}
	changedIn := j.settled(todo, images, swapped)
	for _, i := range swapped {
		why := changedIn[i]
		if why == nil {
			done = append(done, i)
			continue
		}
		changed[todo[i]] = why
		if err := j.swapBack(todo[i], numbered("s", i)); err != nil {
			return changed, nil, err
		}
	}
	return changed, done, nil
}

// removeOld removes the trees that were replaced, and what is left of the stubs.
func (j *job) removeOld(todo []*target, images []*image, done []int, metas map[*image]*meta) error {
	total := 0
	for _, i := range done {
		total += images[i].files
	}
	j.progress.begin("removing", uint64(total), 0)
	for _, i := range done {
		if err := j.remove(images[i], numbered("s", i)); err != nil {
			return err
		}
		j.report(todo[i], images[i], "unified", metas[images[i]].digest)
	}
	return j.removeStubs(len(todo))
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
