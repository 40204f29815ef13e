package libvserver

import (
	"github.com/opencontainers/cgroups"

	"github.com/vsrun/vsrun/spec/wire"
)

// AppendJSON appends an event as runc prints it: one line. Members are those of types/events.go of runc 1.5 in its
// order. Of what that leaves out when it is zero, objects are there all the same, as they were up to runc 1.1; so both
// kinds of readers find what they know.
func (e *Event) AppendJSON(dst []byte) []byte {
	w := statWriter{wire.NewWriter(dst, "")}
	w.EscapeHTML = true
	kind := "stats"
	if e.Stats == nil {
		kind = "oom"
	}
	w.BeginObject()
	w.Key("type")
	w.String(kind)
	w.Key("id")
	w.String(e.ID)
	if e.Stats != nil {
		w.Key("data")
		w.stats(e.Stats)
	}
	w.EndObject()
	return append(w.Bytes(), '\n')
}

type statWriter struct{ *wire.Writer }

func (w statWriter) num(key string, v uint64) {
	w.Key(key)
	w.Uint(v)
}

// some prints what encoding/json has as omitempty.
func (w statWriter) some(key string, v uint64) {
	if v != 0 {
		w.num(key, v)
	}
}

func (w statWriter) list(key string, list []uint64) {
	if len(list) == 0 {
		return
	}
	w.Key(key)
	w.BeginArray()
	for _, v := range list {
		w.Uint(v)
	}
	w.EndArray()
}

func (w statWriter) stats(s *cgroups.Stats) {
	w.BeginObject()
	w.Key("cpu")
	w.cpu(&s.CpuStats)
	w.Key("cpuset")
	w.cpuset(&s.CPUSetStats)
	w.Key("memory")
	w.memory(&s.MemoryStats)
	w.Key("pids")
	w.BeginObject()
	w.some("current", s.PidsStats.Current)
	w.some("limit", s.PidsStats.Limit)
	w.EndObject()
	w.Key("blkio")
	w.blkio(&s.BlkioStats)
	w.Key("hugetlb")
	w.BeginObject()
	for _, size := range wire.SortedKeys(s.HugetlbStats) {
		h := s.HugetlbStats[size]
		w.Key(size)
		w.BeginObject()
		w.some("usage", h.Usage)
		w.some("max", h.MaxUsage)
		w.num("failcnt", h.Failcnt)
		w.EndObject()
	}
	w.EndObject()
	w.Key("intel_rdt")
	w.BeginObject()
	w.EndObject()
	w.Key("network_interfaces") // of runc's own networks, which no config.json asks for
	w.Null()
	w.EndObject()
}

func (w statWriter) cpu(c *cgroups.CpuStats) {
	u, t := &c.CpuUsage, &c.ThrottlingData
	w.BeginObject()
	w.Key("usage")
	w.BeginObject()
	w.some("total", u.TotalUsage)
	w.list("percpu", u.PercpuUsage)
	w.list("percpu_kernel", u.PercpuUsageInKernelmode)
	w.list("percpu_user", u.PercpuUsageInUsermode)
	w.num("kernel", u.UsageInKernelmode)
	w.num("user", u.UsageInUsermode)
	w.EndObject()
	w.Key("throttling")
	w.BeginObject()
	w.some("periods", t.Periods)
	w.some("throttledPeriods", t.ThrottledPeriods)
	w.some("throttledTime", t.ThrottledTime)
	w.EndObject()
	w.psi(c.PSI)
	w.EndObject()
}

func (w statWriter) cpuset(c *cgroups.CPUSetStats) {
	ids := func(key string, list []uint16) {
		if len(list) == 0 {
			return
		}
		w.Key(key)
		w.BeginArray()
		for _, v := range list {
			w.Uint(uint64(v))
		}
		w.EndArray()
	}
	w.BeginObject()
	ids("cpus", c.CPUs)
	w.num("cpu_exclusive", c.CPUExclusive)
	ids("mems", c.Mems)
	w.num("mem_hardwall", c.MemHardwall)
	w.num("mem_exclusive", c.MemExclusive)
	w.num("memory_migrate", c.MemoryMigrate)
	w.num("memory_spread_page", c.MemorySpreadPage)
	w.num("memory_spread_slab", c.MemorySpreadSlab)
	w.num("memory_pressure", c.MemoryPressure)
	w.num("sched_load_balance", c.SchedLoadBalance)
	w.Key("sched_relax_domain_level")
	w.Int(c.SchedRelaxDomainLevel)
	w.EndObject()
}

func (w statWriter) memory(m *cgroups.MemoryStats) {
	w.BeginObject()
	w.some("cache", m.Cache)
	for _, e := range [...]struct {
		key string
		d   *cgroups.MemoryData
	}{{"usage", &m.Usage}, {"swap", &m.SwapUsage}, {"kernel", &m.KernelUsage}, {"kernelTCP", &m.KernelTCPUsage}} {
		w.Key(e.key)
		w.BeginObject()
		w.num("limit", e.d.Limit)
		w.some("usage", e.d.Usage)
		w.some("max", e.d.MaxUsage)
		w.num("failcnt", e.d.Failcnt)
		w.EndObject()
	}
	if len(m.Stats) > 0 {
		w.Key("raw")
		w.BeginObject()
		for _, key := range wire.SortedKeys(m.Stats) {
			w.num(key, m.Stats[key])
		}
		w.EndObject()
	}
	w.psi(m.PSI)
	w.EndObject()
}

func (w statWriter) blkio(b *cgroups.BlkioStats) {
	w.BeginObject()
	for _, t := range [...]struct {
		key  string
		list []cgroups.BlkioStatEntry
	}{
		{"ioServiceBytesRecursive", b.IoServiceBytesRecursive}, {"ioServicedRecursive", b.IoServicedRecursive},
		{"ioQueueRecursive", b.IoQueuedRecursive}, {"ioServiceTimeRecursive", b.IoServiceTimeRecursive},
		{"ioWaitTimeRecursive", b.IoWaitTimeRecursive}, {"ioMergedRecursive", b.IoMergedRecursive},
		{"ioTimeRecursive", b.IoTimeRecursive}, {"sectorsRecursive", b.SectorsRecursive},
	} {
		if len(t.list) == 0 {
			continue
		}
		w.Key(t.key)
		w.BeginArray()
		for i := range t.list {
			e := &t.list[i]
			w.BeginObject()
			w.some("major", e.Major)
			w.some("minor", e.Minor)
			if e.Op != "" {
				w.Key("op")
				w.String(e.Op)
			}
			w.some("value", e.Value)
			w.EndObject()
		}
		w.EndArray()
	}
	w.psi(b.PSI)
	w.EndObject()
}

// psi prints pressure stall information: percentages of the last 10, 60 and 300 seconds, and microseconds.
func (w statWriter) psi(p *cgroups.PSIStats) {
	if p == nil {
		return
	}
	w.Key("psi")
	w.BeginObject()
	for _, e := range [...]struct {
		key string
		d   *cgroups.PSIData
	}{{"some", &p.Some}, {"full", &p.Full}} {
		w.Key(e.key)
		w.BeginObject()
		w.Key("avg10")
		w.Float(e.d.Avg10)
		w.Key("avg60")
		w.Float(e.d.Avg60)
		w.Key("avg300")
		w.Float(e.d.Avg300)
		w.num("total", e.d.Total)
		w.EndObject()
	}
	w.EndObject()
}
