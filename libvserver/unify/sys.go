package unify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// beneath is how a path in a tree is opened: nothing in it leads elsewhere.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// openBeneath opens a path in a tree; "" is the tree's root.
func openBeneath(dirfd int, path string, flags int) (int, error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{Flags: uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC), Resolve: beneath}
	return openAt2(dirfd, path, &how)
}

const (
	readDir  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOATIME
	readFile = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOATIME
)

// openDir opens a directory by a path of the caller's.
func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// stat is what unify needs to know of an inode.
type stat struct {
	mode, uid, gid, nlink    uint32
	rdev, dev                uint64
	ino, size, blocks        uint64
	atime, mtime, ctime      unix.Timespec
	immutable, mount, verity bool
}

func (s *stat) kind() uint32 { return s.mode & unix.S_IFMT }

// sparse says whether there may be holes in a file.
func (s *stat) sparse() bool { return s.blocks*512 < s.size }

// same says whether the inode was left alone between two looks at it.
func (s *stat) same(o *stat) bool {
	return s.ino == o.ino && s.dev == o.dev && s.size == o.size && s.mtime == o.mtime && s.ctime == o.ctime
}

const statxMask = unix.STATX_BASIC_STATS

// statAt is statx(2). name "" is dirfd itself.
func statAt(dirfd int, name string, st *stat) error {
	var x unix.Statx_t
	if err := statxAt(dirfd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, statxMask, &x); err != nil {
		return err
	}
	*st = stat{
		mode: uint32(x.Mode), uid: x.Uid, gid: x.Gid, nlink: x.Nlink,
		rdev: unix.Mkdev(x.Rdev_major, x.Rdev_minor), dev: unix.Mkdev(x.Dev_major, x.Dev_minor),
		ino: x.Ino, size: x.Size, blocks: x.Blocks,
		atime: timespec(x.Atime), mtime: timespec(x.Mtime), ctime: timespec(x.Ctime),
		immutable: x.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0,
		mount:     x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		verity:    x.Attributes&unix.STATX_ATTR_VERITY != 0,
	}
	return nil
}

func timespec(t unix.StatxTimestamp) unix.Timespec {
	return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
}

// entry is one name in a directory. kind is as S_IFMT has it; 0 where the filesystem does not say.
type entry struct {
	name string
	kind uint32
	ino  uint64
}

// readEntries reads a directory's names, without . and .. .
func readEntries(fd int, buf []byte) ([]entry, error) {
	var list []entry
	// A descriptor that has been read before is at its end.
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, err
	}
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return list, nil
		}
		// One string for the whole block: the names are parts of it.
		block := string(buf[:n])
		for at := 0; at < n; {
			ino := binary.NativeEndian.Uint64(buf[at:])
			size := int(binary.NativeEndian.Uint16(buf[at+16:]))
			name := block[at+19 : at+size]
			name = name[:strings.IndexByte(name, 0)]
			if name != "." && name != ".." {
				list = append(list, entry{name, uint32(buf[at+18]) << 12, ino})
			}
			at += size
		}
	}
}

func newDirBuffer() []byte { return make([]byte, 64<<10) }

// xattr is one extended attribute.
type xattr struct {
	name  string
	value string
}

// xattrPath is a path for the calls on extended attributes that know no directory descriptors.
func xattrPath(dirfd int, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(dirfd) + "/" + name
}

// attrs lists attributes: of a descriptor, or of a name with the calls that don't follow symlinks.
type attrs struct {
	fd   int
	path string // if not ""
}

func (a attrs) list(buf []byte) (int, error) {
	if a.path != "" {
		return unix.Llistxattr(a.path, buf)
	}
	return listAttrs(a.fd, buf)
}

func (a attrs) get(name string, buf []byte) (int, error) {
	if a.path != "" {
		return unix.Lgetxattr(a.path, name, buf)
	}
	return unix.Fgetxattr(a.fd, name, buf)
}

func (a attrs) set(name, value string) error {
	if a.path != "" {
		return unix.Lsetxattr(a.path, name, []byte(value), 0)
	}
	return setAttr(a.fd, name, value)
}

// read reads all of them. buf is scratch space of at least 64 KiB.
func (a attrs) read(buf []byte) ([]xattr, error) {
	n, err := a.list(buf)
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listxattr: %w", err)
	}
	if n == 0 {
		return nil, nil
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names) // the order is the filesystem's, and a copy may have another
	list := make([]xattr, 0, len(names))
	for _, name := range names {
		n, err := a.get(name, buf)
		if err == unix.ENODATA {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("getxattr %s: %w", name, err)
		}
		list = append(list, xattr{name, string(buf[:n])})
	}
	return list, nil
}

// linkFd gives the inode that fd has open another name. It is the very inode that was read, whatever happened to its path.
func linkFd(fd, dirfd int, name string) error {
	err := linkAt(fd, "", dirfd, name, unix.AT_EMPTY_PATH)
	if err == unix.ENOENT { // no CAP_DAC_READ_SEARCH
		err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), dirfd, name, unix.AT_SYMLINK_FOLLOW)
	}
	return err
}

// exchange swaps two names.
//
// XFS gives a directory that gets another parent by this a new modification time (xfs_cross_rename): it gets its old one back.
func exchange(oldfd int, oldname string, newfd int, newname string) error {
	var fs unix.Statfs_t
	var a, b stat
	xfs := unix.Fstatfs(oldfd, &fs) == nil && uint32(fs.Type) == unix.XFS_SUPER_MAGIC &&
		statAt(oldfd, oldname, &a) == nil && a.kind() == unix.S_IFDIR && statAt(newfd, newname, &b) == nil && b.kind() == unix.S_IFDIR
	if err := renameAt(oldfd, oldname, newfd, newname, unix.RENAME_EXCHANGE); err != nil || !xfs {
		return err
	}
	return errors.Join(setTimes(newfd, newname, &a), setTimes(oldfd, oldname, &b))
}

// lease takes a read lease: EAGAIN if somebody has the file open for writing. Closing fd ends it.
func lease(fd int) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	switch errno {
	case 0:
		return nil
	case unix.EAGAIN:
		return errBusy
	}
	return nil // not on this filesystem, or no CAP_LEASE: size and times have to do
}

var errBusy = errors.New("open for writing")

// setTimes sets access and modification time; name "" is fd itself.
func setTimes(fd int, name string, st *stat) error {
	ts := [2]unix.Timespec{st.atime, st.mtime}
	return timesAt(fd, name, &ts)
}

// zerosAt returns how many bytes from at on are a hole of the file, which has so many in all.
func zerosAt(fd int, at, size int64) int64 {
	next, err := unix.Seek(fd, at, unix.SEEK_DATA)
	if err == unix.ENXIO {
		next = size
	} else if err != nil {
		next = at
	}
	return max(next-at, 0)
}

// preadFull reads until buf is full or the file ends.
func preadFull(fd int, buf []byte, at int64) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := readAt(fd, buf[n:], at+int64(n))
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}
