package cgroup

import (
	"strconv"
	"strings"
)

// Limit is one limit of a container as Linux-VServer's /proc/virtual/XID/limit shows them.
type Limit struct {
	Name string // "rss", "nproc", "cpu"
	// Current is what is used now and Peak the most that ever was; 0 where the kernel does not keep it.
	Current, Peak uint64
	// Soft and Hard are the limits, NoLimit where there is none.
	Soft, Hard uint64
	// Hits is how often the hard limit was met: memory that had to be reclaimed or was refused, forks refused, periods in
	// which the CPU limit held the container.
	Hits uint64
	// Unit is "bytes", "tasks" or, of the CPU, "microseconds" of each second.
	Unit string
}

// Limits reads what the controllers memory, pids and cpu say of their limits. A controller that is not there is left out.
func (m *Manager) Limits() []Limit {
	var list []Limit
	if d := m.dirFor("memory"); d != nil {
		l := Limit{Name: "rss", Unit: "bytes", Soft: NoLimit, Hard: m.MemoryLimit()}
		now, peak := "/memory.usage_in_bytes", "/memory.max_usage_in_bytes"
		if d.v2() {
			now, peak = "/memory.current", "/memory.peak"
			l.Soft = limit(d.path + "/memory.high")
			l.Hits = counter(d.path+"/memory.events", "max")
		} else {
			l.Hits, _ = number(d.path + "/memory.failcnt")
			if n := limit(d.path + "/memory.soft_limit_in_bytes"); n < noLimit1 {
				l.Soft = n
			}
		}
		var ok bool
		if l.Current, ok = number(d.path + now); ok {
			l.Peak, _ = number(d.path + peak)
			list = append(list, l)
		}
	}
	if d := m.dirFor("pids"); d != nil {
		l := Limit{Name: "nproc", Unit: "tasks", Soft: NoLimit, Hard: limit(d.path + "/pids.max"), Hits: counter(d.path+"/pids.events", "max")}
		var ok bool
		if l.Current, ok = number(d.path + "/pids.current"); ok {
			l.Peak, _ = number(d.path + "/pids.peak") // Linux 6.1
			list = append(list, l)
		}
	}
	if d := m.dirFor("cpu"); d != nil {
		quota, period := m.bandwidth(d)
		l := Limit{Name: "cpu", Unit: "microseconds", Soft: NoLimit, Hard: NoLimit, Hits: counter(d.path+"/cpu.stat", "nr_throttled")}
		if quota != NoLimit && period > 0 {
			l.Hard = quota * 1_000_000 / period
		}
		list = append(list, l)
	}
	return list
}

// noLimit1 is more than any limit of memory on version 1, which says "no limit" by the largest number of whole pages.
const noLimit1 = 1<<63 - 1<<16

// bandwidth reads the quota and the period of CPU time, in microseconds.
func (m *Manager) bandwidth(d *dir) (quota, period uint64) {
	if !d.v2() {
		period, _ = number(d.path + "/cpu.cfs_period_us")
		if n, ok := number(d.path + "/cpu.cfs_quota_us"); ok { // -1 is no number of this kind
			return n, period
		}
		return NoLimit, period
	}
	s, err := readValue(d.path + "/cpu.max")
	if err != nil {
		return NoLimit, 0
	}
	q, p, _ := strings.Cut(s, " ")
	period, _ = strconv.ParseUint(p, 10, 64)
	if quota, err = strconv.ParseUint(q, 10, 64); err != nil {
		return NoLimit, period
	}
	return quota, period
}

// counter reads a value of a file with keys, 0 if it is not there.
func counter(path, key string) uint64 {
	s, err := readAll(path)
	if err != nil {
		return 0
	}
	n, _ := keyValue(s, key)
	return n
}
