package host

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNotProcfs says that what is mounted on /proc is something else.
var ErrNotProcfs = errors.New("/proc is not a procfs: mount one there")

// OpenProc opens /proc (O_PATH) and checks that it is a procfs. What is written by way of the descriptor stays the host's,
// whatever root and namespaces the process has later, and whatever a container has mounted on its own /proc.
func OpenProc() (int, error) {
	fd, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "statfs", Path: "/proc", Err: err}
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		unix.Close(fd)
		return -1, ErrNotProcfs
	}
	return fd, nil
}

// ProcResolve is how files are looked up in a procfs that are to be written: nothing that is mounted over one is taken, and
// no magic link (CVE-2025-52881).
const ProcResolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// WriteProc writes a file of the procfs that OpenProc has opened; name is relative to it.
func WriteProc(proc int, name, data string) error {
	fd, err := unix.Openat2(proc, name, &unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: ProcResolve})
	if err != nil {
		return &os.PathError{Op: "open", Path: "/proc/" + name, Err: err}
	}
	defer unix.Close(fd)
	if _, err = unix.Write(fd, unsafe.Slice(unsafe.StringData(data), len(data))); err != nil {
		return &os.PathError{Op: "write", Path: "/proc/" + name, Err: err}
	}
	return nil
}
