package libvserver

import (
	"fmt"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/log"
)

// Event is what happens to a container: memory has run out (Stats is nil), or a time to look at it has come.
type Event struct {
	ID    string
	Stats []byte // JSON, see cgroup.Manager.Stats
}

// Stats reads all figures of a container's cgroup.
func (r *Runtime) Stats(id string) (*Event, error) {
	c, m, err := r.measured(id)
	if err != nil {
		return nil, err
	}
	return c.stats(m)
}

// Events calls emit with the figures once an interval and whenever memory has run out, until no process of the container
// is left. An error of emit ends it.
func (r *Runtime) Events(id string, interval time.Duration, emit func(*Event) error) error {
	c, m, err := r.measured(id)
	if err != nil {
		return err
	}
	w, err := m.Watch()
	if err != nil {
		if empty, _ := m.Empty(); empty {
			return nil // it has just ended
		}
		return fmt.Errorf("watch container %s: %w", id, err)
	}
	defer w.Close()
	if !w.Memory() {
		log.Warnf("container %s: there is no memory controller here, so it can't be told when memory runs out", id)
	}
	p, err := c.rec.Open()
	if err != nil {
		return nil // likewise
	}
	defer p.Close()
	log.Flush()
	init := p.FD() // which on kernels before 5.3 is none
	for next := time.Now().Add(interval); ; {
		// A second at most: pure version 1 does not tell when the last process goes.
		oom, ended, err := w.Wait(min(time.Until(next), time.Second), init)
		if err != nil {
			return err
		}
		if ended {
			init = -1 // others may go on without it
		}
		empty, err := m.Empty()
		if err != nil {
			return err
		}
		if oom || empty && w.Last() {
			if err := emit(&Event{ID: id}); err != nil {
				return err
			}
		}
		if empty {
			return nil
		}
		if time.Now().Before(next) {
			continue
		}
		next = next.Add(interval)
		e, err := c.stats(m)
		if err != nil {
			log.Line(log.LevelError, err.Error()) // as in runc, it may be better the next time
			continue
		}
		if err := emit(e); err != nil {
			return err
		}
	}
}

// measured loads a container that has not ended, and its cgroup.
func (r *Runtime) measured(id string) (*container, *cgroup.Manager, error) {
	rec, err := r.Store.Load(id)
	if rec == nil {
		return nil, nil, err
	}
	c := &container{r: r, rec: rec}
	status, _ := r.status(rec)
	switch {
	case status == specs.StateStopped, err != nil && status == specs.StateCreating: // it is only being made, or removed
		return nil, nil, notRunning(id)
	case err != nil:
		return nil, nil, err
	}
	m, err := c.cgroup()
	if err == nil && m == nil {
		err = fmt.Errorf("container %s: %w", id, cgroup.ErrNoCgroup)
	}
	return c, m, err
}

// absent tells if the container has no processes any more, or not yet: what is read of its cgroup meanwhile may fail.
func (c *container) absent() bool {
	status, _ := c.r.status(c.rec)
	return status == specs.StateStopped || status == specs.StateCreating
}

// notRunning is in runc's words for events.
func notRunning(id string) error { return fmt.Errorf("container with id %s is not running", id) }

func (c *container) stats(m *cgroup.Manager) (*Event, error) {
	st, err := m.Stats()
	if err != nil {
		if c.absent() {
			return nil, notRunning(c.rec.ID) // its cgroup went while it was read, or is not whole yet
		}
		return nil, fmt.Errorf("unable to get container cgroup stats: %w", err)
	}
	if group := c.rec.IntelRdtPath; group != "" {
		rdt, err := rdtStats(resctrlRoot(), group, loadLaunched(c.rec).RdtMon)
		if err != nil {
			return nil, err
		}
		st = setMember(st, rdt, "intel_rdt")
	}
	return &Event{ID: c.rec.ID, Stats: st}, nil
}
