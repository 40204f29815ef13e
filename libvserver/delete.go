package libvserver

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/state"
)

// Delete removes what a stopped container has left; with force it stops it first. The spec has no other way for a
// container that was created and never started (runtime.md, "Delete").
func (r *Runtime) Delete(id string, force bool) error {
	c, err := r.open(id)
	if err != nil {
		if force && errors.Is(err, state.ErrNotExist) {
			return nil
		}
		var damaged *state.DamagedError
		if force && errors.As(err, &damaged) {
			return r.deleteDamaged(id)
		}
		return err
	}
	status, _ := r.status(c.rec)
	if status != specs.StateStopped && !force {
		c.dir.Unlock()
		return fmt.Errorf("cannot delete container %s that is not stopped: %s", id, status)
	}
	if err := c.kill(); err != nil {
		c.dir.Unlock()
		return err
	}
	c.force = force
	if err := c.destroy(); err != nil {
		return err
	}
	if loadLaunched(c.rec).PostStop {
		b, err := recordedSpec(c.rec)
		if err != nil {
			log.Warnf("poststop hooks: %v", err)
			return nil
		}
		c.runPoststop(b.Spec)
	}
	return nil
}

// destroy removes the cgroup and the state. The state goes last: a delete that is cut short can be repeated.
func (c *container) destroy() error {
	_ = fault.On && fault.At(fault.Killed)
	l := loadLaunched(c.rec)
	if err := unmountRoot(l.Below, c.rec.Rootfs); err != nil {
		c.dir.Unlock()
		return err
	}
	if err := removeRdt(l.RdtMon, l.RdtGroup); err != nil {
		c.dir.Unlock()
		return err
	}
	var layer chan error // to remove a tree of files and a cgroup takes the kernel as long as two threads leave it
	if l.Upper.Private != "" {
		layer = make(chan error, 1)
		go func() { layer <- removeUpper(&l.Upper, c.rec.Xid) }()
	}
	m, err := c.cgroup()
	if err != nil {
		log.Warnf("%v", err)
	}
	if m != nil {
		detachNetwork(m, l.NetCgroup)
		err := m.Destroy()
		if err != nil && c.force && m.Kill() == nil {
			// Whose processes these are is not known (they were taken for others' from another time namespace), but where.
			err = m.Destroy()
		}
		if err != nil {
			c.dir.Unlock()
			return err
		}
	}
	_ = fault.On && fault.At(fault.CgroupGone)
	if layer != nil {
		if err := <-layer; err != nil {
			c.dir.Unlock()
			return err
		}
	}
	if err := c.releaseNetwork(&l); err != nil {
		c.dir.Unlock()
		return err
	}
	err = c.dir.Remove(c.rec.Xid)
	_ = fault.On && fault.At(fault.StateGone)
	return err
}

// deleteDamaged removes the directory of a container whose record is damaged: nothing but that is made before there is a
// whole record, and to look for what somebody else's damage may hide by the id alone could hit anybody.
func (r *Runtime) deleteDamaged(id string) error {
	dir, err := r.Store.Lock(id, lockWait)
	if err != nil {
		return err
	}
	return dir.Remove(0)
}
