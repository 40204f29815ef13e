package launch

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// Process is a launched child, from the clone until its program runs.
type Process struct {
	PID     int
	PIDFD   int // close-on-exec; -1 on kernels that gave none
	reports int
	prog    *Program
	c       *compiler // until Load
	shared  bool      // the child shares memory
	m       *machine
}

// Options say how a plan is carried out.
type Options struct {
	// CgroupFD is a directory of the cgroup2 filesystem to clone into, -1 for none (Linux 5.7).
	CgroupFD int
	// CgroupTasks are open `tasks` files of v1 hierarchies.
	CgroupTasks []int
	// Listener is the socket on which the child waits for `start`, -1 if nobody will call it.
	Listener int
	// Console is a connected socket for the pty's master, -1 to receive it as an event.
	Console int
	// Stdio are descriptors for the child's standard streams; nil: those of the runtime.
	Stdio []int
	// Share lets the child run in the runtime's memory instead of a copy; see cloneAndExecute for when not to.
	Share bool
	// Ahead, if not nil, is in a new network namespace already.
	Ahead *Ahead
	// Trace takes the time of every instruction: Program.Times.
	Trace bool
	// Close are descriptors that the child closes first thing, -1 for none: the lock on the container, which would
	// outlive a runtime that is killed, and what else is dear to close late.
	Close [2]int
}

// Begin clones the child. Its program is only loaded by Load: meanwhile a child that shares memory makes its new
// namespaces, most of all the network namespace, which takes the kernel a third of a millisecond, while the caller goes on
// with its own preparations. What was opened for the child alone is closed when Begin returns.
func Begin(pl *plan.Plan, o *Options) (*Process, error) {
	d := &Descriptors{Listener: o.Listener, Console: o.Console, CgroupTasks: o.CgroupTasks, Close: o.Close}
	defer d.close()
	for _, s := range pl.Steps {
		if _, ok := s.(plan.Dumpable); ok {
			// The child is to be so from the beginning, for its id maps; a runtime whose binary can't be read is not.
			_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
			break
		}
	}
	if err := d.open(pl); err != nil {
		return nil, err
	}
	reports, err := d.talk()
	if err != nil {
		return nil, err
	}
	defer unix.Close(d.Reports)
	p := &Process{PIDFD: -1, reports: reports, c: newCompiler(pl.Steps, d)}
	p.prog = p.c.Program
	if err := p.begin(pl, d, o); err != nil {
		unix.Close(reports)
		return nil, err
	}
	return p, nil
}

// talk makes the socket pair on which the child talks to the runtime, and returns the runtime's end.
func (d *Descriptors) talk() (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socketpair", err)
	}
	d.Peer, d.Reports = pair[0], pair[1]
	return pair[0], nil
}

func (p *Process) begin(pl *plan.Plan, d *Descriptors, o *Options) error {
	share := o.Share && canShare && !o.Trace && !pl.Clone.Has(unix.CLONE_NEWTIME) && !pl.Clone.Joins(unix.CLONE_NEWTIME) && !forks(pl)
	p.shared, p.c.shared = share, share
	later := uintptr(0)
	if share && !pl.Clone.Has(unix.CLONE_NEWUSER) {
		later = unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNS
	}
	made := uintptr(0)
	ahead := o.Ahead.serves(pl)
	if ahead {
		made, p.c.loopbackUp = o.Ahead.flags.Load(), &o.Ahead.up
	}
	args, unshare := cloneFlags(&pl.Clone, later, made)
	if o.CgroupFD >= 0 {
		args.flags |= cloneIntoCgroup
		args.cgroup = uint64(o.CgroupFD)
	}
	if unshare != 0 {
		p.c.call(unix.SYS_UNSHARE, pl.Clone.String()+": unshare", val(unshare))
	}
	if share {
		if unshare != 0 && !pl.Clone.Joins(unix.CLONE_NEWUSER) {
			p.c.boundEarly()
		}
		p.c.emit(opGate, "", val(gateLoaded), val(looks))
		if ahead {
			if err := p.compile(); err != nil {
				return err
			}
		}
	} else {
		p.c.emit(opAwait, "", val(0), val(0), val(0), val(0))
		if err := p.compile(); err != nil {
			return err
		}
	}
	p.m = &machine{reports: uintptr(d.Reports)}
	p.publish()
	args.pidfd = uint64(uintptr(unsafe.Pointer(&p.m.pidfd)))
	if o.Trace {
		if err := p.prog.trace(p.m); err != nil {
			return err
		}
	}
	if pl.Untraceable {
		// The child takes it over, and so does the rest of its way: others in its pid namespace shall not look into it
		// while it has the host's root or descriptors, whatever they are in a user namespace that it joins. The program is
		// another matter: execve(2) sets it anew.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl(PR_SET_DUMPABLE)", err)
		}
	}
	do := func() error {
		if ahead && o.Ahead.failed {
			args.flags |= uint64(made)
		}
		pid, errno := cloneAndExecute(p.m, args, share)
		if errno != 0 {
			return &CloneError{Clone: pl.Clone, Errno: errno}
		}
		p.PID, p.PIDFD = pid, int(p.m.pidfd)
		return nil
	}
	var err error
	switch {
	case ahead:
		err = o.Ahead.do(do)
	case !enters(pl):
		err = do()
	default:
		// A thread that has entered namespaces is not given back: it ends with its goroutine.
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			if err := d.enter(pl); err != nil {
				done <- err
				return
			}
			done <- do()
		}()
		err = <-done
	}
	runtime.KeepAlive(p.prog)
	return err
}

func (p *Process) compile() error {
	c := p.c
	p.c = nil
	return c.plan()
}

// publish shows the machine the program as far as it has got. The child, if there is one, waits in a system call and
// reads all of it anew after that; what it has read from before stays alive.
func (p *Process) publish() {
	if fault.On {
		faultAtInsn(p.prog, "insn")
	}
	m := p.m
	if m.code != nil {
		retired = append(retired, m.code)
	}
	slots := make([]uintptr, p.prog.slots)
	copy(slots, m.slot)
	m.slot, m.code = slots, p.prog.code
}

// retired are the beginnings of programs that a child may still point into.
var retired [][]insn

const cloneIntoCgroup = 0x200000000 // CLONE_INTO_CGROUP, linux/sched.h

// forks tells if the child goes on in a child of its own.
func forks(pl *plan.Plan) bool {
	for _, s := range pl.Steps {
		if s, ok := s.(plan.NewNamespaces); ok && s.Fork {
			return true
		}
	}
	return false
}

// open opens what the steps need from the host.
func (d *Descriptors) open(pl *plan.Plan) error {
	d.Reports, d.Proc = -1, -1
	var err error
	if d.Proc, err = host.OpenProc(); err != nil {
		return err
	}
	for _, n := range pl.Clone.Join {
		fd, err := openNamespace(n)
		if err != nil {
			return err
		}
		if d.Namespaces == nil {
			d.Namespaces = make(map[uintptr]int, len(pl.Clone.Join))
		}
		d.Namespaces[n.Flag] = fd
	}
	var mask uint64
	if err := sigmask(&mask); err != nil {
		return os.NewSyscallError("rt_sigprocmask", err)
	}
	d.SignalMask = mask
	if err := d.makeNodes(pl); err != nil {
		return err
	}
	if pl.Overlay != nil && pl.Overlay.FromParent {
		if err := d.openOverlay(pl); err != nil {
			return err
		}
	}
	return d.openSources(pl)
}

func sigmask(mask *uint64) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(mask)), 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// openSources opens the mount sources that the child, in its user namespace, might not reach.
func (d *Descriptors) openSources(pl *plan.Plan) error {
	for i, s := range pl.Steps {
		m, ok := s.(plan.Mount)
		if !ok || !m.FromParent || m.Kind != plan.MountBind {
			continue
		}
		flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
		if m.Recursive {
			flags |= unix.AT_RECURSIVE
		}
		if m.NoFollowSource {
			flags |= unix.AT_SYMLINK_NOFOLLOW
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
		if err == unix.ENOENT && m.Fallback != "" {
			fd, err = unix.OpenTree(unix.AT_FDCWD, m.Fallback, flags)
		}
		if err == unix.EPERM && m.IDMap == nil {
			continue // the process may, as root of its user namespace
		}
		if err != nil {
			return fmt.Errorf("%s: %s: open_tree %s: %w", m.At(), m, m.Source, err)
		}
		if d.Sources == nil {
			d.Sources = make(map[int]int)
		}
		d.Sources[i] = fd
		// The clone is a peer of the host's mount: what the container mounts below it must not come back.
		attr := &unix.MountAttr{Propagation: unix.MS_SLAVE}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
			return fmt.Errorf("%s: %s: mount_setattr: %w", m.At(), m, err)
		}
		if m.IDMap != nil {
			if err := IDMap(fd, m.IDMap); err != nil {
				return fmt.Errorf("%s: %s: %w", m.At(), m, err)
			}
		}
	}
	return nil
}

func (d *Descriptors) close() {
	if d.Proc >= 0 {
		unix.Close(d.Proc)
	}
	for _, fd := range d.Namespaces {
		unix.Close(fd)
	}
	for _, fd := range d.Sources {
		unix.Close(fd)
	}
}

// CloneError says why no child could be made.
type CloneError struct {
	Clone plan.Clone
	Errno unix.Errno
}

func (e *CloneError) Error() string {
	s := e.Clone.At() + ": " + e.Clone.String() + ": clone3: " + e.Errno.Error()
	switch e.Errno {
	case unix.ENOSPC:
		s += " (a limit of /proc/sys/user/max_*_namespaces is reached)"
	case unix.EAGAIN:
		s += " (pids.max of the cgroup or RLIMIT_NPROC is reached)"
	case unix.EPERM:
		s += " (needs CAP_SYS_ADMIN, or a new user namespace)"
	}
	return s
}

func (e *CloneError) Unwrap() error { return e.Errno }
