package launch

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// joinContainer: all namespaces in one call. Before it the process makes itself one that can't be traced, and closes
// what the container's processes could else find in /proc/PID/fd (CVE-2016-9962): all that is left are the program's own
// descriptors, the socket to the runtime, and until the next steps the container's pidfd and root.
func (c *compiler) joinContainer(s plan.JoinContainer) {
	c.prctl("PR_SET_DUMPABLE", unix.PR_SET_DUMPABLE, 0)
	if c.d.PIDInside {
		if args, _ := ownStrings(); args.from < args.to {
			c.emit(opWipe, "", val(args.from), val(args.to))
		}
		c.forget() // what the program gets is kept elsewhere
	}
	c.closeFrom(3+s.Preserve, 0, c.d.Reports, c.d.Init, c.d.Root, c.d.Console)
	if ns := s.Namespaces; ns != 0 {
		ns &^= c.d.Joined // the runtime's thread has joined these
		if ns != 0 {
			c.call(unix.SYS_SETNS, "setns", val(c.d.Init), val(ns))
		}
	}
	c.call(unix.SYS_CLOSE, "", val(c.d.Init))
	if c.d.PIDInside && s.Namespaces&unix.CLONE_NEWPID != 0 {
		c.fork()
	}
}

// fork goes on in a child: a process is in a pid namespace only if it was born there. The child is one of the runtime's
// own (CLONE_PARENT); it says nothing before the runtime has heard of its pid.
func (c *compiler) fork() {
	args, at := place[cloneArgs](c.Program)
	args.flags = unix.CLONE_PARENT
	pid := c.result(unix.SYS_CLONE3, "clone a process in the pid namespace", val(at), val(sizeofCloneArgs))
	child := c.emit(opIfArg, "", val(pid), val(0), val(0))
	c.emit(opTell, "", val(uint32(kindForked)), pid.arg())
	c.call(unix.SYS_EXIT_GROUP, "exit", val(0))
	c.land(child)
	c.emit(opAwait, "", val(0), val(0), val(0), val(0))
}

// enterRoot takes the root that the runtime has opened.
func (c *compiler) enterRoot() {
	c.call(unix.SYS_FCHDIR, "fchdir", val(c.d.Root))
	c.call(unix.SYS_CHROOT, "chroot", val(c.cstring(".")))
	c.call(unix.SYS_CLOSE, "", val(c.d.Root))
}

// closeFrom closes (or by flags marks close-on-exec) all descriptors from first on but those to keep; below 0 there is
// none.
func (c *compiler) closeFrom(first, flags int, keep ...int) {
	slices.Sort(keep)
	for _, fd := range keep {
		if fd > first {
			c.call(unix.SYS_CLOSE_RANGE, "close_range", val(first), val(fd-1), val(flags))
		}
		if fd >= first {
			first = fd + 1
		}
	}
	c.call(unix.SYS_CLOSE_RANGE, "close_range", val(first), val(uint32(0xffffffff)), val(flags))
}
