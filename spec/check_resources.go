package spec

import (
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec/wire"
)

// resources checks linux.resources (config-linux.md, "Control groups"), or the
// like of it in a document of its own. What depends on the host's cgroup
// version is not checked.
func (c *checker) resources(r *specs.LinuxResources, path string) {
	c.deviceRules(r.Devices, path)
	if r.Memory != nil {
		c.memory(r.Memory, path)
	}
	if r.CPU != nil {
		c.cpu(r.CPU, path)
	}
	if r.Pids != nil {
		c.atLeast(under(path, "pids.limit"), r.Pids.Limit, -1)
	}
	if r.BlockIO != nil {
		c.blockIO(r.BlockIO, path)
	}
	for i := range r.HugepageLimits {
		if s := r.HugepageLimits[i].Pagesize; !pageSize(s) {
			c.faultAt(under(path, "hugepageLimits").in(i, "pageSize"), "must be a size like 64KB, 2MB or 1GB (got "+quote(s)+")")
		}
	}
	if r.Network != nil {
		for i := range r.Network.Priorities {
			if r.Network.Priorities[i].Name == "" {
				c.faultAt(under(path, "network.priorities").in(i, "name"), "is required")
			}
		}
	}
	for _, dev := range wire.SortedKeys(r.Rdma) {
		if r.Rdma[dev].HcaHandles == nil && r.Rdma[dev].HcaObjects == nil {
			c.fault(key(path+".rdma", dev), "must have hcaHandles or hcaObjects")
		}
	}
	for _, file := range wire.SortedKeys(r.Unified) {
		if file == "" || file == "." || file == ".." || strings.ContainsAny(file, "/\x00") {
			c.fault(key(path+".unified", file), "must be the name of a file of a cgroup")
		}
	}
}

// deviceRules checks the allowed device list.
func (c *checker) deviceRules(rules []specs.LinuxDeviceCgroup, path string) {
	rule := under(path, "devices")
	for i := range rules {
		d := &rules[i]
		if d.Type != "" {
			c.known(rule.in(i, "type"), "device type", d.Type, []string{"a", "b", "c"})
		}
		// -1 is an old way to say all.
		c.atLeast(rule.in(i, "major"), d.Major, -1)
		c.atLeast(rule.in(i, "minor"), d.Minor, -1)
		if d.Access == "" {
			c.faultAt(rule.in(i, "access"), "must not be empty")
		}
		for j := 0; j < len(d.Access); j++ {
			if b := d.Access[j]; b != 'r' && b != 'w' && b != 'm' {
				c.faultAt(rule.in(i, "access"), "must be made of r, w and m (got "+quote(d.Access)+")")
				break
			}
		}
	}
}

func (c *checker) memory(m *specs.LinuxMemory, path string) {
	c.atLeast(under(path, "memory.limit"), m.Limit, -1)
	c.atLeast(under(path, "memory.reservation"), m.Reservation, -1)
	c.atLeast(under(path, "memory.swap"), m.Swap, -1)
	//lint:ignore SA1019 deprecated, but still in the specification
	c.atLeast(under(path, "memory.kernel"), m.Kernel, -1)
	c.atLeast(under(path, "memory.kernelTCP"), m.KernelTCP, -1)
	if m.Limit != nil && m.Swap != nil && *m.Swap > 0 && *m.Limit > *m.Swap {
		c.faultAt(under(path, "memory.swap"), "is memory and swap together and must not be less than limit ("+strconv.FormatInt(*m.Swap, 10)+" < "+strconv.FormatInt(*m.Limit, 10)+")")
	}
	// Engines have been seen to write -1 as a uint64 for unset.
	if s := m.Swappiness; s != nil && *s > 100 && *s != math.MaxUint64 {
		c.faultAt(under(path, "memory.swappiness"), "must be from 0 to 100 (got "+strconv.FormatUint(*s, 10)+")")
	}
}

func (c *checker) cpu(p *specs.LinuxCPU, path string) {
	if p.Burst != nil && p.Quota != nil && *p.Quota > 0 && *p.Burst > uint64(*p.Quota) {
		c.faultAt(under(path, "cpu.burst"), "must not exceed quota ("+strconv.FormatUint(*p.Burst, 10)+" > "+strconv.FormatInt(*p.Quota, 10)+")")
	}
	c.atLeast(under(path, "cpu.quota"), p.Quota, -1)
	c.atLeast(under(path, "cpu.realtimeRuntime"), p.RealtimeRuntime, -1)
	if p.Idle != nil {
		c.between(under(path, "cpu.idle"), *p.Idle, 0, 1)
	}
	if p.Cpus != "" {
		c.list(under(path, "cpu.cpus"), p.Cpus)
	}
	if p.Mems != "" {
		c.list(under(path, "cpu.mems"), p.Mems)
	}
}

func (c *checker) blockIO(b *specs.LinuxBlockIO, path string) {
	for i := range b.WeightDevice {
		d := &b.WeightDevice[i]
		if d.Weight == nil && d.LeafWeight == nil {
			c.faultAt(under(path, "blockIO.weightDevice").in(i, ""), "must have weight or leafWeight")
		}
		c.deviceNumber(under(path, "blockIO.weightDevice").in(i, ""), d.Major, d.Minor)
	}
	for _, t := range [...]struct {
		name    string
		devices []specs.LinuxThrottleDevice
	}{
		{"blockIO.throttleReadBpsDevice", b.ThrottleReadBpsDevice},
		{"blockIO.throttleWriteBpsDevice", b.ThrottleWriteBpsDevice},
		{"blockIO.throttleReadIOPSDevice", b.ThrottleReadIOPSDevice},
		{"blockIO.throttleWriteIOPSDevice", b.ThrottleWriteIOPSDevice},
	} {
		for i := range t.devices {
			c.deviceNumber(under(path, t.name).in(i, ""), t.devices[i].Major, t.devices[i].Minor)
		}
	}
}

func (c *checker) deviceNumber(l loc, major, minor int64) {
	if major < 0 || minor < 0 {
		c.faultAt(l, "major and minor must not be negative (got "+strconv.FormatInt(major, 10)+":"+strconv.FormatInt(minor, 10)+")")
	}
}

// pageSize says whether s is a number and KB, MB or GB.
func pageSize(s string) bool {
	n, unit := len(s)-2, ""
	if n > 0 {
		unit = s[n:]
	}
	switch unit {
	case "KB", "MB", "GB":
		return s[0] != '0' && digits(s[:n])
	}
	return false
}
