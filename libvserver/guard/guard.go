// Package guard keeps a container from writing the runtime's own binary (CVE-2019-5736): a container whose program is
// /proc/self/exe, or a script for it, would else hold the host's file open.
//
// The cheapest sufficient guard comes first:
//   - the binary can't be written anyway: a read-only mount or filesystem, fs-verity, or a user without the right to;
//   - else the process moves over to a private, read-only clone of the mount under the binary, before the Go runtime
//     starts: the entry point of the executable (entry_amd64.s) maps the program again from there, page for page the
//     same, and has the kernel call that file its executable. That takes a dozen system calls and no execve(2);
//   - where the kernel or the machine has no such way, it executes itself again from there: by the entry point that costs
//     the start of a process that has touched a page or two, about a quarter of what a second start of Go would;
//   - where the mount cannot be cloned (no CAP_SYS_ADMIN): from a sealed copy in memory. [Ensure] does that, and all of
//     it in a binary that was linked without the entry point.
//
// The package starts no container and reads no configuration.
package guard

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host/nofile"
)

const exe = "/proc/self/exe"

// Safe tells if the file that this process was started from can't be written through /proc/self/exe.
func Safe() bool {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, exe, 0, unix.STATX_UID, &st) == nil && st.Attributes&unix.STATX_ATTR_VERITY != 0 {
		return true
	}
	// EROFS: the mount or the filesystem is read-only. EACCES: the file belongs to somebody else, and so it would to a
	// container that this user can make; its owner could change the mode first. (faccessat2(2), Linux 5.8)
	switch unix.Faccessat2(unix.AT_FDCWD, exe, unix.W_OK, unix.AT_EACCESS) {
	case unix.EROFS:
		return true
	case unix.EACCES:
		if st.Mask&unix.STATX_UID != 0 && int(st.Uid) != os.Geteuid() {
			return true
		}
	}
	// A sealed memory file takes no writes for ever, whoever holds it.
	fd, err := unix.Open(exe, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err == nil && seals&(unix.F_SEAL_WRITE|unix.F_SEAL_SEAL) == unix.F_SEAL_WRITE|unix.F_SEAL_SEAL
}

// Ensure returns if the binary is safe, and otherwise executes it again in a safe way. An error means that there is none.
func Ensure() error {
	if mount != 0 || Safe() {
		return nil
	}
	fd, err := clone()
	if err != nil {
		if fd, err = memory(); err != nil {
			return fmt.Errorf("protect the runtime's binary: %w", err)
		}
	}
	return execute(fd)
}

// clone makes a private read-only mount of the binary.
func clone() (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, exe, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("open_tree", err)
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("mount_setattr", err)
	}
	return fd, nil
}

// memory makes a sealed copy of the binary.
func memory() (int, error) {
	in, err := os.Open(exe)
	if err != nil {
		return -1, err
	}
	defer in.Close()
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("vsrun", flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 all are executable
		fd, err = unix.MemfdCreate("vsrun", flags)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	out := os.NewFile(uintptr(fd), "vsrun")
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return -1, err
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		out.Close()
		return -1, os.NewSyscallError("fcntl", err)
	}
	// An executable must not be open for writing, which the descriptor of a new memory file is.
	ro, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	out.Close()
	if err != nil {
		return -1, os.NewSyscallError("open", err)
	}
	return ro, nil
}

func execute(fd int) error {
	argv, err := syscall.SlicePtrFromStrings(os.Args)
	if err != nil {
		return err
	}
	envp, err := syscall.SlicePtrFromStrings(os.Environ())
	if err != nil {
		return err
	}
	if nofile.Raised() {
		// The soft limit that package syscall has raised is not to be taken for the caller's.
		lim := unix.Rlimit{Cur: nofile.Original.Cur, Max: nofile.Original.Max}
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &lim, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	empty := [1]byte{}
	_, _, e := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)), uintptr(unsafe.Pointer(&argv[0])),
		uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return os.NewSyscallError("execveat", e)
}
