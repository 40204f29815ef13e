package libvserver

import (
	"maps"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec"
)

// Linux-VServer's own limits and flags (org.linux-vserver.sched.*, rlimits.*, context.flags) are put into the terms of
// runtime-spec before anything is planned, so that there is one way only in which a limit is set.

// presets changes a bundle's configuration to what its annotations ask for. The error lists what else in the configuration
// sets the same, and what this host can't do. origins are the places of values that annotations have set, by the places
// that they have now.
func presets(b *spec.Bundle) (origins map[string]string, err error) {
	x := &b.VServer
	if x.Flags == 0 && x.Sched == (spec.Sched{}) && x.Rlimits == (spec.ContextLimits{}) {
		return nil, nil
	}
	p := &preset{x: x, v2: host.CgroupLayout() == host.CgroupV2, linux: fresh(&b.Spec.Linux), origins: map[string]string{}}
	p.res = fresh(&p.linux.Resources)
	p.sched()
	p.rss()
	p.nproc()
	p.ipc()
	if x.Flags&spec.FlagVirtUptime != 0 {
		if err := p.uptime(); err != nil {
			return nil, err
		}
	}
	if len(p.faults) > 0 {
		return nil, &spec.FileError{File: spec.ConfigFile, Err: p.faults}
	}
	return p.origins, nil
}

type preset struct {
	x       *spec.Extension
	v2      bool
	linux   *specs.Linux
	res     *specs.LinuxResources
	origins map[string]string
	faults  spec.Faults
}

const resourcesPath = "linux.resources."

func (p *preset) fault(name, msg string) {
	p.faults = append(p.faults, spec.Fault{Path: spec.AnnotationPath(name), Msg: msg})
}

// from notes which annotation has set a value of linux.resources.
func (p *preset) from(name, path string) { p.origins[resourcesPath+path] = spec.AnnotationPath(name) }

// twice is the fault of a value that the configuration sets itself.
func (p *preset) twice(name, path string) {
	p.fault(name, "sets the same as "+path+", which is there too")
}

// sched makes CPU bandwidth of the token bucket, or a weight where it is not to limit.
func (p *preset) sched() {
	s := &p.x.Sched
	if s.FillRate == 0 {
		return
	}
	const name = "sched.fill-rate"
	cpu := fresh(&p.res.CPU)
	if p.x.Flags&spec.FlagSchedPrio != 0 {
		if cpu.Shares != nil {
			p.twice(name, resourcesPath+"cpu.shares")
			return
		}
		shares := max(2, 1024*s.FillRate/s.Interval) // 1024 is one CPU's worth
		cpu.Shares = &shares
		p.from(name, "cpu.shares")
		return
	}
	if cpu.Quota != nil || cpu.Period != nil || cpu.Burst != nil {
		p.twice(name, resourcesPath+"cpu.quota, period or burst")
		return
	}
	quota, period, burst, msg := bandwidth(s)
	if msg != "" {
		p.fault("sched.tokens-max", msg)
		return
	}
	cpu.Quota, cpu.Period = &quota, &period
	p.from(name, "cpu.quota")
	if burst > 0 {
		cpu.Burst = &burst
		p.from("sched.tokens-max", "cpu.burst")
	}
}

// bandwidth is a token bucket as the kernel's CPU bandwidth control takes it, in microseconds: a period is at most a
// second, quotas are at least a millisecond, and no more than another quota can be saved (cgroup-v2.rst, "cpu.max.burst").
// A larger bucket needs longer periods.
func bandwidth(s *spec.Sched) (quota int64, period, burst uint64, msg string) {
	const tick, longest, least = 1000, 1_000_000, 1000
	q, t, bucket := s.FillRate*tick, s.Interval*tick, s.TokensMax*tick
	if t > longest {
		q, t = q*longest/t, longest
	}
	if bucket > 2*q {
		k := (bucket + 2*q - 1) / (2 * q)
		if k*t > longest {
			most := 2 * q * (longest / t) / tick
			return 0, 0, 0, "is more than the kernel can save: at most " + strconv.FormatUint(most, 10) + " at this rate (two quotas of a period of a second)"
		}
		q, t = q*k, t*k
	}
	if q < least {
		return 0, 0, 0, "the rate of sched.fill-rate and sched.interval is less than a thousandth of a CPU, the least that the kernel can limit to"
	}
	if bucket > q {
		burst = bucket - q
	}
	return int64(q), t, burst, ""
}

func (p *preset) rss() {
	l := &p.x.Rlimits.RSS
	if *l == (spec.ContextLimit{}) {
		return
	}
	const name = "rlimits.rss"
	m := fresh(&p.res.Memory)
	if l.Hard.Set {
		if m.Limit != nil {
			p.twice(name, resourcesPath+"memory.limit")
		}
		m.Limit = limitOf(l.Hard)
		p.from(name, "memory.limit")
	}
	switch {
	case !l.Soft.Set:
	case p.v2:
		p.unified(name+".soft", "memory.high", l.Soft)
	case m.Reservation != nil:
		p.twice(name+".soft", resourcesPath+"memory.reservation")
	default: // memory.soft_limit_in_bytes
		m.Reservation = limitOf(l.Soft)
		p.from(name+".soft", "memory.reservation")
	}
	switch {
	case !l.Min.Set:
	case p.v2:
		p.unified(name+".min", "memory.min", l.Min)
	default:
		p.fault(name+".min", "is not supported: memory is guaranteed by version 2 of cgroups only")
	}
}

// unified sets a file of version 2.
func (p *preset) unified(name, file string, l spec.Limit) {
	if _, ok := p.res.Unified[file]; ok {
		p.twice(name, resourcesPath+"unified["+strconv.Quote(file)+"]")
		return
	}
	value := "max"
	if !l.Infinity {
		value = strconv.FormatUint(l.N, 10)
	}
	p.res.Unified = mergeMap(p.res.Unified, map[string]string{file: value})
	p.from(name, "unified["+strconv.Quote(file)+"]")
}

func (p *preset) nproc() {
	l := p.x.Rlimits.Nproc.Hard
	if !l.Set {
		return
	}
	pids := fresh(&p.res.Pids)
	if pids.Limit != nil {
		p.twice("rlimits.nproc", resourcesPath+"pids.limit")
	}
	pids.Limit = limitOf(l)
	p.from("rlimits.nproc", "pids.limit")
}

func limitOf(l spec.Limit) *int64 {
	n := int64(-1)
	if !l.Infinity {
		n = int64(l.N)
	}
	return &n
}

// ipc sets the limits of System V's objects, which an ipc namespace has of its own (proc_sys_kernel(5)).
func (p *preset) ipc() {
	l := &p.x.Rlimits
	sysctl := func(name, key, value string) {
		if p.linux.Sysctl[key] != "" {
			p.twice(name, "linux.sysctl["+strconv.Quote(key)+"]")
			return
		}
		p.linux.Sysctl = maps.Clone(p.linux.Sysctl)
		if p.linux.Sysctl == nil {
			p.linux.Sysctl = map[string]string{}
		}
		p.linux.Sysctl[key] = value
	}
	if h := l.Shmem.Hard; h.Set && !h.Infinity {
		pages := uint64(unix.Getpagesize())
		sysctl("rlimits.shmem", "kernel.shmall", strconv.FormatUint((h.N+pages-1)/pages, 10))
	}
	semaphores, sets := l.Nsems.Hard, l.Semary.Hard
	if semaphores.Set && !semaphores.Infinity || sets.Set && !sets.Infinity {
		// SEMMSL SEMMNS SEMOPM SEMMNI, as Linux has them by default.
		mns, mni := "1024000000", "32000"
		name := "rlimits.nsems"
		if semaphores.Set && !semaphores.Infinity {
			mns = strconv.FormatUint(semaphores.N, 10)
		}
		if sets.Set && !sets.Infinity {
			mni, name = strconv.FormatUint(sets.N, 10), "rlimits.semary"
		}
		sysctl(name, "kernel.sem", "32000 "+mns+" 500 "+mni)
	}
}

// uptime lets the container's time since boot begin now.
func (p *preset) uptime() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return err
	}
	own := false
	for _, n := range p.linux.Namespaces {
		own = own || n.Type == specs.TimeNamespace
	}
	if !own {
		list := p.linux.Namespaces
		p.linux.Namespaces = append(list[:len(list):len(list)], specs.LinuxNamespace{Type: specs.TimeNamespace})
	}
	p.linux.TimeOffsets = maps.Clone(p.linux.TimeOffsets)
	if p.linux.TimeOffsets == nil {
		p.linux.TimeOffsets = map[string]specs.LinuxTimeOffset{}
	}
	o := specs.LinuxTimeOffset{Secs: -int64(now.Sec)}
	if now.Nsec > 0 { // the nanoseconds of an offset count forward (time_namespaces(7))
		o.Secs, o.Nanosecs = o.Secs-1, uint32(1_000_000_000-now.Nsec)
	}
	p.linux.TimeOffsets["boottime"] = o
	return nil
}
