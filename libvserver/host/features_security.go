package host

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Namespaces beside those every kernel has, and what confines a process.
var (
	// UserNamespaces is CLONE_NEWUSER. Whether this user may make one is
	// another question: UserNamespaceLimits.
	UserNamespaces = &Feature{Name: "user namespaces", Plural: true, Since: "3.8", Config: "CONFIG_USER_NS", probe: func() error { return nsFile("user") }}

	// PidNamespaces is CLONE_NEWPID.
	PidNamespaces = &Feature{Name: "pid namespaces", Plural: true, Since: "2.6.24", Config: "CONFIG_PID_NS", probe: func() error { return nsFile("pid") }}

	// NetNamespaces is CLONE_NEWNET.
	NetNamespaces = &Feature{Name: "network namespaces", Plural: true, Since: "2.6.29", Config: "CONFIG_NET_NS", probe: func() error { return nsFile("net") }}

	// IpcNamespaces is CLONE_NEWIPC.
	IpcNamespaces = &Feature{Name: "ipc namespaces", Plural: true, Since: "2.6.19", Config: "CONFIG_IPC_NS", probe: func() error { return nsFile("ipc") }}

	// UtsNamespaces is CLONE_NEWUTS.
	UtsNamespaces = &Feature{Name: "uts namespaces", Plural: true, Since: "2.6.19", Config: "CONFIG_UTS_NS", probe: func() error { return nsFile("uts") }}

	// MountNamespaces is CLONE_NEWNS.
	MountNamespaces = &Feature{Name: "mount namespaces", Plural: true, Since: "2.4.19", probe: func() error { return nsFile("mnt") }}

	// CgroupNamespaces is CLONE_NEWCGROUP.
	CgroupNamespaces = &Feature{Name: "cgroup namespaces", Plural: true, Since: "4.6", Config: "CONFIG_CGROUPS", probe: func() error { return nsFile("cgroup") }}

	// TimeNamespaces is CLONE_NEWTIME.
	TimeNamespaces = &Feature{Name: "time namespaces", Plural: true, Since: "5.6", Config: "CONFIG_TIME_NS", probe: func() error { return nsFile("time") }}

	// SeccompFilter is seccomp(2) with BPF filters.
	SeccompFilter = &Feature{Name: "seccomp filters", Plural: true, Since: "3.17", Config: "CONFIG_SECCOMP_FILTER", probe: func() error { return seccompFlags(0) }}

	// SeccompLog is SECCOMP_FILTER_FLAG_LOG.
	SeccompLog = &Feature{Name: "SECCOMP_FILTER_FLAG_LOG", Since: "4.14", Config: "CONFIG_SECCOMP_FILTER", probe: func() error {
		return seccompFlags(unix.SECCOMP_FILTER_FLAG_LOG)
	}}

	// SeccompSpecAllow is SECCOMP_FILTER_FLAG_SPEC_ALLOW.
	SeccompSpecAllow = &Feature{Name: "SECCOMP_FILTER_FLAG_SPEC_ALLOW", Since: "4.17", Config: "CONFIG_SECCOMP_FILTER", probe: func() error {
		return seccompFlags(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	}}

	// SeccompWaitKillable is SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV.
	SeccompWaitKillable = &Feature{Name: "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", Since: "5.19", Config: "CONFIG_SECCOMP_FILTER", probe: func() error {
		return seccompFlags(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	}}

	// SeccompTsyncEsrch is SECCOMP_FILTER_FLAG_TSYNC_ESRCH.
	SeccompTsyncEsrch = &Feature{Name: "SECCOMP_FILTER_FLAG_TSYNC_ESRCH", Since: "5.7", Config: "CONFIG_SECCOMP_FILTER", probe: func() error {
		return seccompFlags(unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
	}}

	// SeccompNotify is the action SECCOMP_RET_USER_NOTIF and its listener.
	SeccompNotify = &Feature{Name: "seccomp notify", Since: "5.0", Config: "CONFIG_SECCOMP_FILTER", probe: func() error {
		return seccompAction(unix.SECCOMP_RET_USER_NOTIF)
	}}

	// SeccompKillProcess is the action SECCOMP_RET_KILL_PROCESS.
	SeccompKillProcess = &Feature{Name: "SECCOMP_RET_KILL_PROCESS", Since: "4.14", Config: "CONFIG_SECCOMP_FILTER", probe: func() error {
		return seccompAction(unix.SECCOMP_RET_KILL_PROCESS)
	}}

	// Landlock is the Landlock LSM; LandlockABI says which version.
	Landlock = &Feature{Name: "Landlock", Since: "5.13", Config: "CONFIG_SECURITY_LANDLOCK and landlock in lsm=", probe: func() error {
		_, err := LandlockABI()
		return err
	}}

	// CgroupBPFDevice is the BPF program type that device rules are on cgroup v2.
	CgroupBPFDevice = &Feature{Name: "BPF device programs of cgroup v2", Plural: true, Since: "4.15", Config: "CONFIG_CGROUP_BPF", probe: func() error {
		return bpfLoad(unix.BPF_PROG_TYPE_CGROUP_DEVICE, 0)
	}}

	// CgroupKill is the file cgroup.kill of cgroup v2.
	CgroupKill = &Feature{Name: "cgroup.kill", Since: "5.14", probe: func() error {
		// The file is in every cgroup but the root, and there need be no other
		// yet: its first kernel is the only thing to go by.
		return sinceRelease(5, 14)
	}}
)

// seccompFlags tries flags with a filter at a null address: EFAULT comes after
// the flags were accepted.
func seccompFlags(flags uintptr) error {
	return accepted(call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0), unix.EFAULT)
}

// seccompAction asks whether filters may return an action (Linux 4.14).
func seccompAction(action uint32) error {
	errno := call(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno == unix.EOPNOTSUPP {
		return errMissing
	}
	return accepted(errno, 0)
}

// LandlockABI returns the version of Landlock's interface, from 1.
func LandlockABI() (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// bpfLoad loads the program "return 1" of a type, with some instructions before, and drops it again.
func bpfLoad(progType, attachType uint32, before ...uint64) error {
	insns := append(before,
		0x00000001_0000_00b7, // r0 = 1
		0x00000000_0000_0095, // exit
	)
	license := [...]byte{'A', 'p', 'a', 'c', 'h', 'e', 0}
	attr := struct { // the head of union bpf_attr for BPF_PROG_LOAD
		progType, insnCnt     uint32
		insns, license        uint64
		logLevel, logSize     uint32
		logBuf                uint64
		kernVersion, progFlag uint32
		name                  [16]byte
		ifindex, attachType   uint32
	}{
		progType: progType, insnCnt: uint32(len(insns)), attachType: attachType,
		insns: uint64(uintptr(unsafe.Pointer(&insns[0]))), license: uint64(uintptr(unsafe.Pointer(&license))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno == 0 {
		return unix.Close(int(fd))
	}
	return accepted(errno, 0)
}

// AppArmorEnabled reports whether AppArmor is switched on.
func AppArmorEnabled() bool {
	s, err := readSmall("/sys/module/apparmor/parameters/enabled")
	return err == nil && s == "Y"
}

// SELinuxEnabled reports whether SELinux is switched on and its filesystem mounted.
func SELinuxEnabled() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/selinux", &st) == nil && uint32(st.Type) == unix.SELINUX_MAGIC
}

// SELinuxEnforcing reports whether SELinux enforces its policy.
func SELinuxEnforcing() bool {
	s, err := readSmall("/sys/fs/selinux/enforce")
	return err == nil && s == "1"
}

// UserNamespaceLimits returns nil if nothing that can be read forbids making a
// user namespace, and otherwise an error that names the sysctl.
func UserNamespaceLimits(privileged bool) error {
	if err := UserNamespaces.Err(); err != nil {
		return err
	}
	if s, err := readSmall("/proc/sys/user/max_user_namespaces"); err == nil && s == "0" {
		return errors.New("the sysctl user.max_user_namespaces is 0")
	}
	if privileged {
		return nil
	}
	if s, err := readSmall("/proc/sys/kernel/unprivileged_userns_clone"); err == nil && s == "0" {
		return errors.New("the sysctl kernel.unprivileged_userns_clone is 0")
	}
	if s, err := readSmall("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); err == nil && s == "1" && AppArmorEnabled() {
		return errors.New("the sysctl kernel.apparmor_restrict_unprivileged_userns is 1")
	}
	return nil
}
