package doctor

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
)

// controllers are those that limits of config.json need, by the name in version
// 1; v2 is the name in version 2, "" where none is needed there.
var controllers = [...]struct{ v1, v2, use string }{
	{"cpu", "cpu", "linux.resources.cpu"},
	{"cpuset", "cpuset", "linux.resources.cpu.cpus and mems"},
	{"cpuacct", "", "CPU figures of events and stat"},
	{"memory", "memory", "linux.resources.memory"},
	{"pids", "pids", "linux.resources.pids"},
	{"blkio", "io", "linux.resources.blockIO"},
	{"freezer", "", "pause and resume"},
	{"devices", "", "linux.resources.devices"},
	{"hugetlb", "hugetlb", "linux.resources.hugepageLimits"},
	{"net_cls", "", "linux.resources.network.classID"},
	{"net_prio", "", "linux.resources.network.priorities"},
	{"rdma", "rdma", "linux.resources.rdma"},
}

func (e *examiner) cgroups() {
	e.section = "cgroups"
	layout := host.CgroupLayout()
	switch layout {
	case host.CgroupNone:
		add := e.failed
		if !e.privileged {
			add = e.lacking // rootless containers do without
		}
		add("layout", "nothing is mounted at "+host.CgroupRoot, "mount -t cgroup2 cgroup2 "+host.CgroupRoot)
		return
	case host.CgroupV2:
		e.ok("layout", "version 2 (unified)")
		e.controllersV2(host.CgroupRoot)
	case host.CgroupHybrid:
		e.ok("layout", "hybrid: version 1, and version 2 at "+host.CgroupRoot+"/unified")
		s, _ := readWord(host.CgroupRoot + "/unified/cgroup.controllers")
		e.controllersV1(strings.Fields(s))
	default:
		e.ok("layout", "version 1")
		e.controllersV1(nil)
	}
	if layout != host.CgroupV1 {
		e.features(
			need{host.CloneIntoCgroup, false, "containers are moved into their cgroup after they were made: slower, nothing else"},
			need{host.CgroupKill, false, "kill --all and delete --force freeze the cgroup and kill process by process"},
			need{host.CgroupBPFDevice, e.privileged && layout == host.CgroupV2, "device rules, which default bundles have, can't be enforced on cgroup v2; they take CAP_SYS_ADMIN or CAP_BPF too"},
		)
	}
	e.systemd()
}

// controllersV2 checks a version 2 tree at its root and at this process' cgroup.
func (e *examiner) controllersV2(mount string) {
	s, err := readWord(mount + "/cgroup.controllers")
	if err != nil {
		e.failed("controllers", err.Error(), "mount -t cgroup2 cgroup2 "+mount)
		return
	}
	have := strings.Fields(s)
	for _, c := range controllers {
		switch {
		case c.v2 == "":
		case slices.Contains(have, c.v2):
			e.ok(c.v2, "")
		default:
			e.lacking(c.v2, "the kernel lacks it, or version 1 has it, or it is not delegated here", "bundles with "+c.use+" can't run")
		}
	}
	e.writable(mount)
}

// controllersV1 checks which version 1 hierarchies are mounted and writable;
// unified are the controllers that the version 2 tree beside them has.
func (e *examiner) controllersV1(unified []string) {
	for _, c := range controllers {
		dir := host.CgroupRoot + "/" + c.v1
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || st.Type != unix.CGROUP_SUPER_MAGIC {
			if c.v2 != "" && slices.Contains(unified, c.v2) {
				e.ok(c.v1, "in the version 2 tree")
				continue
			}
			e.lacking(c.v1, "not mounted at "+dir, "no "+c.use+"; if the kernel has it: mount -t cgroup -o "+c.v1+" cgroup "+dir)
			continue
		}
		e.writable(dir)
	}
}

// writable checks whether cgroups can be made below this process' one.
func (e *examiner) writable(mount string) {
	name := strings.TrimPrefix(mount, host.CgroupRoot+"/")
	err := unix.Faccessat(unix.AT_FDCWD, mount, unix.W_OK, unix.AT_EACCESS)
	switch {
	case err == nil:
		e.ok(name, "")
	case !e.privileged:
		e.lacking(name, "this user may not make cgroups: "+err.Error(), "no limits for this user's containers: let systemd delegate (Delegate=yes), or use --systemd-cgroup")
	default:
		e.failed(name, "cgroups can't be made: "+err.Error(), "mount -o remount,rw "+mount+"; inside a container, run that one with a writable cgroup mount")
	}
}

// systemd tells whether --systemd-cgroup can work.
func (e *examiner) systemd() {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		e.lacking("systemd", "it does not run this host", "--systemd-cgroup can't work; plain cgroups do")
		return
	}
	e.ok("systemd", "it runs this host: --systemd-cgroup can work")
}
