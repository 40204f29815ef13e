package unify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// removeTree removes a directory and all in it, in the store.
func removeTree(dirfd int, name string) error {
	fd, err := openBeneath(dirfd, name, readDir)
	if err == unix.ENOENT {
		return nil
	}
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return unlinkAt(dirfd, name, 0)
	}
	if err != nil {
		return err
	}
	defer closeFd(fd)
	dirs, files, err := below(fd)
	if err != nil {
		return err
	}
	if err := removeAll(fd, dirs, files, nil); err != nil {
		return err
	}
	return unlinkAt(dirfd, name, unix.AT_REMOVEDIR)
}

// removeAll removes files, and dirs, in which they are, but for the first: "", and parents before what is in them. What is
// gone already is none of its business.
//
// It goes by inode numbers, which is the order of the disk, with more workers than there are cores (see waiters): what
// lies side by side is removed at the same time, and where the filesystem has the disk discard what becomes free (the
// mount option discard), several of these requests become one.
func removeAll(top int, dirs []string, files []place, p *Progress) error {
	at := make(map[string]int, len(dirs))
	parent := make([]int, len(dirs))
	left := make([]atomic.Int32, len(dirs)) // what is in it, and one
	for i, d := range dirs {
		at[d] = i
		left[i].Add(1)
		if i > 0 {
			parent[i] = at[d[:max(strings.LastIndexByte(d, '/'), 0)]]
			left[parent[i]].Add(1)
		}
	}
	for i := range files {
		left[files[i].dir].Add(1)
	}
	less := func(i int) error {
		for i > 0 && left[i].Add(-1) == 0 {
			if err := unlinkAt(top, dirs[i], unix.AT_REMOVEDIR); ignoreGone(err) != nil {
				return fmt.Errorf("%s: %w", dirs[i], err)
			}
			i = parent[i]
		}
		return nil
	}
	for i := range dirs {
		if err := less(i); err != nil {
			return err
		}
	}
	slices.SortFunc(files, func(a, b place) int { return cmp.Compare(a.ino, b.ino) })
	return parallelBy(max(waiters, workers()), len(files), func(i int) error {
		f := &files[i]
		fd, err := openBeneath(top, dirs[f.dir], unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			err = unlinkAt(fd, f.name, 0)
			closeFd(fd)
		}
		if ignoreGone(err) != nil {
			return fmt.Errorf("%s/%s: %w", dirs[f.dir], f.name, err)
		}
		p.read(1, 0)
		return less(f.dir)
	})
}
