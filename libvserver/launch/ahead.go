package launch

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// Ahead is a thread of the runtime that goes ahead into a new network namespace, where the container's process will be
// cloned. To make one takes the kernel half a millisecond, a tenth of a launch, which goes by beside the planning of the
// launch and the making of the cgroup if there is a second CPU. It is made, as crun's are, before the container's cgroup
// is joined: what memory of the kernel's it takes counts as the caller's.
type Ahead struct {
	flags  atomic.Uintptr               // where it is to go
	up     uint32                       // 1: lo is
	failed bool                         // the thread is still where it was
	work   atomic.Pointer[func() error] // what it is to do there
	closed bool
	word   chan struct{} // flags or work is set, or there will be none
	done   chan error
}

// nowhere tells the thread to end.
const nowhere = ^uintptr(0)

// NewAhead starts the thread: on a CPU that has gone to sleep that takes a tenth of a millisecond. It returns nil where a
// thread gains nothing: on a single CPU.
func NewAhead() *Ahead {
	if runtime.GOMAXPROCS(0) < 2 {
		return nil
	}
	a := &Ahead{word: make(chan struct{}, 2), done: make(chan error, 1)}
	go a.run()
	return a
}

// Go sends it into new namespaces of these kinds (CLONE_NEWNET).
func (a *Ahead) Go(flags uintptr) {
	if a != nil {
		a.flags.Store(flags)
		a.word <- struct{}{}
	}
}

// run never unlocks the thread: it ends with its goroutine, and with it the namespace, if nobody else is in there.
func (a *Ahead) run() {
	runtime.LockOSThread()
	for n := 0; a.flags.Load() == 0; n++ {
		if !a.look(n) {
			return
		}
	}
	flags := a.flags.Load()
	if flags == nowhere {
		return
	}
	_, _, e := syscall.RawSyscall6(unix.SYS_UNSHARE, flags, 0, 0, 0, 0, 0)
	if a.failed = e != 0; !a.failed && setLoopbackUp() {
		a.up = 1
	}
	for n := 0; a.work.Load() == nil; n++ {
		if !a.look(n) {
			return
		}
	}
	a.done <- (*a.work.Load())()
}

// look passes the time of the n-th look for something that is not there yet: see pass. It is false if nothing will come.
func (a *Ahead) look(n int) bool {
	if n < looks {
		syscall.RawSyscall6(unix.SYS_SCHED_YIELD, 0, 0, 0, 0, 0, 0)
		return true
	}
	_, ok := <-a.word
	return ok
}

// do has f done by that thread, there or, if it could not go, where it is. The caller sleeps meanwhile, and leaves its CPU
// to the process that f clones.
func (a *Ahead) do(f func() error) error {
	a.work.Store(&f)
	a.word <- struct{}{}
	return <-a.done
}

// Close lets the thread go if nothing was done by it. After that Go is not to be called.
func (a *Ahead) Close() {
	if a != nil && a.work.Load() == nil && !a.closed {
		a.closed = true
		a.flags.CompareAndSwap(0, nowhere)
		close(a.word)
	}
}

// serves tells if the plan's process can be cloned by that thread: its network namespace is a new one of the caller's user
// namespace.
func (a *Ahead) serves(pl *plan.Plan) bool {
	if a == nil || a.closed || a.flags.Load() == 0 || enters(pl) || pl.Clone.Has(unix.CLONE_NEWUSER) || pl.Clone.Joins(unix.CLONE_NEWUSER) {
		return false
	}
	for _, n := range pl.Clone.New {
		if n.Flag == unix.CLONE_NEWNET {
			return !n.Inside
		}
	}
	return false
}

// setLoopbackUp sets lo up in the thread's network namespace.
func setLoopbackUp() bool {
	s, _, e := syscall.RawSyscall6(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0, 0, 0, 0)
	if e != 0 {
		return false
	}
	r := ifreq{flags: unix.IFF_UP}
	copy(r.name[:], "lo")
	_, _, e = syscall.RawSyscall6(unix.SYS_IOCTL, s, unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&r)), 0, 0, 0)
	syscall.RawSyscall6(unix.SYS_CLOSE, s, 0, 0, 0, 0, 0)
	return e == 0
}
