package doctor

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/state"
)

// contexts are what Linux-VServer's annotations need besides what has been examined before.
func (e *examiner) contexts() {
	e.section = "contexts"
	switch err := state.CheckRegistry(); {
	case err == nil:
		e.ok("context ids", "registered in "+state.Registry())
	default:
		e.lacking("context ids", err.Error(), "they are unique among the containers of this user only: have root start a container once")
	}
	mapped := Check{Name: "overlay with id-mapped layers", Since: "5.19"}
	if host.ParseVersion(host.KernelRelease()).Less(host.Version{Major: 5, Minor: 19}) {
		mapped.Verdict, mapped.Detail = Lacking, "this is "+host.KernelRelease()
		mapped.Advice = "guests with a user namespace need trees of their own ids"
	}
	e.add(mapped)
	burst := Check{Name: "CPU burst", Since: "5.14"}
	if !hasBurst() {
		burst.Verdict, burst.Detail = Lacking, "the cpu controller has no file for it"
		burst.Advice = "org.linux-vserver.sched.tokens-max can't save time; it takes the controller cpu and CONFIG_CFS_BANDWIDTH"
	}
	e.add(burst)
}

// hasBurst looks for the file in version 1, and in some cgroup of version 2: the root has none.
func hasBurst() bool {
	if host.CgroupLayout() != host.CgroupV2 {
		for _, dir := range [...]string{"/cpu", "/cpu,cpuacct"} {
			if unix.Access(host.CgroupRoot+dir+"/cpu.cfs_burst_us", unix.F_OK) == nil {
				return true
			}
		}
	}
	entries, err := os.ReadDir(host.CgroupRoot)
	if err != nil {
		return false
	}
	for _, entry := range entries {
		if entry.IsDir() && unix.Access(host.CgroupRoot+"/"+entry.Name()+"/cpu.max.burst", unix.F_OK) == nil {
			return true
		}
	}
	return false
}
