package libvserver

import "github.com/opencontainers/runtime-spec/specs-go"

// mergeResources puts the limits of add into to. What add leaves out stays; so do device rules, which an update never
// touches, and, of lists, entries for other devices, page sizes and interfaces.
func mergeResources(to, add *specs.LinuxResources) {
	if a := add.Memory; a != nil {
		t := fresh(&to.Memory)
		if endsSum(a) {
			t.Swap = nil
		}
		setSome(&t.Limit, a.Limit)
		setSome(&t.Reservation, a.Reservation)
		setSome(&t.Swap, a.Swap)
		//lint:ignore SA1019 deprecated, and still to be kept
		setSome(&t.Kernel, a.Kernel)
		setSome(&t.KernelTCP, a.KernelTCP)
		set(&t.Swappiness, a.Swappiness)
		set(&t.DisableOOMKiller, a.DisableOOMKiller)
		set(&t.UseHierarchy, a.UseHierarchy)
		set(&t.CheckBeforeUpdate, a.CheckBeforeUpdate)
	}
	if a := add.CPU; a != nil {
		t := fresh(&to.CPU)
		setSome(&t.Shares, a.Shares)
		setSome(&t.Quota, a.Quota)
		set(&t.Burst, a.Burst)
		setSome(&t.Period, a.Period)
		setSome(&t.RealtimeRuntime, a.RealtimeRuntime)
		setSome(&t.RealtimePeriod, a.RealtimePeriod)
		set(&t.Idle, a.Idle)
		if a.Cpus != "" {
			t.Cpus = a.Cpus
		}
		if a.Mems != "" {
			t.Mems = a.Mems
		}
	}
	if a := add.Pids; a != nil {
		set(&fresh(&to.Pids).Limit, a.Limit)
	}
	if a := add.BlockIO; a != nil {
		mergeBlockIO(fresh(&to.BlockIO), a)
	}
	to.HugepageLimits = mergeList(to.HugepageLimits, add.HugepageLimits, func(l *specs.LinuxHugepageLimit) string { return l.Pagesize })
	if a := add.Network; a != nil {
		t := fresh(&to.Network)
		set(&t.ClassID, a.ClassID)
		t.Priorities = mergeList(t.Priorities, a.Priorities, func(p *specs.LinuxInterfacePriority) string { return p.Name })
	}
	to.Rdma = mergeMap(to.Rdma, add.Rdma)
	to.Unified = mergeMap(to.Unified, add.Unified)
}

// endsSum reports whether an update gives memory a limit and takes away that of memory and swap together: as in runc, one
// of -1 without a word of swap is none for both, and swap given as 0 is not to be counted any more.
func endsSum(m *specs.LinuxMemory) bool {
	if m.Limit == nil || *m.Limit == 0 {
		return false
	}
	if m.Swap == nil {
		return *m.Limit == -1
	}
	return *m.Swap == 0
}

// withSum returns add with the recorded limit of memory and swap together, where it changes that of memory alone: version 2
// limits swap by itself, so that the sum holds only if both are written.
func withSum(add, recorded *specs.LinuxResources) *specs.LinuxResources {
	if add == nil || add.Memory == nil || recorded.Memory == nil || recorded.Memory.Swap == nil {
		return add
	}
	if m := add.Memory; m.Limit == nil || *m.Limit == 0 || m.Swap != nil {
		return add
	}
	out := *add
	fresh(&out.Memory).Swap = recorded.Memory.Swap
	return &out
}

func mergeBlockIO(t, a *specs.LinuxBlockIO) {
	setSome(&t.Weight, a.Weight)
	setSome(&t.LeafWeight, a.LeafWeight)
	type device struct{ major, minor int64 }
	t.WeightDevice = mergeList(t.WeightDevice, a.WeightDevice, func(d *specs.LinuxWeightDevice) device { return device{d.Major, d.Minor} })
	rate := func(t *[]specs.LinuxThrottleDevice, a []specs.LinuxThrottleDevice) {
		*t = mergeList(*t, a, func(d *specs.LinuxThrottleDevice) device { return device{d.Major, d.Minor} })
	}
	rate(&t.ThrottleReadBpsDevice, a.ThrottleReadBpsDevice)
	rate(&t.ThrottleWriteBpsDevice, a.ThrottleWriteBpsDevice)
	rate(&t.ThrottleReadIOPSDevice, a.ThrottleReadIOPSDevice)
	rate(&t.ThrottleWriteIOPSDevice, a.ThrottleWriteIOPSDevice)
}

// fresh makes *p a copy of its own, or an empty value.
func fresh[T any](p **T) *T {
	v := new(T)
	if *p != nil {
		*v = **p
	}
	*p = v
	return v
}

func set[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

// setSome is set for limits of which 0 means that none is given.
func setSome[T comparable](to **T, from *T) {
	var zero T
	if from != nil && *from != zero {
		*to = from
	}
}

// mergeList replaces the entries of list that have the key of one in add, and appends the others of add.
func mergeList[T any, K comparable](list, add []T, key func(*T) K) []T {
	out := append([]T(nil), list...)
next:
	for i := range add {
		for j := range out {
			if key(&out[j]) == key(&add[i]) {
				out[j] = add[i]
				continue next
			}
		}
		out = append(out, add[i])
	}
	return out
}

func mergeMap[T any](to, add map[string]T) map[string]T {
	if len(add) == 0 {
		return to
	}
	out := make(map[string]T, len(to)+len(add))
	for k, v := range to {
		out[k] = v
	}
	for k, v := range add {
		out[k] = v
	}
	return out
}
