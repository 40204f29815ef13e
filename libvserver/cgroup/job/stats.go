package job

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
)

// statistics is the data member of the lines that runc events prints. Members are those of types/events.go of runc 1.5
// in its order. Of what that leaves out when it is zero, objects are there all the same, as they were up to runc 1.1; so
// both kinds of readers find what they know. Intel RDT is not the cgroup's; network interfaces are those of runc's own
// networks, which no config.json asks for.
type statistics struct {
	CPU               cpu                 `json:"cpu"`
	CPUSet            cgroups.CPUSetStats `json:"cpuset"`
	Memory            memory              `json:"memory"`
	Pids              cgroups.PidsStats   `json:"pids"`
	Blkio             blkio               `json:"blkio"`
	Hugetlb           map[string]hugetlb  `json:"hugetlb"`
	IntelRdt          struct{}            `json:"intel_rdt"`
	NetworkInterfaces []struct{}          `json:"network_interfaces"`
}

type cpu struct {
	Usage      cpuUsage   `json:"usage"`
	Throttling throttling `json:"throttling"`
	PSI        *psi       `json:"psi,omitempty"`
}

type cpuUsage struct { // nanoseconds
	Total        uint64   `json:"total,omitempty"`
	Percpu       []uint64 `json:"percpu,omitempty"`
	PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
	PercpuUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

type throttling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"` // nanoseconds
}

type memory struct { // bytes
	Cache     uint64            `json:"cache,omitempty"`
	Usage     memoryEntry       `json:"usage"`
	Swap      memoryEntry       `json:"swap"`
	Kernel    memoryEntry       `json:"kernel"`
	KernelTCP memoryEntry       `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *psi              `json:"psi,omitempty"`
}

type memoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type hugetlb struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type blkio struct {
	IoServiceBytesRecursive []cgroups.BlkioStatEntry `json:"ioServiceBytesRecursive,omitempty"`
	IoServicedRecursive     []cgroups.BlkioStatEntry `json:"ioServicedRecursive,omitempty"`
	IoQueuedRecursive       []cgroups.BlkioStatEntry `json:"ioQueueRecursive,omitempty"`
	IoServiceTimeRecursive  []cgroups.BlkioStatEntry `json:"ioServiceTimeRecursive,omitempty"`
	IoWaitTimeRecursive     []cgroups.BlkioStatEntry `json:"ioWaitTimeRecursive,omitempty"`
	IoMergedRecursive       []cgroups.BlkioStatEntry `json:"ioMergedRecursive,omitempty"`
	IoTimeRecursive         []cgroups.BlkioStatEntry `json:"ioTimeRecursive,omitempty"`
	SectorsRecursive        []cgroups.BlkioStatEntry `json:"sectorsRecursive,omitempty"`
	PSI                     *psi                     `json:"psi,omitempty"`
}

// psi is pressure stall information: percentages of the last 10, 60 and 300 seconds, and microseconds.
type psi struct {
	Some cgroups.PSIData `json:"some"`
	Full cgroups.PSIData `json:"full"`
}

func stats(r *request) (any, error) {
	var m cgroups.Manager
	var err error
	if r.Layout == "v2" {
		m, err = fs2.NewManager(&cgroups.Cgroup{Rootless: r.Rootless}, r.Paths[""])
	} else {
		// Its Apply is never called, so it needs no resources.
		m, err = fs.NewManager(&cgroups.Cgroup{Rootless: r.Rootless, Resources: &cgroups.Resources{}}, r.Paths)
	}
	if err != nil {
		return nil, err
	}
	s, err := m.GetStats()
	if err != nil {
		return nil, err
	}
	if r.Layout == "hybrid" {
		r.addUnified(s)
	}
	return convert(s), nil
}

// addUnified adds what a hybrid host's version 2 tree knows and version 1 does not: pressure stall information (Linux
// 4.20), and the figures of controllers that have no hierarchy of their own.
func (r *request) addUnified(s *cgroups.Stats) {
	path, ok := r.Paths[""]
	if !ok {
		return
	}
	m, err := fs2.NewManager(&cgroups.Cgroup{Rootless: true}, path) // rootless: what is not there is no error
	if err != nil {
		return
	}
	more, err := m.GetStats()
	if err != nil {
		return
	}
	s.CpuStats.PSI, s.MemoryStats.PSI, s.BlkioStats.PSI = more.CpuStats.PSI, more.MemoryStats.PSI, more.BlkioStats.PSI
	if _, ok := r.Paths["hugetlb"]; !ok {
		s.HugetlbStats = more.HugetlbStats
	}
}

func convert(s *cgroups.Stats) *statistics {
	c, t, m, b := &s.CpuStats.CpuUsage, &s.CpuStats.ThrottlingData, &s.MemoryStats, &s.BlkioStats
	out := &statistics{
		CPU: cpu{
			Usage: cpuUsage{c.TotalUsage, c.PercpuUsage, c.PercpuUsageInKernelmode, c.PercpuUsageInUsermode,
				c.UsageInKernelmode, c.UsageInUsermode},
			Throttling: throttling{t.Periods, t.ThrottledPeriods, t.ThrottledTime},
			PSI:        (*psi)(s.CpuStats.PSI),
		},
		CPUSet: s.CPUSetStats,
		Memory: memory{m.Cache, entry(&m.Usage), entry(&m.SwapUsage), entry(&m.KernelUsage), entry(&m.KernelTCPUsage),
			m.Stats, (*psi)(m.PSI)},
		Pids: s.PidsStats,
		Blkio: blkio{b.IoServiceBytesRecursive, b.IoServicedRecursive, b.IoQueuedRecursive, b.IoServiceTimeRecursive,
			b.IoWaitTimeRecursive, b.IoMergedRecursive, b.IoTimeRecursive, b.SectorsRecursive, (*psi)(b.PSI)},
		Hugetlb: make(map[string]hugetlb, len(s.HugetlbStats)),
	}
	for size, h := range s.HugetlbStats {
		out.Hugetlb[size] = hugetlb{h.Usage, h.MaxUsage, h.Failcnt}
	}
	return out
}

func entry(d *cgroups.MemoryData) memoryEntry {
	return memoryEntry{d.Limit, d.Usage, d.MaxUsage, d.Failcnt}
}
