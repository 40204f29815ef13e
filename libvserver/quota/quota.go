// Package quota limits what a directory tree may take of its filesystem, by
// project quota (ext4 and xfs): everything in the tree belongs to a project,
// whose number the caller chooses, and the project has limits. statfs(2) of the
// tree tells the limits as if they were the filesystem's size.
//
// It works on open directories alone, and knows neither containers nor overlays.
package quota

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of a tree; 0 stands for no limit.
type Limits struct {
	Space  uint64 // bytes, rounded up to 1024
	Inodes uint64
}

// ErrUnsupported is wrapped by the errors that say why a filesystem has no
// project quota.
var ErrUnsupported = errors.New("no project quota")

// linux/quota.h, linux/dqblk_xfs.h, linux/fs.h.
const (
	prjquota = 2

	qSetquota = 0x800008<<8 | prjquota
	qGetquota = 0x800007<<8 | prjquota
	qXGetStat = ('X'<<8+8)<<8 | prjquota // Q_XGETQSTATV

	qifLimits = 1 | 4 // QIF_BLIMITS, QIF_ILIMITS

	blockSize = 1024 // QIF_DQBLKSIZE

	accounting  = 0x10 // FS_QUOTA_PDQ_ACCT
	enforcement = 0x20 // FS_QUOTA_PDQ_ENFD
)

// block is struct if_dqblk.
type block struct {
	spaceHard, spaceSoft, space    uint64
	inodesHard, inodesSoft, inodes uint64
	spaceTime, inodesTime          uint64
	valid                          uint32
	_                              uint32
}

// stat is struct fs_quota_statv.
type stat struct {
	version int8
	_       uint8
	flags   uint16
	_       uint32
	_       [3 * 3]uint64
	_       [5]uint32
	_       [8]uint64
}

const statVersion = 1

// attributes is struct fsxattr, which FS_IOC_FSGETXATTR and FSSETXATTR take.
type attributes struct {
	xflags, extsize, nextents, projid, cowextsize uint32
	_                                             [8]byte
}

const (
	projInherit = 0x200      // FS_XFLAG_PROJINHERIT
	getXattr    = 0x801c581f // FS_IOC_FSGETXATTR
	setXattr    = 0x401c5820 // FS_IOC_FSSETXATTR
)

func quotactl(fd int, cmd uintptr, id uint32, at unsafe.Pointer) error {
	if _, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), cmd, uintptr(id), uintptr(at), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

const howTo = "the filesystem must be mounted with the option prjquota (and ext4 be made by mkfs -O quota,project)"

// Check says why the filesystem of an open directory can't limit trees; nil if
// it can. The error wraps ErrUnsupported.
func Check(fd int) error {
	st := stat{version: statVersion}
	switch err := quotactl(fd, qXGetStat, 0, unsafe.Pointer(&st)); err {
	case nil:
	case unix.ENOSYS, unix.EOPNOTSUPP, unix.ESRCH:
		var k unix.Utsname
		_ = unix.Uname(&k)
		return fmt.Errorf("%w: %s, or this kernel (%s) has no quota (quotactl_fd needs Linux 5.14 with CONFIG_QUOTA)", ErrUnsupported, howTo, unix.ByteSliceToString(k.Release[:]))
	case unix.EPERM:
		return fmt.Errorf("%w: quotactl_fd: %w (needs CAP_SYS_ADMIN)", ErrUnsupported, err)
	default:
		return fmt.Errorf("%w: quotactl_fd(Q_XGETQSTATV): %w", ErrUnsupported, err)
	}
	if st.flags&accounting == 0 || st.flags&enforcement == 0 {
		return fmt.Errorf("%w: %s", ErrUnsupported, howTo)
	}
	return nil
}

// CheckDir is Check of the directory at a path.
func CheckDir(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return Check(fd)
}

// Set makes an open, empty directory the root of a tree with a project of its
// own and limits it. What is made in it belongs to the project from then on.
func Set(fd int, project uint32, l Limits) error {
	if err := Check(fd); err != nil {
		return err
	}
	if err := SetLimits(fd, project, l); err != nil {
		return err
	}
	a, err := get(fd)
	if err != nil {
		return err
	}
	a.projid, a.xflags = project, a.xflags|projInherit
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), setXattr, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return fmt.Errorf("%w: set the project of the directory: FS_IOC_FSSETXATTR: %w", ErrUnsupported, errno)
	}
	return nil
}

func get(fd int) (a attributes, err error) {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getXattr, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return a, fmt.Errorf("%w: FS_IOC_FSGETXATTR: %w", ErrUnsupported, errno)
	}
	return a, nil
}

// Project returns the project of an open directory, 0 if it has none that what
// is made in it inherits.
func Project(fd int) uint32 {
	a, err := get(fd)
	if err != nil || a.xflags&projInherit == 0 {
		return 0
	}
	return a.projid
}

// SetLimits sets the limits of a project on the filesystem of fd.
func SetLimits(fd int, project uint32, l Limits) error {
	b := block{valid: qifLimits, inodesHard: l.Inodes, spaceHard: (l.Space + blockSize - 1) / blockSize}
	// A limit that is reached is a hard one; the soft one is what statfs(2) tells, and has no time to run out.
	b.inodesSoft, b.spaceSoft = b.inodesHard, b.spaceHard
	if err := quotactl(fd, qSetquota, project, unsafe.Pointer(&b)); err != nil {
		return fmt.Errorf("set the quota of project %d: quotactl_fd(Q_SETQUOTA): %w", project, err)
	}
	return nil
}

// Usage is what a project uses and may use; limits of 0 are none.
type Usage struct {
	Space, Inodes uint64 // bytes, number
	Limits        Limits
}

// Get tells a project's use of the filesystem of fd.
func Get(fd int, project uint32) (Usage, error) {
	var b block
	if err := quotactl(fd, qGetquota, project, unsafe.Pointer(&b)); err != nil {
		return Usage{}, fmt.Errorf("quota of project %d: quotactl_fd(Q_GETQUOTA): %w", project, err)
	}
	return Usage{b.space, b.inodes, Limits{b.spaceHard * blockSize, b.inodesHard}}, nil
}
