package libvserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/console"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/guard"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
)

// launch makes the container. When it fails, nothing of it is left, and poststop hooks have run (runtime.md, "Lifecycle").
func (n *creation) launch() (err error) {
	_ = fault.On && fault.At(fault.Checked)
	if n.dir, err = n.r.Store.Reserve(n.o.ID); err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.Reserved)
	n.rec = n.newRecord()
	defer func() {
		if err != nil {
			err = n.undo(err)
		}
	}()
	if err := n.noteTracer(); err != nil {
		return err
	}
	if err := n.takeXid(); err != nil {
		return err
	}
	if err := n.placeUpper(); err != nil {
		return err
	}
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
	_ = fault.On && fault.At(fault.Recorded)
	early := n.upperFirst()
	if early {
		if err := n.makeUpper(); err != nil {
			return err
		}
	}
	if n.hooks.Notify {
		if err := n.makeNotifyDir(); err != nil {
			return err
		}
		_ = fault.On && fault.At(fault.NotifyMade)
		if !n.wait {
			if err := n.listenNotify(); err != nil {
				return err
			}
		}
	}
	if err := n.cg.Create(); err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.CgroupMade)
	if !n.cg.NeedsPid() {
		if err := n.attachNetwork(); err != nil {
			return err
		}
	}
	if n.rdt != nil {
		if err := n.rdt.make(); err != nil {
			return err
		}
	}
	if err := n.start(n.plan.Overlay != nil && !early); err != nil {
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

// takeXid reserves the context id. A dynamic one that can't be had, for want of a place to register it, is none.
func (n *creation) takeXid() (err error) {
	want := n.bundle.VServer.XID
	n.rec.Xid, err = n.dir.ReserveXid(want)
	if err != nil && want == 0 && !errors.Is(err, state.ErrXidInUse) {
		log.Debugf("%v", err)
		return nil
	}
	return err
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

// start clones the container's process. While that builds the environment, up to the first stage or StageRecorded, the
// limits are set: none of them concern it so far; and, if that is asked for, the upper layer is made.
func (n *creation) start(upper bool) error {
	join, err := n.cg.JoinFDs()
	if err != nil {
		return err
	}
	defer n.cg.Close()
	o := &launch.Options{CgroupFD: join.Cgroup, CgroupTasks: join.Tasks, Listener: -1, Console: -1, Close: [2]int{n.dir.FD(), guard.Mount()}, Share: n.mayShare(), Ahead: n.ahead}
	if n.wait {
		if o.Listener, err = listenStart(n.dir.FD()); err != nil {
			return err
		}
		defer unix.Close(o.Listener)
		_ = fault.On && fault.At(fault.Listening)
	}
	if n.o.ConsoleSocket != "" {
		if o.Console, err = console.ConnectSocket(n.o.ConsoleSocket); err != nil {
			return err
		}
		defer unix.Close(o.Console)
	}
	early := len(o.CgroupTasks) > 0 // a cpuset of version 1 takes no process before it has CPUs
	if early {
		if err := n.cg.Set(); err != nil {
			return err
		}
	}
	if n.process, err = launch.Begin(n.plan, o); err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.Cloned)
	if err := n.noteProcess(); err != nil {
		return err
	}
	if upper && !n.process.Shared() {
		if err := n.makeUpper(); err != nil {
			return err
		}
	}
	if err := n.process.Load(); err != nil {
		return err
	}
	if upper && n.process.Shared() {
		if err := n.makeUpper(); err != nil {
			return err
		}
		if err := n.process.UpperMade(); err != nil {
			return err
		}
	}
	_ = fault.On && fault.At(fault.Loaded)
	if !early {
		if err := n.cg.Set(); err != nil {
			return err
		}
	}
	_ = fault.On && fault.At(fault.Limited)
	if n.rdt != nil {
		if err := n.rdt.add(n.process.PID); err != nil {
			return err
		}
	}
	if n.opt.Recorded {
		if err := n.created(); err != nil {
			return err
		}
		if err := n.process.Recorded(); err != nil {
			return err
		}
	}
	guard.Release() // while the process is at work
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
		_ = fault.On && fault.At(fault.UndoKilled)
	}
	left := false
	try := func(what string, err error) {
		if err != nil {
			log.Warnf("%s of the failed container: %v", what, err)
			left = true
		}
	}
	try("unmount the mounts", unmountRoot(n.hooks.Below, n.plan.Rootfs))
	if n.rdt != nil {
		try("remove the resctrl group", removeRdt(n.rdt.done...))
	}
	if why := n.outOfMemory(); why != "" {
		cause = fmt.Errorf("%w: %s", cause, why)
	}
	detachNetwork(n.cg, n.hooks.NetCgroup)
	try("remove the cgroup", n.cg.Destroy())
	_ = fault.On && fault.At(fault.UndoCgroup)
	try("give up the network context", n.releaseNetwork(&n.hooks))
	if n.hooks.PostStop && n.process != nil {
		n.runPoststop(n.bundle.Spec)
	}
	try("remove the upper layer", n.undoUpper())
	if left {
		// The record, which is still there, is the only way to what is left. The poststop hooks have run.
		n.hooks.PostStop = false
		n.hooks.save(n.rec)
		_ = n.dir.Save(n.rec)
		n.dir.Unlock()
		log.Warnf("the failed container %s is left: delete --force removes it", n.o.ID)
	} else if err := n.dir.Remove(n.rec.Xid); err != nil {
		log.Warnf("remove the state of the failed container: %v", err)
	}
	n.dir = nil
	return cause
}
