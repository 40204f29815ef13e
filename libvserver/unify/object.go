package unify

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// enter sees to it that the store has the content of the file that fd has open.
func (r *run) enter(fd int, c *content, f *file) error {
	name := c.digest.name()
	for {
		err := statAt(r.objects, name, &c.obj)
		if err == nil {
			ok, err := r.trust(fd, c, name)
			if err != nil {
				return err
			}
			if ok {
				break
			}
			// What has this name has another content: it was changed behind the store's back. Ours is right.
			if err := r.replace(fd, c, f, name); err != nil {
				return err
			}
			r.healed.Add(1)
			break
		}
		if err != unix.ENOENT {
			return fmt.Errorf("object %s: %w", name, err)
		}
		err = r.put(fd, f, r.objects, name)
		if err == unix.EEXIST {
			continue // somebody else's run was quicker
		}
		if err != nil {
			return fmt.Errorf("put %s into the store as %s: %w", f.in.whole(f.path), name, err)
		}
		if err := statAt(r.objects, name, &c.obj); err != nil {
			return fmt.Errorf("object %s: %w", name, err)
		}
		c.isNew = true
		break
	}
	c.blocks = c.obj.blocks * 512
	if c.obj.ino == f.st.ino {
		return r.relinked(fd, f)
	}
	return nil
}

// relinked takes note of the change time that a new name gave a file, since the next check compares it.
func (r *run) relinked(fd int, f *file) error {
	var now stat
	if err := statAt(fd, "", &now); err != nil {
		return fmt.Errorf("stat %s: %w", f.in.whole(f.path), err)
	}
	f.adopt(&now)
	return nil
}

// adopt replaces the change time and nothing else.
func (f *file) adopt(now *stat) { f.st.ctime = now.ctime }

// trust says whether the object that is there has the content, byte by byte.
func (r *run) trust(fd int, c *content, name string) (bool, error) {
	if c.obj.size != c.size || c.obj.kind() != unix.S_IFREG {
		return false, nil
	}
	obj, err := openBeneath(r.objects, name, readFile)
	if err != nil {
		return false, fmt.Errorf("open object %s: %w", name, err)
	}
	defer unix.Close(obj)
	same, err := equalFiles(fd, obj)
	if err != nil {
		return false, fmt.Errorf("compare with object %s: %w", name, err)
	}
	if same {
		r.index.add(&c.obj, c)
	}
	return same, nil
}

// equalFiles compares contents. An object that can't be read, such as a sealed one that is damaged on the disk, is like
// no file; the error is about reading the file.
func equalFiles(file, object int) (bool, error) {
	x, y := make([]byte, blockSize), make([]byte, blockSize)
	var a, b stat
	sparse := statAt(file, "", &a) == nil && statAt(object, "", &b) == nil && a.size == b.size && a.sparse() && b.sparse()
	for at := int64(0); ; {
		if sparse {
			n := min(zerosAt(file, at, int64(a.size)), zerosAt(object, at, int64(b.size)))
			if at += n - n%blockSize; at+n%blockSize >= int64(a.size) {
				return true, nil
			}
		}
		n, err := preadFull(file, x, at)
		if err != nil {
			return false, err
		}
		m, err := preadFull(object, y, at)
		if err != nil || !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if n < len(x) {
			return true, nil
		}
		at += int64(n)
	}
}

// put gives the file a name in the store: the file itself, where nobody can reach it but by the trees of this run, which
// it leaves; else a copy, which shares its blocks where the filesystem can.
func (r *run) put(fd int, f *file, dirfd int, name string) error {
	if f.names == f.st.nlink {
		if err := flushData(fd); err != nil {
			return fmt.Errorf("write to disk: %w", err)
		}
		err := linkInto(fd, dirfd, name)
		if err != unix.EMLINK && err != unix.EXDEV && err != unix.EPERM {
			return err
		}
	}
	temp, err := r.copy(fd, f.st.size)
	if err != nil {
		return err
	}
	defer unix.Close(temp)
	return linkInto(temp, dirfd, name)
}

// replace puts the file in the place of a damaged object.
func (r *run) replace(fd int, c *content, f *file, name string) error {
	temp := "o" + random()
	err := r.put(fd, f, r.fd, temp)
	if err == nil {
		err = unix.Renameat(r.fd, temp, r.objects, name)
	}
	if err == nil {
		err = statAt(r.objects, name, &c.obj)
	}
	if err != nil {
		_ = unix.Unlinkat(r.fd, temp, 0)
		return fmt.Errorf("replace the damaged object %s: %w", name, err)
	}
	return nil
}

// copy makes a file without a name that has the content of another.
func (r *run) copy(fd int, size uint64) (int, error) {
	temp, err := unix.Openat(r.fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return -1, err
	}
	err = copyContent(fd, temp, size)
	if err == nil {
		err = flushData(temp)
	}
	if err != nil {
		unix.Close(temp)
		return -1, err
	}
	return temp, nil
}

// copyContent copies all data, by reflink where possible, and leaves out holes.
func copyContent(from, to int, size uint64) error {
	if unix.IoctlFileClone(to, from) == nil {
		return nil
	}
	if err := unix.Ftruncate(to, int64(size)); err != nil {
		return err
	}
	for at := int64(0); at < int64(size); {
		begin, err := unix.Seek(from, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err != nil {
			begin = at
		}
		end, err := unix.Seek(from, begin, unix.SEEK_HOLE)
		if err != nil {
			end = int64(size)
		}
		if err := copyRange(from, to, begin, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func copyRange(from, to int, at, end int64) error {
	var buf []byte
	for at < end {
		var n int
		var err error
		if buf == nil {
			in, out := at, at
			n, err = unix.CopyFileRange(from, &in, to, &out, int(min(end-at, 1<<30)), 0)
			if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
				buf = make([]byte, 1<<20)
				continue
			}
		} else {
			n, err = unix.Pread(from, buf[:min(int64(len(buf)), end-at)], at)
			if err == nil {
				n, err = unix.Pwrite(to, buf[:n], at)
			}
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		at += int64(n)
	}
	return nil
}
