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

const sizeofCloneArgs = unsafe.Sizeof(cloneArgs{})

// alive keeps the memory of children that share it: nothing tells when they are done with it but their execve.
var alive []*machine

// cloneAndExecute makes the child and runs the machine in it. Signals stay blocked in the child until the program
// restores the mask; CLONE_CLEAR_SIGHAND (Linux 5.5) takes Go's handlers away. beforeFork keeps the goroutine on its
// thread until afterFork.
//
// A shared child (CLONE_VM) runs in this process's memory, on a stack of its own, beside this process: no page table is
// copied and no page twice, a third of a millisecond of every launch. The kernel couples processes that share memory in
// two ways, for which a copy is the better choice, and the caller's: what oom_score_adj the one writes the other gets,
// and both are killed where one is chosen for lack of memory. A copy also serves where the kernel does not let a process
// that shares memory enter a time namespace (time_namespaces(7)).
func cloneAndExecute(m *machine, args *cloneArgs, share bool) (pid int, errno syscall.Errno) {
	return cloneJoined(m, args, share, &joinArgs{pidns: -1, self: -1, mounts: -1, cwd: -1})
}

// joinArgs are for a child in the pid namespace of another process: pidns is a pidfd of that one, self one of this
// process, by which its thread comes back. errno says why it could not be joined.
//
// Those in that namespace see the child from its birth on, and the kernel shows them the mounts that it sees
// (/proc/PID/mountinfo) without asking for any privilege. So the child is born in the other's mount namespace, too, where
// mounts is set: mounts is this thread's own mount namespace, cwd its working directory; else both are -1.
type joinArgs struct {
	pidns, self int
	mounts, cwd int
	errno       syscall.Errno
}

//go:nosplit
//go:norace
func (j *joinArgs) enter() bool {
	if j.pidns < 0 {
		return true
	}
	ns := uintptr(unix.CLONE_NEWPID)
	if j.mounts >= 0 {
		ns |= unix.CLONE_NEWNS
		// A thread can't change it while it shares its root directory with others (setns(2)).
		_, _, j.errno = syscall.RawSyscall6(unix.SYS_UNSHARE, unix.CLONE_FS, 0, 0, 0, 0, 0)
	}
	if j.errno == 0 {
		_, _, j.errno = syscall.RawSyscall6(unix.SYS_SETNS, uintptr(j.pidns), ns, 0, 0, 0, 0)
	}
	return j.errno == 0
}

//go:nosplit
//go:norace
func (j *joinArgs) leave() {
	if j.pidns < 0 || j.errno != 0 {
		return
	}
	syscall.RawSyscall6(unix.SYS_SETNS, uintptr(j.self), unix.CLONE_NEWPID, 0, 0, 0, 0)
	if j.mounts < 0 {
		return
	}
	_, _, e := syscall.RawSyscall6(unix.SYS_SETNS, uintptr(j.mounts), unix.CLONE_NEWNS, 0, 0, 0, 0)
	if e == 0 {
		_, _, e = syscall.RawSyscall6(unix.SYS_FCHDIR, uintptr(j.cwd), 0, 0, 0, 0, 0)
	}
	if e != 0 {
		exit() // this thread would take the container's files for the host's
	}
}

// cloneJoined is cloneAndExecute for a child in another pid namespace.
//
//go:norace
//go:noinline
func cloneJoined(m *machine, args *cloneArgs, share bool, join *joinArgs) (pid int, errno syscall.Errno) {
	if share && canShare {
		shareStack(m, args)
		f := execute
		pc := **(**uintptr)(unsafe.Pointer(&f))
		beforeFork()
		var r uintptr
		if join.enter() {
			r = cloneShared(args, unsafe.Sizeof(*args), pc, unsafe.Pointer(m))
			join.leave()
		}
		afterFork()
		if n := int(r); n < 0 {
			return 0, syscall.Errno(-n)
		}
		return int(r), 0
	}
	var r uintptr
	var e syscall.Errno
	beforeFork()
	if join.enter() {
		r, _, e = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0, 0, 0, 0)
		if e == 0 && r == 0 {
			execute(m)
		}
		join.leave()
	}
	afterFork()
	runtime.KeepAlive(m)
	return int(r), e
}

// shareStack readies a clone that shares memory.
func shareStack(m *machine, args *cloneArgs) {
	alive = append(alive, m)
	m.stack = make([]byte, childStack)
	args.flags |= unix.CLONE_VM
	args.stack, args.stackSize = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.stack)))), childStack
}

// childStack is the size of the stack that a sharing child runs on, in bytes. The linker bounds what nosplit functions
// use to some 800 bytes.
const childStack = 16 << 10
