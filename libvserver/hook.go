package libvserver

import (
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/hooks"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/seccomp"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec"
)

// hookState is the state that a hook reads: the pid as the hook's namespace sees it (runtime.md, "State").
func hookState(rec *state.Record, status specs.ContainerState, pid int) []byte {
	st := rec.SpecState(status, pid)
	return state.AppendSpecState(nil, &st)
}

// runHooksIn runs programs of the host in a container's namespaces: the createContainer hooks, which begin in its rootfs, as
// with runc.
func (r *Runtime) runHooksIn(rec *state.Record, l *launched, s *specs.Spec, list []specs.Hook, pidfd int) error {
	if len(list) == 0 {
		return nil
	}
	ns, apart := uintptr(l.NS), r.mayBeTraced(rec.ID, l, mayTrace(s.Process))
	return hooks.Run("createContainer", list, insideState(rec, l), func(path string, args, env []string, in, out int) (int, error) {
		return launch.RunIn(pidfd, ns, apart, rec.Rootfs, path, args, env, in, out)
	})
}

// insideState is the state of a created container as it reads in its namespaces.
func insideState(rec *state.Record, l *launched) []byte {
	pid := rec.InitPid
	if l.NS&unix.CLONE_NEWPID != 0 {
		pid = host.PIDInside(rec.InitPid)
	}
	return hookState(rec, specs.StateCreated, pid)
}

// hookStreams are the standard input of a startContainer hook, and its output.
type hookStreams struct {
	in, out  int
	exactEnv bool
}

// runStartHooks runs the startContainer hooks. Their programs are the container's own, so they get no more than its process does:
// its user, capabilities, labels, filter, limits and cgroup, and, unless they have one, its environment; as with runc.
func (c *container) runStartHooks(l *launched, b *spec.Bundle) error {
	return hooks.Run("startContainer", b.Spec.Hooks.StartContainer, insideState(c.rec, l), func(path string, args, env []string, in, out int) (pid int, err error) {
		e := &execution{container: container{r: c.r, rec: c.rec}, o: &ExecOptions{Detach: true}, l: *l, root: -1, master: -1,
			path: path, tracer: mayTrace(b.Spec.Process), hook: &hookStreams{in, out, len(env) > 0}}
		defer e.close()
		if e.init, err = c.rec.Open(); err != nil {
			return 0, err
		}
		p := *b.Spec.Process
		p.Terminal, p.Args = false, args
		if len(env) > 0 {
			p.Env = env
		}
		if err := e.build(b, &p); err != nil {
			return 0, err
		}
		if err := e.launch(); err != nil {
			return 0, err
		}
		return e.process.PID, nil
	})
}

// status is the container's, for whom a process that joins it tells of it.
func (e *execution) status() specs.ContainerState {
	if e.hook != nil {
		return specs.StateCreated
	}
	return specs.StateRunning
}

// runPoststart runs the poststart hooks, of which the first that fails ends the container.
func (c *container) runPoststart(s *specs.Spec) error {
	awaitProgram(c.rec.InitPid)
	return hooks.Run("poststart", s.Hooks.Poststart, hookState(c.rec, specs.StateRunning, c.rec.InitPid), hooks.InRuntime(c.rec.Bundle))
}

// awaitProgram waits until a process that has just closed its close-on-exec descriptors has the new program's command
// line: execve(2) closes them before it lays out the program, and a hook may want to look at that. The wait is short, for
// the process may have ended as well.
func awaitProgram(pid int) {
	for range 20 {
		if b, err := os.ReadFile("/proc/" + itoa(pid) + "/cmdline"); err != nil || len(b) > 0 {
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// runPoststop runs the poststop hooks; their failures are warnings (runtime.md, "Lifecycle").
func (c *container) runPoststop(s *specs.Spec) {
	hooks.Each("poststop", s.Hooks.Poststop, hookState(c.rec, specs.StateStopped, 0), hooks.InRuntime(c.rec.Bundle), func(err error) { log.Warnf("%v", err) })
}

// sendListener hands a seccomp notify descriptor over to the socket that the config names. fd is its number in the
// container's process.
func sendListener(rec *state.Record, s *specs.Spec, pidfd, fd int) error {
	return passListener(rec, s, specs.StateCreated, rec.InitPid, pidfd, fd)
}

// passListener does it for any process of the container.
func passListener(rec *state.Record, s *specs.Spec, status specs.ContainerState, pid, pidfd, fd int) error {
	local, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_getfd of the seccomp listener", err)
	}
	defer unix.Close(local)
	l := s.Linux.Seccomp
	msg := seccomp.ProcessState(specs.Version, pid, l.ListenerMetadata, hookState(rec, status, rec.InitPid))
	return seccomp.SendListener(l.ListenerPath, msg, local)
}
