package launch

import (
	"fmt"
	"os"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/host/nofile"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// Descriptors are what the runtime has opened before the clone; the child inherits them by their numbers.
// A number below 0 means that there is none.
type Descriptors struct {
	// Reports is the child's end of the socket pair on which it talks to the runtime.
	Reports int
	// Peer is the runtime's end of it, which the child closes first thing: it would wait for ever for a runtime that is
	// gone if it held that itself. 0 for none.
	Peer int
	// Listener is the socket on which the child waits for `start`.
	Listener int
	// Console is a connected socket that takes the pty's master (--console-socket); else it goes to the runtime.
	Console int
	// Proc is the host's /proc, checked to be one.
	Proc int
	// CgroupTasks are the open `tasks` files of v1 hierarchies: the process writes itself into them.
	CgroupTasks []int
	// Namespaces to join, by CLONE_NEW* flag.
	Namespaces map[uintptr]int
	// Sources are detached mounts, by the index of the step that wants them.
	Sources map[int]int
	// Close are closed first thing; -1 is none.
	Close [2]int
	// Init is a pidfd of the first process of the container to join, Root its root directory; see Target.
	Init, Root int
	// PIDInside: the pid namespace is joined by the child.
	PIDInside bool
	// Joined are the namespaces of Init that the child is born in, as CLONE_NEW* flags.
	Joined uintptr
	// SignalMask is what the program starts with.
	SignalMask uint64
	// Stdio are descriptors for the child's standard streams; nil: those of the runtime.
	Stdio []int
}

// compiler holds what steps share while they are compiled.
type compiler struct {
	*Program
	d          *Descriptors
	home       []byte
	root       slot // the root filesystem's mount, once MountRoot has run
	rooted     bool
	rootDir    slot // the directory of OpenRoot
	rootOpen   bool
	umask      slot
	exe        slot
	chdirDone  slot
	mask       slot // the shared tmpfs over masked directories
	maskReady  slot
	masked     bool
	shared     bool            // the child shares the runtime's memory
	loopbackUp *uint32         // 1: lo is up already; nil: it is not
	bounded    bool            // the bounding set is that of the program already
	signals    bool            // the signal mask is the program's
	listener   slot            // of a seccomp filter with NOTIFY
	dirs       map[string]slot // directories of devices, opened once
	stat       *unix.Stat_t
	statAt     uintptr
	howPath    uintptr
	howFinal   uintptr
	howDir     uintptr
	howProc    uintptr // once a file of /proc was written
	empty      uintptr
	zero       uintptr
}

// homeSize bounds the home directory that the runtime sends for HOME.
const homeSize = 4096

// room is for the instructions of the first program, which is the only one as a rule: what is not used of it is not
// touched, and the allocator has no part in it.
var (
	room struct {
		code [2048]insn
		what [2048]string
	}
	roomTaken bool
)

// newCompiler begins a program with what every child does first. Modes are given exactly, so the umask is cleared; the
// caller's comes back for the program.
func newCompiler(steps []plan.Step, d *Descriptors) *compiler {
	p := &Program{steps: steps}
	if !roomTaken {
		p.code, p.what, roomTaken = room.code[:0], room.what[:0], true
	}
	c := &compiler{Program: p, d: d}
	c.stat, c.statAt = place[unix.Stat_t](p)
	c.empty = p.cstring("")
	_, c.zero = place[uint64](p)
	c.howPath = c.how(unix.O_PATH|unix.O_CLOEXEC, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	c.howFinal = c.how(unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	c.howDir = c.how(unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	c.maskReady, c.chdirDone = p.newSlot(), p.newSlot()
	p.step = -1
	c.umask = p.result(unix.SYS_UMASK, "", val(0))
	if d.Peer > 0 {
		p.call(unix.SYS_CLOSE, "", val(d.Peer))
	}
	for _, fd := range d.Close {
		if fd >= 0 {
			p.call(unix.SYS_CLOSE, "", val(fd))
		}
	}
	if nofile.Raised() {
		lim, at := place[unix.Rlimit](p)
		lim.Cur, lim.Max = nofile.Original.Cur, nofile.Original.Max
		p.call(unix.SYS_PRLIMIT64, "prlimit", val(0), val(unix.RLIMIT_NOFILE), val(at), val(0))
	}
	return c
}

// plan compiles the steps.
func (c *compiler) plan() error {
	for i, s := range c.Program.steps {
		c.step = i
		if fault.On {
			faultAtStep(c, i)
		}
		if err := c.compile(s); err != nil {
			return fmt.Errorf("%s: %s: %w", s.At(), s, err)
		}
		if _, ok := s.(plan.Mount); ok {
			c.dirs = nil
		}
	}
	return nil
}

func (c *compiler) compile(s plan.Step) error {
	switch s := s.(type) {
	case plan.Await:
		c.await(s)
	case plan.JoinNamespace:
		if s.Flag == unix.CLONE_NEWUSER && os.Geteuid() == 0 {
			// Root of the namespace, who may be at work already, shall not look into this process before its ids change.
			c.prctl("PR_SET_DUMPABLE", unix.PR_SET_DUMPABLE, 0)
		}
		c.call(unix.SYS_SETNS, "setns", val(c.d.Namespaces[s.Flag]), val(s.Flag))
	case plan.NewNamespaces:
		c.newNamespaces(s)
	case plan.Dumpable:
		c.prctl("PR_SET_DUMPABLE", unix.PR_SET_DUMPABLE, 1)
	case plan.OpenRoot:
		c.rootDir, c.rootOpen = c.result(unix.SYS_OPENAT, "open "+s.Path, val(atFDCWD), val(c.cstring(s.Path)),
			val(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)), true
	case plan.BecomeRoot:
		if !s.KeepGroups {
			c.ignore(c.call(unix.SYS_SETGROUPS, "setgroups", val(0), val(0)), unix.EPERM)
		}
		c.call(unix.SYS_SETRESGID, "setresgid", val(0), val(0), val(0))
		c.call(unix.SYS_SETRESUID, "setresuid", val(0), val(0), val(0))
	case plan.JoinCgroup:
		c.joinCgroup(s)
	case plan.JoinContainer:
		c.joinContainer(s)
	case plan.EnterRoot:
		c.enterRoot()
	case plan.Tell:
		c.emit(opTell, s.String(), val(kindStage+uint32(s.Stage)), val(0))
	case plan.NewSession:
		// A session leader already (the engine's own doing) is as good.
		c.ignore(c.call(unix.SYS_SETSID, "setsid"), unix.EPERM)
	case plan.Keyring:
		c.ignore(c.call(unix.SYS_KEYCTL, "keyctl", val(unix.KEYCTL_JOIN_SESSION_KEYRING), val(c.cstring(s.Name))), unix.ENOSYS)
	case plan.Hostname:
		c.call(unix.SYS_SETHOSTNAME, "sethostname", val(c.cstring(s.Name)), val(len(s.Name)))
	case plan.Domainname:
		c.call(unix.SYS_SETDOMAINNAME, "setdomainname", val(c.cstring(s.Name)), val(len(s.Name)))
	case plan.OOMScoreAdj:
		c.writeProc("self/oom_score_adj", fmt.Sprint(s.Value), "write to /proc/self/oom_score_adj")
	case plan.Sysctl:
		c.writeProc("sys/"+s.File, s.Value, "")
	case plan.Propagation:
		c.setattr(val(atFDCWD), s.Path, flagIf(s.Deep, unix.AT_RECURSIVE), &unix.MountAttr{Propagation: s.Flags})
	case plan.MountRoot:
		return c.mountRoot(s)
	case plan.Mount:
		return c.mount(s)
	case plan.Directory:
		c.close(c.target(s.Path, wantDir, c.howPath).fd)
	case plan.Device:
		c.device(s)
	case plan.Symlink:
		c.symlink(s)
	case plan.NullStdio:
		c.nullStdio(s)
	case plan.Console:
		c.console(s)
	case plan.ReadonlyRoot:
		c.setattr(c.root.arg(), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	case plan.ReadonlyMount:
		t := c.openRoot(s.Path, c.howPath)
		c.setattr(t.arg(), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		c.close(t)
	case plan.ReadonlyPath:
		c.readonlyPath(s)
	case plan.MaskPath:
		c.maskPath(s)
	case plan.PivotRoot:
		c.pivot(s)
	case plan.Chroot:
		if c.rooted {
			c.call(unix.SYS_FCHDIR, "fchdir", c.root.arg())
			c.call(unix.SYS_CHROOT, "chroot", val(c.cstring(".")))
		} else {
			c.call(unix.SYS_CHROOT, "chroot", val(c.cstring(s.Path)))
		}
		c.call(unix.SYS_CHDIR, "chdir", val(c.cstring("/")))
	default:
		return c.process(s)
	}
	return nil
}

func flagIf(cond bool, flag int) int {
	if cond {
		return flag
	}
	return 0
}

func (c *compiler) how(flags, resolve uint64) uintptr {
	h, at := place[unix.OpenHow](c.Program)
	h.Flags, h.Resolve = flags, resolve
	return at
}

func (c *compiler) await(s plan.Await) {
	if s.Stage == plan.StageHome {
		c.home = c.bytes(len("HOME=") + homeSize + 1)
		copy(c.home, "HOME=")
		c.emit(opAwait, s.String(), val(kindStage+uint32(s.Stage)), val(0), val(address(c.home)+5), val(homeSize))
		return
	}
	if s.Stage == plan.StageRecorded && c.shared {
		c.emit(opGate, s.String(), val(gateRecorded), val(looks))
		return
	}
	value := val(0)
	if s.Stage == plan.StageListener {
		value = c.listener.arg()
	}
	c.emit(opAwait, s.String(), val(kindStage+uint32(s.Stage)), value, val(0), val(0))
}

func (c *compiler) newNamespaces(s plan.NewNamespaces) {
	if s.Flags != 0 {
		c.call(unix.SYS_UNSHARE, "", val(s.Flags))
	}
	for _, line := range s.TimeOffsets {
		c.writeProc("self/timens_offsets", line, fmt.Sprintf("write %q", line))
	}
	if s.Fork {
		c.fork()
	}
}

func (c *compiler) joinCgroup(s plan.JoinCgroup) {
	zero := c.cstring("0")
	for _, fd := range c.d.CgroupTasks {
		c.call(unix.SYS_WRITE, "write 0 to tasks", val(fd), val(zero), val(1))
	}
	if s.NewNamespace {
		c.call(unix.SYS_UNSHARE, "unshare(CLONE_NEWCGROUP)", val(unix.CLONE_NEWCGROUP))
	}
}

// writeProc writes a file of the host's procfs, which the runtime has opened and checked: nothing that the container may
// have mounted on its own /proc is ever written.
func (c *compiler) writeProc(file, data, what string) {
	fd := c.newSlot()
	c.into(c.openProc(file), fd)
	c.call(unix.SYS_WRITE, what, fd.arg(), val(c.cstring(data)), val(len(data)))
	c.close(fd)
}

// openProc opens a file of that procfs for writing, and nothing that is mounted over it.
func (c *compiler) openProc(file string) int {
	if c.howProc == 0 {
		c.howProc = c.how(unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, host.ProcResolve)
	}
	return c.call(unix.SYS_OPENAT2, "open /proc/"+file, val(c.d.Proc), val(c.cstring(file)), val(c.howProc), val(unsafe.Sizeof(unix.OpenHow{})))
}

// setattr is mount_setattr(2).
func (c *compiler) setattr(dir arg, file string, flags int, attr *unix.MountAttr) int {
	a, at := place[unix.MountAttr](c.Program)
	*a = *attr
	what := "mount_setattr"
	if attr.Propagation != 0 {
		what = "set the propagation of " + file
	}
	name := c.empty
	if file != "" {
		name = c.cstring(file)
	}
	return c.call(unix.SYS_MOUNT_SETATTR, what, dir, val(name), val(flags), val(at), val(unsafe.Sizeof(unix.MountAttr{})))
}

func (c *compiler) moveMount(from, to slot) int {
	return c.call(unix.SYS_MOVE_MOUNT, "move_mount", from.arg(), val(c.empty), to.arg(), val(c.empty),
		val(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// openTree is open_tree(2) with OPEN_TREE_CLONE.
func (c *compiler) openTree(dir arg, file string, flags int) int {
	name, what := c.empty, "open_tree"
	if file != "" {
		name, what = c.cstring(file), "open "+file
	} else {
		flags |= unix.AT_EMPTY_PATH
	}
	return c.call(unix.SYS_OPEN_TREE, what, dir, val(name), val(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags))
}

func (c *compiler) mountRoot(s plan.MountRoot) error {
	if s.ParentPrivate {
		c.parentPrivate(s.Path)
	}
	c.root, c.rooted = c.newSlot(), true
	if fd, ok := c.d.Sources[c.step]; ok {
		c.into(c.emit(opSet, "", val(fd)), c.root)
	} else if s.Overlay != nil {
		if err := c.overlay(&s, c.root); err != nil {
			return err
		}
	} else if c.rootOpen {
		c.into(c.openTree(c.rootDir.arg(), "", unix.AT_RECURSIVE), c.root)
	} else {
		c.into(c.openTree(val(atFDCWD), s.Path, unix.AT_RECURSIVE), c.root)
	}
	// An engine unmounts the root filesystem of a runtime that was killed. A child that has been too slow to hold it before
	// that would make what is missing for its mounts in the directory below, which the engine then can't remove.
	c.emit(opAlive, "")
	if c.rootOpen {
		c.moveMount(c.root, c.rootDir)
		c.close(c.rootDir)
	} else {
		c.call(unix.SYS_MOVE_MOUNT, "move_mount on "+s.Path, c.root.arg(), val(c.empty), val(atFDCWD), val(c.cstring(s.Path)),
			val(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS))
	}
	if s.Private {
		c.setattr(c.root.arg(), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	}
	return nil
}

// parentPrivate makes the mount private that a path lies in: only a mount's root can be named, so it is looked for upward.
func (c *compiler) parentPrivate(dir string) {
	var done []int
	for {
		i := c.setattr(val(atFDCWD), dir, 0, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
		if dir == "/" {
			break
		}
		c.on(i, uint16(unix.EINVAL), i+2)
		done = append(done, c.jump())
		dir = path.Dir(dir)
	}
	for _, j := range done {
		c.land(j)
	}
}

func (c *compiler) pivot(s plan.PivotRoot) {
	dot := val(c.cstring("."))
	if s.Move {
		c.call(unix.SYS_MOVE_MOUNT, "move the root to /", c.root.arg(), val(c.empty), val(atFDCWD), val(c.cstring("/")), val(unix.MOVE_MOUNT_F_EMPTY_PATH))
		c.call(unix.SYS_FCHDIR, "fchdir", c.root.arg())
		c.call(unix.SYS_CHROOT, "chroot", dot)
		c.call(unix.SYS_CHDIR, "chdir", val(c.cstring("/")))
		return
	}
	old := c.result(unix.SYS_OPENAT, "open /", val(atFDCWD), val(c.cstring("/")), val(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC))
	c.call(unix.SYS_FCHDIR, "fchdir", c.root.arg())
	c.call(unix.SYS_PIVOT_ROOT, "pivot_root", dot, dot)
	// The old root now lies on top of the new one. Its unmounting must not travel to the host's peers.
	c.setattr(old.arg(), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_SLAVE})
	c.call(unix.SYS_UMOUNT2, "unmount the old root", dot, val(unix.MNT_DETACH))
	c.call(unix.SYS_CHDIR, "chdir", val(c.cstring("/")))
	c.close(old)
}
