package libvserver

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/quota"
	"github.com/vsrun/vsrun/libvserver/state"
)

// LimitReport is what Linux-VServer's /proc/virtual/XID/limit tells: for each limit of a container what is used, the most
// that ever was, the limits, and how often they were met.
type LimitReport struct {
	ID     string
	Xid    uint32 // 0: none
	Limits []cgroup.Limit
}

// Limits reports on the limits of containers: all that have processes under the root, by id, or those that are named, each
// of which must have some.
func (r *Runtime) Limits(ids ...string) ([]LimitReport, error) {
	named := len(ids) > 0
	if !named {
		var err error
		if ids, err = r.Store.IDs(); err != nil {
			return nil, err
		}
	}
	var list []LimitReport
	for _, id := range ids {
		rec, err := r.Store.Load(id)
		if err != nil {
			if named {
				return nil, err
			}
			continue // deleted, or damaged: list tells
		}
		if !state.Alive(rec.InitPid, rec.InitStart) {
			if named {
				return nil, fmt.Errorf("%w: %s", ErrNotRunning, id)
			}
			continue
		}
		c := &container{r: r, rec: rec}
		l := LimitReport{ID: id, Xid: rec.Xid}
		m, err := c.cgroup()
		if err != nil {
			log.Warnf("limits of container %s: %v", id, err)
		}
		if m != nil {
			l.Limits = m.Limits()
		}
		l.Limits = append(append(l.Limits, c.socketLimits()...), c.diskLimits()...)
		list = append(list, l)
	}
	return list, nil
}

// diskLimits are those of the upper layer of a unified tree.
func (c *container) diskLimits() []cgroup.Limit {
	u := loadLaunched(c.rec).Upper
	if !u.Limited {
		return nil
	}
	fd, err := unix.Open(u.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	use, err := quota.Get(fd, c.rec.Xid)
	if err != nil {
		log.Warnf("container %s: %v", c.rec.ID, err)
		return nil
	}
	disk := func(name, unit string, used, hard uint64) cgroup.Limit {
		if hard == 0 {
			hard = cgroup.NoLimit
		}
		return cgroup.Limit{Name: name, Unit: unit, Current: used, Soft: cgroup.NoLimit, Hard: hard}
	}
	return []cgroup.Limit{
		disk("disk.space", "bytes", use.Space, use.Limits.Space),
		disk("disk.inodes", "inodes", use.Inodes, use.Limits.Inodes),
	}
}
