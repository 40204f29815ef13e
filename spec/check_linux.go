package spec

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec/mountopt"
	"github.com/vsrun/vsrun/spec/wire"
)

// linux checks the sections of linux that have no file of their own, and calls
// the checks of those that do. Its namespaces have been checked before.
func (c *checker) linux(l *specs.Linux) {
	c.nul(top("linux.cgroupsPath"), l.CgroupsPath)
	c.devices(l.Devices)
	c.netDevices(l.NetDevices)
	c.sysctls(l.Sysctl)
	if l.Resources != nil {
		c.resources(l.Resources, "linux.resources")
	}
	c.seccomp(l.Seccomp)
	if l.RootfsPropagation != "" {
		c.rootfsPropagation(l.RootfsPropagation)
	}
	c.hiddenPaths("linux.maskedPaths", l.MaskedPaths)
	c.hiddenPaths("linux.readonlyPaths", l.ReadonlyPaths)
	c.nul(top("linux.mountLabel"), l.MountLabel)
	if l.IntelRdt != nil {
		c.intelRdt(l.IntelRdt)
	}
	if l.MemoryPolicy != nil {
		c.memoryPolicy(l.MemoryPolicy)
	}
	if l.Personality != nil {
		c.personality(l.Personality)
	}
}

// devices checks linux.devices.
func (c *checker) devices(devices []specs.LinuxDevice) {
	for i := range devices {
		d := &devices[i]
		c.absolute(at("linux.devices", i, "path"), d.Path)
		c.known(at("linux.devices", i, "type"), "device type", d.Type, []string{"c", "b", "u", "p"})
		if d.UID != nil {
			c.id(at("linux.devices", i, "uid"), *d.UID)
		}
		if d.GID != nil {
			c.id(at("linux.devices", i, "gid"), *d.GID)
		}
		// Engines hand on the whole st_mode, with the file's type.
		if m := d.FileMode; m != nil && *m > 0o177777 {
			c.faultAt(at("linux.devices", i, "fileMode"), "must not be more than 65535, octal 177777 (got "+strconv.FormatUint(uint64(*m), 10)+")")
		}
		if d.Type == "p" {
			continue // a FIFO has no number
		}
		// The kernel keeps 12 and 20 bits; more would name another device.
		c.between(at("linux.devices", i, "major"), d.Major, 0, 1<<12-1)
		c.between(at("linux.devices", i, "minor"), d.Minor, 0, 1<<20-1)
	}
}

// netDevices checks linux.netDevices.
func (c *checker) netDevices(devices map[string]specs.LinuxNetDevice) {
	if len(devices) == 0 {
		return
	}
	const path = "linux.netDevices"
	if !c.ns.has(nsNetwork) {
		c.fault(path, "needs a network namespace in linux.namespaces")
	}
	owner := map[string]string{} // by the name in the container
	for _, host := range wire.SortedKeys(devices) {
		name := devices[host].Name
		if msg := badInterface(host, false); msg != "" {
			c.fault(key(path, host), "network device name "+quote(host)+" "+msg)
		}
		if name == "" {
			name = host
		} else if msg := badInterface(name, true); msg != "" {
			c.fault(key(path, host)+".name", "network device name "+quote(name)+" "+msg)
		}
		if other, taken := owner[name]; taken && !strings.Contains(name, "%d") {
			c.fault(key(path, host), "would have the name of "+key(path, other)+" in the container, "+quote(name))
		}
		owner[name] = host
	}
}

// badInterface says why the kernel would not take a network device's name
// (dev_valid_name of net/core/dev.c), "" if it would. A template holds one %d.
func badInterface(name string, template bool) string {
	const longest = 15 // IFNAMSIZ less the NUL
	switch {
	case name == "" || name == "." || name == "..":
		return "is not valid"
	case len(name) > longest:
		return "is longer than 15 bytes"
	case strings.ContainsAny(name, "/: \t\n\v\f\r\x00"):
		return "holds a character that it must not"
	}
	if template {
		if i := strings.IndexByte(name, '%'); i >= 0 && (strings.Count(name, "%") > 1 || !strings.HasPrefix(name[i:], "%d")) {
			return "must have no % but that of one %d"
		}
	}
	return ""
}

func (c *checker) rootfsPropagation(s string) {
	const path = "linux.rootfsPropagation"
	if _, ok := mountopt.PropagationFlags(s); !ok {
		c.unknown(top(path), "propagation", s, []string{"shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"})
	} else if !c.ns.has(nsMount) {
		c.fault(path, "needs a mount namespace in linux.namespaces")
	}
}

// hiddenPaths checks maskedPaths or readonlyPaths.
func (c *checker) hiddenPaths(path string, paths []string) {
	if len(paths) > 0 && !c.ns.has(nsMount) {
		c.fault(path, "needs a mount namespace in linux.namespaces")
	}
	for i, p := range paths {
		if p == "" {
			c.faultAt(at(path, i, ""), `must be an absolute path (got "")`)
			continue
		}
		c.absolute(at(path, i, ""), p)
	}
}

func (c *checker) intelRdt(r *specs.LinuxIntelRdt) {
	const path = "linux.intelRdt"
	switch clos := r.ClosID; {
	case clos == ".", clos == "..", len(clos) > 1 && strings.Contains(clos, "/"), strings.ContainsAny(clos, "\n\x00"):
		c.fault(path+".closID", "must be the name of a directory, or / (got "+quote(clos)+")")
	}
	c.schema(top(path+".l3CacheSchema"), r.L3CacheSchema)
	if r.L3CacheSchema != "" && !strings.HasPrefix(r.L3CacheSchema, "L3") {
		c.warn(top(path+".l3CacheSchema"), "should start with L3: (got "+quote(r.L3CacheSchema)+")")
	}
	c.schema(top(path+".memBwSchema"), r.MemBwSchema)
	if r.MemBwSchema != "" && !strings.HasPrefix(r.MemBwSchema, "MB:") {
		c.fault(path+".memBwSchema", "must start with MB: (got "+quote(r.MemBwSchema)+")")
	}
	for i, s := range r.Schemata {
		c.schema(at(path+".schemata", i, ""), s)
	}
}

func (c *checker) schema(l loc, s string) {
	if strings.IndexByte(s, '\n') >= 0 {
		c.faultAt(l, "must not contain a newline (got "+quote(s)+")")
	}
}

// memoryPolicy checks what set_mempolicy(2) would refuse on any host.
func (c *checker) memoryPolicy(p *specs.LinuxMemoryPolicy) {
	const path = "linux.memoryPolicy"
	c.known(top(path+".mode"), "mode", string(p.Mode), MemoryPolicyModes())
	nodes := 0
	if err := ParseList(p.Nodes, func(first, last int) { nodes += last - first + 1 }); err != nil {
		c.fault(path+".nodes", err.Error())
	} else {
		switch p.Mode {
		case specs.MpolDefault, specs.MpolLocal:
			if nodes > 0 {
				c.fault(path+".nodes", "must be empty with "+string(p.Mode)+" (got "+quote(p.Nodes)+")")
			}
		case specs.MpolBind, specs.MpolInterleave, specs.MpolWeightedInterleave, specs.MpolPreferredMany:
			if nodes == 0 {
				c.fault(path+".nodes", "is required with "+string(p.Mode))
			}
		}
	}
	static, relative := false, false
	for i, f := range p.Flags {
		c.known(at(path+".flags", i, ""), "flag", string(f), MemoryPolicyFlags())
		static = static || f == specs.MpolFStaticNodes
		relative = relative || f == specs.MpolFRelativeNodes
	}
	if static && relative {
		c.fault(path+".flags", "cannot have both MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES")
	}
}

// MemoryPolicyModes returns the modes that linux.memoryPolicy may have, in
// order.
func MemoryPolicyModes() []string {
	return []string{"MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"}
}

// MemoryPolicyFlags returns the flags that linux.memoryPolicy may have, in
// order.
func MemoryPolicyFlags() []string {
	return []string{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"}
}

func (c *checker) personality(p *specs.LinuxPersonality) {
	c.known(top("linux.personality.domain"), "domain", string(p.Domain), []string{"LINUX", "LINUX32"})
	if len(p.Flags) > 0 {
		c.fault("linux.personality.flags", "no flag is supported (got "+quote(string(p.Flags[0]))+")")
	}
}
