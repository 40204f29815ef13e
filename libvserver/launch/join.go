package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// RunIn starts a program in the namespaces of another process (setns(2) with a pidfd, Linux 5.8): hooks that run in the
// container. ns are the CLONE_NEW* flags of the namespaces to enter. The program's standard input is in, both its outputs
// are out; it inherits nothing else. It begins in dir, if that can be entered there, else in /. apart is Target.Traced. The
// error of a failed execve(2) is returned.
func RunIn(pidfd int, ns uintptr, apart bool, dir, path string, args, env []string, in, out int) (pid int, err error) {
	pid, err = runIn(pidfd, ns, apart, dir, path, args, env, in, out)
	if err == errPrivileges && ns&unix.CLONE_NEWUSER != 0 {
		pid, err = runIn(pidfd, ns, true, dir, path, args, env, in, out)
	}
	return pid, err
}

// errPrivileges: only a process that has joined the user namespace may join the pid namespace.
var errPrivileges = errors.New("join the container's pid namespace: setns: operation not permitted")

// runIn joins the pid namespace in the child, which then goes on in one of its own, if pidInside is set; else on the thread
// that clones it.
func runIn(pidfd int, ns uintptr, pidInside bool, dir, path string, args, env []string, in, out int) (pid int, err error) {
	p := &Program{}
	c := &compiler{Program: p, d: &Descriptors{}}
	if err := sigmask(&c.d.SignalMask); err != nil {
		return 0, os.NewSyscallError("rt_sigprocmask", err)
	}
	p.steps = []plan.Step{plan.Exec{Origin: plan.Default, Args: []string{path}}}
	// Others in the container shall find nothing of the host's in this process while it joins: neither in its memory nor, as
	// far as they may trace it, in its descriptors (CVE-2016-9962). It is born so, if it can be; see below.
	c.prctl("PR_SET_DUMPABLE", unix.PR_SET_DUMPABLE, 0)
	if pidInside {
		c.forget()
	}
	for i, fd := range [...]int{in, out, out} {
		c.call(unix.SYS_DUP3, "dup", val(fd), val(i), val(0))
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socketpair", err)
	}
	c.closeFrom(3, 0, pidfd, pair[1])
	rest := ns
	if !pidInside {
		rest &^= unix.CLONE_NEWPID
	}
	if rest != 0 {
		c.call(unix.SYS_SETNS, "join the container's namespaces", val(pidfd), val(rest))
	}
	if ns&unix.CLONE_NEWUSER != 0 {
		c.ignore(c.call(unix.SYS_SETGROUPS, "setgroups", val(0), val(0)), unix.EPERM)
		c.call(unix.SYS_SETRESGID, "setresgid", val(0), val(0), val(0))
		c.call(unix.SYS_SETRESUID, "setresuid", val(0), val(0), val(0))
	}
	c.ignore(c.call(unix.SYS_CHDIR, "chdir", val(c.cstring(dir))), unix.EACCES, unix.ENOENT)
	if pidInside && ns&unix.CLONE_NEWPID != 0 {
		c.fork()
	}
	c.call(unix.SYS_CLOSE_RANGE, "close_range", val(3), val(uint32(0xffffffff)), val(unix.CLOSE_RANGE_CLOEXEC))
	argv, envp := c.vector(args), c.vector(env)
	c.restoreSignals()
	c.call(unix.SYS_EXECVE, "", val(c.cstring(path)), val(uintptr(unsafe.Pointer(&argv[0]))), val(uintptr(unsafe.Pointer(&envp[0]))))

	if fault.On {
		faultAtInsn(p, "hook")
	}
	m := &machine{code: p.code, slot: make([]uintptr, p.slots), reports: uintptr(pair[1])}
	proc := &Process{PIDFD: -1, reports: pair[0], prog: p}
	defer proc.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: see Process.clone
		if ns&unix.CLONE_NEWPID != 0 && !pidInside {
			if err := unix.Setns(pidfd, unix.CLONE_NEWPID); err != nil {
				if err == unix.EPERM {
					done <- errPrivileges
					return
				}
				done <- fmt.Errorf("join the container's pid namespace: setns: %w", err)
				return
			}
		}
		var errno unix.Errno
		args := &cloneArgs{flags: unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
		// Without privileges it can't be: the process to join may share this one's memory, and must be open to it.
		if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && dumpable == 1 && os.Geteuid() == 0 {
			_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
			defer func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }()
		}
		if proc.PID, errno = cloneAndExecute(m, args, false); errno != 0 {
			done <- os.NewSyscallError("clone3", errno)
			return
		}
		done <- nil
	}()
	err = <-done
	unix.Close(pair[1])
	runtime.KeepAlive(p)
	if err != nil {
		return 0, err
	}
	_, err = proc.Next()
	if proc.PIDFD >= 0 {
		unix.Close(proc.PIDFD)
	}
	if err != io.EOF {
		_, _ = unix.Wait4(proc.PID, nil, 0, nil)
		return 0, err
	}
	return proc.PID, nil
}
