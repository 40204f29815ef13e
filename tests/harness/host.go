package harness

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Exists tells if there is something of that name, a link that leads nowhere included.
func Exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// CgroupLayout returns v1, hybrid (v1 controllers and a cgroup2 mount beside
// them), v2, or none.
func CgroupLayout() string {
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) != nil {
		return "none"
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "v2"
	}
	if unix.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "hybrid"
	}
	return "v1"
}

// Controllers returns the controllers of a layout: "v1" for those mounted in
// the v1 way, "v2" for those that cgroup2 holds.
func Controllers(version string) map[string]bool {
	found := map[string]bool{}
	if version == "v2" {
		for _, p := range []string{"/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"} {
			data, err := os.ReadFile(p)
			if err != nil {
				continue
			}
			for _, c := range strings.Fields(string(data)) {
				found[c] = true
			}
		}
		return found
	}
	for _, c := range []string{"memory", "cpu", "cpuset", "cpuacct", "pids", "devices", "freezer", "blkio", "hugetlb",
		"net_cls", "net_prio", "perf_event", "rdma"} {
		var st unix.Statfs_t
		if unix.Statfs("/sys/fs/cgroup/"+c, &st) == nil && st.Type == unix.CGROUP_SUPER_MAGIC {
			found[c] = true
		}
	}
	return found
}

// HasCapability reports whether this process has a capability, by its number
// in capabilities(7).
func HasCapability(n int) bool {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && bits&(1<<n) != 0
		}
	}
	return false
}

// KernelAtLeast reports whether the running kernel is of this version or a
// later one.
func KernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	if len(parts) < 2 {
		return false
	}
	maj, _ := strconv.Atoi(parts[0])
	min, _ := strconv.Atoi(parts[1])
	return maj > major || maj == major && min >= minor
}

// HasLSM reports whether a security module is enabled: "apparmor", "selinux".
func HasLSM(name string) bool {
	switch name {
	case "apparmor":
		b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		return err == nil && strings.HasPrefix(string(b), "Y")
	case "selinux":
		_, err := os.Stat("/sys/fs/selinux/enforce")
		return err == nil
	}
	return false
}

// LandlockABI is the version of the kernel's Landlock interface, 0 if it has none.
func LandlockABI() int {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}
