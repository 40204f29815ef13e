package unify

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// eachRedirect calls f with the object of every file in a metadata tree, from several goroutines.
func eachRedirect(top int, f func(object string)) error {
	dirs, err := directories(top)
	if err != nil {
		return err
	}
	return parallel(len(dirs), func(i int) error {
		fd, err := openBeneath(top, dirs[i], readDir)
		if err != nil {
			return ignoreGone(err)
		}
		defer unix.Close(fd)
		list, err := readEntries(fd, newDirBuffer())
		if err != nil {
			return err
		}
		var buf [64]byte
		for _, e := range list {
			if e.kind != unix.S_IFREG {
				continue
			}
			n, err := unix.Lgetxattr(xattrPath(fd, e.name), redirect, buf[:])
			switch {
			case err == unix.ENODATA || err == unix.ENOENT:
			case err != nil:
				return fmt.Errorf("%s/%s: %w", dirs[i], e.name, err)
			case n > 1:
				f(string(buf[1:n]))
			}
		}
		return nil
	})
}

// eachObject calls f for every object below objects or links.
func eachObject(dirfd int, f func(name string) error) error {
	buf := newDirBuffer()
	fans, err := readEntries(dirfd, buf)
	if err != nil {
		return err
	}
	for _, d := range fans {
		fd, err := openBeneath(dirfd, d.name, readDir)
		if err == unix.ENOTDIR || err == unix.ENOENT {
			continue
		}
		if err != nil {
			return err
		}
		list, err := readEntries(fd, buf)
		unix.Close(fd)
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := f(d.name + "/" + e.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// diskUse is what all that is below a directory takes, in bytes, but for files that have names elsewhere, too.
func diskUse(top int) (uint64, error) {
	dirs, err := directories(top)
	if err != nil {
		return 0, err
	}
	var sum uint64
	var mu sync.Mutex
	err = parallel(len(dirs), func(i int) error {
		fd, err := openBeneath(top, dirs[i], readDir)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st stat
		if err := statAt(fd, "", &st); err != nil {
			return err
		}
		n := st.blocks * 512
		list, err := readEntries(fd, newDirBuffer())
		for _, e := range list {
			if e.kind != unix.S_IFDIR && statAt(fd, e.name, &st) == nil && st.nlink == 1 {
				n += st.blocks * 512
			}
		}
		mu.Lock()
		sum += n
		mu.Unlock()
		return err
	})
	return sum, err
}
