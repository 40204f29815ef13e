package unify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// target is a tree that is to be unified or dissolved.
type target struct {
	path   string // absolute, without symlinks
	parent int    // the directory it is in
	base   string
	fd     int // the tree
	was    *tree.Tree
}

// openTarget opens a tree and looks at what it is. What is wrong with it is an error that names it.
func openTarget(path string) (t *target, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err // it names the path
	}
	if path == "/" {
		return nil, errors.New("/ is the host's own root: it can't be unified")
	}
	t = &target{path: path, base: filepath.Base(path), fd: -1}
	if t.parent, err = openDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if t.fd, err = openBeneath(t.parent, t.base, readDir); err != nil {
		t.close()
		if err == unix.EXDEV {
			return nil, fmt.Errorf("%s is a mount point, and can't be replaced: unify a directory in it", path)
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if t.was, err = tree.ReadFd(t.fd); err != nil {
		t.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// lock keeps others from the tree until it is closed: two that exchange one tree would each find the other in it.
func (t *target) lock() error {
	if err := flock(t.fd); err == unix.EWOULDBLOCK {
		return fmt.Errorf("%s: another vsrun is at work on it", t.path)
	}
	return nil
}

func (t *target) close() {
	for _, fd := range []int{t.parent, t.fd} {
		if fd >= 0 {
			closeFd(fd)
		}
	}
}

// fits says why the store can't serve the tree.
func (s *Store) fits(t *target) error {
	var st stat
	if err := statAt(t.fd, "", &st); err != nil {
		return fmt.Errorf("stat %s: %w", t.path, err)
	}
	if st.dev != s.dev {
		return fmt.Errorf("%s is on another filesystem than the store %s: give a --store on the same one", t.path, s.Path)
	}
	if within(s.Path, t.path) {
		return fmt.Errorf("the store %s is in the tree %s", s.Path, t.path)
	}
	if within(t.path, s.Path) {
		return fmt.Errorf("the tree %s is in the store %s", t.path, s.Path)
	}
	// The same filesystem may be mounted twice; names can't cross from one mount to another.
	if a, b := mountID(t.parent), mountID(s.fd); a != b {
		return fmt.Errorf("%s is on another mount than the store %s: give a --store below the same mount point", t.path, s.Path)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(t.parent, &fs); err == nil && fs.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("%s is on a filesystem that is mounted read-only", t.path)
	}
	return nil
}

// swap puts name, in the run's directory, in the tree's place, and the tree there.
func (r *run) swap(t *target, name string, root *stat) error {
	if err := exchange(r.fd, name, t.parent, t.base); err != nil {
		if err == unix.EBUSY {
			return fmt.Errorf("%s is a mount point somewhere: unmount it first", t.path)
		}
		return fmt.Errorf("put the new tree in the place of %s: %w", t.path, err)
	}
	var now stat
	err := statAt(r.fd, name, &now)
	if err == nil && now.ino == root.ino {
		return nil
	}
	if err == nil {
		err = errors.New("another directory has been put in its place meanwhile")
	}
	return errors.Join(fmt.Errorf("%s: %w", t.path, err), r.swapBack(t, name))
}

func (r *run) swapBack(t *target, name string) error {
	if err := exchange(r.fd, name, t.parent, t.base); err != nil {
		return fmt.Errorf("put %s back in its place from %s/%s/%s/%s: %w", t.path, r.Path, tempDir, r.name, name, err)
	}
	return nil
}

// unchanged checks, after the swap, that the old tree is still what was read. Nobody finds it any more by its path.
func (r *run) unchanged(im *image, name string) error {
	top, err := openBeneath(r.fd, name, readDir)
	if err != nil {
		return err
	}
	defer closeFd(top)
	return parallel(len(im.dirs), func(i int) error {
		d := im.dirs[i]
		fd, err := openBeneath(top, d.path, readDir)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		defer closeFd(fd)
		var now stat
		if err := statAt(fd, "", &now); err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		if d.path == "" { // the swap itself changed its change time
			now.ctime = d.st.ctime
		}
		// A kept file's own new link in the store changes no directory of the tree.
		if now.ino != d.st.ino || now.mtime != d.st.mtime || now.ctime != d.st.ctime {
			return fmt.Errorf("%s: %w", im.whole(d.path), errChanged)
		}
		for j := range d.nodes {
			n := &d.nodes[j]
			if err := statAt(fd, n.name, &now); err != nil {
				return fmt.Errorf("%s: %w", im.whole(d.join(n.name)), err)
			}
			want := &n.st
			if n.file != nil {
				want = n.file.st
			}
			if !now.same(want) && (n.file == nil || n.file.keep == shared) {
				return fmt.Errorf("%s: %w", im.whole(d.join(n.name)), errChanged)
			}
		}
		return nil
	})
}

// remove removes the old tree.
func (r *run) remove(im *image, name string) error {
	top, err := openBeneath(r.fd, name, readDir)
	if err != nil {
		return err
	}
	defer closeFd(top)
	dirs := make([]string, len(im.dirs))
	var files []place
	for i, d := range im.dirs {
		dirs[i] = d.path
		for k := range d.nodes {
			files = append(files, place{i, d.nodes[k].name, d.nodes[k].st.ino})
		}
	}
	err = removeAll(top, dirs, files, r.progress)
	if err == nil {
		err = unlinkAt(r.fd, name, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return fmt.Errorf("remove what was %s: %w", im.path, err)
	}
	return nil
}

// journal says, in the run's directory, what a directory there was before the swap: recover.go reads it.
func (r *run) journal(name, digest, path string) error {
	fd, err := unix.Openat(r.fd, name+".tree", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("journal for %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.WriteString(digest + " " + path); err != nil {
		return fmt.Errorf("journal for %s: %w", path, err)
	}
	return nil
}

func numbered(kind string, i int) string { return kind + strconv.Itoa(i) }

// mountID is 0 where the kernel does not say (before Linux 5.8).
func mountID(fd int) uint64 {
	var x unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &x) != nil || x.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return x.Mnt_id
}
