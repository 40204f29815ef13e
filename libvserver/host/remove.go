package host

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// RemoveTree removes a file, or a directory with all in it, as os.RemoveAll does, but with two descriptors, however deep it is:
// what a container has written may be deeper than a process can open files. What is gone already is no error. It follows no link,
// and gives up if directories are moved meanwhile.
func RemoveTree(path string) error {
	fail := func(op string, err error) error { return &os.PathError{Op: op, Path: path, Err: err} }
	err := remove(unix.AT_FDCWD, path)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.ENOTEMPTY && err != unix.EEXIST {
		return fail("remove", err)
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	dir, err := unix.Open(path, flags, 0)
	if err != nil {
		return fail("open", err)
	}
	defer func() { unix.Close(dir) }()
	type level struct { // of the directories from path to dir
		name     string // in it, where dir is
		dev, ino uint64
	}
	var above []level
	for {
		full, err := removeIn(dir) // the next one to go into
		if err != nil {
			return fail("remove what is in", err)
		}
		if full != "" {
			var st unix.Stat_t
			if err := unix.Fstat(dir, &st); err != nil {
				return fail("stat what is in", err)
			}
			next, err := unix.Openat(dir, full, flags, 0)
			if err != nil {
				return fail("open what is in", err)
			}
			unix.Close(dir)
			dir, above = next, append(above, level{full, st.Dev, st.Ino})
			continue
		}
		if len(above) == 0 {
			break
		}
		up := above[len(above)-1]
		above = above[:len(above)-1]
		var st unix.Stat_t
		next, err := unix.Openat(dir, "..", flags, 0)
		if err == nil {
			unix.Close(dir)
			dir = next
			err = unix.Fstat(dir, &st)
		}
		if err == nil && (st.Dev != up.dev || st.Ino != up.ino) {
			err = errors.New("directories are moved meanwhile")
		}
		if err == nil {
			if err = remove(dir, up.name); err == unix.ENOENT {
				err = nil
			}
		}
		if err != nil {
			return fail("remove what is in", err)
		}
	}
	if err := remove(unix.AT_FDCWD, path); err != nil && err != unix.ENOENT {
		return fail("remove", err)
	}
	return nil
}

// removeIn removes what is in a directory, until it comes to a directory that is not empty, and returns the name of that.
func removeIn(dir int) (full string, err error) {
	var buf [8192]byte
	for again := true; again; { // a list may leave out what is there while others are removed
		if _, err := unix.Seek(dir, 0, unix.SEEK_SET); err != nil {
			return "", err
		}
		again = false
		for {
			n, err := unix.Getdents(dir, buf[:])
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return "", err
			}
			if n == 0 {
				break
			}
			_, _, names := unix.ParseDirent(buf[:n], -1, nil)
			for _, name := range names {
				again = true
				switch err := remove(dir, name); err {
				case nil, unix.ENOENT:
				case unix.ENOTEMPTY, unix.EEXIST:
					return name, nil
				default:
					return "", err
				}
			}
		}
	}
	return "", nil
}

// remove removes a file or an empty directory.
func remove(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == unix.EISDIR || err == unix.EPERM { // POSIX has EPERM for a directory
		if rerr := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); rerr != unix.ENOTDIR {
			return rerr
		}
	}
	return err
}
