package launch

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

func (c *compiler) process(s plan.Step) error {
	switch s := s.(type) {
	case plan.Loopback:
		c.loopback()
	case plan.Rlimit:
		lim, at := place[unix.Rlimit](c.Program)
		lim.Cur, lim.Max = s.Soft, s.Hard
		c.call(unix.SYS_PRLIMIT64, "prlimit", val(0), val(s.Resource), val(at), val(0))
	case plan.Scheduler:
		c.scheduler(s)
	case plan.IOPriority:
		c.call(unix.SYS_IOPRIO_SET, "ioprio_set", val(whoProcess), val(0), val(ioPriority(s)))
	case plan.MemoryPolicy:
		mask, n := uintptr(0), 0
		if len(s.Nodes) > 0 {
			mask, n = c.words(s.Nodes), len(s.Nodes)*64+1
		}
		c.call(unix.SYS_SET_MEMPOLICY, "set_mempolicy", val(s.Mode), val(mask), val(n))
	case plan.Affinity:
		i := c.call(unix.SYS_SCHED_SETAFFINITY, "sched_setaffinity", val(0), val(8*len(s.Mask)), val(c.words(s.Mask)))
		if s.Origin == plan.Default {
			c.ignore(i, anyErrno)
		}
	case plan.Personality:
		c.call(unix.SYS_PERSONALITY, "personality", val(s.Domain))
	case plan.NoNewPrivileges:
		c.prctl("PR_SET_NO_NEW_PRIVS", unix.PR_SET_NO_NEW_PRIVS, 1)
	case plan.Label:
		c.label(s)
	case plan.Chdir:
		c.chdir(s)
	case plan.User:
		c.user(s)
	case plan.LookPath:
		c.lookPath(s)
	case plan.CloseFDs:
		c.closeFDs(s)
	case plan.Landlock:
		c.landlock(s)
	case plan.WaitStart:
		if !c.shared {
			c.forget()
		}
		c.emit(opReady, "accept", val(c.d.Listener))
	case plan.Seccomp:
		return c.seccomp(s)
	case plan.Exec:
		c.exec(s)
	default:
		return fmt.Errorf("no way to carry out a %T", s)
	}
	return nil
}

// words lays out a bit mask.
func (c *compiler) words(list []uint64) uintptr {
	b := c.bytes(8 * len(list))
	copy(unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(list)), list)
	return address(b)
}

func (c *compiler) prctl(what string, op int, args ...uint64) int {
	a := []arg{val(op)}
	for _, v := range args {
		a = append(a, val(v))
	}
	return c.call(unix.SYS_PRCTL, what, a...)
}

// label writes what execve(2) shall switch to. AppArmor's own directory came with Linux 5.8 and avoids the file that it
// shares with other LSMs. Podman knows a failure by the file's name in backquotes, as crun writes it.
func (c *compiler) label(s plan.Label) {
	fd := c.newSlot()
	i := c.openProc("self/attr/" + s.File)
	c.into(i, fd)
	if s.LSM == "apparmor" {
		c.on(i, uint16(unix.ENOENT), i+2)
		done := c.jump()
		c.into(c.openProc("self/attr/exec"), fd)
		c.land(done)
	}
	c.call(unix.SYS_WRITE, fmt.Sprintf("write %q to `/proc/self/attr/%s`", s.Value, s.File), fd.arg(), val(c.cstring(s.Value)), val(len(s.Value)))
	c.close(fd)
}

// chdir refuses a directory outside the root, which a leaked descriptor in /proc/self/fd could name (CVE-2024-21626):
// there getcwd(2) says "(unreachable)".
func (c *compiler) chdir(s plan.Chdir) {
	dir := s.Path
	if dir == "" {
		dir = "/"
	}
	done := -1
	if !s.Early {
		done = c.emit(opIfArg, "", val(c.chdirDone), val(1), val(0))
	}
	i := c.call(unix.SYS_CHDIR, "chdir", val(c.cstring(dir)))
	var refused skipped
	if s.Early {
		refused = c.skip(i, unix.EACCES)
	}
	buf := c.bytes(unix.PathMax)
	c.call(unix.SYS_GETCWD, "getcwd", val(address(buf)), val(len(buf)))
	ok := c.emit(opIf, "", val(address(buf)), val(uint32(0xff)), val('/'), val(0))
	c.fail(unix.ENOENT, "it lies outside the container's root")
	c.land(ok)
	c.into(c.emit(opSet, "", val(1)), c.chdirDone)
	if s.Early {
		c.skipTo(refused)
	} else {
		c.land(done)
	}
}

// user takes the identity. The order is the one that leaves each call the privileges it needs: the bounding set while
// CAP_SETPCAP is there, groups before the uid, and the other sets last.
func (c *compiler) user(s plan.User) {
	if s.ChownStdio {
		for fd := range 3 {
			// /dev/null and files of others stay as they are; errors here never stopped a program that does not care.
			i := c.call(unix.SYS_FSTAT, "", val(fd), val(c.statAt))
			closed := c.skip(i, anyErrno)
			null := c.emit(opIf, "", val(c.statAt+offRdev), val(uint32(0xffffffff)), val(unix.Mkdev(1, 3)), val(0))
			c.ignore(c.call(unix.SYS_FCHOWN, "chown stdio", val(fd), val(s.UID), val(^uintptr(0))), anyErrno)
			c.land(null)
			c.skipTo(closed)
		}
	}
	caps := s.Caps
	if caps != nil && !c.bounded {
		c.bounding(caps)
	}
	if s.UID != 0 {
		c.prctl("PR_SET_KEEPCAPS", unix.PR_SET_KEEPCAPS, 1)
	}
	if s.SetGroups {
		list := c.bytes(4*len(s.Groups) + 4)
		copy(unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(list))), len(s.Groups)), s.Groups)
		i := c.call(unix.SYS_SETGROUPS, "setgroups", val(len(s.Groups)), val(address(list)))
		if len(s.Groups) == 0 {
			c.ignore(i, unix.EPERM)
		}
	}
	c.call(unix.SYS_SETRESGID, "setresgid", val(s.GID), val(s.GID), val(s.GID))
	c.call(unix.SYS_SETRESUID, "setresuid", val(s.UID), val(s.UID), val(s.UID))
	if s.UID != 0 {
		c.prctl("PR_SET_KEEPCAPS", unix.PR_SET_KEEPCAPS, 0)
	}
	if caps != nil {
		c.capset(s)
	}
	mask := c.umask.arg()
	if s.Umask >= 0 {
		mask = val(s.Umask)
	}
	c.call(unix.SYS_UMASK, "umask", mask)
}

func (c *compiler) capset(s plan.User) {
	caps := *s.Caps
	if s.KeepAdmin {
		caps.Effective |= 1 << unix.CAP_SYS_ADMIN
		caps.Permitted |= 1 << unix.CAP_SYS_ADMIN
	}
	type sets struct{ effective, permitted, inheritable uint32 }
	hdr, hdrAt := place[unix.CapUserHeader](c.Program)
	hdr.Version = unix.LINUX_CAPABILITY_VERSION_3
	data, dataAt := place[[2]sets](c.Program)
	data[0] = sets{uint32(caps.Effective), uint32(caps.Permitted), uint32(caps.Inheritable)}
	data[1] = sets{uint32(caps.Effective >> 32), uint32(caps.Permitted >> 32), uint32(caps.Inheritable >> 32)}
	c.call(unix.SYS_CAPSET, "capset", val(hdrAt), val(dataAt))
	c.prctl("PR_CAP_AMBIENT_CLEAR_ALL", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for n := range 64 {
		if caps.Ambient&(1<<n) != 0 {
			c.prctl("PR_CAP_AMBIENT_RAISE", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uint64(n), 0, 0)
		}
	}
}

// lookPath leaves the address of the executable's path in exe. The errors are those that engines know.
func (c *compiler) lookPath(s plan.LookPath) {
	c.exe = c.newSlot()
	if len(s.Dirs) == 0 {
		at := c.cstring(s.Name)
		c.into(c.emit(opSet, "", val(at)), c.exe)
		c.call(unix.SYS_FACCESSAT2, "", val(atFDCWD), val(at), val(unix.X_OK), val(unix.AT_EACCESS))
		c.call(unix.SYS_NEWFSTATAT, "", val(atFDCWD), val(at), val(c.statAt), val(0))
		file := c.emit(opIfNot, "", val(c.statAt+offMode), val(unix.S_IFMT), val(unix.S_IFDIR), val(0))
		c.fail(unix.EACCES, isDirectory) // what execve would say
		c.land(file)
		return
	}
	var hits []int
	for _, d := range s.Dirs {
		at := c.cstring(d + "/" + s.Name)
		i := c.call(unix.SYS_FACCESSAT2, "", val(atFDCWD), val(at), val(unix.X_OK), val(unix.AT_EACCESS))
		next := c.skip(i, anyErrno)
		j := c.call(unix.SYS_NEWFSTATAT, "", val(atFDCWD), val(at), val(c.statAt), val(0))
		next2 := c.skip(j, anyErrno)
		dir := c.ifMode(unix.S_IFDIR)
		c.into(c.emit(opSet, "", val(at)), c.exe)
		hits = append(hits, c.jump())
		c.skipTo(next)
		c.skipTo(next2)
		c.land(dir)
	}
	c.fail(unix.ENOENT, notInPath)
	for _, j := range hits {
		c.land(j)
	}
}

// notInPath marks the failure that engines know by its words. Of a directory some know these words, others the errno's
// alone (Podman 4.3, Docker 20.10).
const (
	notInPath   = "executable file not found in $PATH"
	isDirectory = "is a directory"
)

// closeFDs leaves 0 to 2, the preserved ones and the two that the child still needs. All of them are close-on-exec.
func (c *compiler) closeFDs(s plan.CloseFDs) {
	c.closeFrom(3+s.Preserve, 0, c.d.Reports, c.d.Listener)
}

// seccomp loads the filter; from here on only execve is called, and on its failure write and exit_group.
func (c *compiler) seccomp(s plan.Seccomp) error {
	if s.Filter == nil {
		return fmt.Errorf("the profile has not been compiled")
	}
	type sockFprog struct {
		n     uint16
		insns uintptr
	}
	insns := c.bytes(len(s.Filter.Insns))
	copy(insns, s.Filter.Insns)
	prog, at := place[sockFprog](c.Program)
	prog.n, prog.insns = uint16(len(s.Filter.Insns)/8), address(insns)
	c.restoreSignals()
	i := c.call(unix.SYS_SECCOMP, "seccomp", val(unix.SECCOMP_SET_MODE_FILTER), val(s.Filter.Flags), val(at))
	if s.Notify {
		c.listener = c.newSlot()
		c.into(i, c.listener)
	}
	return nil
}

func (c *compiler) restoreSignals() {
	if c.signals {
		return
	}
	c.signals = true
	mask, at := place[uint64](c.Program)
	*mask = c.d.SignalMask
	c.call(unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask", val(unix.SIG_SETMASK), val(at), val(0), val(8))
}

func (c *compiler) exec(s plan.Exec) {
	argv := c.vector(s.Args)
	envp := c.vector(s.Env)
	if s.Home {
		envp[len(s.Env)] = address(c.home)
	}
	c.restoreSignals()
	c.call(unix.SYS_EXECVE, "", c.exe.arg(), val(uintptr(unsafe.Pointer(&argv[0]))), val(uintptr(unsafe.Pointer(&envp[0]))))
}

// bounding drops capabilities from the bounding set.
func (c *compiler) bounding(caps *plan.Capabilities) {
	c.emit(opBound, "PR_CAPBSET_DROP", val(^caps.Bounding))
}

// boundEarly drops them before the child waits for the rest of its program: what is left there concerns programs to come
// and inheritable capabilities alone (capabilities(7)), and the child has the time then.
func (c *compiler) boundEarly() {
	for i, s := range c.steps {
		if u, ok := s.(plan.User); ok && u.Caps != nil {
			c.step, c.bounded = i, true
			c.bounding(u.Caps)
			c.step = -1
			return
		}
	}
}
