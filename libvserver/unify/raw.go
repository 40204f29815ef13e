package unify

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the inner loops, made without a word to Go's scheduler. It takes a call that lasts longer than 20 µs
// for one that waits, and hands its core to another thread: among hundreds of thousands of calls that are about as long,
// that was a tenth of all CPU time. Where a call does wait, nothing is lost: UseCores gives the scheduler more cores than
// there are workers.

// cores is how many workers compute.
var cores int

// waiters is how many do what waits for the disk: to remove a file waits until its blocks are discarded, on ext4
// without a journal that is mounted with the option discard.
const waiters = 16

// UseCores prepares a process that has nothing else to do. It is called once, before anything else here.
func UseCores() {
	cores = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(cores + waiters)
}

func workers() int {
	if cores > 0 {
		return cores
	}
	return runtime.GOMAXPROCS(0)
}

// cpath is where a path gets its zero byte, mostly without being allocated.
type cpath [256]byte

func (b *cpath) of(path string) *byte {
	if len(path) < len(b) {
		copy(b[:], path)
		b[len(path)] = 0
		return &b[0]
	}
	long := make([]byte, len(path)+1)
	copy(long, path)
	return &long[0]
}

func result(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func closeFd(fd int) {
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

func unlinkAt(dirfd int, name string, flags int) error {
	var b cpath
	_, _, errno := syscall.RawSyscall(unix.SYS_UNLINKAT, uintptr(dirfd), uintptr(unsafe.Pointer(b.of(name))), uintptr(flags))
	return result(errno)
}

func mkdirAt(dirfd int, name string, mode uint32) error {
	var b cpath
	_, _, errno := syscall.RawSyscall(unix.SYS_MKDIRAT, uintptr(dirfd), uintptr(unsafe.Pointer(b.of(name))), uintptr(mode))
	return result(errno)
}

func linkAt(olddirfd int, oldname string, newdirfd int, newname string, flags int) error {
	var a, b cpath
	_, _, errno := syscall.RawSyscall6(unix.SYS_LINKAT, uintptr(olddirfd), uintptr(unsafe.Pointer(a.of(oldname))),
		uintptr(newdirfd), uintptr(unsafe.Pointer(b.of(newname))), uintptr(flags), 0)
	return result(errno)
}

func renameAt(olddirfd int, oldname string, newdirfd int, newname string, flags int) error {
	var a, b cpath
	_, _, errno := syscall.RawSyscall6(unix.SYS_RENAMEAT2, uintptr(olddirfd), uintptr(unsafe.Pointer(a.of(oldname))),
		uintptr(newdirfd), uintptr(unsafe.Pointer(b.of(newname))), uintptr(flags), 0)
	return result(errno)
}

// createAt makes a file that must not be there, and opens it for writing.
func createAt(dirfd int, name string, mode uint32) (int, error) {
	var b cpath
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	for {
		fd, _, errno := syscall.RawSyscall6(unix.SYS_OPENAT, uintptr(dirfd), uintptr(unsafe.Pointer(b.of(name))), flags, uintptr(mode), 0, 0)
		if errno != unix.EINTR {
			return int(fd), result(errno)
		}
	}
}

func openAt2(dirfd int, path string, how *unix.OpenHow) (int, error) {
	var b cpath
	for {
		fd, _, errno := syscall.RawSyscall6(unix.SYS_OPENAT2, uintptr(dirfd), uintptr(unsafe.Pointer(b.of(path))),
			uintptr(unsafe.Pointer(how)), unix.SizeofOpenHow, 0, 0)
		if errno != unix.EINTR && errno != unix.EAGAIN {
			return int(fd), result(errno)
		}
	}
}

func statxAt(dirfd int, name string, flags, mask int, x *unix.Statx_t) error {
	var b cpath
	_, _, errno := syscall.RawSyscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(b.of(name))), uintptr(flags), uintptr(mask),
		uintptr(unsafe.Pointer(x)), 0)
	return result(errno)
}

// readAt is pread(2). buf is not empty.
func readAt(fd int, buf []byte, at int64) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), uintptr(at), 0, 0)
		if errno != unix.EINTR {
			return int(n), result(errno)
		}
	}
}

func truncateFd(fd int, size int64) error {
	for {
		_, _, errno := syscall.RawSyscall(unix.SYS_FTRUNCATE, uintptr(fd), uintptr(size), 0)
		if errno != unix.EINTR {
			return result(errno)
		}
	}
}

// timesAt is utimensat(2); name "" is fd itself.
func timesAt(fd int, name string, ts *[2]unix.Timespec) error {
	var b cpath
	var path *byte
	flags := 0
	if name != "" {
		path, flags = b.of(name), unix.AT_SYMLINK_NOFOLLOW
	}
	_, _, errno := syscall.RawSyscall6(unix.SYS_UTIMENSAT, uintptr(fd), uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(ts)), uintptr(flags), 0, 0)
	return result(errno)
}

// listAttrs is flistxattr(2). buf is not empty.
func listAttrs(fd int, buf []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(unix.SYS_FLISTXATTR, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return int(n), result(errno)
}

func setAttr(fd int, name, value string) error {
	var b cpath
	_, _, errno := syscall.RawSyscall6(unix.SYS_FSETXATTR, uintptr(fd), uintptr(unsafe.Pointer(b.of(name))),
		uintptr(unsafe.Pointer(unsafe.StringData(value))), uintptr(len(value)), 0, 0)
	return result(errno)
}

// flushRange is sync_file_range(2) of the whole file.
func flushRange(fd int) error {
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	_, _, errno := syscall.RawSyscall6(unix.SYS_SYNC_FILE_RANGE, uintptr(fd), 0, 0, all, 0, 0)
	return result(errno)
}
