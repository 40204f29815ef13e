package launch

import (
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ahead is a process in new namespaces, from which a container's process is cloned.
//
// The kernel takes half a millisecond to make them, most of it for the network namespace. It is at that on another CPU
// while the runtime plans the launch, and the container's process is in them from its birth. The process ahead has the
// runtime's memory and descriptors, and ends with the clone. The other one is not its child, but the runtime's
// (CLONE_PARENT).
type Ahead struct {
	flags uintptr
	pid   int
	a     *ahead
	asked bool
}

// ahead is the memory that both look at.
type ahead struct {
	flags  uintptr
	parent uintptr
	stack  []byte
	made   uint32 // the outcome of unshare(2), see meet
	order  uint32 // carry out clone, or end
	born   uint32 // the outcome of clone3(2)
	errno  uint32
	share  bool
	m      *machine
	args   *cloneArgs
	fn     uintptr
	child  uintptr
}

// What the words of ahead say; 0 is nothing yet.
const (
	said = 1 + iota
	sleeper
	giveUp
)

// MakeAhead begins to make namespaces (CLONE_NEW* flags). It returns nil where no such process can be. Close is to be
// called in the end.
func MakeAhead(flags uintptr) *Ahead {
	if !canShare {
		return nil
	}
	a := &ahead{flags: flags, parent: uintptr(os.Getpid()), stack: make([]byte, childStack)}
	args := &cloneArgs{flags: unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_FS | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD),
		stack: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(a.stack)))), stackSize: childStack}
	f := goAhead
	pc := **(**uintptr)(unsafe.Pointer(&f))
	beforeFork()
	r := cloneShared(args, unsafe.Sizeof(*args), pc, unsafe.Pointer(a))
	afterFork()
	if int(r) < 0 {
		return nil
	}
	return &Ahead{flags: flags, pid: int(r), a: a}
}

// ready waits for the namespaces, and tells if they could be made.
func (h *Ahead) ready() bool { return h.hear(&h.a.made) && h.a.errno == 0 }

// clone has the container's process cloned.
func (h *Ahead) clone(m *machine, args *cloneArgs, share bool) (pid int, errno syscall.Errno) {
	a := h.a
	a.m, a.args, a.share = m, args, share
	if share {
		shareStack(m, args)
		f := execute
		a.fn = **(**uintptr)(unsafe.Pointer(&f))
	}
	args.flags |= unix.CLONE_PARENT // with which the signal is that of the process ahead
	args.exitSignal = 0
	h.asked = true
	say(&a.order, said)
	if !h.hear(&a.born) {
		return 0, syscall.ESRCH
	}
	return int(a.child), syscall.Errno(a.errno)
}

// Close ends the process, if it has not done what it is there for, and reaps it.
func (h *Ahead) Close() {
	if !h.asked {
		say(&h.a.order, giveUp)
	}
	for {
		if _, err := unix.Wait4(h.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// hear waits for a word; false if the process is gone without it.
func (h *Ahead) hear(word *uint32) bool {
	for range looks {
		if atomic.LoadUint32(word) == said {
			return true
		}
		unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
	for atomic.CompareAndSwapUint32(word, 0, sleeper) || atomic.LoadUint32(word) == sleeper {
		tick := unix.Timespec{Nsec: 100e6}
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, sleeper, uintptr(unsafe.Pointer(&tick)), 0, 0)
		if atomic.LoadUint32(word) == sleeper && unix.Kill(h.pid, 0) != nil {
			return false
		}
		var info unix.Siginfo
		if unix.Waitid(unix.P_PID, h.pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil && info.Signo != 0 {
			return atomic.LoadUint32(word) == said
		}
	}
	return true
}

// Operations of futex(2) with FUTEX_PRIVATE_FLAG.
const (
	futexWait = 0 | 128
	futexWake = 1 | 128
)

// say puts down a word, and wakes who sleeps for it.
//
//go:nosplit
//go:norace
//go:noinline
func say(word *uint32, what uint32) {
	if atomic.SwapUint32(word, what) == sleeper {
		syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0)
	}
}

// goAhead is the process ahead. It keeps to the rules of execute.
//
//go:nosplit
//go:norace
//go:noinline
func goAhead(a *ahead) {
	// It is of no use without the runtime, which may be gone already.
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	if r, _, _ := syscall.RawSyscall6(unix.SYS_GETPPID, 0, 0, 0, 0, 0, 0); r != a.parent {
		exit()
	}
	_, _, e := syscall.RawSyscall6(unix.SYS_UNSHARE, a.flags, 0, 0, 0, 0, 0)
	a.errno = uint32(e)
	say(&a.made, said)
	if e != 0 {
		exit()
	}
	for range looks {
		if atomic.LoadUint32(&a.order) != 0 {
			break
		}
		syscall.RawSyscall6(unix.SYS_SCHED_YIELD, 0, 0, 0, 0, 0, 0)
	}
	for atomic.CompareAndSwapUint32(&a.order, 0, sleeper) || atomic.LoadUint32(&a.order) == sleeper {
		syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&a.order)), futexWait, sleeper, 0, 0, 0)
	}
	if atomic.LoadUint32(&a.order) != said {
		exit()
	}
	var r uintptr
	if a.share {
		r = cloneShared(a.args, sizeofCloneArgs, a.fn, unsafe.Pointer(a.m))
	} else {
		r, _, e = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(a.args)), sizeofCloneArgs, 0, 0, 0, 0)
		if e == 0 && r == 0 {
			execute(a.m)
		}
		if e != 0 {
			r = -uintptr(e)
		}
	}
	if int(r) < 0 {
		a.errno, r = uint32(-int(r)), 0
	}
	a.child = r
	say(&a.born, said)
	exit()
}
