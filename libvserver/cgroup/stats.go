package cgroup

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"github.com/vsrun/vsrun/libvserver/host"
)

// Stats reads the statistics of all controllers, or of those named (cgroups.CPU|cgroups.Memory…).
func (m *Manager) Stats(controllers ...cgroups.Controller) (*cgroups.Stats, error) {
	if len(m.dirs) == 0 {
		return nil, ErrNoCgroup
	}
	var o cgroups.StatsOptions
	for _, c := range controllers {
		o.Controllers |= c
	}
	if m.layout == host.CgroupV2 {
		lib, err := fs2.NewManager(&cgroups.Cgroup{Rootless: m.rootless}, m.dirs[0].path)
		if err != nil {
			return nil, err
		}
		return lib.Stats(&o)
	}
	// Its Apply is never called, so it needs no resources.
	lib, err := fs.NewManager(&cgroups.Cgroup{Rootless: m.rootless, Resources: &cgroups.Resources{}}, m.Paths())
	if err != nil {
		return nil, err
	}
	st, err := lib.Stats(&o)
	if err == nil && m.layout == host.CgroupHybrid {
		m.addUnified(st, &o)
	}
	return st, err
}

// OOMKills returns how many processes of the container the kernel has killed for want of memory since it was made (Linux
// 4.13). It is 0 where memory is not accounted.
func (m *Manager) OOMKills() (uint64, error) {
	d := m.dirFor("memory")
	if d == nil {
		return 0, nil
	}
	file := "/memory.oom_control"
	if d.v2() {
		file = "/memory.events"
	}
	s, err := readFile(d.path + file)
	if err != nil {
		if gone(err) {
			err = nil
		}
		return 0, err
	}
	n, _ := keyValue(s, "oom_kill")
	return n, nil
}
