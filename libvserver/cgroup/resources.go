package cgroup

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/log"
)

const placeRes = "linux.resources"

// resources is linux.resources, checked. Zero and nil mean not set; -1 of a number of bytes means no limit.
type resources struct {
	memory, memoryReservation int64 // bytes
	memorySwap                int64 // bytes, memory and swap together
	kernel, kernelTCP         int64 // bytes, version 1 only
	memorySwappiness          *uint64
	oomKillDisable            bool
	useHierarchy              bool
	memoryCheck               bool // checkBeforeUpdate

	cpuShares, cpuWeight   uint64 // the same, in the words of version 1 and 2
	cpuQuota               int64  // microseconds, as the following
	cpuPeriod              uint64
	cpuBurst               *uint64
	cpuRTRuntime           int64
	cpuRTPeriod            uint64
	cpuIdle                *int64
	cpusetCPUs, cpusetMems string
	pidsLimit              *int64

	blkioWeight, blkioLeafWeight        uint16 // 10 to 1000
	blkioWeightDevice                   []weightDevice
	throttleReadBPS, throttleWriteBPS   []specs.LinuxThrottleDevice
	throttleReadIOPS, throttleWriteIOPS []specs.LinuxThrottleDevice

	hugetlb       []specs.LinuxHugepageLimit
	netClassID    uint32
	netPriorities []specs.LinuxInterfacePriority
	rdma          map[string]specs.LinuxRdma
	unified       map[string]string
}

// weightDevice is an entry of linux.resources.blockIO.weightDevice.
type weightDevice struct {
	major, minor       int64
	weight, leafWeight uint16
}

// convert takes linux.resources apart, with the meaning that runc's specconv gives them, and checks the values that no
// kernel file would refuse clearly. Device rules are kept apart, see deviceRules.
func convert(r *specs.LinuxResources) (resources, error) {
	var out resources
	if r == nil {
		return out, nil
	}
	if err := convertMemory(&out, r.Memory); err != nil {
		return out, err
	}
	if err := convertCPU(&out, r.CPU); err != nil {
		return out, err
	}
	if r.Pids != nil {
		out.pidsLimit = r.Pids.Limit
	}
	if err := convertBlockIO(&out, r.BlockIO); err != nil {
		return out, err
	}
	for i, l := range r.HugepageLimits {
		if l.Pagesize == "" || strings.ContainsAny(l.Pagesize, "/\n") {
			return out, fmt.Errorf("%s.hugepageLimits[%d].pageSize: %q is not a page size such as \"2MB\"", placeRes, i, l.Pagesize)
		}
	}
	out.hugetlb = r.HugepageLimits
	if n := r.Network; n != nil {
		if n.ClassID != nil {
			out.netClassID = *n.ClassID
		}
		out.netPriorities = n.Priorities
	}
	for name, l := range r.Rdma {
		if l.HcaHandles == nil && l.HcaObjects == nil {
			return out, fmt.Errorf("%s.rdma[%q]: needs hcaHandles or hcaObjects", placeRes, name)
		}
	}
	out.rdma = r.Rdma
	for k := range r.Unified {
		if strings.Contains(k, "/") || strings.IndexByte(k, 0) >= 0 {
			return out, fmt.Errorf("%s.unified[%q]: must be a file name, without slashes", placeRes, k)
		}
		if strings.IndexByte(k, '.') <= 0 {
			return out, fmt.Errorf("%s.unified[%q]: must be of the form CONTROLLER.PARAMETER", placeRes, k)
		}
	}
	out.unified = r.Unified
	return out, nil
}

func convertMemory(out *resources, m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	//lint:ignore SA1019 memory.kernel is deprecated but still to be read
	kernel := m.Kernel
	for _, f := range [...]struct {
		name string
		from *int64
		to   *int64
	}{
		{"limit", m.Limit, &out.memory}, {"reservation", m.Reservation, &out.memoryReservation}, {"swap", m.Swap, &out.memorySwap},
		{"kernel", kernel, &out.kernel}, {"kernelTCP", m.KernelTCP, &out.kernelTCP},
	} {
		if f.from == nil {
			continue
		}
		if *f.from < -1 {
			return fmt.Errorf("%s.memory.%s: %d is neither a number of bytes nor -1", placeRes, f.name, *f.from)
		}
		*f.to = *f.from
	}
	if s := m.Swappiness; s != nil && int64(*s) != -1 { // -1, as old Docker sends it: leave alone
		if *s > 100 {
			return fmt.Errorf("%s.memory.swappiness: %d is not between 0 and 100", placeRes, *s)
		}
		out.memorySwappiness = s
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		out.oomKillDisable = true
	}
	out.useHierarchy = m.UseHierarchy != nil && *m.UseHierarchy
	out.memoryCheck = m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate
	switch {
	case out.memory > 0 && out.memorySwap > 0 && out.memorySwap < out.memory:
		return fmt.Errorf("%s.memory.swap: %d is memory and swap together, so it can't be below the limit of %d", placeRes, out.memorySwap, out.memory)
	case out.kernel != 0:
		// Inert since Linux 5.16, gone on version 2; the specification lets runtimes ignore it.
		log.Warnf("%s.memory.kernel: kernels since 5.16 ignore a limit of kernel memory", placeRes)
	}
	return nil
}

func convertCPU(out *resources, c *specs.LinuxCPU) error {
	if c == nil {
		return nil
	}
	if c.Shares != nil {
		out.cpuShares = *c.Shares
		out.cpuWeight = weightOfShares(out.cpuShares)
	}
	if c.Quota != nil {
		out.cpuQuota = *c.Quota
	}
	if c.Period != nil {
		out.cpuPeriod = *c.Period
	}
	out.cpuBurst = c.Burst
	if c.Burst != nil && out.cpuQuota > 0 && *c.Burst > uint64(out.cpuQuota) {
		return fmt.Errorf("%s.cpu.burst: %d is above the quota of %d", placeRes, *c.Burst, out.cpuQuota)
	}
	if c.RealtimeRuntime != nil {
		out.cpuRTRuntime = *c.RealtimeRuntime
	}
	if c.RealtimePeriod != nil {
		out.cpuRTPeriod = *c.RealtimePeriod
	}
	out.cpusetCPUs, out.cpusetMems, out.cpuIdle = c.Cpus, c.Mems, c.Idle
	if c.Idle != nil && *c.Idle != 0 && *c.Idle != 1 {
		return fmt.Errorf("%s.cpu.idle: %d is neither 0 nor 1", placeRes, *c.Idle)
	}
	return nil
}

func convertBlockIO(out *resources, b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	weight := func(place string, w *uint16, to *uint16) error {
		if w == nil || *w == 0 { // 0: unset, as in runc
			return nil
		}
		if *w < 10 || *w > 1000 {
			return fmt.Errorf("%s.blockIO.%s: %d is not between 10 and 1000", placeRes, place, *w)
		}
		*to = *w
		return nil
	}
	if err := weight("weight", b.Weight, &out.blkioWeight); err != nil {
		return err
	}
	if err := weight("leafWeight", b.LeafWeight, &out.blkioLeafWeight); err != nil {
		return err
	}
	for i, wd := range b.WeightDevice {
		place := "weightDevice[" + strconv.Itoa(i) + "]"
		d := weightDevice{major: wd.Major, minor: wd.Minor}
		if wd.Weight == nil && wd.LeafWeight == nil {
			return fmt.Errorf("%s.blockIO.%s: needs weight or leafWeight", placeRes, place)
		}
		if err := weight(place+".weight", wd.Weight, &d.weight); err != nil {
			return err
		}
		if err := weight(place+".leafWeight", wd.LeafWeight, &d.leafWeight); err != nil {
			return err
		}
		out.blkioWeightDevice = append(out.blkioWeightDevice, d)
	}
	out.throttleReadBPS, out.throttleWriteBPS = b.ThrottleReadBpsDevice, b.ThrottleWriteBpsDevice
	out.throttleReadIOPS, out.throttleWriteIOPS = b.ThrottleReadIOPSDevice, b.ThrottleWriteIOPSDevice
	return nil
}

// weightOfShares turns cpu.shares (2 to 262144, 1024 by default) into cpu.weight (1 to 10000, 100 by default): the
// quadratic function of the logarithm that meets all three, as in runc and crun. 0 stays 0: not set.
func weightOfShares(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= 2:
		return 1
	case shares >= 1<<18:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// ioWeight turns blockIO.weight (10 to 1000) into io.weight (1 to 10000).
func ioWeight(w uint16) uint64 {
	if w == 0 {
		return 0
	}
	return 1 + (uint64(w)-10)*9999/990
}

// swapAlone takes the limit of memory out of one of memory and swap together, since version 2 limits swap by itself.
// -1 is no limit, 0 none given.
func swapAlone(both, memory int64) (int64, error) {
	switch {
	case memory == -1 && both == 0:
		return -1, nil // as on version 1, no limit of memory means none of swap
	case both == -1, both == 0, memory == -1:
		return both, nil
	case memory == 0:
		return 0, errors.New("unable to set swap limit without memory limit")
	case both < memory:
		return 0, errors.New("memory+swap limit should be >= memory limit")
	}
	return both - memory, nil
}
