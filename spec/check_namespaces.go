package spec

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// namespaceSet has a bit for each namespace type that a configuration lists.
type namespaceSet uint8

const (
	nsPID namespaceSet = 1 << iota
	nsNetwork
	nsMount
	nsIPC
	nsUTS
	nsUser
	nsCgroup
	nsTime
)

func (s namespaceSet) has(n namespaceSet) bool { return s&n != 0 }

// nsBit returns the bit of a type, 0 if there is no such type.
func nsBit(t specs.LinuxNamespaceType) namespaceSet {
	switch t {
	case specs.PIDNamespace:
		return nsPID
	case specs.NetworkNamespace:
		return nsNetwork
	case specs.MountNamespace:
		return nsMount
	case specs.IPCNamespace:
		return nsIPC
	case specs.UTSNamespace:
		return nsUTS
	case specs.UserNamespace:
		return nsUser
	case specs.CgroupNamespace:
		return nsCgroup
	case specs.TimeNamespace:
		return nsTime
	}
	return 0
}

// Namespaces returns the namespace types that a configuration may list, in
// order.
func Namespaces() []string {
	return []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}
}

// Namespace looks for a namespace of a type in a configuration. path is "" if a
// new one is to be made. It is not listed if the container stays in the
// caller's.
func Namespace(s *specs.Spec, t specs.LinuxNamespaceType) (path string, listed bool) {
	if s.Linux != nil {
		for i := range s.Linux.Namespaces {
			if ns := &s.Linux.Namespaces[i]; ns.Type == t {
				return ns.Path, true
			}
		}
	}
	return "", false
}

// namespaces checks linux.namespaces and what goes with user and time
// namespaces (config-linux.md, "Namespaces" to "Offset for Time Namespace").
func (c *checker) namespaces(l *specs.Linux) {
	const path = "linux.namespaces"
	var userPath, timePath string
	for i := range l.Namespaces {
		ns := &l.Namespaces[i]
		bit := nsBit(ns.Type)
		if bit == 0 {
			c.known(at(path, i, "type"), "namespace type", string(ns.Type), Namespaces())
		}
		if c.ns.has(bit) {
			c.faultAt(at(path, i, "type"), "duplicate namespace type "+quote(string(ns.Type)))
		}
		c.ns |= bit
		if ns.Path != "" {
			c.absolute(at(path, i, "path"), ns.Path)
		}
		switch bit {
		case nsUser:
			userPath = ns.Path
		case nsTime:
			timePath = ns.Path
		}
	}
	c.userNamespace(l, userPath)
	c.timeNamespace(l, timePath)
}

func (c *checker) userNamespace(l *specs.Linux, path string) {
	c.idMappings(top("linux.uidMappings"), l.UIDMappings)
	c.idMappings(top("linux.gidMappings"), l.GIDMappings)
	for _, m := range [...]struct {
		path     string
		mappings []specs.LinuxIDMapping
	}{{"linux.uidMappings", l.UIDMappings}, {"linux.gidMappings", l.GIDMappings}} {
		switch {
		case !c.ns.has(nsUser):
			if m.mappings != nil {
				c.fault(m.path, "needs a user namespace in linux.namespaces")
			}
		case path == "":
			if len(m.mappings) == 0 {
				c.fault(m.path, "is required for a new user namespace")
			}
		}
		// containerd and CRI-O give both a path and mappings. That they agree is
		// for whoever joins the namespace to see.
	}
}

func (c *checker) timeNamespace(l *specs.Linux, path string) {
	if l.TimeOffsets == nil {
		return
	}
	switch {
	case !c.ns.has(nsTime):
		c.fault("linux.timeOffsets", "needs a time namespace in linux.namespaces")
	case path != "":
		c.fault("linux.timeOffsets", "cannot be set for a time namespace that is joined by its path")
	}
	start := len(c.faults)
	for clock, off := range l.TimeOffsets {
		p := key("linux.timeOffsets", clock)
		if clock != "monotonic" && clock != "boottime" {
			c.unknown(top(p), "clock", clock, []string{"monotonic", "boottime"})
		}
		if off.Nanosecs > 999999999 {
			c.fault(p+".nanosecs", "must be less than 1000000000 (got "+strconv.FormatUint(uint64(off.Nanosecs), 10)+")")
		}
	}
	sortFaults(c.faults[start:])
}

// maxMappings is how many lines a uid_map or gid_map takes, since Linux 4.15
// (user_namespaces(7)).
const maxMappings = 340

// idMappings checks a list of mappings as the kernel would.
func (c *checker) idMappings(l loc, m []specs.LinuxIDMapping) {
	if len(m) > maxMappings {
		c.faultAt(l, "must not have more than "+strconv.Itoa(maxMappings)+" entries (got "+strconv.Itoa(len(m))+")")
		return
	}
	for i := range m {
		a := &m[i]
		if a.Size == 0 {
			c.faultAt(l.in(i, "size"), "must not be 0")
			continue
		}
		// The last number is (uid_t)-1, which is no id.
		if uint64(a.ContainerID)+uint64(a.Size) > 1<<32-1 {
			c.faultAt(l.in(i, ""), "container ids go beyond 4294967294")
		}
		if uint64(a.HostID)+uint64(a.Size) > 1<<32-1 {
			c.faultAt(l.in(i, ""), "host ids go beyond 4294967294")
		}
		for j := range m[:i] {
			b := &m[j]
			if overlap(a.ContainerID, a.Size, b.ContainerID, b.Size) {
				c.faultAt(l.in(i, ""), "container ids overlap those of "+l.in(j, "").String())
			}
			if overlap(a.HostID, a.Size, b.HostID, b.Size) {
				c.faultAt(l.in(i, ""), "host ids overlap those of "+l.in(j, "").String())
			}
		}
	}
}

func overlap(a, an, b, bn uint32) bool {
	return uint64(a) < uint64(b)+uint64(bn) && uint64(b) < uint64(a)+uint64(an)
}

// MapID gives the host id that a container id is mapped to.
func MapID(mappings []specs.LinuxIDMapping, id uint32) (host uint32, ok bool) {
	for i := range mappings {
		if m := &mappings[i]; id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + (id - m.ContainerID), true
		}
	}
	return 0, false
}

// newUserNamespace returns the linux section if the container gets a user
// namespace of its own, whose mappings are known therefore.
func (c *checker) newUserNamespace() *specs.Linux {
	if c.spec == nil || !c.ns.has(nsUser) {
		return nil
	}
	if path, _ := Namespace(c.spec, specs.UserNamespace); path != "" {
		return nil
	}
	return c.spec.Linux
}
