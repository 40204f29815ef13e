//go:build amd64 || arm64

package forward

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the handler reads and writes: the process to send to, -1 before there is one, and the signals that came before.
var (
	target  int32 = -1
	pending uint64
)

func handlerPC() uintptr
func restorerPC() uintptr

// action is the kernel's struct sigaction.
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	saRestart  = 0x10000000
	saOnStack  = 0x08000000
	saRestorer = 0x04000000
	sigIgnore  = 1
)

// Start takes the signals over. Until To is called they wait. Signals in except are left alone.
func Start(except ...unix.Signal) error {
	// What is waited for needs no handler, and Go's would be run before anything else at the end of the container. Nor may
	// it be ignored: then the kernel would reap the process (wait(2)).
	var byDefault action
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0); e != 0 {
		return os.NewSyscallError("rt_sigaction", e)
	}
	act := action{handler: handlerPC(), flags: saRestart | saOnStack | saRestorer, restorer: restorerPC(), mask: ^uint64(0)}
next:
	for s := unix.Signal(1); s <= lastSignal; s++ {
		if !forwarded(s) {
			continue
		}
		for _, e := range except {
			if s == e {
				continue next
			}
		}
		var old action
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0); e != 0 || old.handler == sigIgnore {
			continue
		}
		if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0); e != 0 {
			return os.NewSyscallError("rt_sigaction", e)
		}
	}
	return nil
}

// To sends what has come so far, and all that comes from now on, to a process.
func To(pidfd int) {
	atomic.StoreInt32(&target, int32(pidfd))
	set := atomic.SwapUint64(&pending, 0)
	for s := unix.Signal(1); set != 0 && s <= lastSignal; s++ {
		if set&(1<<(s-1)) != 0 {
			_ = unix.PidfdSendSignal(pidfd, s, nil, 0)
		}
	}
}
