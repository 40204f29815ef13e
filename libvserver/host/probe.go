package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// badFD is a file descriptor that is never open: above any RLIMIT_NOFILE, yet
// positive, so that the kernel gets as far as looking it up.
const badFD = 0x7ffffff0

// call makes a system call that must fail and returns its errno.
func call(nr uintptr, args ...uintptr) unix.Errno {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return errno
}

// present turns the errno of a call that was bound to fail into a verdict: only
// ENOSYS means that the call does not exist.
func present(errno unix.Errno) error {
	if errno == unix.ENOSYS {
		return errno
	}
	return nil
}

// accepted turns the errno of a call whose flag is tested into a verdict: yes
// is what comes after the flags were accepted, and a refusal for want of
// privilege says nothing.
func accepted(errno, yes unix.Errno) error {
	switch errno {
	case yes, 0:
		return nil
	case unix.EINVAL, unix.ENOSYS, unix.E2BIG:
		return errMissing
	default:
		return errno
	}
}

// cloneArgs is struct clone_args of linux/sched.h (version 2, Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// clone3 makes a clone3 that no kernel grants. Should one do so nevertheless,
// because it passes over flags it does not know, the child ends at once.
func clone3(a *cloneArgs) unix.Errno {
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a), 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, _ = unix.Wait4(int(pid), nil, unix.WALL, nil)
	return unix.EINVAL
}

// exists tests a path without opening it.
func exists(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.F_OK, 0) == nil
}

// readSmall reads the first bytes (at most 4096) of a small file, less the final newline.
func readSmall(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", err
	}
	for n > 0 && buf[n-1] == '\n' {
		n--
	}
	return string(buf[:n]), nil
}

// hasFilesystem reports whether /proc/filesystems lists a type.
func hasFilesystem(name string) (bool, error) {
	s, err := readSmall("/proc/filesystems")
	if err != nil {
		return false, err
	}
	for len(s) > 0 {
		line := s
		s = ""
		for i := range line {
			if line[i] == '\n' {
				line, s = line[:i], line[i+1:]
				break
			}
		}
		if n := len(line) - len(name); n > 0 && line[n:] == name && line[n-1] == '\t' {
			return true, nil
		}
	}
	return false, nil
}

func filesystem(name string) error {
	switch ok, err := hasFilesystem(name); {
	case err != nil:
		return err
	case !ok:
		return errMissing
	}
	return nil
}

// sinceRelease goes by the kernel's version, where nothing can be tried.
func sinceRelease(major, minor int) error {
	if ParseVersion(KernelRelease()).Less(Version{major, minor, 0}) {
		return errMissing
	}
	return nil
}

func nsFile(name string) error {
	if !exists("/proc/self/ns/" + name) {
		return errMissing
	}
	return nil
}
