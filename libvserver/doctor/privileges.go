package doctor

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
)

// capabilityUses are the capabilities vsrun itself uses, and those the default
// bundle gives its container; no process can give what it has not.
var capabilityUses = [...]struct {
	number int
	name   string
	needed bool
	use    string
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", true, "namespaces and mounts need it"},
	{unix.CAP_SETUID, "CAP_SETUID", true, "taking on process.user needs it"},
	{unix.CAP_SETGID, "CAP_SETGID", true, "taking on process.user needs it"},
	{unix.CAP_SETPCAP, "CAP_SETPCAP", true, "dropping capabilities from the bounding set needs it"},
	{unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT", true, "joining a mount namespace needs it"},
	{unix.CAP_MKNOD, "CAP_MKNOD", false, "device files can't be made: bind them from the host instead"},
	{unix.CAP_CHOWN, "CAP_CHOWN", false, "owners of terminals and devices can't be set"},
	{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", false, "root in the container can't pass over file permissions"},
	{unix.CAP_FOWNER, "CAP_FOWNER", false, "root in the container is not every file's owner"},
	{unix.CAP_KILL, "CAP_KILL", false, "containers of other users can't be signalled"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", false, "linux.netDevices can't be moved and network contexts not be made"},
	{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", false, "process.rlimits above the caller's and a lower oomScoreAdj are refused"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", false, "exec into containers with other credentials, and checkpoint, can be refused"},
	{unix.CAP_AUDIT_WRITE, "CAP_AUDIT_WRITE", false, "the default bundle asks for it: containers run without it, with a warning"},
	{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", false, "the default bundle asks for it: containers run without it, with a warning"},
}

func (e *examiner) capabilities() {
	e.section = "capabilities"
	if !e.privileged {
		e.ok("user", "uid "+strconv.Itoa(os.Geteuid())+": containers get a user namespace and have all capabilities there")
		return
	}
	caps, err := host.OwnCaps()
	if err != nil {
		e.failed("capget", err.Error(), "")
		return
	}
	if host.InUserNamespace() {
		e.ok("user", "root in a user namespace")
	} else {
		e.ok("user", "root")
	}
	e.ok("known to the kernel", "0 to "+strconv.Itoa(host.LastCap()))
	for _, c := range capabilityUses {
		switch {
		case caps.Has(c.number):
			e.ok(c.name, "")
		case c.needed:
			e.failed(c.name, "not in the effective set", c.use+": run vsrun as full root (a container's root has it only if privileged)")
		default:
			e.lacking(c.name, "not in the effective set", c.use)
		}
	}
}

func (e *examiner) seccomp() {
	e.section = "seccomp"
	const use = "bundles with linux.seccomp can't run"
	e.features(
		need{host.SeccompFilter, false, use},
		need{host.SeccompNotify, false, "profiles with SCMP_ACT_NOTIFY can't be used"},
		need{host.SeccompKillProcess, false, "profiles with SCMP_ACT_KILL_PROCESS can't be used"},
		need{host.SeccompLog, false, "profiles with SECCOMP_FILTER_FLAG_LOG can't be used"},
		need{host.SeccompSpecAllow, false, "profiles with SECCOMP_FILTER_FLAG_SPEC_ALLOW can't be used"},
		need{host.SeccompWaitKillable, false, "profiles with SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV can't be used"},
	)
	if s, err := readWord("/proc/sys/kernel/seccomp/actions_avail"); err == nil {
		e.ok("actions", s)
	}
}

func (e *examiner) lsm() {
	e.section = "security modules"
	if s, err := readWord("/sys/kernel/security/lsm"); err == nil && s != "" {
		e.ok("active", strings.ReplaceAll(s, ",", " "))
	}
	if host.AppArmorEnabled() {
		e.ok("AppArmor", "enabled")
	} else {
		e.lacking("AppArmor", "not enabled", "bundles with process.apparmorProfile can't run; it takes CONFIG_SECURITY_APPARMOR and apparmor in lsm=")
	}
	switch {
	case host.SELinuxEnforcing():
		e.ok("SELinux", "enabled, enforcing")
	case host.SELinuxEnabled():
		e.ok("SELinux", "enabled, permissive")
	default:
		e.lacking("SELinux", "not enabled", "bundles with process.selinuxLabel or linux.mountLabel can't run; it takes CONFIG_SECURITY_SELINUX and a policy")
	}
	switch abi, err := host.LandlockABI(); {
	case err != nil:
		e.feature(need{host.Landlock, false, "bundles with the annotation org.linux-vserver.landlock can't run"})
	case abi < 2:
		e.lacking("Landlock", "ABI "+strconv.Itoa(abi)+", which forbids every rename between directories", "bundles with the annotation org.linux-vserver.landlock can't run: boot Linux 5.19 or newer")
	case abi < 6:
		e.add(Check{Name: "Landlock", Detail: "ABI " + strconv.Itoa(abi) + " (signals and abstract sockets can be confined since ABI 6, Linux 6.12)", Since: host.Landlock.Since})
	default:
		e.add(Check{Name: "Landlock", Detail: "ABI " + strconv.Itoa(abi), Since: host.Landlock.Since})
	}
}
