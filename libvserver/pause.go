package libvserver

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/state"
)

// ErrNotPaused is the error of resume; the words are runc's.
var ErrNotPaused = errors.New("container not paused")

// Pause freezes every process of a container that runs or is created.
func (r *Runtime) Pause(id string) error {
	c, err := r.open(id)
	if err != nil {
		return err
	}
	defer c.dir.Unlock()
	if status, _ := r.status(c.rec); status != specs.StateRunning && status != specs.StateCreated {
		return ErrNotRunning // a paused one too, as in runc
	}
	m, err := c.freezer()
	if err != nil {
		return err
	}
	_ = fault.On && fault.At(fault.Freezing)
	err = m.Freeze(true)
	_ = fault.On && fault.At(fault.Frozen)
	// A kill takes no lock, and may thaw what this freezes. Version 1's freezer holds back a SIGKILL that came before it:
	// such a container is not to stay, dead and frozen.
	if killed(c.rec.InitPid) || !state.Alive(c.rec.InitPid, c.rec.InitStart) {
		if err := m.Freeze(false); err != nil && m.Exists() {
			return err
		}
		return ErrNotRunning
	}
	return err
}

// Resume lets a paused container go on.
func (r *Runtime) Resume(id string) error {
	c, err := r.open(id)
	if err != nil {
		return err
	}
	defer c.dir.Unlock()
	if status, _ := r.status(c.rec); status != state.Paused {
		return ErrNotPaused
	}
	m, err := c.freezer()
	if err != nil {
		return err
	}
	err = m.Freeze(false)
	_ = fault.On && fault.At(fault.Thawed)
	return err
}

// freezer loads the cgroup of a container that must have one.
func (c *container) freezer() (*cgroup.Manager, error) {
	m, err := c.cgroup()
	if err == nil && m == nil {
		err = cgroup.ErrNoCgroup
	}
	return m, err
}

// killed reports whether a SIGKILL waits for a process (ShdPnd and SigPnd, proc_pid_status(5)).
func killed(pid int) bool {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		key, val, _ := strings.Cut(line, ":")
		if key != "ShdPnd" && key != "SigPnd" {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(val), 16, 64)
		if err == nil && set&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}
