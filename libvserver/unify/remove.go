package unify

import (
	"fmt"
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
	dirs, err := directories(fd)
	if err != nil {
		return err
	}
	err = removeDirs(fd, dirs, func(fd, i int) error {
		list, err := readEntries(fd, newDirBuffer())
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.kind == unix.S_IFDIR {
				continue
			}
			if err := unlinkAt(fd, e.name, 0); err != nil && err != unix.ENOENT {
				return fmt.Errorf("%s/%s: %w", dirs[i], e.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return unlinkAt(dirfd, name, unix.AT_REMOVEDIR)
}

// removeDirs empties directories with files, which gets each of them, open, and removes each that is empty then, but for
// the first. dirs are paths below top: "" first, and parents before what is in them. The workers are more than there are
// cores: see waiters.
func removeDirs(top int, dirs []string, files func(fd, i int) error) error {
	at := make(map[string]int, len(dirs))
	parent := make([]int, len(dirs))
	left := make([]atomic.Int32, len(dirs)) // subdirectories, and the files
	for i, d := range dirs {
		at[d] = i
		left[i].Store(1)
		if i > 0 {
			parent[i] = at[d[:max(strings.LastIndexByte(d, '/'), 0)]]
			left[parent[i]].Add(1)
		}
	}
	return parallelBy(max(waiters, workers()), len(dirs), func(i int) error {
		fd, err := openBeneath(top, dirs[i], readDir)
		if err == nil {
			err = files(fd, i)
			closeFd(fd)
		}
		if err != nil && err != unix.ENOENT {
			return fmt.Errorf("%s: %w", dirs[i], err)
		}
		for i > 0 && left[i].Add(-1) == 0 {
			if err := unlinkAt(top, dirs[i], unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
				return fmt.Errorf("%s: %w", dirs[i], err)
			}
			i = parent[i]
		}
		return nil
	})
}
