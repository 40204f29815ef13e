// Package libvserver is the containers' life: create, start, run, state, kill, delete, one verb a file. A verb joins the
// packages below: spec reads the bundle, plan orders the launch, launch carries it out, state remembers, cgroup confines,
// hooks calls out. The package prints nothing and exits nowhere; that is the command line's (cli).
package libvserver

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/wire"
)

// Errors whose words engines look for; they are runc's.
var (
	ErrNotRunning     = errors.New("container not running")
	ErrStopped        = errors.New("cannot start a container that has stopped")
	ErrAlreadyRunning = errors.New("cannot start an already running container")
)

// Runtime is what the global flags say.
type Runtime struct {
	Store          *state.Store
	SystemdCgroup  bool
	CgroupDisabled bool
	Rootless       string // "auto", "true" or "false"
	Version        string
}

// rootless tells if cgroups and ids are to be handled without the rights of real root.
func (r *Runtime) rootless() bool {
	switch r.Rootless {
	case "true":
		return true
	case "false":
		return false
	}
	if r.SystemdCgroup && os.Geteuid() == 0 && unprivileged() && cgroup.RootsSystemd() {
		r.Rootless = "false" // asked once
		return false
	}
	return unprivileged()
}

// privilege is what unprivileged has found out: 1 for no, 2 for yes.
var privilege atomic.Int32

// unprivileged tells if the runtime lacks the host's root: it has another uid, or is root of a user namespace, as under
// Podman without root.
func unprivileged() bool {
	p := privilege.Load()
	if p == 0 {
		p = 1
		if os.Geteuid() != 0 || host.InUserNamespace() {
			p = 2
		}
		privilege.Store(p)
	}
	return p == 2
}

// container is a container that a verb works on.
type container struct {
	r   *Runtime
	dir *state.Dir
	rec *state.Record
	cg  *cgroup.Manager
	// force: what is left of it goes, whoever's it is.
	force bool
	// notify is the socket of the sd_notify proxy, 0 if there is none.
	notify int
}

// cgroup loads the manager of a recorded container; nil if it has none.
func (c *container) cgroup() (*cgroup.Manager, error) {
	if c.cg != nil {
		if c.cg.Driver() == cgroup.DriverNone {
			return nil, nil
		}
		return c.cg, nil
	}
	raw := c.rec.Part(cgroupPart)
	if raw == nil {
		return nil, nil
	}
	r := wire.NewReader(raw)
	st := cgroup.ReadState(r)
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("cgroup of container %s: %w", c.rec.ID, err)
	}
	c.cg = cgroup.Load(st)
	return c.cg, nil
}

const (
	cgroupPart = "cgroup"
	launchPart = "launch"
)

// frozen asks the freezer; it is the callback of state.Status.
func (r *Runtime) frozen(rec *state.Record) bool {
	f, known := r.freezer(rec)
	return f && known
}

// maybeFrozen is frozen for who wants to kill: a freezer that can't be read may hold the dying back.
func (r *Runtime) maybeFrozen(rec *state.Record) bool {
	f, known := r.freezer(rec)
	return f || !known
}

func (r *Runtime) freezer(rec *state.Record) (frozen, known bool) {
	c := container{r: r, rec: rec}
	m, err := c.cgroup()
	if err != nil || m == nil {
		return false, true
	}
	f, err := m.Frozen()
	if err != nil {
		log.Debugf("freezer state of container %s: %v", rec.ID, err)
	}
	return f, err == nil
}

// status is the container's state now, and its pid.
func (r *Runtime) status(rec *state.Record) (specs.ContainerState, int) {
	return r.Store.Status(rec, r.frozen)
}

// spec reads the recorded configuration.
func recordedSpec(rec *state.Record) (*spec.Bundle, error) {
	b, err := spec.Parse(rec.Config, rec.Bundle)
	if err != nil {
		return nil, fmt.Errorf("recorded config of container %s: %w", rec.ID, err)
	}
	return b, nil
}
