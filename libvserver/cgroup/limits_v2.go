package cgroup

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/log"
	"golang.org/x/sys/unix"
)

// defaultPeriod is the kernel's CPU bandwidth period in microseconds.
const defaultPeriod = "100000"

// bytes2 gives a limit of bytes in version 2's words.
func bytes2(v int64) string {
	if v < 0 {
		return "max"
	}
	return strconv.FormatInt(v, 10)
}

// parseMax is bytes2 the other way round; what is neither is no limit.
func parseMax(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (l *limits) memory2() {
	r := l.res
	l.notOnV2("memory.swappiness", r.memorySwappiness != nil)
	l.notOnV2("memory.disableOOMKiller", r.oomKillDisable)
	if r.kernelTCP != 0 {
		log.Warnf("%s.memory.kernelTCP: ignored, cgroup version 2 counts it in memory.limit", placeRes)
	}
	memory := r.memory
	if memory == 0 && r.memorySwap > 0 && l.current != nil {
		// Version 2 limits swap by itself: an update of the sum alone needs the limit that holds.
		memory = parseMax(l.current("memory.max"))
	}
	swap, err := swapAlone(r.memorySwap, memory)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("%s.memory.swap: %w", placeRes, err)
	}
	switch {
	case swap < 0, swap == 0 && r.memorySwap > 0:
		// Without swap there is no file, and neither "no limit" nor "no swap" needs one.
		l.add("memory", "memory.swap.max", bytes2(swap), "memory.swap", optional)
	case swap > 0:
		l.add("memory", "memory.swap.max", bytes2(swap), "memory.swap", 0)
	}
	if r.memory != 0 {
		l.add("memory", "memory.max", bytes2(r.memory), "memory.limit", 0)
	}
	if r.memoryReservation != 0 {
		l.add("memory", "memory.low", bytes2(r.memoryReservation), "memory.reservation", 0)
	}
}

func (l *limits) cpu2() {
	r := l.res
	l.notOnV2("cpu.realtimeRuntime", r.cpuRTRuntime != 0)
	l.notOnV2("cpu.realtimePeriod", r.cpuRTPeriod != 0)
	idle := func() { l.int("cpu", "cpu.idle", *r.cpuIdle, "cpu.idle", 0) }
	// The weight can't be changed while cpu.idle is 1.
	if r.cpuIdle != nil && *r.cpuIdle == 0 {
		idle()
	}
	if r.cpuWeight != 0 {
		l.uint("cpu", "cpu.weight", r.cpuWeight, "cpu.shares", ifIdle(r))
	}
	if r.cpuIdle != nil && *r.cpuIdle != 0 {
		idle()
	}
	if r.cpuBurst != nil {
		l.uint("cpu", "cpu.max.burst", *r.cpuBurst, "cpu.burst", laterOnEINVAL|ifZero(*r.cpuBurst))
	}
	if r.cpuQuota == 0 && r.cpuPeriod == 0 {
		return
	}
	quota, period := "max", defaultPeriod
	if l.current != nil {
		if q, p, ok := strings.Cut(l.current("cpu.max"), " "); ok {
			quota, period = q, p
		}
	}
	place := "cpu.quota"
	switch {
	case r.cpuQuota > 0:
		quota = strconv.FormatInt(r.cpuQuota, 10)
	case r.cpuQuota < 0:
		quota = "max"
	default:
		place = "cpu.period"
	}
	if r.cpuPeriod != 0 {
		period = strconv.FormatUint(r.cpuPeriod, 10)
	}
	l.add("cpu", "cpu.max", quota+" "+period, place, laterOnEINVAL)
}

func (l *limits) io2() {
	r := l.res
	l.notOnV2("blockIO.leafWeight", r.blkioLeafWeight != 0)
	if r.blkioWeight != 0 || len(r.blkioWeightDevice) > 0 {
		// BFQ takes the specification's range; the io.cost and io.latency controllers' io.weight has its own.
		file, conv := "io.weight", ioWeight
		flag := beyondLibrary
		if d := l.m.dirOf("io"); d != nil && unix.Access(d.path+"/io.bfq.weight", unix.F_OK) == nil {
			file, conv = "io.bfq.weight", func(w uint16) uint64 { return uint64(w) }
		}
		if r.blkioWeight != 0 {
			l.add("io", file, "default "+strconv.FormatUint(conv(r.blkioWeight), 10), "blockIO.weight", 0)
		}
		for i, d := range r.blkioWeightDevice {
			place := "blockIO.weightDevice[" + strconv.Itoa(i) + "]"
			l.notOnV2(place+".leafWeight", d.leafWeight != 0)
			l.add("io", file, deviceLine(d.major, d.minor, strconv.FormatUint(conv(d.weight), 10)), place+".weight", flag)
		}
	}
	l.throttle2(r.throttleReadBPS, "rbps", "throttleReadBpsDevice")
	l.throttle2(r.throttleWriteBPS, "wbps", "throttleWriteBpsDevice")
	l.throttle2(r.throttleReadIOPS, "riops", "throttleReadIOPSDevice")
	l.throttle2(r.throttleWriteIOPS, "wiops", "throttleWriteIOPSDevice")
}

func (l *limits) throttle2(ds []specs.LinuxThrottleDevice, name, place string) {
	for i, d := range ds {
		v := "max"
		if d.Rate != 0 { // 0: version 1's word for no limit, which version 2 refuses
			v = strconv.FormatUint(d.Rate, 10)
		}
		l.add("io", "io.max", deviceLine(d.Major, d.Minor, name+"="+v), "blockIO."+place+"["+strconv.Itoa(i)+"]", 0)
	}
}

func (l *limits) netCls2() { l.notOnV2("network.classID", l.res.netClassID != 0) }

func (l *limits) netPrio2() { l.notOnV2("network.priorities", len(l.res.netPriorities) > 0) }
