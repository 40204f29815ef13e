package unify

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// sealMin is from which size on an object is sealed by default, in bytes: fs-verity costs a block or two, which would
// double the smaller ones.
const sealMin = 16 << 10

// Seal says which objects are sealed with fs-verity.
type Seal byte

// SealAuto: where the filesystem can, those of at least 16 KiB. SealNone: none. SealAll: all, or it is an error.
const (
	SealAuto Seal = iota
	SealNone
	SealAll
)

// enableArg is struct fsverity_enable_arg of linux/fsverity.h.
type enableArg struct {
	version, hash, block, saltSize uint32
	salt                           uint64
	sigSize, reserved1             uint32
	sig                            uint64
	reserved2                      [11]uint64
}

const (
	fsIocEnableVerity  = 0x40806685 // _IOW('f', 133, struct fsverity_enable_arg)
	fsIocMeasureVerity = 0xc0046686 // _IOWR('f', 134, struct fsverity_digest)
)

// seal makes a file's content unchangeable (fsverity(7)); one that is sealed already is fine.
func seal(fd int) error {
	arg := enableArg{version: 1, hash: 1, block: verityBlock}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocEnableVerity, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 && errno != unix.EEXIST {
		return errno
	}
	return nil
}

// measure returns the digest that the filesystem checks a sealed file by.
func measure(fd int) (d digest, err error) {
	var buf [4 + len(d)]byte
	buf[2] = byte(len(d))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocMeasureVerity, uintptr(unsafe.Pointer(&buf)))
	if errno != 0 {
		return d, errno
	}
	copy(d[:], buf[4:])
	return d, nil
}

// canSeal asks the store's filesystem with a file of its own.
func (r *run) canSeal() error {
	name := "v" + random()
	fd, err := unix.Openat(r.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("x"))
	unix.Close(fd)
	defer unix.Unlinkat(r.fd, name, 0)
	if err != nil {
		return err
	}
	if fd, err = openBeneath(r.fd, name, unix.O_RDONLY); err != nil {
		return err
	}
	defer unix.Close(fd)
	return seal(fd)
}

// verity decides what metadata trees say about sealing. The digests in them count only once the tree's own attribute
// says so, which is when all objects are sealed.
func (j *job) verity() (tree.Verity, error) {
	if j.o.Seal == SealNone {
		return tree.VerityOff, nil
	}
	err := j.canSeal()
	switch {
	case err != nil && j.o.Seal == SealAll:
		return tree.VerityOff, fmt.Errorf("seal the objects of %s: the filesystem has no fs-verity: %w", j.Path, err)
	case err != nil:
		return tree.VerityOff, nil
	case j.o.Seal == SealAll:
		return tree.VerityRequire, nil
	}
	return tree.VerityOn, nil
}

// sealTrees seals the objects of trees that are unified, then has the trees say so.
func (j *job) sealTrees(todo []*target, done []int, metas map[*image]*meta, images []*image, contents []*content, v tree.Verity) error {
	if len(done) == 0 {
		return nil
	}
	j.progress.begin("sealing", uint64(len(contents)), 0)
	var sealed atomic.Int64
	err := parallel(len(contents), func(i int) error {
		c := contents[i]
		j.progress.read(1, 0)
		if v == tree.VerityOn && c.size < sealMin {
			return nil
		}
		name := c.digest.name()
		if err := j.sealObject(name, verityDigest(&c.digest)); err != nil {
			return err
		}
		var st stat
		if err := statAt(j.objects, name, &st); err == nil {
			j.index.add(&st, c)
		}
		sealed.Add(1)
		return nil
	})
	if err != nil {
		return err
	}
	if err := j.barrier(); err != nil {
		return err
	}
	for _, i := range done {
		t := &tree.Tree{Layout: tree.LayoutObjects, Verity: v, Digest: metas[images[i]].digest, Store: j.Path}
		if err := j.mark(todo[i], t); err != nil {
			return err
		}
	}
	j.res.Sealed = int(sealed.Load())
	return nil
}

// finishSeal does what a killed run left undone: its tree is in place and its metadata tree has digests, but the objects
// are not, or not all, sealed, so that the tree does not say yet that the digests count.
func (s *Store) finishSeal(t *target) (done bool, err error) {
	meta, err := openBeneath(s.trees, t.was.Digest, readDir)
	if err != nil {
		return false, fmt.Errorf("metadata tree %s: %w", t.was.Digest, err)
	}
	defer unix.Close(meta)
	dirs, err := directories(meta)
	if err != nil {
		return false, fmt.Errorf("metadata tree %s: %w", t.was.Digest, err)
	}
	var with, without atomic.Int64
	err = parallel(len(dirs), func(i int) error {
		fd, err := openBeneath(meta, dirs[i], readDir)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		list, err := readEntries(fd, newDirBuffer())
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.kind != unix.S_IFREG {
				continue
			}
			var value, object [64]byte
			n, err := unix.Lgetxattr(xattrPath(fd, e.name), metacopy, value[:])
			if err == unix.ENODATA {
				continue
			}
			if err != nil {
				return err
			}
			if n == 0 {
				without.Add(1)
				continue
			}
			m, err := unix.Lgetxattr(xattrPath(fd, e.name), redirect, object[:])
			if err != nil || m < 2 {
				return fmt.Errorf("%s/%s: %s: %w", dirs[i], e.name, redirect, err)
			}
			if err := s.sealObject(string(object[1:m]), string(value[:n])); err != nil {
				return err
			}
			with.Add(1)
		}
		return nil
	})
	if err != nil || with.Load() == 0 {
		return false, err
	}
	is := *t.was
	is.Verity = tree.VerityRequire
	if without.Load() > 0 {
		is.Verity = tree.VerityOn
	}
	if err := s.barrier(); err != nil {
		return false, err
	}
	return true, s.mark(t, &is)
}

// sealObject seals an object that a metadata tree wants to have the digest in value.
func (s *Store) sealObject(name, value string) error {
	fd, err := openBeneath(s.objects, name, readFile)
	if err != nil {
		return fmt.Errorf("open object %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := seal(fd); err != nil {
		return fmt.Errorf("seal object %s: %w", name, err)
	}
	if d, err := measure(fd); err != nil || verityDigest(&d) != value {
		return fmt.Errorf("sealed object %s has another digest than the tree wants, %v (%v)", name, d.String(), err)
	}
	return nil
}

// mark sets the attribute of a tree that is in its place.
func (s *Store) mark(t *target, is *tree.Tree) error {
	fd, err := openBeneath(t.parent, t.base, readDir)
	if err != nil {
		return fmt.Errorf("open %s: %w", t.path, err)
	}
	defer unix.Close(fd)
	if now, err := tree.ReadFd(fd); err != nil || now == nil || now.Digest != is.Digest {
		return fmt.Errorf("%s is no longer the tree that was unified (%v)", t.path, err)
	}
	if err := (attrs{fd: fd}).set(tree.Attr, is.Value()); err != nil {
		return fmt.Errorf("mark %s: %w", t.path, err)
	}
	return nil
}
