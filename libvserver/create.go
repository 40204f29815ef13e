package libvserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/hooks"
	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/console"
	"github.com/vsrun/vsrun/libvserver/guard"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/netdev"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec"
)

// CreateOptions are the flags of create.
type CreateOptions struct {
	ID, Bundle, ConfigFile              string
	ConsoleSocket, PidFile, PidfdSocket string
	NoPivot, NoNewKeyring               bool
	PreserveFDs                         int
}

// Create builds a container up to the point where its program is about to run.
func (r *Runtime) Create(o *CreateOptions) error {
	n, err := r.prepare(o, true)
	if err != nil {
		return err
	}
	defer n.close()
	if n.plan.Console.Wanted && o.ConsoleSocket == "" {
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	}
	if !n.plan.Console.Wanted && o.ConsoleSocket != "" {
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	if err := n.launch(); err != nil {
		return err
	}
	return nil
}

// creation is a container in the making.
type creation struct {
	container
	o       *CreateOptions
	wait    bool
	bundle  *spec.Bundle
	plan    *plan.Plan
	opt     plan.Options
	process *launch.Process
	hooks   launched
	master  int // of the pty, in the foreground
	undone  bool
	stays   bool // the runtime does, until the program has ended
	rdt     *rdtGroup
	devices *netdev.Moved
	covered int // the directory that a tmpfs with tmpcopyup will cover
}

// prepare checks everything that can be checked before anything is made.
func (r *Runtime) prepare(o *CreateOptions, wait bool) (*creation, error) {
	n, err := r.newCreation(o, wait)
	if err != nil {
		return nil, err
	}
	// Nobody can see a container between create and start where both are one, unless a hook looks.
	n.opt.Recorded = !wait && !n.cg.NeedsPid() && n.bundle.Spec.Hooks == nil
	if err := n.listenFDs(); err != nil {
		return nil, err
	}
	if err := n.notifySocket(); err != nil {
		return nil, err
	}
	if err := n.build(); err != nil {
		return nil, err
	}
	for _, w := range n.plan.Warnings {
		log.Warnf("%s", w)
	}
	if err := n.filter(); err != nil {
		return nil, err
	}
	n.remember()
	return n, nil
}

// newCreation reads the bundle and works out the cgroup.
func (r *Runtime) newCreation(o *CreateOptions, wait bool) (*creation, error) {
	if err := guard.Ensure(); err != nil {
		return nil, err
	}
	if err := state.CheckID(o.ID); err != nil {
		return nil, err
	}
	b, err := spec.Load(o.Bundle, o.ConfigFile)
	if err != nil {
		return nil, err
	}
	if err := needsNamespace(b.Spec); err != nil {
		return nil, err
	}
	n := &creation{container: container{r: r}, o: o, wait: wait, bundle: b, master: -1}
	copt := cgroup.Options{ID: o.ID, Systemd: r.SystemdCgroup, Rootless: r.rootless(), Disabled: r.CgroupDisabled, Annotations: b.Spec.Annotations}
	if l := b.Spec.Linux; l != nil {
		copt.Path, copt.Resources, copt.Devices = l.CgroupsPath, l.Resources, l.Devices
	}
	if n.cg, err = cgroup.New(copt); err != nil {
		return nil, err
	}
	n.opt = plan.Options{
		ID: o.ID, NoPivot: o.NoPivot, NoNewKeyring: o.NoNewKeyring, PreserveFDs: o.PreserveFDs, Wait: wait,
		SystemdCgroup: n.cg.NeedsPid(), NoCgroup: n.cg.Driver() == cgroup.DriverNone,
	}
	return n, nil
}

// build plans the launch.
func (n *creation) build() (err error) {
	if n.plan, err = plan.Build(n.bundle, facts(n.bundle, n.cg), &n.opt); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	return nil
}

// remember notes what later verbs need of the plan.
func (n *creation) remember() {
	c := &n.plan.Clone
	for _, list := range [][]plan.Namespace{c.New, c.Join} {
		for _, ns := range list {
			n.hooks.NS |= uint64(ns.Flag)
		}
	}
	n.hooks.PIDNS = c.Has(unix.CLONE_NEWPID)
	n.hooks.Notify = n.opt.NotifyDir != ""
	n.hooks.NoNewKeyring = n.opt.NoNewKeyring
	if h := n.bundle.Spec.Hooks; h != nil {
		n.hooks.StartHooks, n.hooks.PostStart, n.hooks.PostStop = len(h.StartContainer) > 0, len(h.Poststart) > 0, len(h.Poststop) > 0
	}
	if n.plan.CallerMounts {
		n.hooks.Below = mountID(n.plan.Rootfs)
	}
	for _, s := range n.plan.Stages {
		n.hooks.Listener = n.hooks.Listener || s == plan.StageListener
		if s == plan.StageCreated {
			n.opt.Recorded = false
		}
	}
}

// launch makes the container. When it fails, nothing of it is left, and poststop hooks have run (runtime.md, "Lifecycle").
func (n *creation) launch() (err error) {
	if n.dir, err = n.r.Store.Reserve(n.o.ID); err != nil {
		return err
	}
	n.rec = n.newRecord()
	defer func() {
		if err != nil {
			err = n.undo(err)
		}
	}()
	if err := n.findRdt(); err != nil {
		return err
	}
	if n.rdt != nil {
		n.rec.IntelRdtPath = n.rdt.dir
	}
	// What is about to be made is written down first: whoever finds the container after a crash can remove it.
	if err := n.save(); err != nil {
		return err
	}
	if n.hooks.Notify {
		if err := n.makeNotifyDir(); err != nil {
			return err
		}
		if !n.wait {
			if err := n.listenNotify(); err != nil {
				return err
			}
		}
	}
	if err := n.cg.Create(); err != nil {
		return err
	}
	if n.rdt != nil {
		if err := n.rdt.make(); err != nil {
			return err
		}
	}
	if err := n.start(); err != nil {
		return err
	}
	for {
		e, err := n.process.Next()
		if n.process.PID != n.rec.InitPid && (err == nil || err == io.EOF) { // the process has gone on in a child
			if err := n.noteProcess(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return n.ended()
		}
		if err != nil {
			return err
		}
		if err := n.stage(e); err != nil {
			return err
		}
		if e.Stage == plan.StageCreated && n.wait {
			return nil
		}
	}
}

// newRecord is the record of a container of which nothing is made yet.
func (n *creation) newRecord() *state.Record {
	return &state.Record{
		ID: n.o.ID, Created: time.Now().UTC(), Rootless: n.r.rootless(), OCIVersion: n.bundle.Spec.Version, Bundle: n.bundle.Dir,
		Rootfs: n.plan.Rootfs, Annotations: n.bundle.Spec.Annotations, Creating: true, Owner: uint32(os.Geteuid()),
		ExecFifo: startSocket, NoPivot: n.o.NoPivot, SystemdCgroup: n.r.SystemdCgroup, Config: n.bundle.Raw,
		ExternalDescriptors: n.stdio(),
	}
}

func (n *creation) save() error {
	if n.cg.Driver() != cgroup.DriverNone {
		st := n.cg.Intent()
		if n.process != nil {
			st = n.cg.State()
		}
		n.rec.SetPart(cgroupPart, st.AppendJSON(nil))
		n.rec.CgroupPaths = n.cg.Paths()
	} else { // without root's privileges that may be found when it is tried
		n.rec.SetPart(cgroupPart, nil)
		n.rec.CgroupPaths = nil
	}
	n.hooks.save(n.rec)
	return n.dir.Save(n.rec)
}

// start clones the container's process. While that makes its namespaces, the limits are set: it does nothing that they
// could concern before Load.
func (n *creation) start() error {
	join, err := n.cg.JoinFDs()
	if err != nil {
		return err
	}
	defer n.cg.Close()
	o := &launch.Options{CgroupFD: join.Cgroup, CgroupTasks: join.Tasks, Listener: -1, Console: -1, Close: n.dir.FD(), Share: n.mayShare()}
	if n.wait {
		if o.Listener, err = listenStart(n.dir.FD()); err != nil {
			return err
		}
		defer unix.Close(o.Listener)
	}
	if n.o.ConsoleSocket != "" {
		if o.Console, err = console.ConnectSocket(n.o.ConsoleSocket); err != nil {
			return err
		}
		defer unix.Close(o.Console)
	}
	if n.process, err = launch.Begin(n.plan, o); err != nil {
		return err
	}
	if err := n.noteProcess(); err != nil {
		return err
	}
	if err := n.cg.Set(); err != nil {
		return err
	}
	if n.rdt != nil {
		if err := n.rdt.add(n.process.PID); err != nil {
			return err
		}
	}
	if n.opt.Recorded {
		if err := n.created(); err != nil {
			return err
		}
	}
	if err := n.process.Load(); err != nil {
		return err
	}
	n.hooks.Late = n.process.Program().Late()
	return nil
}

func (n *creation) noteProcess() (err error) {
	n.rec.InitPid = n.process.PID
	n.rec.InitStart, err = state.StartTime(n.process.PID)
	return err
}

// mayShare tells if the container's process may start in the runtime's memory (launch.Options.Share): not where it would
// draw the runtime into its own end by lack of memory, or its oom_score_adj would stay with the runtime or its hooks.
func (n *creation) mayShare() bool {
	s := n.bundle.Spec
	if tightMemory(s) {
		return false
	}
	return s.Process == nil || s.Process.OOMScoreAdj == nil || n.wait && s.Hooks == nil
}

// tightMemory tells if a container has so little memory that its start may meet the limit.
func tightMemory(s *specs.Spec) bool {
	const tight = 32 << 20 // bytes
	l := s.Linux
	if l == nil || l.Resources == nil || l.Resources.Memory == nil || l.Resources.Memory.Limit == nil {
		return false
	}
	limit := *l.Resources.Memory.Limit
	return limit > 0 && limit < tight
}

// stage does what the container's process waits for.
func (n *creation) stage(e launch.Event) error {
	answer := ""
	var err error
	switch e.Stage {
	case plan.StageIDs:
		err = n.identify()
	case plan.StageCgroup:
		if err = n.cg.ApplyPid(n.process.PID); err == nil {
			err = n.save()
		}
	case plan.StageConsole:
		n.master = e.FD
		return console.Prepare(e.FD) // the process does not wait
	case plan.StageCopyUp:
		err = n.copyUp(e.Value)
	case plan.StageScheduling:
		err = n.schedule()
	case plan.StageNetDevices:
		err = n.moveNetDevices()
	case plan.StageHooks:
		if err = n.save(); err == nil {
			err = n.createHooks()
		}
	case plan.StageHome:
		answer = home("/proc/"+itoa(n.process.PID)+"/root", n.bundle.Spec.Process.User.UID)
		if answer == "" {
			answer = "/"
		}
	case plan.StageCreated:
		if l := n.bundle.Spec.Linux; n.plan.Clone.Joins(unix.CLONE_NEWUSER) {
			err = sameMaps(n.process.PID, l)
		}
		if err == nil {
			err = n.created()
		}
	case plan.StageStart:
		err = n.runHooksIn("startContainer", n.bundle.Spec.Hooks.StartContainer, specs.StateCreated)
	case plan.StageListener:
		err = sendListener(n.rec, n.bundle.Spec, n.process.PIDFD, e.Value)
	default:
		err = fmt.Errorf("the container's process waits for %s, which nobody does", e.Stage)
	}
	if err != nil {
		return err
	}
	return n.process.Continue(answer)
}

// created records that the environment stands.
func (n *creation) created() error {
	n.rec.Creating = false
	if err := n.save(); err != nil {
		return err
	}
	if n.o.PidFile != "" {
		if err := writePidFile(n.o.PidFile, n.process.PID); err != nil {
			return err
		}
	}
	if n.o.PidfdSocket != "" {
		if err := console.SendPidfd(n.o.PidfdSocket, n.process.PIDFD); err != nil {
			return err
		}
	}
	return nil
}

// ended is called when the process says nothing more: its program runs, or it died without a word.
func (n *creation) ended() error {
	if !n.rec.Creating {
		return nil
	}
	how := "exited"
	if st, err := reap(n.process.PIDFD); err == nil && st != "" {
		how = st
	}
	return fmt.Errorf("the container's process %s before its program was started", how)
}

// undo removes what a failed launch has made, and returns its error.
func (n *creation) undo(cause error) error {
	if n.undone {
		return cause
	}
	n.undone = true
	if n.process != nil {
		n.returnNetDevices()
		_ = unix.PidfdSendSignal(n.process.PIDFD, unix.SIGKILL, nil, 0)
		_ = n.process.Close()
		_, _ = reap(n.process.PIDFD)
		if !n.hooks.PIDNS {
			_ = n.cg.Kill()
		}
	}
	unmountRoot(n.hooks.Below, n.plan.Rootfs)
	if n.rdt != nil {
		if err := removeRdt(n.rdt.done...); err != nil {
			log.Warnf("remove the resctrl group of the failed container: %v", err)
		}
	}
	if why := n.outOfMemory(); why != "" {
		cause = fmt.Errorf("%w: %s", cause, why)
	}
	if err := n.cg.Destroy(); err != nil {
		log.Warnf("remove the cgroup of the failed container: %v", err)
	}
	if n.hooks.PostStop && n.process != nil {
		n.runPoststop(n.bundle.Spec)
	}
	if err := n.dir.Remove(); err != nil {
		log.Warnf("remove the state of the failed container: %v", err)
	}
	n.dir = nil
	return cause
}

// close gives up what the runtime itself held.
func (n *creation) close() {
	if n.process != nil {
		_ = n.process.Close()
		unix.Close(n.process.PIDFD)
	}
	if n.master >= 0 {
		unix.Close(n.master)
	}
	if n.devices != nil {
		n.devices.Close()
	}
	if n.dir != nil {
		n.dir.Unlock()
	}
}

// createHooks runs the hooks that come after the environment stands and before pivot_root: prestart and createRuntime in the runtime's namespaces, createContainer in the container's.
func (n *creation) createHooks() error {
	h := n.bundle.Spec.Hooks
	if h == nil {
		return nil
	}
	// The environment stands (runtime.md, "Lifecycle", step 2), so the state is created already, as crun has it; runc
	// says creating.
	st := n.specState(specs.StateCreated, n.process.PID)
	//lint:ignore SA1019 deprecated in the specification, and used
	if err := hooks.Run("prestart", h.Prestart, st, hooks.InRuntime); err != nil {
		return err
	}
	if err := hooks.Run("createRuntime", h.CreateRuntime, st, hooks.InRuntime); err != nil {
		return err
	}
	return n.runHooksIn("createContainer", h.CreateContainer, specs.StateCreated)
}

// runHooksIn runs hooks in the container's namespaces.
func (n *creation) runHooksIn(kind string, list []specs.Hook, status specs.ContainerState) error {
	return runHooksIn(n.rec, kind, list, status, n.process.PIDFD, uintptr(n.hooks.NS))
}

func (n *creation) specState(status specs.ContainerState, pid int) []byte {
	st := n.rec.SpecState(status, pid)
	return state.AppendSpecState(nil, &st)
}

func writePidFile(file string, pid int) error {
	tmp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file))
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_SYNC, 0o666)
	if err != nil {
		return fmt.Errorf("--pid-file: %w", err)
	}
	_, err = f.WriteString(itoa(pid))
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("--pid-file: %w", err)
	}
	return nil
}
