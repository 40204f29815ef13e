package plan

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// at1 is the place of an array's element.
func at1(section string, i int) Origin { return Origin(section + "[" + strconv.Itoa(i) + "]") }

// namespaceFlag is the CLONE_NEW* flag of a namespace's type in config.json, 0 if unknown.
func namespaceFlag(t specs.LinuxNamespaceType) uintptr {
	switch t {
	case specs.PIDNamespace:
		return unix.CLONE_NEWPID
	case specs.NetworkNamespace:
		return unix.CLONE_NEWNET
	case specs.MountNamespace:
		return unix.CLONE_NEWNS
	case specs.IPCNamespace:
		return unix.CLONE_NEWIPC
	case specs.UTSNamespace:
		return unix.CLONE_NEWUTS
	case specs.UserNamespace:
		return unix.CLONE_NEWUSER
	case specs.CgroupNamespace:
		return unix.CLONE_NEWCGROUP
	case specs.TimeNamespace:
		return unix.CLONE_NEWTIME
	}
	return 0
}

func (b *builder) namespaces() {
	c := &b.p.Clone
	c.Origin = "linux.namespaces"
	c.Cgroup = b.linux.CgroupsPath
	c.New = make([]Namespace, 0, len(b.linux.Namespaces))
	for i, n := range b.linux.Namespaces {
		ns := Namespace{Origin: at1("linux.namespaces", i), Flag: namespaceFlag(n.Type), Name: string(n.Type), Path: n.Path}
		if n.Path == "" {
			c.New = append(c.New, ns)
		} else {
			c.Join = append(c.Join, ns)
		}
	}
	if c.Has(unix.CLONE_NEWUSER) {
		c.UIDs, c.GIDs = idMaps(b.linux.UIDMappings), idMaps(b.linux.GIDMappings)
		c.OwnUID = !b.can(unix.CAP_SETUID) && single(c.UIDs, b.facts.EUID)
		c.OwnGID = !b.can(unix.CAP_SETGID) && single(c.GIDs, b.facts.EGID)
		b.mapsRoot("linux.uidMappings", c.UIDs)
		b.mapsRoot("linux.gidMappings", c.GIDs)
	}
	b.inside()
	for clock, o := range b.linux.TimeOffsets {
		c.TimeOffsets = append(c.TimeOffsets, clock+" "+strconv.FormatInt(o.Secs, 10)+" "+strconv.FormatUint(uint64(o.Nanosecs), 10))
	}
}

// inside decides which namespaces are for the container's process itself to make and to join.
//
// What is made together with a user namespace belongs to it; what is made beside a user namespace that is joined would
// belong to the runtime's, and the container's root could do nothing in it. What the runtime itself is not allowed to
// join, the process may be, as root of its user namespace. Network, ipc and uts namespaces are made when the process is
// root there, as some of what is in them belongs to whoever makes them (/dev/mqueue). The mount and the time namespace
// come with the user namespace: the rootfs and the file of time offsets are opened in them with the runtime's identity.
func (b *builder) inside() {
	c := &b.p.Clone
	made, joined := c.Has(unix.CLONE_NEWUSER), c.Joins(unix.CLONE_NEWUSER)
	privileged := b.can(unix.CAP_SYS_ADMIN)
	for i := range c.Join {
		n := &c.Join[i]
		n.Inside = n.Flag == unix.CLONE_NEWUSER || n.Flag == unix.CLONE_NEWNS || (made || joined) && !privileged
		// setns(2) takes no process with threads into a time namespace.
		n.Inside = n.Inside || n.Flag == unix.CLONE_NEWTIME
		// Nobody moves a process, nor clones one, into a cgroup that his own cgroup namespace does not show, where cgroup2
		// is mounted with nsdelegate (cgroups(7)), as systemd does. In a user namespace that is made with the process it
		// could not be joined any more.
		n.Inside = n.Inside || n.Flag == unix.CLONE_NEWCGROUP && !made
	}
	if !made && !joined {
		return
	}
	for i := range c.New {
		n := &c.New[i]
		switch n.Flag {
		case unix.CLONE_NEWUSER, unix.CLONE_NEWPID:
		case unix.CLONE_NEWNS:
			n.Inside = joined
		case unix.CLONE_NEWTIME:
			n.Inside = joined || !privileged
		default:
			n.Inside = true
		}
	}
	forks := b.forks()
	for _, list := range [...][]Namespace{c.New, c.Join} {
		for i := range list {
			// A first process of a pid namespace can't go on in a child; and one that is in another pid namespace than the
			// runtime can't tell it the child's pid.
			if n := &list[i]; n.Flag == unix.CLONE_NEWPID {
				n.Inside = n.Inside || forks || joined && n.Path == ""
			}
		}
	}
}

// joinInside adds the steps for the namespaces to join inside. The privileges of a runtime that has some end with the user
// namespace, those of another begin there. The mount namespace comes last: the process's root is in it.
func (b *builder) joinInside() {
	order := [...]uintptr{^uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNS), unix.CLONE_NEWUSER, unix.CLONE_NEWNS}
	if !b.can(unix.CAP_SYS_ADMIN) {
		order[0], order[1] = order[1], order[0]
	}
	for _, kinds := range order {
		for _, n := range b.p.Clone.Join {
			if n.Inside && n.Flag&kinds != 0 {
				b.add(JoinNamespace{n})
			}
		}
	}
}

// single tells if a map is just one id of the host, which needs no privilege if it is the caller's own.
func single(m []IDMap, id int) bool { return len(m) == 1 && m[0].Size == 1 && m[0].Host == uint32(id) }

// mapsRoot: the container is built by root of its user namespace, whoever runs its program.
func (b *builder) mapsRoot(at string, m []IDMap) {
	for _, e := range m {
		if e.Container == 0 {
			return
		}
	}
	b.fault(at, "container id 0 is not mapped: root of the user namespace builds the container")
}

// forks tells if the process has to go on in a child to be in all of its namespaces.
func (b *builder) forks() bool {
	c := &b.p.Clone
	for _, list := range [...][]Namespace{c.New, c.Join} {
		for i := range list {
			// Who joins a time namespace is in it at once (time_namespaces(7)).
			if n := &list[i]; n.Inside && (n.Flag == unix.CLONE_NEWPID || n.Flag == unix.CLONE_NEWTIME && n.Path == "") {
				return true
			}
		}
	}
	return false
}

// own tells if the container has a namespace of that kind which is not the runtime's.
func (b *builder) own(flag uintptr) bool { return b.p.Clone.Has(flag) || b.p.Clone.Joins(flag) }

// can tells if the runtime itself has a capability.
func (b *builder) can(capability int) bool { return b.facts.Permitted&(1<<capability) != 0 }

// early are the namespaces that are made with the runtime's identity.
const early = unix.CLONE_NEWNS | unix.CLONE_NEWTIME

// newNamespaces adds the step that makes those of some kinds which are made inside.
func (b *builder) newNamespaces(kinds uintptr, fork bool) {
	s := NewNamespaces{Origin: "linux.namespaces", Fork: fork}
	for i := range b.p.Clone.New {
		n := &b.p.Clone.New[i]
		if !n.Inside || n.Flag&kinds == 0 || n.Flag == unix.CLONE_NEWCGROUP { // which JoinCgroup makes
			continue
		}
		if s.Flags != 0 {
			s.Names += " "
		}
		s.Flags |= n.Flag
		s.Names += n.Name
		if n.Flag == unix.CLONE_NEWTIME {
			s.TimeOffsets = b.p.Clone.TimeOffsets
		}
	}
	if s.Flags != 0 || s.Fork {
		b.add(s)
	}
}

func idMaps(list []specs.LinuxIDMapping) []IDMap {
	out := make([]IDMap, len(list))
	for i, m := range list {
		out[i] = IDMap{m.ContainerID, m.HostID, m.Size}
	}
	return out
}

// propagation is linux.rootfsPropagation as mount flags; 0 if unset.
func (b *builder) propagation() (flag uint64, deep bool, named string, at Origin) {
	at = "linux.rootfsPropagation"
	named = b.linux.RootfsPropagation
	deep = len(named) > 1 && named[0] == 'r'
	switch named {
	case "shared", "rshared":
		flag = unix.MS_SHARED
	case "slave", "rslave":
		flag = unix.MS_SLAVE
	case "private", "rprivate":
		flag = unix.MS_PRIVATE
	case "unbindable", "runbindable":
		flag = unix.MS_UNBINDABLE
	}
	return flag, deep, named, at
}
