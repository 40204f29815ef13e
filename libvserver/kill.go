package libvserver

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/state"
)

// Kill sends a signal to a container's first process, or to all of its processes.
func (r *Runtime) Kill(id string, sig unix.Signal, all bool) error {
	rec, err := r.Store.Load(id)
	if rec == nil {
		return err
	}
	c := &container{r: r, rec: rec}
	status, _ := r.status(rec)
	l := loadLaunched(rec)
	switch {
	case status == specs.StateStopped || rec.InitPid == 0:
		// Without a pid namespace of its own, a container's processes live on when the first one is gone. No signal is
		// theirs (runtime.md, "Kill") but the one that clears them away, as with runc.
		if !l.PIDNS && rec.InitPid != 0 && (all || sig == unix.SIGKILL) {
			if n, err := c.signalAll(sig); n > 0 {
				return err
			}
		}
		if all {
			return nil
		}
		return ErrNotRunning
	case all:
		_, err := c.signalAll(sig)
		_ = fault.On && fault.At(fault.Signalled)
		return err
	}
	p, err := rec.Open()
	if errors.Is(err, state.ErrGone) {
		return ErrNotRunning
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Signal(sig); err != nil {
		if errors.Is(err, state.ErrGone) {
			return ErrNotRunning
		}
		return fmt.Errorf("signal process %d: %w", rec.InitPid, err)
	}
	_ = fault.On && fault.At(fault.Signalled)
	if sig == unix.SIGKILL && r.maybeFrozen(rec) {
		// A frozen process of a v1 cgroup dies only when it is thawed. Asked again, as a pause may have come meanwhile.
		if m, err := c.cgroup(); err == nil && m != nil {
			return m.Freeze(false)
		}
	}
	return nil
}

// signalAll signals every process in the container's cgroup and returns how many there were.
func (c *container) signalAll(sig unix.Signal) (int, error) {
	m, err := c.cgroup()
	if err != nil || m == nil {
		return 0, err
	}
	if sig == unix.SIGKILL {
		pids, err := m.Pids(true)
		if err != nil || len(pids) == 0 {
			return 0, nil
		}
		return len(pids), m.Kill()
	}
	pids, err := m.Pids(true)
	if err != nil {
		return 0, nil // the cgroup is gone, and its processes with it
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return len(pids), fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return len(pids), nil
}

// kill ends every process of the container and waits until they are gone.
func (c *container) kill() error {
	m, err := c.cgroup()
	if err != nil {
		return err
	}
	var p *state.Process
	if c.rec.InitPid != 0 {
		p, err = c.rec.Open()
		if err == nil {
			defer p.Close()
			if err := p.Signal(unix.SIGKILL); err != nil && !errors.Is(err, state.ErrGone) {
				return fmt.Errorf("kill process %d: %w", c.rec.InitPid, err)
			}
		} else if !errors.Is(err, state.ErrGone) {
			return err
		} else {
			p = nil
		}
	}
	// A create that was killed may have left a process whose pid it had not yet written down; a restore (there is no
	// FIFO), a CRIU that waits for processes which it will not see dying.
	if m != nil && (c.rec.InitPid == 0 || c.rec.ExecFifo == "" || c.rec.Creating || !loadLaunched(c.rec).PIDNS || c.r.maybeFrozen(c.rec)) {
		if err := m.Kill(); err != nil {
			return err
		}
	}
	const patience = 10 * time.Second
	if p != nil && !p.Wait(patience) {
		return fmt.Errorf("process %d is still alive %s after SIGKILL", c.rec.InitPid, patience)
	}
	return nil
}
