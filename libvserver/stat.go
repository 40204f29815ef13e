package libvserver

import (
	"fmt"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/log"
)

// Stat is what a container that has processes uses.
type Stat struct {
	ID     string
	Xid    uint32 // 0: none
	Status specs.ContainerState
	Pid    int // of the first process
	// Started is when the first process did, in clock ticks since boot; together with Pid it tells one life of an id
	// from the next.
	Started uint64
	Uptime  time.Duration // since then
	cgroup.Usage
}

// Stat measures containers: all that have processes under the root, by id, or those that are named, each of which must
// have some.
func (r *Runtime) Stat(ids ...string) ([]Stat, error) {
	named := len(ids) > 0
	if !named {
		var err error
		if ids, err = r.Store.IDs(); err != nil {
			return nil, err
		}
	}
	stats := make([]Stat, 0, len(ids))
	for _, id := range ids {
		rec, err := r.Store.Load(id)
		if err != nil {
			if named {
				return nil, err
			}
			continue // deleted, or damaged: list tells
		}
		s := Stat{ID: id, Xid: rec.Xid, Started: rec.InitStart}
		if s.Status, s.Pid = r.status(rec); s.Pid == 0 {
			if named {
				return nil, fmt.Errorf("%w: %s", ErrNotRunning, id)
			}
			continue
		}
		s.Uptime = sinceBoot() - time.Duration(rec.InitStart)*time.Second/ticks
		c := &container{r: r, rec: rec}
		m, err := c.cgroup()
		switch {
		case err != nil:
		case m != nil:
			s.Usage, err = m.Usage()
		default: // without a cgroup nothing but processes can be counted
			var pids []int
			pids, err = c.pids()
			s.Processes = uint64(len(pids))
		}
		if err != nil {
			if named {
				return nil, fmt.Errorf("container %s: %w", id, err)
			}
			log.Debugf("figures of container %s: %v", id, err) // it may have ended meanwhile
			continue
		}
		stats = append(stats, s)
	}
	return stats, nil
}
