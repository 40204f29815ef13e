package seccomp

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/helper"
)

// Supported reports whether profiles can be compiled and loaded here: nil, or
// what is missing (the kernel's seccomp filters or the compiler). It changes
// nothing and starts nothing.
func Supported() error {
	if errno := probe(0); errno != syscall.EFAULT {
		return fmt.Errorf("seccomp filters: not supported by this kernel (%w; needs CONFIG_SECCOMP_FILTER)", errno)
	}
	_, err := helper.ID()
	return err
}

// ActionSupported reports whether the kernel knows an action (a name of
// KnownActions); seccomp(2), SECCOMP_GET_ACTION_AVAIL, Linux 4.14.
func ActionSupported(name string) bool {
	var ret uint32
	switch name {
	case "SCMP_ACT_ALLOW":
		ret = unix.SECCOMP_RET_ALLOW
	case "SCMP_ACT_ERRNO":
		ret = unix.SECCOMP_RET_ERRNO
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		ret = unix.SECCOMP_RET_KILL_THREAD
	case "SCMP_ACT_KILL_PROCESS":
		ret = unix.SECCOMP_RET_KILL_PROCESS
	case "SCMP_ACT_LOG":
		ret = unix.SECCOMP_RET_LOG
	case "SCMP_ACT_NOTIFY":
		ret = unix.SECCOMP_RET_USER_NOTIF
	case "SCMP_ACT_TRACE":
		ret = unix.SECCOMP_RET_TRACE
	case "SCMP_ACT_TRAP":
		ret = unix.SECCOMP_RET_TRAP
	default:
		return false
	}
	_, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&ret)))
	return errno == 0
}

// flagSupported asks the kernel about a filter flag.
func flagSupported(flag uint32) bool {
	if flag == unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
		flag |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER // EINVAL alone
	}
	return probe(flag) == syscall.EFAULT
}

// probe tries to load the filter at address 0: EFAULT when the kernel got as
// far as reading it, EINVAL when it does not know a flag, ENOSYS or EINVAL
// without seccomp filters.
func probe(flags uint32) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), 0)
	return errno
}
