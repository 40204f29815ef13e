package faults

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// canTrace: this architecture's registers are known to inject.
const canTrace = true

// syscallAt is a system call of a traced process: the n-th of its number,
// counted from 1, in all of its threads together.
type syscallAt struct {
	nr, n int
}

func (s syscallAt) String() string { return fmt.Sprintf("%s#%d", syscallName(s.nr), s.n) }

// injection is what happens at a system call: the process is killed before it
// is carried out, or it is not carried out and fails.
type injection struct {
	at     syscallAt
	errno  unix.Errno // 0: SIGKILL
	helper bool       // it is the helper's call
}

func (i injection) String() string {
	what := i.at.String()
	if i.helper {
		what = "the helper's " + what
	}
	if i.errno == 0 {
		return what + " killed"
	}
	return what + " " + unix.ErrnoName(i.errno)
}

// tracer runs a program's own threads under ptrace(2), but none of the
// processes that it makes, save for its helper where helpers is set. The calls
// of all helpers are counted together.
type tracer struct {
	inject  *injection
	helpers bool
	calls   []syscallAt           // in their order
	forked  bool                  // it has started a program by Go's own means
	awaits  map[syscallAt]bool    // the calls by which Go waits for the execve of such a program
	helped  []syscallAt           // those of helpers
	paths   map[tracedCall]uint64 // if not nil, which path through the code leads to each of calls and helped
	pid     int
	count   map[callOf]int
	inside  map[int]bool // threads in a system call
	fail    map[int]unix.Errno
	done    bool        // the injection has been made: no call needs to be seen any more
	group   map[int]int // of each thread
	helper  map[int]bool
}

// tracedCall is a call of the runtime's, or of its helpers.
type tracedCall struct {
	helper bool
	syscallAt
}

type callOf struct {
	helper bool
	nr     int
}

// run is harness.Runtime.Run for a traced call: of c it takes path, arguments,
// environment and standard input.
func (t *tracer) run(c harness.Call) (harness.Result, error) {
	runtime.LockOSThread() // all of ptrace is the starting thread's
	defer runtime.UnlockOSThread()
	defer onOneCPU()()
	t.count, t.inside, t.fail = map[callOf]int{}, map[int]bool{}, map[int]unix.Errno{}
	t.group, t.helper = map[int]int{}, map[int]bool{}
	out, err := os.CreateTemp("", "traced")
	if err != nil {
		return harness.Result{}, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = c.Env, c.Stdin, out, out, c.Extra
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return harness.Result{}, err
	}
	defer func() { _ = cmd.Process.Release() }()
	pid := cmd.Process.Pid
	late := time.AfterFunc(60*time.Second, func() { _ = unix.Kill(pid, unix.SIGKILL) })
	begin := time.Now()
	code, err := t.loop(pid)
	res := harness.Result{Code: code, Duration: time.Since(begin), TimedOut: !late.Stop()}
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return res, err
	}
	b, err := os.ReadFile(out.Name())
	res.Stderr = string(b)
	if res.TimedOut {
		err = fmt.Errorf("%v: still running after a minute; output: %s", c.Args, b)
	}
	return res, err
}

// onOneCPU keeps this thread, and what it starts, on one processor: it and what it traces take turns, and need not wake each other
// on another one. The function that it returns lets the thread go again.
func onOneCPU() func() {
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil {
		return func() {}
	}
	var cpu uint32
	_, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	one.Set(int(cpu))
	if errno != 0 || unix.SchedSetaffinity(0, &one) != nil {
		return func() {}
	}
	return func() { _ = unix.SchedSetaffinity(0, &all) }
}

func (t *tracer) loop(pid int) (int, error) {
	code, err := t.follow(pid)
	if !t.helpers {
		return code, err
	}
	// A helper that is not waited for goes on under ptrace, and must not stop there for ever.
	end := time.Now().Add(10 * time.Second)
	var ws unix.WaitStatus
	for {
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD|unix.WNOHANG, nil)
		switch {
		case err == unix.ECHILD:
			return code, nil
		case tid > 0 && ws.Stopped():
			t.stopped(tid, ws)
		case err == nil && tid == 0:
			if time.Now().After(end) {
				for h := range t.helper {
					_ = unix.Kill(h, unix.SIGKILL)
				}
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// groupOf is the process that a thread belongs to.
func (t *tracer) groupOf(tid int) int {
	if g, ok := t.group[tid]; ok {
		return g
	}
	g := 0
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid)); err == nil {
		if _, rest, ok := strings.Cut(string(b), "\nTgid:"); ok {
			_, _ = fmt.Sscan(rest, &g)
		}
	}
	if g != 0 {
		t.group[tid] = g
	}
	return g
}

func (t *tracer) follow(pid int) (int, error) {
	var ws unix.WaitStatus
	t.pid = pid
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
		return 0, os.NewSyscallError("wait4", err)
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if t.helpers {
		options |= unix.PTRACE_O_TRACEVFORK // as Go starts programs; the container's process is made otherwise
	}
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		return 0, os.NewSyscallError("ptrace(PTRACE_SETOPTIONS)", err)
	}
	if err := unix.PtraceSyscall(pid, 0); err != nil {
		return 0, os.NewSyscallError("ptrace(PTRACE_SYSCALL)", err)
	}
	for {
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case ws.Exited() && tid == pid:
			return ws.ExitStatus(), nil
		case ws.Signaled() && tid == pid:
			return 128 + int(ws.Signal()), nil
		case !ws.Stopped():
			continue // another thread's end
		}
		t.stopped(tid, ws)
	}
}

// stopped lets a thread go on that has stopped.
func (t *tracer) stopped(tid int, ws unix.WaitStatus) {
	group := t.groupOf(tid)
	own := group == t.pid
	signal := 0
	switch sig := ws.StopSignal(); {
	case sig == unix.SIGTRAP|0x80:
		if !t.syscall(tid, !own) {
			_ = unix.Kill(group, unix.SIGKILL)
			return
		}
	case sig == unix.SIGTRAP && ws.TrapCause() > 0: // a clone or execve
		if ws.TrapCause() != unix.PTRACE_EVENT_EXEC {
			break
		}
		if !own && !t.helper[group] {
			exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", tid))
			if !strings.Contains(exe, "vsrun-helper") { // a hook, CRIU, ...
				_ = unix.PtraceDetach(tid)
				return
			}
			t.helper[group] = true
		}
		if own {
			t.inside = map[int]bool{}
		}
		t.inside[tid] = true // it is about to leave execve
	case sig == unix.SIGSTOP: // a new thread's first
	default:
		signal = int(sig)
	}
	if t.done || !own && !t.helper[group] { // it is about to execute something
		_ = unix.PtraceCont(tid, signal)
		return
	}
	_ = unix.PtraceSyscall(tid, signal) // it may be gone
}

// syscall handles the entry or the exit of a system call; false means that the
// process is to die.
func (t *tracer) syscall(tid int, helper bool) bool {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &regs) != nil {
		return true
	}
	if t.inside[tid] {
		t.inside[tid] = false
		if errno, ok := t.fail[tid]; ok {
			delete(t.fail, tid)
			t.done = true
			regs.Rax = uint64(-int64(errno))
			_ = unix.PtraceSetRegs(tid, &regs)
		}
		return true
	}
	t.inside[tid] = true
	nr := int(regs.Orig_rax)
	if nr == unix.SYS_CLONE && regs.Rdi&unix.CLONE_VFORK != 0 {
		t.forked = true
	}
	if ofGo(nr) {
		return true
	}
	t.count[callOf{helper, nr}]++
	at := syscallAt{nr, t.count[callOf{helper, nr}]}
	if helper {
		t.helped = append(t.helped, at)
	} else {
		t.calls = append(t.calls, at)
		if t.forked && nr == unix.SYS_READ && regs.Rdx == 8 && t.awaits != nil {
			t.awaits[at] = true
		}
	}
	if t.paths != nil {
		t.paths[tracedCall{helper, at}] = pathOf(tid, &regs, helper)
	}
	if t.inject == nil || t.inject.at != at || t.inject.helper != helper {
		return true
	}
	if t.inject.errno == 0 {
		return false
	}
	regs.Orig_rax = ^uint64(0) // none: the kernel answers ENOSYS, which the exit replaces
	t.fail[tid] = t.inject.errno
	_ = unix.PtraceSetRegs(tid, &regs)
	return true
}

// ofGo are the calls that Go's own machinery makes when it likes. They change
// nothing that outlives the process.
func ofGo(nr int) bool {
	switch nr {
	case unix.SYS_FUTEX, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_RT_SIGACTION,
		unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_CLONE, unix.SYS_SCHED_YIELD,
		unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_TGKILL, unix.SYS_EPOLL_PWAIT,
		unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_CREATE1, unix.SYS_EVENTFD2, unix.SYS_ARCH_PRCTL, unix.SYS_SCHED_GETAFFINITY,
		unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_PRLIMIT64, unix.SYS_SET_ROBUST_LIST,
		unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS, unix.SYS_GETRANDOM, unix.SYS_PRCTL, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_MINCORE:
		return true
	}
	return false
}

var syscallNames = map[int]string{
	unix.SYS_READ: "read", unix.SYS_WRITE: "write", unix.SYS_CLOSE: "close", unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2",
	unix.SYS_FSTAT: "fstat", unix.SYS_NEWFSTATAT: "newfstatat", unix.SYS_FSTATFS: "fstatfs", unix.SYS_STATFS: "statfs",
	unix.SYS_FCNTL: "fcntl", unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKDIR: "mkdir", unix.SYS_RMDIR: "rmdir", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_FLOCK: "flock", unix.SYS_LSEEK: "lseek",
	unix.SYS_GETDENTS64: "getdents64", unix.SYS_SOCKET: "socket", unix.SYS_SOCKETPAIR: "socketpair", unix.SYS_BIND: "bind",
	unix.SYS_LISTEN: "listen", unix.SYS_CONNECT: "connect", unix.SYS_SENDMSG: "sendmsg", unix.SYS_RECVMSG: "recvmsg",
	unix.SYS_CLONE3: "clone3", unix.SYS_WAIT4: "wait4", unix.SYS_WAITID: "waitid", unix.SYS_PIDFD_OPEN: "pidfd_open",
	unix.SYS_PIDFD_SEND_SIGNAL: "pidfd_send_signal", unix.SYS_KILL: "kill", unix.SYS_POLL: "poll", unix.SYS_PPOLL: "ppoll",
	unix.SYS_FACCESSAT: "faccessat", unix.SYS_FACCESSAT2: "faccessat2", unix.SYS_ACCESS: "access", unix.SYS_READLINKAT: "readlinkat",
	unix.SYS_OPEN_TREE: "open_tree", unix.SYS_MOUNT_SETATTR: "mount_setattr", unix.SYS_UMOUNT2: "umount2", unix.SYS_SETNS: "setns",
	unix.SYS_UNSHARE: "unshare", unix.SYS_BPF: "bpf", unix.SYS_MEMFD_CREATE: "memfd_create", unix.SYS_IOCTL: "ioctl",
	unix.SYS_DUP3: "dup3", unix.SYS_PIPE2: "pipe2", unix.SYS_STATX: "statx", unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHMODAT: "fchmodat",
	unix.SYS_PREAD64: "pread64", unix.SYS_PWRITE64: "pwrite64", unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_SENDTO: "sendto",
	unix.SYS_RECVFROM: "recvfrom", unix.SYS_GETCWD: "getcwd", unix.SYS_GETSOCKOPT: "getsockopt", unix.SYS_SETSOCKOPT: "setsockopt",
	unix.SYS_FSYNC: "fsync", unix.SYS_CHMOD: "chmod", unix.SYS_GETEUID: "geteuid", unix.SYS_CHDIR: "chdir", unix.SYS_FCHOWN: "fchown",
	unix.SYS_OPEN: "open", unix.SYS_LINKAT: "linkat", unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_SYMLINK: "symlink", unix.SYS_PIDFD_GETFD: "pidfd_getfd", unix.SYS_UMASK: "umask", unix.SYS_FCHOWNAT: "fchownat",
}

func syscallName(nr int) string {
	if s := syscallNames[nr]; s != "" {
		return s
	}
	return fmt.Sprintf("syscall %d", nr)
}
