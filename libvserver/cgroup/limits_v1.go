package cgroup

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

func (l *limits) memory1() {
	r := l.res
	if r.Memory != 0 {
		l.int("memory", "memory.limit_in_bytes", r.Memory, "memory.limit", laterOnEINVAL)
	}
	switch {
	case r.MemorySwap > 0:
		l.int("memory", "memory.memsw.limit_in_bytes", r.MemorySwap, "memory.swap", laterOnEINVAL)
	case r.MemorySwap < 0, r.Memory < 0:
		// No limit of memory means none of memory with swap, unless one was given. Without swap accounting there
		// is no such file and no limit either.
		l.add("memory", "memory.memsw.limit_in_bytes", "-1", "memory.swap", optional)
	}
	if r.MemoryReservation != 0 {
		l.int("memory", "memory.soft_limit_in_bytes", r.MemoryReservation, "memory.reservation", 0)
	}
	if r.OomKillDisable {
		l.add("memory", "memory.oom_control", "1", "memory.disableOOMKiller", 0)
	}
	if s := r.MemorySwappiness; s != nil {
		l.uint("memory", "memory.swappiness", *s, "memory.swappiness", 0)
	}
	if r.kernel != 0 {
		l.int("memory", "memory.kmem.limit_in_bytes", r.kernel, "memory.kernel", optional|beyondLibrary)
	}
	if r.kernelTCP != 0 {
		l.int("memory", "memory.kmem.tcp.limit_in_bytes", r.kernelTCP, "memory.kernelTCP", beyondLibrary)
	}
	if r.useHierarchy {
		// The only mode since Linux 5.11.
		l.add("memory", "memory.use_hierarchy", "1", "memory.useHierarchy", optional|beyondLibrary)
	}
}

func (l *limits) cpu1() {
	r := l.res
	idle := func() { l.int("cpu", "cpu.idle", *r.CPUIdle, "cpu.idle", 0) }
	// Shares can't be changed while cpu.idle is 1 (Linux 5.15).
	if r.CPUIdle != nil && *r.CPUIdle == 0 {
		idle()
	}
	if r.CpuShares != 0 {
		if (r.CpuShares < 2 || r.CpuShares > 1<<18) && l.err == nil {
			// The kernel would take it and use the nearest bound.
			l.err = fmt.Errorf("%s.cpu.shares: %d is not between 2 and %d", placeRes, r.CpuShares, 1<<18)
		}
		l.uint("cpu", "cpu.shares", r.CpuShares, "cpu.shares", ifIdle(r))
	}
	if r.CPUIdle != nil && *r.CPUIdle != 0 {
		idle()
	}
	if r.CpuPeriod != 0 {
		l.uint("cpu", "cpu.cfs_period_us", r.CpuPeriod, "cpu.period", laterOnEINVAL)
	}
	if r.CpuBurst != nil {
		l.uint("cpu", "cpu.cfs_burst_us", *r.CpuBurst, "cpu.burst", laterOnEINVAL|ifZero(*r.CpuBurst))
	}
	if r.CpuQuota != 0 {
		l.int("cpu", "cpu.cfs_quota_us", r.CpuQuota, "cpu.quota", laterOnEINVAL)
	}
	// Realtime before anything joins: a SCHED_RR process may not enter a group without realtime bandwidth.
	if r.CpuRtPeriod != 0 {
		l.uint("cpu", "cpu.rt_period_us", r.CpuRtPeriod, "cpu.realtimePeriod", laterOnEINVAL)
	}
	if r.CpuRtRuntime != 0 {
		l.int("cpu", "cpu.rt_runtime_us", r.CpuRtRuntime, "cpu.realtimeRuntime", laterOnEINVAL)
	}
}

// ifIdle: an idle group has a fixed weight; another is remembered by nobody, so its refusal harms nobody.
func ifIdle(r *resources) writeFlag {
	if r.CPUIdle != nil && *r.CPUIdle == 1 {
		return orEINVAL
	}
	return 0
}

// ifZero: a burst of 0 asks for nothing where the kernel knows none (before 5.14).
func ifZero(v uint64) writeFlag {
	if v == 0 {
		return optional
	}
	return 0
}

func (l *limits) blkio1() {
	r := l.res
	if r.BlkioWeight != 0 || len(r.BlkioWeightDevice) > 0 {
		weight := "blkio.bfq.weight"
		if d := l.m.dirOf("blkio"); d != nil && unix.Access(d.path[:d.base]+"/blkio.weight_device", unix.F_OK) == nil {
			weight = "blkio.weight" // the CFQ scheduler, before Linux 5.0
		}
		if r.BlkioWeight != 0 {
			l.uint("blkio", weight, uint64(r.BlkioWeight), "blockIO.weight", 0)
		}
		for i, d := range r.BlkioWeightDevice {
			place := "blockIO.weightDevice[" + strconv.Itoa(i) + "]"
			if d.Weight != 0 {
				l.add("blkio", weight+"_device", d.WeightString(), place+".weight", 0)
			}
			if d.LeafWeight != 0 {
				l.add("blkio", "blkio.leaf_weight_device", d.LeafWeightString(), place+".leafWeight", 0)
			}
		}
	}
	if r.BlkioLeafWeight != 0 {
		l.uint("blkio", "blkio.leaf_weight", uint64(r.BlkioLeafWeight), "blockIO.leafWeight", 0)
	}
	l.throttle1(r.BlkioThrottleReadBpsDevice, "blkio.throttle.read_bps_device", "throttleReadBpsDevice")
	l.throttle1(r.BlkioThrottleWriteBpsDevice, "blkio.throttle.write_bps_device", "throttleWriteBpsDevice")
	l.throttle1(r.BlkioThrottleReadIOPSDevice, "blkio.throttle.read_iops_device", "throttleReadIOPSDevice")
	l.throttle1(r.BlkioThrottleWriteIOPSDevice, "blkio.throttle.write_iops_device", "throttleWriteIOPSDevice")
}

func (l *limits) throttle1(ds []*cgroups.ThrottleDevice, file, place string) {
	for i, d := range ds {
		l.add("blkio", file, d.String(), "blockIO."+place+"["+strconv.Itoa(i)+"]", 0)
	}
}

func (l *limits) netCls1() {
	if id := l.res.NetClsClassid; id != 0 {
		l.uint("net_cls", "net_cls.classid", uint64(id), "network.classID", 0)
	}
}

func (l *limits) netPrio1() {
	for i, p := range l.res.NetPrioIfpriomap {
		l.add("net_prio", "net_prio.ifpriomap", p.CgroupString(), "network.priorities["+strconv.Itoa(i)+"]", 0)
	}
}
