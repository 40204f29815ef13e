package cgroup

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs2"
)

// addUnified adds what a hybrid host's version 2 tree knows and version 1 does not: pressure stall information (Linux
// 4.20), and the figures of controllers that have no hierarchy of their own.
func (m *Manager) addUnified(st *cgroups.Stats, o *cgroups.StatsOptions) {
	d := m.dirOf("")
	if d == nil {
		return
	}
	lib, err := fs2.NewManager(&cgroups.Cgroup{Rootless: true}, d.path) // rootless: what is not there is no error
	if err != nil {
		return
	}
	more, err := lib.Stats(o)
	if err != nil {
		return
	}
	st.CpuStats.PSI, st.MemoryStats.PSI, st.BlkioStats.PSI = more.CpuStats.PSI, more.MemoryStats.PSI, more.BlkioStats.PSI
	if m.dirOf("hugetlb") == nil {
		st.HugetlbStats = more.HugetlbStats
	}
	if m.dirOf("rdma") == nil {
		st.RdmaStats = more.RdmaStats
	}
	st.MiscStats = more.MiscStats
}
