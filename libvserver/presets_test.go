package libvserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec"
)

func TestBandwidth(t *testing.T) {
	type result struct {
		quota         int64
		period, burst uint64
		msg           string
	}
	for in, want := range map[spec.Sched]result{
		{FillRate: 7, Interval: 32}:                       {7000, 32000, 0, ""},
		{FillRate: 7, Interval: 32, TokensMax: 7}:         {7000, 32000, 0, ""},
		{FillRate: 7, Interval: 32, TokensMax: 14}:        {7000, 32000, 7000, ""},
		{FillRate: 7, Interval: 32, TokensMax: 15}:        {14000, 64000, 1000, ""}, // two periods in one, for a larger bucket
		{FillRate: 7, Interval: 32, TokensMax: 100}:       {56000, 256000, 44000, ""},
		{FillRate: 1, Interval: 4, TokensMax: 500}:        {250000, 1000000, 250000, ""},
		{FillRate: 1, Interval: 4, TokensMax: 501}:        {0, 0, 0, "is more than the kernel can save: at most 500 at this rate (two quotas of a period of a second)"},
		{FillRate: 300, Interval: 100}:                    {300000, 100000, 0, ""}, // three CPUs
		{FillRate: 250, Interval: 2000}:                   {125000, 1000000, 0, ""},
		{FillRate: 1, Interval: 1000}:                     {1000, 1000000, 0, ""},
		{FillRate: 1, Interval: 1001}:                     {0, 0, 0, "the rate of sched.fill-rate and sched.interval is less than a thousandth of a CPU, the least that the kernel can limit to"},
		{FillRate: 2000, Interval: 4000, TokensMax: 2000}: {0, 0, 0, "is more than the kernel can save: at most 1000 at this rate (two quotas of a period of a second)"},
	} {
		var got result
		in := in
		got.quota, got.period, got.burst, got.msg = bandwidth(&in)
		if got != want {
			t.Errorf("%+v: got %+v, want %+v", in, got, want)
		}
		if got.burst > uint64(got.quota) || got.msg == "" && (got.period < 1000 || got.period > 1000000) {
			t.Errorf("%+v: the kernel refuses %+v", in, got)
		}
	}
}

func TestPresets(t *testing.T) {
	limit := func(n uint64) spec.Limit { return spec.Limit{Set: true, N: n} }
	n := func(v int64) *int64 { return &v }
	build := func(x spec.Extension, v2 bool, res *specs.LinuxResources) (*preset, *specs.LinuxResources) {
		l := &specs.Linux{Resources: res, Sysctl: map[string]string{"kernel.msgmax": "1"}}
		p := &preset{x: &x, v2: v2, linux: l, origins: map[string]string{}}
		p.res = fresh(&l.Resources)
		p.sched()
		p.rss()
		p.nproc()
		p.ipc()
		return p, l.Resources
	}
	all := spec.Extension{
		Rlimits: spec.ContextLimits{
			RSS: spec.ContextLimit{Min: limit(1), Soft: limit(2), Hard: limit(3)}, Nproc: spec.ContextLimit{Hard: spec.Limit{Set: true, Infinity: true}},
			Shmem: spec.ContextLimit{Hard: limit(4097)}, Semary: spec.ContextLimit{Hard: limit(5)},
		},
		Sched: spec.Sched{FillRate: 1, Interval: 2}, Flags: spec.FlagSchedPrio,
	}
	p, res := build(all, true, nil)
	shares := uint64(512)
	want := &specs.LinuxResources{
		CPU: &specs.LinuxCPU{Shares: &shares}, Memory: &specs.LinuxMemory{Limit: n(3)}, Pids: &specs.LinuxPids{Limit: n(-1)},
		Unified: map[string]string{"memory.high": "2", "memory.min": "1"},
	}
	if d := cmp.Diff(want, res); d != "" || len(p.faults) > 0 {
		t.Error(d, p.faults)
	}
	if d := cmp.Diff(map[string]string{"kernel.msgmax": "1", "kernel.shmall": "2", "kernel.sem": "32000 1024000000 500 5"}, p.linux.Sysctl); d != "" {
		t.Error(d)
	}
	if at := p.origins[`linux.resources.unified["memory.high"]`]; at != `annotations["org.linux-vserver.rlimits.rss.soft"]` {
		t.Error(at, p.origins)
	}
	// What is there already.
	p, _ = build(all, true, &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}, Memory: &specs.LinuxMemory{Limit: n(9)}, Pids: &specs.LinuxPids{Limit: n(9)},
		Unified: map[string]string{"memory.high": "9"}})
	const a = `annotations["org.linux-vserver.`
	if got := p.faults.Error(); got != `4 faults: `+a+`sched.fill-rate"]: sets the same as linux.resources.cpu.shares, which is there too; `+
		a+`rlimits.rss"]: sets the same as linux.resources.memory.limit, which is there too; `+
		a+`rlimits.rss.soft"]: sets the same as linux.resources.unified["memory.high"], which is there too; `+
		a+`rlimits.nproc"]: sets the same as linux.resources.pids.limit, which is there too` {
		t.Error(got)
	}
	// Version 1 has a soft limit of its own, and guarantees nothing.
	p, res = build(all, false, nil)
	if got := p.faults.Error(); got != a+`rlimits.rss.min"]: is not supported: memory is guaranteed by version 2 of cgroups only` || *res.Memory.Reservation != 2 {
		t.Error(got, res.Memory)
	}
}
