package libvserver

import (
	"errors"
	"fmt"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// NetReport is a network context with what the programs have counted of it.
type NetReport struct {
	netcontext.Entry
	// Gone: its container is no more, and the entry stays until somebody wants the id or an address.
	Gone      bool
	Storage   *netcontext.Storage   // nil if it can't be read
	Listeners []netcontext.Listener // of NetContext alone
}

// ErrNoNetContext is the error of a container without a network context.
var ErrNoNetContext = errors.New("the container has no network context")

// NetContexts reports on all network contexts of the host, of whatever state root, by id.
func (r *Runtime) NetContexts() ([]NetReport, error) {
	list, err := netcontext.Entries()
	if err != nil {
		return nil, err
	}
	reports := make([]NetReport, 0, len(list))
	for _, e := range list {
		reports = append(reports, netReport(e))
	}
	return reports, nil
}

func netReport(e *netcontext.Entry) NetReport {
	n := NetReport{Entry: *e, Gone: e.Stale()}
	var err error
	if n.Storage, err = netcontext.Read(e.Cgroup); err != nil && !n.Gone {
		log.Debugf("network context %d: %v", e.NID, err)
	}
	return n
}

// NetContext reports on the network context of a container, with its listeners.
func (r *Runtime) NetContext(id string) (*NetReport, error) {
	rec, err := r.Store.Load(id)
	if err != nil {
		return nil, err
	}
	list, err := netcontext.Entries()
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if e.Root != r.Store.Root() || e.ID != id {
			continue
		}
		n := netReport(e)
		if _, pid := r.status(rec); pid != 0 {
			if n.Listeners, err = e.Listeners(pid); err != nil {
				return nil, fmt.Errorf("listeners of container %s: %w", id, err)
			}
		}
		return &n, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoNetContext, id)
}

// socketLimits are the sockets of a container whose sockets are counted.
func (c *container) socketLimits() []cgroup.Limit {
	l := loadLaunched(c.rec)
	if l.NetCgroup == "" {
		return nil
	}
	s, err := netcontext.Read(l.NetCgroup)
	if err != nil {
		log.Warnf("container %s: %v", c.rec.ID, err)
		return nil
	}
	if s.State&netcontext.StateCount == 0 {
		return nil
	}
	hard := uint64(cgroup.NoLimit)
	if s.State&netcontext.StateLimit != 0 {
		hard = s.Limit
	}
	return []cgroup.Limit{{Name: "nsock", Unit: "sockets", Current: s.Now, Peak: s.Max, Soft: cgroup.NoLimit, Hard: hard, Hits: s.Hits}}
}

// SweepNetContexts removes what crashes have left of network contexts.
func (r *Runtime) SweepNetContexts() (netcontext.Leftovers, error) { return netcontext.Sweep(true) }
