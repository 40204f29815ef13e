package libvserver

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/guard"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/netcontext"
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
	defer func() {
		n.close()
		if n.process != nil && n.process.Shared() {
			launch.Forget()
		}
	}()
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
	ahead   *launch.Ahead
	hooks   launched
	master  int // of the pty, in the foreground
	undone  bool
	stays   bool // the runtime does, until the program has ended
	rdt     *rdtGroup
	devices *netdev.Moved
	// upperThere: the upper layer of a unified tree is one that was kept.
	upperThere bool
	covered    int // the directory that a tmpfs with tmpcopyup will cover
	copied     int // how many of those are done
	net        *netcontext.Context
}

// prepare checks everything that can be checked before anything is made.
func (r *Runtime) prepare(o *CreateOptions, wait bool) (*creation, error) {
	var ahead *launch.Ahead
	if os.Geteuid() == 0 {
		ahead = launch.NewAhead()
	}
	n, err := r.newCreation(o, wait, ahead)
	if err != nil {
		ahead.Close()
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
	if err := n.network(); err != nil {
		return nil, err
	}
	n.remember()
	return n, nil
}

// newCreation reads the bundle and works out the cgroup. ahead, if not nil, is sent into the network namespace.
func (r *Runtime) newCreation(o *CreateOptions, wait bool, ahead *launch.Ahead) (*creation, error) {
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
	if goesAhead(b.Spec.Linux) {
		ahead.Go(unix.CLONE_NEWNET)
	} else {
		ahead.Close()
	}
	origins, err := presets(b)
	if err != nil {
		return nil, err
	}
	n := &creation{container: container{r: r}, o: o, wait: wait, bundle: b, ahead: ahead, master: -1}
	copt := cgroup.Options{ID: o.ID, Systemd: r.SystemdCgroup, Rootless: r.rootless(), Disabled: r.CgroupDisabled, Annotations: b.Spec.Annotations, Origins: origins}
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

// goesAhead tells if the bundle asks for a new network namespace that is the runtime's to make.
func goesAhead(l *specs.Linux) bool {
	wanted := false
	if l == nil {
		return false
	}
	for i := range l.Namespaces {
		switch l.Namespaces[i].Type {
		case specs.UserNamespace:
			return false
		case specs.NetworkNamespace:
			wanted = l.Namespaces[i].Path == ""
		}
	}
	return wanted
}

// build plans the launch.
func (n *creation) build() (err error) {
	f := facts(n.bundle, n.cg)
	if f.Landlock, n.hooks.Landlock, err = landlockFacts(n.bundle, ""); err != nil {
		return err
	}
	if n.plan, err = plan.Build(n.bundle, f, &n.opt); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if n.plan.CallerMounts {
		if n.hooks.Below, err = mountID(n.plan.Rootfs); err != nil {
			return fmt.Errorf("root.path: %w", err)
		}
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
	for _, s := range n.plan.Stages {
		n.hooks.Listener = n.hooks.Listener || s == plan.StageListener
		if s == plan.StageCreated {
			n.opt.Recorded = false
		}
	}
}

// close gives up what the runtime itself held.
func (n *creation) close() {
	n.ahead.Close()
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
	if n.plan != nil && n.plan.Overlay != nil && n.plan.Overlay.FD >= 0 {
		unix.Close(n.plan.Overlay.FD)
	}
	if n.dir != nil {
		n.dir.Unlock()
	}
}
