package cgroup

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/log"
)

const placeRes = "linux.resources"

// resources is linux.resources as the library has it, and what the library leaves out.
type resources struct {
	cgroups.Resources
	kernel, kernelTCP int64 // version 1 only
	useHierarchy      bool
}

// convert turns linux.resources into the library's form, as runc's specconv does, and checks the values that no kernel
// file would refuse clearly. Device rules are kept apart, see deviceRules.
func convert(r *specs.LinuxResources) (resources, error) {
	var out resources
	out.SkipDevices = true // ours, unless the systemd driver asks for them
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
		out.PidsLimit = r.Pids.Limit
	}
	if err := convertBlockIO(&out, r.BlockIO); err != nil {
		return out, err
	}
	for i, l := range r.HugepageLimits {
		if l.Pagesize == "" || strings.ContainsAny(l.Pagesize, "/\n") {
			return out, fmt.Errorf("%s.hugepageLimits[%d].pageSize: %q is not a page size such as \"2MB\"", placeRes, i, l.Pagesize)
		}
		out.HugetlbLimit = append(out.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: l.Pagesize, Limit: l.Limit})
	}
	if n := r.Network; n != nil {
		if n.ClassID != nil {
			out.NetClsClassid = *n.ClassID
		}
		for _, p := range n.Priorities {
			out.NetPrioIfpriomap = append(out.NetPrioIfpriomap, &cgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
		}
	}
	for name, l := range r.Rdma {
		if l.HcaHandles == nil && l.HcaObjects == nil {
			return out, fmt.Errorf("%s.rdma[%q]: needs hcaHandles or hcaObjects", placeRes, name)
		}
		if out.Rdma == nil {
			out.Rdma = make(map[string]cgroups.LinuxRdma, len(r.Rdma))
		}
		out.Rdma[name] = cgroups.LinuxRdma{HcaHandles: l.HcaHandles, HcaObjects: l.HcaObjects}
	}
	for k := range r.Unified {
		if strings.Contains(k, "/") || strings.IndexByte(k, 0) >= 0 {
			return out, fmt.Errorf("%s.unified[%q]: must be a file name, without slashes", placeRes, k)
		}
		if strings.IndexByte(k, '.') <= 0 {
			return out, fmt.Errorf("%s.unified[%q]: must be of the form CONTROLLER.PARAMETER", placeRes, k)
		}
	}
	if len(r.Unified) > 0 {
		out.Unified = r.Unified
	}
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
		{"limit", m.Limit, &out.Memory}, {"reservation", m.Reservation, &out.MemoryReservation}, {"swap", m.Swap, &out.MemorySwap},
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
		out.MemorySwappiness = s
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		out.OomKillDisable = true
	}
	out.useHierarchy = m.UseHierarchy != nil && *m.UseHierarchy
	out.MemoryCheckBeforeUpdate = m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate
	switch {
	case out.Memory > 0 && out.MemorySwap > 0 && out.MemorySwap < out.Memory:
		return fmt.Errorf("%s.memory.swap: %d is memory and swap together, so it can't be below the limit of %d", placeRes, out.MemorySwap, out.Memory)
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
		out.CpuShares = *c.Shares
		out.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(out.CpuShares)
	}
	if c.Quota != nil {
		out.CpuQuota = *c.Quota
	}
	if c.Period != nil {
		out.CpuPeriod = *c.Period
	}
	out.CpuBurst = c.Burst
	if c.Burst != nil && out.CpuQuota > 0 && *c.Burst > uint64(out.CpuQuota) {
		return fmt.Errorf("%s.cpu.burst: %d is above the quota of %d", placeRes, *c.Burst, out.CpuQuota)
	}
	if c.RealtimeRuntime != nil {
		out.CpuRtRuntime = *c.RealtimeRuntime
	}
	if c.RealtimePeriod != nil {
		out.CpuRtPeriod = *c.RealtimePeriod
	}
	out.CpusetCpus, out.CpusetMems, out.CPUIdle = c.Cpus, c.Mems, c.Idle
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
	if err := weight("weight", b.Weight, &out.BlkioWeight); err != nil {
		return err
	}
	if err := weight("leafWeight", b.LeafWeight, &out.BlkioLeafWeight); err != nil {
		return err
	}
	for i, wd := range b.WeightDevice {
		place := "weightDevice[" + strconv.Itoa(i) + "]"
		d := cgroups.NewWeightDevice(wd.Major, wd.Minor, 0, 0)
		if wd.Weight == nil && wd.LeafWeight == nil {
			return fmt.Errorf("%s.blockIO.%s: needs weight or leafWeight", placeRes, place)
		}
		if err := weight(place+".weight", wd.Weight, &d.Weight); err != nil {
			return err
		}
		if err := weight(place+".leafWeight", wd.LeafWeight, &d.LeafWeight); err != nil {
			return err
		}
		out.BlkioWeightDevice = append(out.BlkioWeightDevice, d)
	}
	out.BlkioThrottleReadBpsDevice = throttles(b.ThrottleReadBpsDevice)
	out.BlkioThrottleWriteBpsDevice = throttles(b.ThrottleWriteBpsDevice)
	out.BlkioThrottleReadIOPSDevice = throttles(b.ThrottleReadIOPSDevice)
	out.BlkioThrottleWriteIOPSDevice = throttles(b.ThrottleWriteIOPSDevice)
	return nil
}

func throttles(from []specs.LinuxThrottleDevice) []*cgroups.ThrottleDevice {
	var to []*cgroups.ThrottleDevice
	for _, d := range from {
		to = append(to, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
	}
	return to
}
