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
	}
	for clock, o := range b.linux.TimeOffsets {
		c.TimeOffsets = append(c.TimeOffsets, clock+" "+strconv.FormatInt(o.Secs, 10)+" "+strconv.FormatUint(uint64(o.Nanosecs), 10))
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
