package libvserver

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/state"
)

// Pids returns the processes of a container, as the caller's pid namespace numbers them. One that has ended has none.
func (r *Runtime) Pids(id string) ([]int, error) {
	rec, err := r.Store.Load(id)
	if rec == nil {
		return nil, err
	}
	c := &container{r: r, rec: rec}
	if err != nil {
		if status, _ := r.status(rec); status == specs.StateCreating {
			return nil, nil // it is only being made, or removed
		}
		return nil, err
	}
	pids, err := c.pids()
	if err != nil {
		return nil, fmt.Errorf("unable to get all container pids: %w", err)
	}
	return pids, nil
}

// pids lists the processes in the container's cgroup; if it has none, those in its pid namespace.
func (c *container) pids() ([]int, error) {
	m, err := c.cgroup()
	if err != nil {
		return nil, err
	}
	if m == nil {
		if !loadLaunched(c.rec).PIDNS {
			return nil, fmt.Errorf("container %s has neither a cgroup nor a pid namespace of its own", c.rec.ID)
		}
		if !state.Alive(c.rec.InitPid, c.rec.InitStart) {
			return nil, nil
		}
		return namespacePids(c.rec.InitPid)
	}
	pids, err := m.Pids(true)
	if err != nil {
		if (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)) && c.absent() {
			return nil, nil // its cgroup went while it was looked for, and another container may have one of that name by now
		}
	}
	return pids, err
}
