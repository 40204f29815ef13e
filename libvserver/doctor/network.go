package doctor

import (
	"os"
	"strconv"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// network tells what network contexts need, and which ones a crash has left.
func (e *examiner) network() {
	e.section = "network contexts"
	if host.CgroupLayout() == host.CgroupV1 {
		e.lacking("cgroup version 2", "no version 2 hierarchy is mounted", "no network contexts, no rlimits.nsock: mkdir /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
	}
	const lost = "no network contexts; it takes CAP_SYS_ADMIN or CAP_BPF too"
	e.features(
		need{host.CgroupBPFSock, false, lost},
		need{host.CgroupBPFGetname, false, lost},
		need{host.CgroupBPFSockRelease, false, "no network contexts, no rlimits.nsock"},
		need{host.BPFSkLookup, false, lost},
		need{host.NetnsCookie, false, lost},
		need{host.BPFSetRetval, false, "what network contexts refuse is always EPERM, where it would be EADDRNOTAVAIL and the like"},
		need{host.TCX, false, "no network contexts of more than one address, but with net.single-ip"},
	)
	list, err := netcontext.Entries()
	if err != nil {
		e.lacking("register", err.Error(), "remove the damaged file")
		return
	}
	text := strconv.Itoa(len(list)) + " network contexts"
	if os.Geteuid() != 0 {
		e.ok("register", text)
		return
	}
	left, err := netcontext.Sweep(false)
	switch {
	case err != nil:
		e.lacking("register", err.Error(), "")
	case left.None():
		e.ok("register", text)
	default:
		e.lacking("register", text+", of which "+strconv.Itoa(left.Contexts)+" have no container; "+strconv.Itoa(left.Addresses)+" addresses and "+
			strconv.Itoa(left.Pins)+" pins of contexts that are gone", "a crash has left them: vsrun net gc")
	}
}
