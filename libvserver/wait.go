package libvserver

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exit is how a process ended.
type exit struct {
	code   int
	signal unix.Signal
}

// status is what a shell reports: the exit code, or 128 and the signal.
func (e exit) status() int {
	if e.signal != 0 {
		return 128 + int(e.signal)
	}
	return e.code
}

// siginfo is the part of siginfo_t that waitid(2) fills in.
type siginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
	_                  [100]byte
}

// waitExit waits for the end of a child and reaps it (waitid(2) with P_PIDFD, Linux 5.4).
func waitExit(pidfd int) (exit, error) {
	var info siginfo
	for {
		_, _, e := unix.Syscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(pidfd), uintptr(unsafe.Pointer(&info)), unix.WEXITED, 0, 0)
		switch e {
		case 0:
			const cldExited = 1
			if info.code == cldExited {
				return exit{code: int(info.status)}, nil
			}
			return exit{signal: unix.Signal(info.status)}, nil
		case unix.EINTR:
		default:
			return exit{}, os.NewSyscallError("waitid", e)
		}
	}
}
