package libvserver

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A process with CAP_SYS_PTRACE can look behind all that it sees, also behind one that is about to join its container: that of an
// exec, or a hook. Who starts these has to know if there may be such a one: the container's own process (its configuration tells), one that an
// earlier exec has brought, or one of another container that shares the pid namespace. Of the last two a note is left in the
// state of the container that the namespace belongs to, before they run. What joins a pid namespace need not be told.

// mayTrace tells if a process with these capabilities may trace processes of other users.
func mayTrace(p *specs.Process) bool {
	const name = "CAP_SYS_PTRACE"
	if p == nil || p.Capabilities == nil {
		return false
	}
	c := p.Capabilities
	return slices.Contains(c.Bounding, name) || slices.Contains(c.Effective, name) || slices.Contains(c.Permitted, name) ||
		slices.Contains(c.Inheritable, name) || slices.Contains(c.Ambient, name)
}

// mayBeTraced tells if what joins a container may be traced on its way by processes that it meets there. tracer tells if the
// container's own process may trace others.
func (r *Runtime) mayBeTraced(id string, l *launched, tracer bool) bool {
	return l.NS&unix.CLONE_NEWUSER == 0 && (tracer || !l.PIDNS || l.Restored || r.Store.Traced(id))
}

// noteTracer leaves the note if the process that is about to join may trace others.
func (e *execution) noteTracer(p *specs.Process) error {
	switch {
	case !mayTrace(p) || e.l.NS&unix.CLONE_NEWUSER != 0 || e.l.NS&unix.CLONE_NEWPID == 0:
		return nil // or it may trace the host's processes by itself
	case !e.l.PIDNS:
		return e.r.noteTracerIn("/proc/" + strconv.Itoa(e.rec.InitPid) + "/ns/pid")
	case e.tracer:
		return nil // which is known of the container
	}
	if err := e.r.Store.SetTraced(e.rec.ID); err != nil {
		return fmt.Errorf("note that the process may trace others: %w", err)
	}
	return nil
}

// noteTracer leaves the note if the container is to join the pid namespace of another one, and may trace it.
func (n *creation) noteTracer() error {
	if n.hooks.PIDNS || n.hooks.NS&unix.CLONE_NEWPID == 0 || n.hooks.NS&unix.CLONE_NEWUSER != 0 || !mayTrace(n.bundle.Spec.Process) {
		return nil
	}
	for i := range n.bundle.Spec.Linux.Namespaces {
		if ns := &n.bundle.Spec.Linux.Namespaces[i]; ns.Type == specs.PIDNamespace {
			if err := n.r.noteTracerIn(ns.Path); err != nil {
				return fmt.Errorf("linux.namespaces[%d]: %w", i, err)
			}
		}
	}
	return nil
}

// noteTracerIn leaves the note with all containers of the pid namespace of this path.
func (r *Runtime) noteTracerIn(path string) error {
	var want, st unix.Stat_t
	if unix.Stat(path, &want) != nil {
		return nil // joining it will say so
	}
	ids, err := r.Store.IDs()
	if err != nil {
		return fmt.Errorf("look for the pid namespace's container: %w", err)
	}
	for _, id := range ids {
		rec, err := r.Store.Load(id)
		if err != nil || rec.InitPid == 0 || unix.Stat("/proc/"+strconv.Itoa(rec.InitPid)+"/ns/pid", &st) != nil {
			continue
		}
		if st.Dev != want.Dev || st.Ino != want.Ino {
			continue
		}
		if err := r.Store.SetTraced(id); err != nil {
			return fmt.Errorf("note that the container's process may trace others: %w", err)
		}
	}
	return nil
}
