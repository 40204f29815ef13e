package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/netcontext"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/spec"
)

// network works out the network context that a bundle asks for, or the count of its sockets; nil if it does neither.
func (n *creation) network() error {
	x := &n.bundle.VServer
	limit := x.Rlimits.Nsock.Hard
	if len(x.Net.Addresses) == 0 && !limit.Set {
		return nil
	}
	place := spec.AnnotationPath("net.addresses")
	if len(x.Net.Addresses) == 0 {
		place = spec.AnnotationPath("rlimits.nsock")
	}
	switch {
	case unprivileged():
		return errors.New(place + ": needs root's privileges: it is done by BPF programs (CAP_BPF, CAP_NET_ADMIN)")
	case n.cg.Driver() == cgroup.DriverNone:
		return errors.New(place + ": needs a cgroup of the version 2 hierarchy, and the container has none")
	case !n.cg.NeedsPid() && n.cg.Path("") == "":
		return errors.New(place + ": needs the version 2 hierarchy of cgroups, which is not mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified)")
	}
	c := &netcontext.Context{Config: netcontext.Config{Root: n.r.Store.Root(), ID: n.o.ID, Net: &x.Net, Counts: limit.Set, HasLimit: limit.Set && !limit.Infinity, Limit: limit.N}}
	if ns, ok := spec.Namespace(n.bundle.Spec, specs.NetworkNamespace); ok {
		c.NetnsPath = ns
	}
	warnings, err := c.Check()
	if err != nil {
		return err
	}
	for _, w := range warnings {
		log.Warnf("%s", w)
	}
	n.net = c
	return fillFilter(n.plan, &x.Net)
}

// fillFilter gives the plan's step the filter for a network context.
func fillFilter(p *plan.Plan, net *spec.Net) error {
	for i, s := range p.Steps {
		if s, ok := s.(plan.Seccomp); ok && s.Network {
			insns, err := netcontext.Filter(net.HideNetif, net.RawICMP)
			if err != nil {
				return err
			}
			s.Filter = &plan.Filter{Insns: insns}
			p.Steps[i] = s
		}
	}
	return nil
}

// attachNetwork makes the network context, on a cgroup that no process of the container's own is in yet.
func (n *creation) attachNetwork() error {
	if n.net == nil {
		return nil
	}
	n.net.XID = n.rec.Xid
	path := n.cg.Path("")
	err := n.net.Attach(path, n.cg.Made(""))
	n.hooks.NID, n.hooks.NetCgroup = n.net.NID, path
	return err
}

// releaseNetwork takes a container's network context back. Its programs are the cgroup's, and go with it.
func (c *container) releaseNetwork(l *launched) error {
	if l.NID == 0 && c.rec.Annotations[spec.VServerPrefix+"net.addresses"] == "" {
		return nil
	}
	return netcontext.Release(l.NID, c.r.Store.Root(), c.rec.ID)
}

// detachNetwork takes the programs from a cgroup that was there before the container, and stays.
func detachNetwork(m *cgroup.Manager, path string) {
	if path == "" || m == nil || m.Made("") {
		return
	}
	if err := netcontext.Detach(path); err != nil {
		log.Warnf("network context on cgroup %s: %v", path, err)
	}
}

// socketsFile is where, in a checkpoint's images, it stands what the sockets of a network context had asked for.
const socketsFile = "netcontext.txt"

// saveSockets writes it. The processes stand still.
func (p *checkpoint) saveSockets() error {
	if loadLaunched(p.rec).NID == 0 {
		return nil
	}
	m, err := p.cgroup()
	if err != nil || m == nil {
		return err
	}
	pids, err := m.Pids(true)
	if err != nil {
		return err
	}
	b, err := netcontext.SaveSockets(pids)
	if err != nil {
		return fmt.Errorf("sockets of the network context: %w", err)
	}
	return os.WriteFile(filepath.Join(p.dirs.images, socketsFile), b, 0o600)
}

// restoreSockets reads it. Images without it have no such sockets.
func (s *restoration) restoreSockets() error {
	if s.net == nil || !s.net.Confines() {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(s.dirs.images, socketsFile))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	pids, err := s.cg.Pids(true)
	if err != nil {
		return err
	}
	if err := s.net.RestoreSockets(b, pids); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(s.dirs.images, socketsFile), err)
	}
	return nil
}
