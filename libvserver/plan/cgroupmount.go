package plan

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where hosts mount cgroups.
const cgroupRoot = "/sys/fs/cgroup"

// CgroupLayout is how the host's cgroups are mounted (cgroups(7)).
type CgroupLayout struct {
	// Unified: /sys/fs/cgroup itself is a cgroup2 mount.
	Unified bool
	// Hierarchies are the mounts below /sys/fs/cgroup of a v1 or hybrid host.
	Hierarchies []CgroupHierarchy
}

// CgroupHierarchy is one mounted hierarchy of a v1 or hybrid host.
type CgroupHierarchy struct {
	Name    string   // its directory below /sys/fs/cgroup: "cpu,cpuacct", "systemd", "unified"
	Options []string // for mounting it again: "cpu", "cpuacct"; "none", "name=systemd"
	V2      bool
	Links   []string // controllers that want a symbolic link to it: "cpu", "cpuacct"
	// Own is the directory of the container's cgroup in it; Caller is where the container is if that can't be made, "" if
	// it must be.
	Own, Caller string
}

// cgroupMount expands a mount of type cgroup: one mount of cgroup2 on a unified host; else a tmpfs with every hierarchy,
// as systems with v1 have it.
func (b *builder) cgroupMount(s *Mount) {
	c := b.facts.Cgroup
	private := b.p.Clone.Has(unix.CLONE_NEWCGROUP) || b.p.Clone.Joins(unix.CLONE_NEWCGROUP)
	if !(c.Unified && private) && len(s.Data)+len(s.SuperFlags) > 0 {
		b.warn(string(s.Origin) + ".options: ignoring what a view of the host's cgroups cannot have: " + strings.Join(append(s.SuperFlags, s.Data...), ","))
		s.Data, s.SuperFlags = nil, nil
	}
	if c.Unified {
		if private {
			s.Kind, s.Type, s.Source = MountFS, "cgroup2", "cgroup"
			if b.userns || b.facts.Unprivileged {
				s.Fallback = cgroupRoot
			}
		} else {
			// Without a cgroup namespace of its own the container sees the host's tree, and a bind of the host's mount
			// is the same thing. To mount it anew from the initial cgroup namespace makes the kernel wait for all
			// readers of its thread group lock, some ten milliseconds (cgroup_favor_dynmods, since Linux 6.0).
			s.Kind, s.Type, s.Source, s.FromParent = MountBind, "bind", cgroupRoot, b.userns
		}
		b.add(*s)
		return
	}
	readonly := (s.Set|s.RecSet)&unix.MOUNT_ATTR_RDONLY != 0
	base := *s
	base.Kind, base.Type, base.Source = MountFS, "tmpfs", "tmpfs"
	base.Data, base.SuperFlags = []string{"mode=755"}, nil
	base.Set &^= unix.MOUNT_ATTR_RDONLY
	base.RecSet &^= unix.MOUNT_ATTR_RDONLY
	base.DelayReadonly = readonly
	b.add(base)
	for _, h := range c.Hierarchies {
		m := *s
		m.Kind, m.Type, m.Source, m.Target = MountFS, "cgroup", "cgroup", path.Join(s.Target, h.Name)
		m.Data, m.SuperFlags, m.Propagation = h.Options, nil, nil
		if h.V2 {
			m.Type, m.Data = "cgroup2", nil
		}
		switch {
		case private && !b.userns && !b.facts.Unprivileged:
		case h.Own != "":
			m.Kind, m.Type, m.Source, m.Data = MountBind, "bind", h.Own, nil
			m.FromParent, m.Fallback = b.userns, h.Caller
		default:
			continue
		}
		b.add(m)
		for _, l := range h.Links {
			if l != h.Name && strings.Contains(h.Name, ",") {
				b.add(Symlink{Origin: s.Origin, Path: path.Join(s.Target, l), Target: h.Name})
			}
		}
	}
}
