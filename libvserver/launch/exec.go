package launch

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// Target is the running container that a process joins.
type Target struct {
	// Init is a pidfd of the container's first process.
	Init int
	// Root is its root directory, -1 where the mount namespace brings it.
	Root int
	// Namespaces are those to join, as CLONE_NEW* flags.
	Namespaces uintptr
	// Unprivileged: the runtime has privileges in the container's user namespace alone, so that its thread can't join the
	// pid namespace beforehand.
	Unprivileged bool
	// Traced: processes of the container may trace all that they see (CAP_SYS_PTRACE). The new one is born among them when
	// it has nothing of the host's any more, neither root nor descriptors.
	Traced bool
}

// inside tells if the child, not the runtime's thread, joins the pid namespace.
func (t *Target) inside() bool { return t.Unprivileged || t.Traced }

// ahead are the namespaces that the child is born in.
func (t *Target) ahead() uintptr {
	if t.inside() || t.Namespaces&unix.CLONE_NEWPID == 0 {
		return 0
	}
	return t.Namespaces & (unix.CLONE_NEWPID | unix.CLONE_NEWNS)
}

// prepare opens what it takes to come back from the namespaces that the child is born in.
func (j *joinArgs) prepare(t *Target) (err error) {
	ns := t.ahead()
	if ns == 0 {
		return nil
	}
	j.pidns = t.Init
	if j.self, err = unix.PidfdOpen(os.Getpid(), 0); err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	if ns&unix.CLONE_NEWNS == 0 {
		return nil
	}
	// All threads are in one mount namespace so far.
	if j.mounts, err = unix.Open("/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: "/proc/self/ns/mnt", Err: err}
	}
	if j.cwd, err = unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: ".", Err: err}
	}
	return nil
}

func (j *joinArgs) close() {
	for _, fd := range [...]int{j.self, j.mounts, j.cwd} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Join clones a child that carries out a plan of plan.BuildExec in the container t. Of the options it takes those that
// concern an exec; what fails for the cgroup is a *CloneError.
func Join(pl *plan.Plan, o *Options, t *Target) (*Process, error) {
	d := &Descriptors{Console: o.Console, CgroupTasks: o.CgroupTasks, Listener: -1, Close: o.Close, Stdio: o.Stdio,
		Init: t.Init, Root: t.Root, PIDInside: t.inside(), Joined: t.ahead()}
	defer d.close()
	if err := d.open(pl); err != nil {
		return nil, err
	}
	reports, err := d.talk()
	if err != nil {
		return nil, err
	}
	defer unix.Close(d.Reports)
	c := newCompiler(pl.Steps, d)
	for i, fd := range o.Stdio {
		c.call(unix.SYS_DUP3, "dup", val(fd), val(i), val(0))
	}
	p := &Process{PIDFD: -1, reports: reports, prog: c.Program, m: &machine{reports: uintptr(d.Reports)}}
	if err = c.plan(); err == nil {
		p.publish()
		err = p.join(pl, o, t)
	}
	if err != nil {
		unix.Close(reports)
		return nil, err
	}
	return p, nil
}

func (p *Process) join(pl *plan.Plan, o *Options, t *Target) (err error) {
	args := &cloneArgs{flags: unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	args.pidfd = uint64(uintptr(unsafe.Pointer(&p.m.pidfd)))
	if o.CgroupFD >= 0 {
		args.flags |= cloneIntoCgroup
		args.cgroup = uint64(o.CgroupFD)
	}
	if o.Trace {
		if err := p.prog.trace(p.m); err != nil {
			return err
		}
	}
	in := joinArgs{pidns: -1, self: -1, mounts: -1, cwd: -1}
	defer in.close()
	if err := in.prepare(t); err != nil {
		return err
	}
	// A child that shares memory may not enter a time namespace, nor fork in it.
	share := o.Share && !o.Trace && !t.inside() && t.Namespaces&unix.CLONE_NEWTIME == 0
	do := func() error {
		if !t.Unprivileged {
			// The child is born as a process that can't be traced. Without privileges that would take /proc/self from it. The
			// runtime stays one, too, while a container's process has its memory (the hooks of a `run`).
			was, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
			_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
			if !share && err == nil && was == 1 {
				defer func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }()
			}
		}
		pid, errno := cloneJoined(p.m, args, share, &in)
		switch {
		case in.errno != 0:
			return fmt.Errorf("join the container's pid and mount namespace: setns: %w", in.errno)
		case errno != 0:
			return &CloneError{Clone: pl.Clone, Errno: errno}
		}
		p.PID, p.PIDFD = pid, int(p.m.pidfd)
		return nil
	}
	if pl.Affinity == nil {
		err = do()
	} else {
		// The child inherits the CPUs of the thread that clones it. The thread ends with its goroutine.
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			if _, _, e := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(8*len(pl.Affinity)), uintptr(unsafe.Pointer(&pl.Affinity[0]))); e != 0 {
				done <- fmt.Errorf("process.execCPUAffinity.initial: sched_setaffinity: %w", e)
				return
			}
			done <- do()
		}()
		err = <-done
	}
	runtime.KeepAlive(p.prog)
	return err
}

// forked takes the process that a child has gone on in for the child.
func (p *Process) forked(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	// A child that is traced says what its tracer wants: no process but one of this one's children is taken for it.
	if err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		unix.Close(fd)
		return fmt.Errorf("process %d, in which the child says to have gone on: %w", pid, os.NewSyscallError("waitid", err))
	}
	_, err = unix.Wait4(p.PID, nil, 0, nil)
	unix.Close(p.PIDFD)
	p.PID, p.PIDFD = pid, fd
	return os.NewSyscallError("wait4", err)
}
