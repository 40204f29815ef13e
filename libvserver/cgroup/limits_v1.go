package cgroup

import (
	"fmt"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func (l *limits) memory1() {
	r := l.res
	if r.memory != 0 {
		l.int("memory", "memory.limit_in_bytes", r.memory, "memory.limit", laterOnEINVAL)
	}
	switch {
	case r.memorySwap > 0:
		l.int("memory", "memory.memsw.limit_in_bytes", r.memorySwap, "memory.swap", laterOnEINVAL)
	case r.memorySwap < 0, r.memory < 0:
		// No limit of memory means none of memory with swap, unless one was given. Without swap accounting there
		// is no such file and no limit either.
		l.add("memory", "memory.memsw.limit_in_bytes", "-1", "memory.swap", optional)
	}
	if r.memoryReservation != 0 {
		l.int("memory", "memory.soft_limit_in_bytes", r.memoryReservation, "memory.reservation", 0)
	}
	if r.oomKillDisable {
		l.add("memory", "memory.oom_control", "1", "memory.disableOOMKiller", 0)
	}
	if s := r.memorySwappiness; s != nil {
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
	idle := func() { l.int("cpu", "cpu.idle", *r.cpuIdle, "cpu.idle", 0) }
	// Shares can't be changed while cpu.idle is 1 (Linux 5.15).
	if r.cpuIdle != nil && *r.cpuIdle == 0 {
		idle()
	}
	if r.cpuShares != 0 {
		if (r.cpuShares < 2 || r.cpuShares > 1<<18) && l.err == nil {
			// The kernel would take it and use the nearest bound.
			l.err = fmt.Errorf("%s.cpu.shares: %d is not between 2 and %d", placeRes, r.cpuShares, 1<<18)
		}
		l.uint("cpu", "cpu.shares", r.cpuShares, "cpu.shares", ifIdle(r))
	}
	if r.cpuIdle != nil && *r.cpuIdle != 0 {
		idle()
	}
	if r.cpuPeriod != 0 {
		l.uint("cpu", "cpu.cfs_period_us", r.cpuPeriod, "cpu.period", laterOnEINVAL)
	}
	if r.cpuBurst != nil {
		l.uint("cpu", "cpu.cfs_burst_us", *r.cpuBurst, "cpu.burst", laterOnEINVAL|ifZero(*r.cpuBurst))
	}
	if r.cpuQuota != 0 {
		l.int("cpu", "cpu.cfs_quota_us", r.cpuQuota, "cpu.quota", laterOnEINVAL)
	}
	// Realtime before anything joins: a SCHED_RR process may not enter a group without realtime bandwidth.
	if r.cpuRTPeriod != 0 {
		l.uint("cpu", "cpu.rt_period_us", r.cpuRTPeriod, "cpu.realtimePeriod", laterOnEINVAL)
	}
	if r.cpuRTRuntime != 0 {
		l.int("cpu", "cpu.rt_runtime_us", r.cpuRTRuntime, "cpu.realtimeRuntime", laterOnEINVAL)
	}
}

// ifIdle: an idle group has a fixed weight; another is remembered by nobody, so its refusal harms nobody.
func ifIdle(r *resources) writeFlag {
	if r.cpuIdle != nil && *r.cpuIdle == 1 {
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
	if r.blkioWeight != 0 || len(r.blkioWeightDevice) > 0 {
		weight := "blkio.bfq.weight"
		if d := l.m.dirOf("blkio"); d != nil && unix.Access(d.path[:d.base]+"/blkio.weight_device", unix.F_OK) == nil {
			weight = "blkio.weight" // the CFQ scheduler, before Linux 5.0
		}
		if r.blkioWeight != 0 {
			l.uint("blkio", weight, uint64(r.blkioWeight), "blockIO.weight", 0)
		}
		for i, d := range r.blkioWeightDevice {
			place := "blockIO.weightDevice[" + strconv.Itoa(i) + "]"
			if d.weight != 0 {
				l.add("blkio", weight+"_device", deviceLine(d.major, d.minor, itoa(int(d.weight))), place+".weight", 0)
			}
			if d.leafWeight != 0 {
				l.add("blkio", "blkio.leaf_weight_device", deviceLine(d.major, d.minor, itoa(int(d.leafWeight))), place+".leafWeight", 0)
			}
		}
	}
	if r.blkioLeafWeight != 0 {
		l.uint("blkio", "blkio.leaf_weight", uint64(r.blkioLeafWeight), "blockIO.leafWeight", 0)
	}
	l.throttle1(r.throttleReadBPS, "blkio.throttle.read_bps_device", "throttleReadBpsDevice")
	l.throttle1(r.throttleWriteBPS, "blkio.throttle.write_bps_device", "throttleWriteBpsDevice")
	l.throttle1(r.throttleReadIOPS, "blkio.throttle.read_iops_device", "throttleReadIOPSDevice")
	l.throttle1(r.throttleWriteIOPS, "blkio.throttle.write_iops_device", "throttleWriteIOPSDevice")
}

func (l *limits) throttle1(ds []specs.LinuxThrottleDevice, file, place string) {
	for i, d := range ds {
		l.add("blkio", file, deviceLine(d.Major, d.Minor, strconv.FormatUint(d.Rate, 10)), "blockIO."+place+"["+strconv.Itoa(i)+"]", 0)
	}
}

func (l *limits) netCls1() {
	if id := l.res.netClassID; id != 0 {
		l.uint("net_cls", "net_cls.classid", uint64(id), "network.classID", 0)
	}
}

func (l *limits) netPrio1() {
	for i, p := range l.res.netPriorities {
		l.add("net_prio", "net_prio.ifpriomap", p.Name+" "+strconv.FormatUint(uint64(p.Priority), 10), "network.priorities["+strconv.Itoa(i)+"]", 0)
	}
}
