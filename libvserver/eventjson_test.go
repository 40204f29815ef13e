package libvserver

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
)

// The shape is that of types/events.go of runc 1.1.5, and 1.5 for psi: these are copies.
type (
	runcEvent struct {
		Type string     `json:"type"`
		ID   string     `json:"id"`
		Data *runcStats `json:"data,omitempty"`
	}
	runcStats struct {
		CPU               runcCPU                `json:"cpu"`
		CPUSet            cgroups.CPUSetStats    `json:"cpuset"`
		Memory            runcMemory             `json:"memory"`
		Pids              runcPids               `json:"pids"`
		Blkio             runcBlkio              `json:"blkio"`
		Hugetlb           map[string]runcHugetlb `json:"hugetlb"`
		IntelRdt          struct{}               `json:"intel_rdt"`
		NetworkInterfaces []struct{}             `json:"network_interfaces"`
	}
	runcCPU struct {
		Usage struct {
			Total        uint64   `json:"total,omitempty"`
			Percpu       []uint64 `json:"percpu,omitempty"`
			PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
			PercpuUser   []uint64 `json:"percpu_user,omitempty"`
			Kernel       uint64   `json:"kernel"`
			User         uint64   `json:"user"`
		} `json:"usage"`
		Throttling struct {
			Periods          uint64 `json:"periods,omitempty"`
			ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
			ThrottledTime    uint64 `json:"throttledTime,omitempty"`
		} `json:"throttling"`
		PSI *runcPSI `json:"psi,omitempty"`
	}
	runcPSI struct {
		Some cgroups.PSIData `json:"some"`
		Full cgroups.PSIData `json:"full"`
	}
	runcMemoryEntry struct {
		Limit   uint64 `json:"limit"`
		Usage   uint64 `json:"usage,omitempty"`
		Max     uint64 `json:"max,omitempty"`
		Failcnt uint64 `json:"failcnt"`
	}
	runcMemory struct {
		Cache     uint64            `json:"cache,omitempty"`
		Usage     runcMemoryEntry   `json:"usage"`
		Swap      runcMemoryEntry   `json:"swap"`
		Kernel    runcMemoryEntry   `json:"kernel"`
		KernelTCP runcMemoryEntry   `json:"kernelTCP"`
		Raw       map[string]uint64 `json:"raw,omitempty"`
		PSI       *runcPSI          `json:"psi,omitempty"`
	}
	runcPids struct {
		Current uint64 `json:"current,omitempty"`
		Limit   uint64 `json:"limit,omitempty"`
	}
	runcBlkioEntry struct {
		Major uint64 `json:"major,omitempty"`
		Minor uint64 `json:"minor,omitempty"`
		Op    string `json:"op,omitempty"`
		Value uint64 `json:"value,omitempty"`
	}
	runcBlkio struct {
		IoServiceBytesRecursive []runcBlkioEntry `json:"ioServiceBytesRecursive,omitempty"`
		IoServicedRecursive     []runcBlkioEntry `json:"ioServicedRecursive,omitempty"`
		IoQueuedRecursive       []runcBlkioEntry `json:"ioQueueRecursive,omitempty"`
		IoServiceTimeRecursive  []runcBlkioEntry `json:"ioServiceTimeRecursive,omitempty"`
		IoWaitTimeRecursive     []runcBlkioEntry `json:"ioWaitTimeRecursive,omitempty"`
		IoMergedRecursive       []runcBlkioEntry `json:"ioMergedRecursive,omitempty"`
		IoTimeRecursive         []runcBlkioEntry `json:"ioTimeRecursive,omitempty"`
		SectorsRecursive        []runcBlkioEntry `json:"sectorsRecursive,omitempty"`
		PSI                     *runcPSI         `json:"psi,omitempty"`
	}
	runcHugetlb struct {
		Usage   uint64 `json:"usage,omitempty"`
		Max     uint64 `json:"max,omitempty"`
		Failcnt uint64 `json:"failcnt"`
	}
)

// convert is runc's convertLibcontainerStats.
func convert(s *cgroups.Stats) *runcStats {
	var r runcStats
	u, th := &s.CpuStats.CpuUsage, &s.CpuStats.ThrottlingData
	r.CPU.Usage.Total, r.CPU.Usage.Percpu, r.CPU.Usage.Kernel, r.CPU.Usage.User = u.TotalUsage, u.PercpuUsage, u.UsageInKernelmode, u.UsageInUsermode
	r.CPU.Usage.PercpuKernel, r.CPU.Usage.PercpuUser = u.PercpuUsageInKernelmode, u.PercpuUsageInUsermode
	r.CPU.Throttling.Periods, r.CPU.Throttling.ThrottledPeriods, r.CPU.Throttling.ThrottledTime = th.Periods, th.ThrottledPeriods, th.ThrottledTime
	r.CPU.PSI, r.Memory.PSI, r.Blkio.PSI = (*runcPSI)(s.CpuStats.PSI), (*runcPSI)(s.MemoryStats.PSI), (*runcPSI)(s.BlkioStats.PSI)
	r.CPUSet = s.CPUSetStats
	entry := func(m cgroups.MemoryData) runcMemoryEntry {
		return runcMemoryEntry{m.Limit, m.Usage, m.MaxUsage, m.Failcnt}
	}
	m := &s.MemoryStats
	r.Memory.Cache, r.Memory.Raw, r.Memory.Usage, r.Memory.Swap = m.Cache, m.Stats, entry(m.Usage), entry(m.SwapUsage)
	r.Memory.Kernel, r.Memory.KernelTCP = entry(m.KernelUsage), entry(m.KernelTCPUsage)
	r.Pids = runcPids(s.PidsStats)
	blk := func(l []cgroups.BlkioStatEntry) (out []runcBlkioEntry) {
		for _, e := range l {
			out = append(out, runcBlkioEntry(e))
		}
		return out
	}
	b := &s.BlkioStats
	r.Blkio.IoServiceBytesRecursive, r.Blkio.IoServicedRecursive = blk(b.IoServiceBytesRecursive), blk(b.IoServicedRecursive)
	r.Blkio.IoQueuedRecursive, r.Blkio.IoServiceTimeRecursive = blk(b.IoQueuedRecursive), blk(b.IoServiceTimeRecursive)
	r.Blkio.IoWaitTimeRecursive, r.Blkio.IoMergedRecursive = blk(b.IoWaitTimeRecursive), blk(b.IoMergedRecursive)
	r.Blkio.IoTimeRecursive, r.Blkio.SectorsRecursive = blk(b.IoTimeRecursive), blk(b.SectorsRecursive)
	r.Hugetlb = map[string]runcHugetlb{}
	for k, h := range s.HugetlbStats {
		r.Hugetlb[k] = runcHugetlb{h.Usage, h.MaxUsage, h.Failcnt}
	}
	return &r
}

func TestEventJSON(t *testing.T) {
	full := cgroups.NewStats()
	full.CpuStats = cgroups.CpuStats{
		CpuUsage:       cgroups.CpuUsage{TotalUsage: 1, PercpuUsage: []uint64{2, 0}, PercpuUsageInKernelmode: []uint64{3}, PercpuUsageInUsermode: []uint64{4}, UsageInKernelmode: 5, UsageInUsermode: 6},
		ThrottlingData: cgroups.ThrottlingData{Periods: 7, ThrottledPeriods: 8, ThrottledTime: 9},
		PSI:            &cgroups.PSIStats{Some: cgroups.PSIData{Avg10: 0.5, Avg60: 12.34, Avg300: 100, Total: 1 << 60}},
	}
	full.CPUSetStats = cgroups.CPUSetStats{CPUs: []uint16{0, 65535}, CPUExclusive: 1, Mems: []uint16{0}, MemHardwall: 2, MemExclusive: 3,
		MemoryMigrate: 4, MemorySpreadPage: 5, MemorySpreadSlab: 6, MemoryPressure: 7, SchedLoadBalance: 8, SchedRelaxDomainLevel: -1}
	full.MemoryStats = cgroups.MemoryStats{Cache: 1, Usage: cgroups.MemoryData{Usage: 2, MaxUsage: 3, Failcnt: 4, Limit: 1<<63 - 4096},
		SwapUsage: cgroups.MemoryData{Usage: 5}, KernelUsage: cgroups.MemoryData{MaxUsage: 6}, KernelTCPUsage: cgroups.MemoryData{Failcnt: 7},
		Stats: map[string]uint64{"z": 1, "anon": 0, "file": 1<<64 - 1}, PSI: &cgroups.PSIStats{}}
	full.PidsStats = cgroups.PidsStats{Current: 1, Limit: 2}
	list := func(n uint64) []cgroups.BlkioStatEntry {
		return []cgroups.BlkioStatEntry{{Major: n, Minor: 0, Op: "Read", Value: n}, {Minor: n}}
	}
	full.BlkioStats = cgroups.BlkioStats{IoServiceBytesRecursive: list(1), IoServicedRecursive: list(2), IoQueuedRecursive: list(3),
		IoServiceTimeRecursive: list(4), IoWaitTimeRecursive: list(5), IoMergedRecursive: list(6), IoTimeRecursive: list(7), SectorsRecursive: list(8)}
	full.HugetlbStats = map[string]cgroups.HugetlbStats{"2MB": {Usage: 1, MaxUsage: 2, Failcnt: 3}, "1GB": {}}

	for name, s := range map[string]*cgroups.Stats{"full": full, "empty": cgroups.NewStats(), "oom": nil} {
		want := runcEvent{Type: "oom", ID: "a<b"}
		if s != nil {
			want.Type, want.Data = "stats", convert(s)
		}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		e := Event{ID: "a<b", Stats: s}
		if d := cmp.Diff(string(text)+"\n", string(e.AppendJSON(nil))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
