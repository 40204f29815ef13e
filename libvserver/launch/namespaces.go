package launch

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// cloneFlags divides the new namespaces into those that clone3(2) makes and those that the child makes itself: of kinds
// in later. Those in made are there. The cgroup namespace is made after the cgroup is joined, the time namespace before the clone.
func cloneFlags(c *plan.Clone, later, made uintptr) (args *cloneArgs, unshare uintptr) {
	args = &cloneArgs{flags: unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	for _, n := range c.New {
		switch {
		case n.Inside || n.Flag == unix.CLONE_NEWCGROUP || n.Flag == unix.CLONE_NEWTIME || n.Flag&made != 0:
		case n.Flag&later != 0:
			unshare |= n.Flag
		default:
			args.flags |= uint64(n.Flag)
		}
	}
	return args, unshare
}

// enters tells if a thread of the runtime has to be in other namespaces to clone the child.
func enters(pl *plan.Plan) bool {
	for _, n := range pl.Clone.Join {
		if !n.Inside {
			return true
		}
	}
	for _, n := range pl.Clone.New {
		if n.Flag == unix.CLONE_NEWTIME && !n.Inside {
			return true
		}
	}
	return false
}

// enter joins the namespaces that a thread can join for its children, with the runtime's own privileges: of new
// namespaces a user namespace would own, the host's could not be joined after it.
func (d *Descriptors) enter(pl *plan.Plan) error {
	for _, n := range pl.Clone.Join {
		if n.Inside {
			continue
		}
		if err := unix.Setns(d.Namespaces[n.Flag], int(n.Flag)); err != nil {
			return fmt.Errorf("%s: %s: setns: %w", n.At(), n, err)
		}
	}
	for _, n := range pl.Clone.New {
		if n.Flag != unix.CLONE_NEWTIME || n.Inside {
			continue
		}
		if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
			return fmt.Errorf("linux.namespaces: new time namespace: unshare: %w", err)
		}
		for _, line := range pl.Clone.TimeOffsets {
			if err := host.WriteProc(d.Proc, strconv.Itoa(unix.Gettid())+"/timens_offsets", line); err != nil {
				return fmt.Errorf("linux.timeOffsets: %q: %w", line, err)
			}
		}
	}
	return nil
}

// openNamespace opens a namespace's file and checks its kind (NS_GET_NSTYPE, Linux 4.11).
func openNamespace(n plan.Namespace) (int, error) {
	fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: lstat %s: %w", n.At(), n.Path, err)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || uintptr(kind) != n.Flag {
		unix.Close(fd)
		return -1, fmt.Errorf("%s.path: %s is not a %s namespace", n.At(), n.Path, n.Name)
	}
	// The root of everybody in a joined mount namespace changes with the container's; and nobody may join the user
	// namespace that he is in.
	if n.Flag == unix.CLONE_NEWNS && own(fd, "mnt") || n.Flag == unix.CLONE_NEWUSER && own(fd, "user") {
		unix.Close(fd)
		return -1, fmt.Errorf("%s.path: %s is the %s namespace of the runtime itself", n.At(), n.Path, n.Name)
	}
	return fd, nil
}

// own tells if fd is the runtime's own namespace of that name in /proc/self/ns.
func own(fd int, name string) bool {
	var own, other unix.Stat_t
	return unix.Stat("/proc/self/ns/"+name, &own) == nil && unix.Fstat(fd, &other) == nil && own.Ino == other.Ino && own.Dev == other.Dev
}
