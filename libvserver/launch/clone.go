package launch

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

// cloneArgs is struct clone_args of clone3(2), version 2 (Linux 5.7).
type cloneArgs struct {
	flags      uint64
	pidfd      uint64
	childTID   uint64
	parentTID  uint64
	exitSignal uint64
	stack      uint64
	stackSize  uint64
	tls        uint64
	setTID     uint64
	setTIDSize uint64
	cgroup     uint64
}

// cloneAndExecute makes the child and runs the machine in it. Signals stay blocked in the child until the program
// restores the mask; CLONE_CLEAR_SIGHAND (Linux 5.5) takes Go's handlers away. The calling goroutine must be locked to
// its thread.
//
//go:norace
//go:noinline
func cloneAndExecute(m *machine, args *cloneArgs) (pid int, errno syscall.Errno) {
	beforeFork()
	r, _, e := syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0, 0, 0, 0)
	if e == 0 && r == 0 {
		execute(m)
	}
	afterFork()
	runtime.KeepAlive(m)
	return int(r), e
}
