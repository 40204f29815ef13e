package libvserver

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/hooks"
	"github.com/vsrun/vsrun/libvserver/console"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
)

// stage does what the container's process waits for.
func (n *creation) stage(e launch.Event) error {
	_ = fault.On && fault.At(fault.StageReached)
	answer := ""
	var err error
	switch e.Stage {
	case plan.StageIDs:
		err = n.identify()
	case plan.StageCgroup:
		if err = n.cg.ApplyPid(n.process.PID); err == nil {
			err = n.attachNetwork()
		}
		if err == nil {
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
	case plan.StageRecorded: // it is, and the process that shares no memory could not see it
	case plan.StageStart:
		err = n.runStartHooks(&n.hooks, n.bundle)
	case plan.StageListener:
		err = sendListener(n.rec, n.bundle.Spec, n.process.PIDFD, e.Value)
	default:
		err = fmt.Errorf("the container's process waits for %s, which nobody does", e.Stage)
	}
	if err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.StageServed)
	return n.process.Continue(answer)
}

// created records that the environment stands.
func (n *creation) created() error {
	n.rec.Creating = false
	if err := n.save(); err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.CreatedRecorded)
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
	if err := hooks.Run("prestart", h.Prestart, st, hooks.InRuntime(n.bundle.Dir)); err != nil {
		return err
	}
	if err := hooks.Run("createRuntime", h.CreateRuntime, st, hooks.InRuntime(n.bundle.Dir)); err != nil {
		return err
	}
	return n.r.runHooksIn(n.rec, &n.hooks, n.bundle.Spec, h.CreateContainer, n.process.PIDFD)
}

func (n *creation) specState(status specs.ContainerState, pid int) []byte {
	st := n.rec.SpecState(status, pid)
	return state.AppendSpecState(nil, &st)
}
