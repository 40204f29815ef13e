package libvserver

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/console"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/forward"
	"github.com/vsrun/vsrun/libvserver/guard"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec"
)

// ExecOptions are the flags of exec.
type ExecOptions struct {
	ID string
	// Args are the program and its arguments; ProcessFile names a file with all of the process instead (specs.Process).
	Args        []string
	ProcessFile string
	// Shell runs a login shell on a terminal: the first of bash, ash and sh that the container has.
	Shell bool

	ConsoleSocket, PidFile, PidfdSocket string
	Detach, IgnorePaused                bool
	PreserveFDs                         int
	// Cgroups are sub-cgroups to run in: [CONTROLLER[,CONTROLLER]...:]PATH.
	Cgroups []string

	// What follows changes the process of the container's configuration.
	Cwd, ProcessLabel, AppArmor string
	// User is UID[:GID], or names that the container's /etc/passwd and /etc/group know.
	User           string
	Env, Caps      []string
	AdditionalGids []uint32
	Tty            bool
	NoNewPrivs     *bool // nil: as the configuration says
}

// The words of these are runc's.
var (
	errExecStopped = errors.New("cannot exec in a stopped container")
	errExecPaused  = errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	errDied        = errors.New("before its program was started")
)

// execution is a process that joins a container.
type execution struct {
	container
	o       *ExecOptions
	l       launched
	init    *state.Process
	root    int // the container's root directory, -1 until it is asked for
	bundle  *spec.Bundle
	path    string // of the executable, if it is not the first argument
	plan    *plan.Plan
	process *launch.Process
	hook    *hookStreams // the program is a startContainer hook
	master  int          // of the pty, until the relay has it
	relay   *console.Relay
	tracer  bool // the container's own process has CAP_SYS_PTRACE
	traced  bool // processes that the new one meets may trace it while it is on its way
	ready   bool
	unitDir string // the cgroup that systemd is to move the process into
}

// Exec runs a program in a container that is created or runs. In the foreground it relays signals and the terminal and
// returns the program's exit status. It takes no lock: any number of them go on at once.
func (r *Runtime) Exec(o *ExecOptions) (status int, err error) {
	if err := guard.Ensure(); err != nil {
		return 255, err
	}
	rec, err := r.Store.Load(o.ID)
	if err != nil {
		return 255, err
	}
	e := &execution{container: container{r: r, rec: rec}, o: o, root: -1, master: -1}
	defer e.close()
	if err := e.enterable(); err != nil {
		return 255, err
	}
	if err := e.prepare(); err != nil {
		return 255, e.blame(err)
	}
	if !o.Detach {
		var except []unix.Signal
		if e.plan.Console.Wanted { // the terminal's relay handles these
			except = []unix.Signal{unix.SIGWINCH, unix.SIGCONT}
		}
		if err := forward.Start(except...); err != nil {
			return 255, err
		}
	}
	_ = fault.On && fault.At(fault.ExecPlanned)
	if err := e.launch(); err != nil {
		return 255, e.blame(err)
	}
	_ = fault.On && fault.At(fault.ExecReady)
	if err := e.hand(); err != nil {
		e.end()
		return 255, err
	}
	if o.Detach {
		return 0, nil
	}
	guard.Release() // the program runs
	log.Flush()
	return e.foreground()
}

// enterable checks the container's state and takes hold of its first process.
func (e *execution) enterable() error {
	if e.rec.Creating {
		if status, _ := e.r.status(e.rec); status == specs.StateCreating {
			return fmt.Errorf("cannot exec in container %s: it is still being created", e.rec.ID)
		}
		return errExecStopped
	}
	var err error
	if e.init, err = e.rec.Open(); err != nil {
		if errors.Is(err, state.ErrGone) {
			return errExecStopped
		}
		return err
	}
	if e.o.IgnorePaused {
		return nil
	}
	m, err := e.cgroup()
	if err != nil || m == nil {
		return err
	}
	if frozen, err := m.Frozen(); err != nil {
		log.Debugf("freezer state of container %s: %v", e.rec.ID, err)
	} else if frozen {
		return errExecPaused
	}
	return nil
}

// blame finds the container's end to be the reason of a failure that it explains. Where all its processes were killed
// together (cgroup.kill), the first one may be about to end, so such an error is worth a look a little later.
func (e *execution) blame(err error) error {
	var patience time.Duration
	ending := false
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOMEM) || errors.Is(err, errDied) {
		patience, ending = 300*time.Millisecond, e.init.Ending()
	}
	if ending || e.init.Wait(patience) {
		return fmt.Errorf("%w: its first process has ended meanwhile (%v)", errExecStopped, err)
	}
	return err
}

// gone tells if the container's first process has ended: nothing can join it any more.
func (e *execution) gone() bool { return e.init.Wait(0) }

// prepare plans the process.
func (e *execution) prepare() error {
	recorded, err := recordedSpec(e.rec)
	if err != nil {
		return err
	}
	if recorded.VServer.Flags&spec.FlagPrivate != 0 {
		return fmt.Errorf("container %s is private: no process joins it (flag private in %s)", e.rec.ID, spec.AnnotationPath("context.flags"))
	}
	e.l = loadLaunched(e.rec)
	e.tracer = mayTrace(recorded.Spec.Process)
	p, err := e.newProcess(recorded.Spec.Process)
	if err != nil {
		return err
	}
	switch {
	case e.o.Detach && p.Terminal && e.o.ConsoleSocket == "":
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	case (!e.o.Detach || !p.Terminal) && e.o.ConsoleSocket != "":
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	if p.Terminal && !e.o.Detach && p.ConsoleSize == nil {
		p.ConsoleSize = windowSize()
	}
	if err := preserved(e.o.PreserveFDs, 0); err != nil {
		return err
	}
	return e.build(recorded, p)
}

// build plans the launch of a process in the container that is recorded.
func (e *execution) build(recorded *spec.Bundle, p *specs.Process) (err error) {
	s := *recorded.Spec
	s.Process, s.Mounts = p, nil // mounts are made
	e.bundle = &spec.Bundle{Dir: recorded.Dir, Spec: &s, VServer: recorded.VServer}
	f := facts(e.bundle, nil)
	if e.hook == nil {
		if f.Landlock, _, err = landlockFacts(e.bundle, e.l.Landlock); err != nil {
			return err
		}
	}
	f.Home = func(_ string, uid uint32) string { return homeIn(e.rootFD(), uid) }
	e.plan, err = plan.BuildExec(e.bundle, f, &plan.ExecOptions{
		ID: e.rec.ID, Namespaces: uintptr(e.l.NS), NoNewKeyring: e.l.NoNewKeyring, PreserveFDs: e.o.PreserveFDs, Foreground: !e.o.Detach,
		NoCgroup: e.rec.Part(cgroupPart) == nil, Path: e.path, ExactEnv: e.hook != nil && e.hook.exactEnv,
	})
	if err != nil {
		return err
	}
	for _, w := range e.plan.Warnings {
		log.Warnf("%s", w)
	}
	if err := fillFilter(e.plan, &e.bundle.VServer.Net); err != nil {
		return err
	}
	if s.Linux == nil {
		return nil
	}
	return filter(s.Linux.Seccomp, e.plan)
}

// launch starts the process, and returns when its program runs.
func (e *execution) launch() error {
	if p := e.bundle.Spec.Process; e.l.NS&unix.CLONE_NEWUSER != 0 && !p.Terminal && e.hook == nil {
		if uid, ok := hostID(e.rec.InitPid, "uid", p.User.UID); ok {
			ownStdio(uid, !e.o.Detach)
		}
	}
	if err := e.noteTracer(e.bundle.Spec.Process); err != nil {
		return err
	}
	e.traced = e.r.mayBeTraced(e.rec.ID, &e.l, e.tracer)
	o := &launch.Options{Console: -1, Share: e.mayShare(), Close: [2]int{guard.Mount(), -1}}
	if e.hook != nil {
		o.Stdio = []int{e.hook.in, e.hook.out, e.hook.out}
	}
	t := &launch.Target{Init: e.init.FD(), Root: -1, Namespaces: uintptr(e.l.NS), Unprivileged: unprivileged(), Traced: e.traced}
	if t.Namespaces&unix.CLONE_NEWNS == 0 {
		if t.Root = e.rootFD(); t.Root < 0 {
			return errors.New("the container's root directory cannot be opened")
		}
	}
	if e.o.ConsoleSocket != "" {
		var err error
		if o.Console, err = console.ConnectSocket(e.o.ConsoleSocket); err != nil {
			return err
		}
		defer unix.Close(o.Console)
	}
	var err error
	if e.process, err = e.join(o, t); err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.ExecJoined)
	if !e.o.Detach {
		forward.To(e.process.PIDFD)
	}
	for {
		ev, err := e.process.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = e.stage(ev)
		}
		if err != nil {
			e.end()
			return err
		}
	}
	if !e.ready {
		return e.died()
	}
	return nil
}

// stage does what the process waits for, or takes note.
func (e *execution) stage(ev launch.Event) error {
	switch ev.Stage {
	case plan.StageConsole:
		e.master = ev.FD
		return nil
	case plan.StageRelay:
		master := e.master
		e.master = -1
		var err error
		if e.relay, err = console.Start(master); err != nil {
			return err
		}
		return e.process.Continue("")
	case plan.StageCgroup:
		return e.moveIntoUnit()
	case plan.StageExec:
		e.ready = true
		return nil
	case plan.StageListener:
		if err := passListener(e.rec, e.bundle.Spec, e.status(), e.process.PID, e.process.PIDFD, ev.Value); err != nil {
			return err
		}
		return e.process.Continue("")
	}
	return fmt.Errorf("the process waits for %s, which nobody does", ev.Stage)
}

// died finds words for a process that was gone before its program ran.
func (e *execution) died() error {
	how := "ended"
	if st, err := reap(e.process.PIDFD); err == nil {
		how = st
	}
	hint := ""
	if m, err := e.cgroup(); err == nil && m != nil {
		if n, err := m.OOMKills(); err == nil && n > 0 {
			hint = " (possibly for lack of memory: the container's limit has killed before)"
		}
	}
	return fmt.Errorf("the process %s %w%s", how, errDied, hint)
}

// hand tells the caller what it asked to be told of the process.
func (e *execution) hand() error {
	if e.o.PidfdSocket != "" {
		s, err := console.ConnectSocket(e.o.PidfdSocket)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		if err := console.SendFD(s, "setns", e.process.PIDFD); err != nil { // runc's word for a process that joins
			return fmt.Errorf("send the pidfd to socket %s: %w", e.o.PidfdSocket, err)
		}
	}
	if e.o.PidFile != "" {
		return writePidFile(e.o.PidFile, e.process.PID)
	}
	return nil
}

// foreground stays until the program has ended.
func (e *execution) foreground() (int, error) {
	forward.To(e.process.PIDFD)
	ended, err := waitExit(e.process.PIDFD)
	_ = fault.On && fault.At(fault.ExecEnded)
	if err := e.relay.Close(); err != nil {
		log.Warnf("%v", err)
	}
	if err != nil {
		return 255, err
	}
	return ended.status(), nil
}

// end ends a process that is not to go on.
func (e *execution) end() {
	_ = unix.PidfdSendSignal(e.process.PIDFD, unix.SIGKILL, nil, 0)
	_ = e.process.Close()
	_, _ = reap(e.process.PIDFD)
}

func (e *execution) close() {
	_ = e.relay.Close()
	if e.init != nil {
		e.init.Close()
	}
	if e.process != nil {
		_ = e.process.Close()
		unix.Close(e.process.PIDFD)
	}
	for _, fd := range [...]int{e.root, e.master} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// mayShare tells if the process may start in the runtime's memory (launch.Options.Share). It may where creation.mayShare
// says so of the container's own process; and only where none of the container's processes can trace it while it is on
// its way, as those could with CAP_SYS_PTRACE outside a user namespace, or those of other containers in a shared pid
// namespace.
func (e *execution) mayShare() bool {
	s := e.bundle.Spec
	if s.Process.OOMScoreAdj != nil || tightMemory(s) || e.hook != nil {
		return false
	}
	return e.l.PIDNS && !e.traced
}

// windowSize is that of the caller's terminal, nil if it has none.
func windowSize() *specs.Box {
	for _, fd := range [...]int{2, 1, 0} {
		if ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
			return &specs.Box{Height: uint(ws.Row), Width: uint(ws.Col)}
		}
	}
	return nil
}
