package spec

import (
	"strconv"
	"strings"
)

// Static context ids. Higher ones are given out dynamically, as Linux-VServer
// did; 0 is the host and 1 was the spectator context.
const (
	MinXID        = 2
	MaxXID        = 49151
	MinDynamicXID = MaxXID + 1
	MaxDynamicXID = 65535
)

// XIDAnnotation is the name of the annotation that asks for a static context
// id, and tells the id in a container's state.
const XIDAnnotation = VServerPrefix + "context.xid"

// Flags are context flags of Linux-VServer that the runtime has to do
// something for (org.linux-vserver.context.flags).
type Flags uint32

// Context flags. Others are what a container does anyway or can't do, see
// contextFlags.
const (
	// FlagPrivate: no process joins the container from outside (exec, enter).
	FlagPrivate Flags = 1 << iota
	// FlagSchedHard: the token bucket of sched.* is a limit (cpu.max), which
	// is what it is by itself.
	FlagSchedHard
	// FlagSchedPrio: the token bucket is a share (cpu.weight) instead.
	FlagSchedPrio
	// FlagVirtUptime: the container's uptime begins with it, by a time
	// namespace.
	FlagVirtUptime
)

// contextFlag is a flag of Linux-VServer and what becomes of it.
type contextFlag struct {
	name string
	flag Flags
	// needs are namespaces one of which gives what the flag asks for; 0: no
	// such condition.
	needs namespaceSet
	// why the flag can't be had; or, with needs, what the namespace gives.
	why string
}

// contextFlags are those of util-vserver's cflags, in the order of their bits.
var contextFlags = [...]contextFlag{
	{name: "lock", needs: nsPID, why: "processes can't leave a pid namespace"},
	{name: "sched", why: "processes are scheduled by their cgroup: sched.fill-rate and sched.interval limit it"},
	{name: "nproc", why: "rlimits.nproc sets the limit"},
	{name: "private", flag: FlagPrivate},
	{name: "fakeinit", needs: nsPID, why: "the first process of a pid namespace is number 1"},
	{name: "hideinfo", needs: nsCgroup, why: "a cgroup namespace hides the names of cgroups in /proc"},
	{name: "ulimit", why: "process.rlimits sets limits of processes, rlimits.* those of the context"},
	{name: "namespace", needs: nsMount, why: "a mount namespace is one"},
	{name: "sched_hard", flag: FlagSchedHard},
	{name: "sched_prio", flag: FlagSchedPrio},
	{name: "sched_pause", why: "\"vsrun pause\" does it, once the container is there"},
	{name: "virt_mem", why: "the kernel has no /proc/meminfo and sysinfo(2) of a container: mount those of LXCFS"},
	{name: "virt_uptime", flag: FlagVirtUptime},
	{name: "virt_cpu", why: "the kernel has no /proc/stat of a container: mount that of LXCFS"},
	{name: "virt_load", why: "the kernel has no /proc/loadavg of a container: mount that of LXCFS"},
	{name: "virt_time", why: "the kernel has no time of day of a container (time namespaces have other clocks only)"},
	{name: "hide_mount", needs: nsMount, why: "a mount namespace shows its own mounts only"},
	{name: "hide_netif", needs: nsNetwork, why: "a network namespace shows its own interfaces only"},
	{name: "hide_vinfo", needs: nsCgroup, why: "a cgroup namespace hides the names of cgroups in /proc"},
	{name: "state_setup", why: "create and start are these states"},
	{name: "state_init", why: "create and start are these states"},
	{name: "state_admin", why: "create and start are these states"},
	{name: "sc_helper", why: "hooks are called at changes of the state"},
	{name: "reboot_kill", needs: nsPID, why: "reboot(2) ends the first process of a pid namespace, and it all others"},
	{name: "persistent", why: "a container ends with its first process"},
	{name: "fork_rss", why: "the kernel can't refuse fork(2) by memory: a cgroup over rlimits.rss has its memory reclaimed, or a process killed"},
	{name: "prolific", why: "contexts can't make contexts: run vsrun in the container"},
	{name: "igneg_nice", why: "no such call is known to the kernel: a rule of linux.seccomp for setpriority with errnoRet 0 does it"},
	{name: "igneg_ionice", why: "no such call is known to the kernel: a rule of linux.seccomp for ioprio_set with errnoRet 0 does it"},
}

// contextAnnotations are those of the context itself.
var contextAnnotations = [...]annotation{
	{"context.xid", setXID},
	{"context.flags", setFlags},
}

func setXID(x *Extension, _, value string) string {
	n := uint64(0)
	msg := number(value, MinXID, MaxXID, &n)
	if msg == "" && value != strconv.FormatUint(n, 10) {
		return "must be a number without leading zeros (got " + quote(value) + ")"
	}
	x.XID = uint32(n)
	return msg
}

// setFlags reads a list of flags, parted by commas or white space.
func setFlags(x *Extension, _, value string) string {
	for _, name := range flagList(value) {
		f := findFlag(name)
		switch {
		case f == nil:
			names := make([]string, len(contextFlags))
			for i := range contextFlags {
				names[i] = contextFlags[i].name
			}
			if near := nearest(name, names); near != "" {
				return "unknown flag " + quote(name) + " (did you mean " + quote(near) + "?)"
			}
			return "unknown flag " + quote(name)
		case f.flag == 0 && f.needs == 0:
			return "flag " + name + " is not supported: " + f.why
		}
		x.Flags |= f.flag
	}
	return ""
}

func flagList(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

func findFlag(name string) *contextFlag {
	name = strings.ToLower(name)
	for i := range contextFlags {
		if contextFlags[i].name == name {
			return &contextFlags[i]
		}
	}
	return nil
}

// checkContext checks the flags against the namespaces.
func (c *checker) checkContext(x *Extension) {
	const flags = "context.flags"
	for _, name := range flagList(c.spec.Annotations[VServerPrefix+flags]) {
		if f := findFlag(name); f.needs != 0 && !c.ns.has(f.needs) {
			c.annotationFault(flags, "flag "+name+" needs a namespace in linux.namespaces: "+f.why)
		}
	}
	if x.Flags&FlagVirtUptime != 0 && c.spec.Linux != nil {
		for _, n := range c.spec.Linux.Namespaces {
			if nsBit(n.Type) == nsTime && n.Path != "" {
				c.annotationFault(flags, "flag virt_uptime needs a time namespace of the container's own, and it joins "+quote(n.Path))
			}
		}
		if _, ok := c.spec.Linux.TimeOffsets["boottime"]; ok {
			c.annotationFault(flags, "flag virt_uptime sets linux.timeOffsets.boottime, which is set already")
		}
	}
	const sched = FlagSchedHard | FlagSchedPrio
	switch {
	case x.Flags&sched == sched:
		c.annotationFault(flags, "flags sched_hard and sched_prio exclude each other: the bucket is a limit or a share")
	case x.Flags&sched != 0 && x.Sched.FillRate == 0:
		c.annotationFault(flags, "flags sched_hard and sched_prio need sched.fill-rate and sched.interval")
	}
}
