package libvserver

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/console"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/forward"
	"github.com/vsrun/vsrun/libvserver/log"
)

// RunOptions are the flags of run.
type RunOptions struct {
	CreateOptions
	Detach, Keep, NoSubreaper bool
}

// Run creates a container and starts it at once. In the foreground it relays signals and the terminal, waits for the end,
// deletes the container and returns the program's exit status.
func (r *Runtime) Run(o *RunOptions) (status int, err error) {
	n, err := r.prepare(&o.CreateOptions, false)
	if err != nil {
		return 1, err
	}
	defer n.close()
	n.stays = !o.Detach
	if n.bundle.Spec.Process == nil {
		return 1, errors.New("config.json: process: nothing to run")
	}
	if err := n.terminalFits(o); err != nil {
		return 1, err
	}
	if err := n.catchSignals(o); err != nil {
		return 1, err
	}
	if err := n.launch(); err != nil {
		return 1, err
	}
	if n.hooks.PostStart {
		if err := n.runPoststart(n.bundle.Spec); err != nil {
			return 1, n.failed(err, n.bundle.Spec, n.hooks.PostStop)
		}
	}
	if o.Detach {
		if n.hooks.Notify {
			n.tellReady(n.rec.InitPid)
		}
		return 0, nil
	}
	log.Flush()
	return n.foreground(o)
}

// catchSignals begins to keep signals for the container's first process, if this one stays in the foreground.
func (n *creation) catchSignals(o *RunOptions) error {
	if o.Detach {
		return nil
	}
	var except []unix.Signal
	if n.plan.Console.Wanted { // the terminal's relay handles these
		except = []unix.Signal{unix.SIGWINCH, unix.SIGCONT}
	}
	if err := forward.Start(except...); err != nil {
		return err
	}
	if !n.hooks.PIDNS && !o.NoSubreaper {
		// What the container's processes leave behind comes to this process, not to the host's init.
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	return nil
}

func (n *creation) terminalFits(o *RunOptions) error {
	switch {
	case n.plan.Console.Wanted && o.Detach && o.ConsoleSocket == "":
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	case o.ConsoleSocket != "" && (!n.plan.Console.Wanted || !o.Detach):
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	return nil
}

// foreground stays until the container's program has ended, and removes the container.
func (n *creation) foreground(o *RunOptions) (int, error) {
	n.dir.Unlock() // other verbs may have it: kill, exec, delete --force
	n.dir = nil
	var relay *console.Relay
	if n.master >= 0 {
		var err error
		master := n.master
		n.master = -1 // it is the relay's
		if relay, err = console.Start(master); err != nil {
			_ = unix.PidfdSendSignal(n.process.PIDFD, unix.SIGKILL, nil, 0)
			return 1, err
		}
	}
	forward.To(n.process.PIDFD)
	_ = fault.On && fault.At(fault.Foreground)
	if n.hooks.Notify {
		go n.tellReady(os.Getpid()) // which knows how the program ends, and clears up after it
	}
	mounts := n.holdMounts()
	end, err := waitExit(n.process.PIDFD)
	if mounts >= 0 {
		go unix.Close(mounts) // before this process is gone, whatever comes first
	}
	if e := relay.Close(); e != nil {
		log.Warnf("%v", e)
	}
	if err != nil {
		return 1, err
	}
	_ = fault.On && fault.At(fault.Ended)
	if end.status() != 0 {
		if why := n.outOfMemory(); why != "" {
			log.Warnf("container %s: %s", n.rec.ID, why)
		}
	}
	if o.Keep {
		return end.status(), nil
	}
	if err := n.r.remove(n); err != nil {
		return end.status(), err
	}
	return end.status(), nil
}

// holdMounts takes a descriptor of the container's mount namespace, -1 if there is none or it can't be had
// (PIDFD_GET_MNT_NAMESPACE, Linux 6.11). To take the last namespace's mounts down, with a wait for RCU, is else a part of
// the process's exit, and comes before the runtime hears of it; so it goes on beside the removal of the container. With
// poststop hooks the mounts are to be gone first.
func (n *creation) holdMounts() int {
	if n.hooks.PostStop || n.hooks.NS&unix.CLONE_NEWNS == 0 {
		return -1
	}
	fd, err := unix.IoctlRetInt(n.process.PIDFD, unix.PIDFD_GET_MNT_NAMESPACE)
	if err != nil {
		return -1
	}
	return fd
}

// remove deletes a container whose program has ended, if nobody else has done it already.
func (r *Runtime) remove(n *creation) error {
	dir, err := r.Store.Lock(n.rec.ID, lockWait)
	if err != nil {
		return nil // deleted by another
	}
	n.dir = dir
	if !n.hooks.PIDNS {
		if err := n.kill(); err != nil {
			return err
		}
	}
	err = n.destroy()
	n.dir = nil
	if err == nil && n.hooks.PostStop {
		n.runPoststop(n.bundle.Spec)
	}
	return err
}
