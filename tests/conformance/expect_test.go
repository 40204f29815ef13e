package conformance

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// row is what one program of the suite shall do.
type row struct {
	name string
	// v1 is the verdict where controllers are mounted as version 1 (hybrid
	// layouts too), v2 where there is nothing but cgroup2. Zero means pass.
	v1, v2 verdict
	// needs names what the program must find on the host; without it the
	// program is out there.
	needs need
	// silent programs assert nothing: they print a diagnostic if they fail.
	silent bool
	// mounts are controllers of version 1 that the program needs; where the host has them and has not mounted them, the
	// program's own mount namespace gets them.
	mounts []string
	// tries is for programs that lose races of their own making; 0 is 1.
	tries int
}

// verdict is pass (zero), pass except for assertions, or out.
type verdict struct {
	except []string // regular expressions; each must match a failed assertion
	out    string   // the reason
	why    string   // of the exception
}

func except(why string, patterns ...string) verdict { return verdict{except: patterns, why: why} }
func out(why string) verdict                        { return verdict{out: why} }

// expectation is what judge needs of a row.
type expectation struct {
	silent bool
	except []string
}

// need says what is missing on this host, or "".
type need func() string

var (
	v1Only = out("the program knows cgroups of version 1 only")
	pids   = except("the suite compares two pointers, which are never equal", `pids limit is set correctly`)
	kmem   = except("kernels since 5.16 ignore memory.kmem.limit_in_bytes", `memory kernel is set correctly`)
	noCFQ  = out("blkio.leaf_weight went with CFQ in Linux 5.0")
)

// table holds every program of the suite. Where a verdict is not pass, the
// reason is the suite's fault, the host's lack, or a later version of the spec.
var table = []row{
	{name: "config_updates_without_affect"},
	{name: "create"},
	{name: "default"},
	{name: "delete"},
	{name: "delete_only_create_resources", v2: v1Only},
	{name: "delete_resources", v1: pids, v2: v1Only},
	outRow("hooks", "it expects output that its own hooks do not print, and would crash if it came"),
	{name: "hooks_stdin"},
	{name: "hostname"},
	{name: "kill"},
	{name: "kill_no_effect"},
	{name: "killsig", tries: 3}, // the signal may come before sh has set its trap
	{name: "linux_cgroups_blkio", v1: noCFQ, v2: v1Only},
	{name: "linux_cgroups_cpus", v2: v1Only},
	{name: "linux_cgroups_devices", v2: v1Only},
	{name: "linux_cgroups_hugetlb", v2: v1Only, mounts: []string{"hugetlb"}},
	{name: "linux_cgroups_memory", v1: kmem, v2: v1Only},
	{name: "linux_cgroups_network", v2: v1Only, mounts: []string{"net_cls", "net_prio"}},
	{name: "linux_cgroups_pids", v1: pids, v2: v1Only},
	{name: "linux_cgroups_relative_blkio", v1: noCFQ, v2: v1Only},
	{name: "linux_cgroups_relative_cpus", v2: v1Only},
	{name: "linux_cgroups_relative_devices", v2: v1Only},
	{name: "linux_cgroups_relative_hugetlb", v2: v1Only, mounts: []string{"hugetlb"}},
	{name: "linux_cgroups_relative_memory", v1: kmem, v2: v1Only},
	{name: "linux_cgroups_relative_network", v2: v1Only, mounts: []string{"net_cls", "net_prio"}},
	{name: "linux_cgroups_relative_pids", v1: pids, v2: v1Only},
	{name: "linux_devices"},
	{name: "linux_masked_paths"},
	{name: "linux_mount_label", needs: selinux},
	{name: "linux_ns_itype"},
	{name: "linux_ns_nopath"},
	{name: "linux_ns_path"},
	{name: "linux_ns_path_type"},
	{name: "linux_process_apparmor_profile", needs: appArmorProfile},
	{name: "linux_readonly_paths"},
	{name: "linux_rootfs_propagation"},
	{name: "linux_seccomp"},
	{name: "linux_sysctl"},
	{name: "linux_uid_mappings"},
	{name: "misc_props", v1: noCopy, v2: noCopy},
	{name: "mounts"},
	outRow("pidfile", "it wants kill to reach a program that ends at once: a race"),
	outRow("poststart", "it runs echo in the hook against echo in the process, both of which run at once: a race"),
	outRow("poststart_fail", "text of before 1.3: a failed poststart hook was a warning, now it ends the container"),
	{name: "poststop", silent: true},
	{name: "poststop_fail", silent: true},
	outRow("prestart", "text of 1.0: the hooks ran in start; since 1.1 they run in create"),
	{name: "prestart_fail", silent: true},
	{name: "process"},
	{name: "process_capabilities", needs: allCapabilities},
	outRow("process_capabilities_fail", "text of 1.0: an unknown capability was an error; since 1.1 it is a warning"),
	{name: "process_oom_score_adj"},
	{name: "process_rlimits", v1: goNofile, v2: goNofile},
	{name: "process_rlimits_fail", silent: true},
	{name: "process_user"},
	{name: "root_readonly_true"},
	{name: "start", v1: noProcess, v2: noProcess},
	{name: "state"},
}

var (
	noCopy    = except("the program never copies what it runs into the bundle", `^not ok 1\b`)
	goNofile  = except("what looks at the limit is a Go program, and Go raises its own soft limit", `soft RLIMIT_NOFILE`)
	noProcess = except("it wants start without a process to succeed, and then to end; the spec wants an error that changes nothing",
		`^not ok 7\b`, `^not ok 8 - timeout in waiting`)
)

func outRow(name, why string) row { return row{name: name, v1: out(why), v2: out(why)} }

func (r row) verdict(l layout) verdict {
	v := r.v1
	if l.v2 {
		v = r.v2
	}
	for _, c := range r.mounts {
		if v.out == "" && !mounted(c) && !mountable(c) {
			v.out = "needs the " + c + " controller of cgroup version 1"
		}
	}
	if v.out == "" && r.needs != nil {
		if lack := r.needs(); lack != "" {
			v.out = lack
		}
	}
	return v
}

// mounted says whether a controller has a hierarchy of version 1 here.
func mounted(controller string) bool {
	_, err := os.Stat("/sys/fs/cgroup/" + controller + "/cgroup.procs")
	return err == nil
}

// mountable says whether a hierarchy of version 1 can be mounted for a controller: the kernel has it, and no cgroup of
// version 2 does.
func mountable(controller string) bool {
	data, _ := os.ReadFile("/proc/cgroups")
	found := false
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		found = found || len(f) == 4 && f[0] == controller && f[3] == "1"
	}
	data, _ = os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
	return found && !slices.Contains(strings.Fields(string(data)), controller)
}

func selinux() string {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		return "needs SELinux"
	}
	return ""
}

func appArmorProfile() string {
	const name = "acme_secure_profile"
	data, _ := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if !strings.Contains(string(data), name+" ") {
		return "needs AppArmor with a loaded profile " + name
	}
	return ""
}

// allCapabilities needs every capability of the kernel in the bounding set.
func allCapabilities() string {
	read := func(name, field string) string {
		data, _ := os.ReadFile(name)
		if field == "" {
			return strings.TrimSpace(string(data))
		}
		_, rest, _ := strings.Cut(string(data), field+":")
		line, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line)
	}
	last := read("/proc/sys/kernel/cap_last_cap", "")
	have := read("/proc/self/status", "CapBnd")
	if want := fullMask(last); want == "" || want != have {
		return "needs all capabilities (the bounding set is " + have + ")"
	}
	return ""
}

// fullMask is the capability mask up to the last one, as /proc prints it.
func fullMask(last string) string {
	n, err := strconv.Atoi(last)
	if err != nil || n > 62 {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(1)<<(n+1)-1)
}
