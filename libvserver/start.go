package libvserver

import (
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/guard"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/spec"
)

// lockWait is how long a verb waits for another one on the same container.
const lockWait = 30 * time.Second

// open locks a container and loads its record.
func (r *Runtime) open(id string) (*container, error) {
	dir, err := r.Store.Lock(id, lockWait)
	if err != nil {
		return nil, err
	}
	rec, err := dir.Load()
	if err != nil {
		dir.Unlock()
		return nil, err
	}
	return &container{r: r, dir: dir, rec: rec}, nil
}

// Start lets a created container run its program.
func (r *Runtime) Start(id string) error {
	c, err := r.open(id)
	if err != nil {
		return err
	}
	defer c.dir.Unlock()
	switch status, _ := r.status(c.rec); status {
	case specs.StateCreated:
	case specs.StateStopped:
		return ErrStopped
	case specs.StateCreating:
		return fmt.Errorf("cannot start container %s: it is still being created", id)
	case specs.StateRunning:
		return ErrAlreadyRunning
	default:
		return fmt.Errorf("cannot start a container in the %s state", status) // runc's words, of a paused one
	}
	l := loadLaunched(c.rec)
	if l.StartHooks {
		// Their programs are the container's, and come from this process: one may be a script for /proc/self/exe.
		if err := guard.Ensure(); err != nil {
			return err
		}
	}
	var b *spec.Bundle
	var s *specs.Spec
	if l.StartHooks || l.PostStart || l.Listener || l.Notify {
		if b, err = recordedSpec(c.rec); err != nil {
			return err
		}
		s = b.Spec
	}
	if rec := c.rec; len(l.Late) == 0 {
		return fmt.Errorf("cannot start container %s: its config.json has no process", rec.ID)
	}
	if err := c.fit(); err != nil {
		return err
	}
	if l.Notify {
		if err := c.listenNotify(); err != nil {
			return err
		}
	}
	if err := c.release(&l, b); err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.Started)
	if l.PostStart {
		if err := c.runPoststart(s); err != nil {
			return c.failed(err, s, l.PostStop)
		}
	}
	if l.Notify {
		return c.notifyProxy(c.rec.InitPid)
	}
	return nil
}

// fit refuses a frozen cgroup: the process would hang in it (config-linux.md, "Cgroups Path").
func (c *container) fit() error {
	if c.r.frozen(c.rec) {
		return fmt.Errorf("cannot start container %s: its cgroup is frozen", c.rec.ID)
	}
	return nil
}

// release lets the waiting process go, and returns when its program runs.
func (c *container) release(l *launched, b *spec.Bundle) error {
	conn, err := connectStart(c.dir.FD())
	if err != nil {
		return err
	}
	p := launch.Attach(conn, l.Late)
	defer p.Close()
	_ = fault.On && fault.At(fault.Connected)
	// The socket goes first: from now on the container is not "created" any more, whatever happens to this process.
	if err := unix.Unlinkat(c.dir.FD(), startSocket, 0); err != nil {
		return fmt.Errorf("remove %s: %w", startSocket, err)
	}
	_ = fault.On && fault.At(fault.SocketGone)
	if err := p.Release(); err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.Released)
	for {
		e, err := p.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		pidfd, err := unix.PidfdOpen(c.rec.InitPid, 0)
		if err != nil {
			return fmt.Errorf("pidfd_open: %w", err)
		}
		switch e.Stage {
		case plan.StageStart:
			err = c.runStartHooks(l, b)
		case plan.StageListener:
			err = sendListener(c.rec, b.Spec, pidfd, e.Value)
		}
		unix.Close(pidfd)
		if err != nil {
			_ = p.Close()
			return c.failed(err, b.Spec, l.PostStop)
		}
		if err := p.Continue(); err != nil {
			return err
		}
	}
}

// failed stops and destroys a container one of whose start hooks has failed (runtime.md, "Lifecycle", steps 7 and 9).
func (c *container) failed(cause error, s *specs.Spec, poststop bool) error {
	if err := c.kill(); err != nil {
		return fmt.Errorf("%w (and the container could not be stopped: %v)", cause, err)
	}
	if err := c.destroy(); err != nil {
		return fmt.Errorf("%w (and the container could not be removed: %v)", cause, err)
	}
	if poststop {
		c.runPoststop(s)
	}
	return cause
}
