package unify

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// Store is an open object store.
type Store struct {
	Path                            string
	fd, objects, trees, links, temp int
	dev                             uint64
	mine                            bool // its directory was made for it
}

const tempDir = "tmp"

// markerText is what a store's marker holds.
const markerText = "vserver object store, version 1\n"

// ErrNoStore says that there is no store at a path.
var ErrNoStore = errors.New("no object store")

// StoreFor finds the path of the store for a tree.
func StoreFor(path string) (string, error) {
	var st, standard unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", path, err)
	}
	at := tree.StandardStore
	for unix.Stat(at, &standard) != nil {
		at = filepath.Dir(at)
	}
	if st.Dev == standard.Dev {
		return tree.StandardStore, nil
	}
	// Up to the top of the filesystem.
	for {
		up := filepath.Dir(path)
		var parent unix.Stat_t
		if up == path || unix.Stat(up, &parent) != nil || parent.Dev != st.Dev {
			return filepath.Join(path, ".vserver-store"), nil
		}
		path = up
	}
}

// OpenStore opens a store; create makes one of a path where there is nothing, or an empty directory.
func OpenStore(path string, create bool) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	mine := false // the directory, too
	for {
		if create {
			if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
				mine = true
				if err := mountOptionSafe(path); err != nil {
					return nil, err
				}
			}
			if err := os.MkdirAll(path, 0o700); err != nil {
				return nil, fmt.Errorf("make the store: %w", err)
			}
		}
		s, err := openStore(path, create)
		if create && errors.Is(err, ErrNoStore) {
			continue // it was removed meanwhile
		}
		if s != nil {
			s.mine = mine
		}
		return s, err
	}
}

// openStore opens what is there. The lock lasts until it is closed: see unmake.
func openStore(path string, create bool) (*Store, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoStore)
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	if err := mountOptionSafe(real); err != nil {
		return nil, err
	}
	s := &Store{Path: real, objects: -1, trees: -1, links: -1, temp: -1}
	if s.fd, err = openDir(real); errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%s: %w", real, ErrNoStore)
	} else if err != nil {
		return nil, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(s.fd, unix.LOCK_SH)
	}
	if err == nil || err == unix.ENOLCK || err == unix.EOPNOTSUPP {
		err = s.setup(create)
	} else {
		err = fmt.Errorf("lock %s: %w", real, err)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// mountOptionSafe refuses what would need escapes in the mount options of an overlay, or can't be escaped there.
func mountOptionSafe(path string) error {
	if strings.ContainsAny(path, ":,\\\n\"") {
		return fmt.Errorf("store %s: overlayfs takes no path with a colon, comma, backslash, quote or line end in it", path)
	}
	return nil
}

func (s *Store) setup(create bool) error {
	var st stat
	if err := statAt(s.fd, "", &st); err != nil {
		return fmt.Errorf("stat %s: %w", s.Path, err)
	}
	if st.nlink == 0 {
		return fmt.Errorf("%s: %w", s.Path, ErrNoStore)
	}
	if err := statAt(s.fd, tree.Marker, &st); err == unix.ENOENT {
		if !create {
			return fmt.Errorf("%s: %w (it has no file %s)", s.Path, ErrNoStore, tree.Marker)
		}
		list, err := readEntries(s.fd, newDirBuffer())
		if err != nil {
			return fmt.Errorf("read %s: %w", s.Path, err)
		}
		// A run that was killed while it made the store leaves some of these, and another one may be making it now.
		for _, e := range list {
			switch e.name {
			case tree.Objects, tree.Trees, tree.Links, tempDir, tree.Marker, "lost+found":
			default:
				if !strings.HasPrefix(e.name, tree.Marker+".") {
					return fmt.Errorf("%s is neither empty nor an object store", s.Path)
				}
			}
		}
		if err := unix.Fchmod(s.fd, 0o700); err != nil {
			return fmt.Errorf("chmod %s: %w", s.Path, err)
		}
		for _, name := range []string{tree.Objects, tree.Trees, tree.Links, tempDir} {
			if err := unix.Mkdirat(s.fd, name, 0o700); err != nil && err != unix.EEXIST {
				return fmt.Errorf("mkdir %s/%s: %w", s.Path, name, err)
			}
		}
		// The marker comes last: with it, the store is whole.
		if err := s.writeFile(s.fd, tree.Marker, []byte(markerText)); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("stat %s/%s: %w", s.Path, tree.Marker, err)
	}
	if err := tree.CheckStore(s.fd); err != nil {
		return fmt.Errorf("store %s: %w", s.Path, err)
	}
	if b, err := os.ReadFile(s.Path + "/" + tree.Marker); err != nil || string(b) != markerText {
		return fmt.Errorf("store %s: it is of a version that this vsrun does not know (%q, %v)", s.Path, b, err)
	}
	if err := statAt(s.fd, "", &st); err != nil {
		return fmt.Errorf("stat %s: %w", s.Path, err)
	}
	s.dev = st.dev
	for name, fd := range map[string]*int{tree.Objects: &s.objects, tree.Trees: &s.trees, tree.Links: &s.links, tempDir: &s.temp} {
		var err error
		if *fd, err = openBeneath(s.fd, name, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
			return fmt.Errorf("store %s: open %s: %w", s.Path, name, err)
		}
	}
	return nil
}

// Close closes the descriptors.
func (s *Store) Close() {
	for _, fd := range []int{s.fd, s.objects, s.trees, s.links, s.temp} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// unmake removes a store in which there is nothing, unless another run has it open, or counts on it. The store can only be
// closed then.
func (s *Store) unmake() {
	// Who opens it now waits until it is gone, and makes another.
	if unix.Flock(s.fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	var st stat
	if statAt(s.fd, tree.Marker, &st) != nil || st.mode&0o777 == relied {
		return
	}
	for _, fd := range []int{s.objects, s.trees, s.links, s.temp} {
		if list, err := readEntries(fd, newDirBuffer()); err != nil || len(list) > 0 {
			return
		}
	}
	_ = unix.Unlinkat(s.fd, indexName, 0)
	_ = unix.Unlinkat(s.fd, tree.Marker, 0)
	for _, name := range []string{tempDir, tree.Links, tree.Trees, tree.Objects} {
		_ = unix.Unlinkat(s.fd, name, unix.AT_REMOVEDIR)
	}
	if s.mine {
		_ = os.Remove(s.Path)
	}
}

// relied is the marker's mode once there is a tree that needs the store to be there, even if it is empty.
const relied = 0o400

func (s *Store) rely() error {
	if err := unix.Fchmodat(s.fd, tree.Marker, relied, 0); err != nil {
		return fmt.Errorf("chmod %s/%s: %w", s.Path, tree.Marker, err)
	}
	return nil
}

// writeFile makes a file whole or not at all.
func (s *Store) writeFile(dirfd int, name string, data []byte) error {
	temp := name + "." + random()
	fd, err := unix.Openat(dirfd, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s in %s: %w", name, s.Path, err)
	}
	f := os.NewFile(uintptr(fd), temp)
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = unix.Renameat(dirfd, temp, dirfd, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dirfd, temp, 0)
		return fmt.Errorf("write %s in %s: %w", name, s.Path, err)
	}
	return nil
}

// sync has everything on the store's filesystem written to the disk.
func (s *Store) sync() error {
	if _, _, errno := unix.Syscall(unix.SYS_SYNCFS, uintptr(s.fd), 0, 0); errno != 0 {
		return fmt.Errorf("write the filesystem of %s to disk: %w", s.Path, errno)
	}
	return nil
}

// barrier has what was made so far reach the disk before what follows. Filesystems whose journal keeps the order of
// changes to metadata do so by themselves (data is written by flushData before an object gets its name): only others pay
// for a sync.
func (s *Store) barrier() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.fd, &st); err == nil {
		switch st.Type {
		case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
			return nil
		}
	}
	return s.sync()
}

// flushData writes a file's dirty pages: a twin that is on the disk may be removed for the sake of this one.
func flushData(fd int) error {
	err := flushRange(fd)
	if err == unix.ENOSYS || err == unix.ESPIPE || err == unix.EINVAL {
		err = unix.Fdatasync(fd)
	}
	return err
}

func random() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// fan makes the directory of a name like ab/xyz.
func fan(dirfd int, name string) error {
	if err := unix.Mkdirat(dirfd, name[:strings.IndexByte(name, '/')], 0o700); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

// linkInto gives the inode that fd has open a name in one of the store's directories of names like ab/xyz.
func linkInto(fd, dirfd int, name string) error {
	err := linkFd(fd, dirfd, name)
	if err == unix.ENOENT {
		if err = fan(dirfd, name); err == nil {
			err = linkFd(fd, dirfd, name)
		}
	}
	return err
}
