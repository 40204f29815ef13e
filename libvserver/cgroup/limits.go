package cgroup

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/vsrun/vsrun/libvserver/host"
)

// write is one value to be written into one file of a controller.
type write struct {
	ctl   string // controller that the file belongs to, in the names of the hierarchy's version
	file  string
	val   string
	place string // in config.json
	flag  writeFlag
}

type writeFlag uint8

const (
	// laterOnEINVAL: the kernel checks some pairs of values against each other at every write (limit and limit with
	// swap, quota and period and burst), so that which comes first depends on the old values. Refused, the write is
	// tried again after all others.
	laterOnEINVAL writeFlag = 1 << iota
	// optional: no such file is no error.
	optional
	// orEINVAL: a refusal as invalid is no error.
	orEINVAL
	// beyondLibrary: not written by the library's managers, so to be written under the systemd driver too.
	beyondLibrary
)

// limits collects what is to be written, in order.
type limits struct {
	m      *Manager
	res    *resources
	writes []write
	err    error // the first fault

	// current reads a value of the cgroup as it is, in an update: version 2 takes some pairs of values in one write.
	// nil when the cgroup is new.
	current func(file string) string
}

func (l *limits) add(ctl, file, val, place string, flag writeFlag) {
	l.writes = append(l.writes, write{ctl, file, val, placeRes + "." + place, flag})
}

func (l *limits) int(ctl, file string, val int64, place string, flag writeFlag) {
	l.add(ctl, file, strconv.FormatInt(val, 10), place, flag)
}

func (l *limits) uint(ctl, file string, val uint64, place string, flag writeFlag) {
	l.add(ctl, file, strconv.FormatUint(val, 10), place, flag)
}

// notOnV2 is the error for what version 2 has no word for (config-linux.md, "Control groups": MUST be an error).
func (l *limits) notOnV2(place string, asked bool) {
	if asked && l.err == nil {
		l.err = fmt.Errorf("%s.%s: can't be converted to cgroup version 2, which this host has", placeRes, place)
	}
}

// controllers are the limits of each controller by its version 1 name, for either version.
var controllers = [...]struct {
	v1     string
	f1, f2 func(*limits)
}{
	{"pids", (*limits).pids, (*limits).pids},
	{"memory", (*limits).memory1, (*limits).memory2},
	{"cpu", (*limits).cpu1, (*limits).cpu2},
	{"cpuset", (*limits).cpuset, (*limits).cpuset},
	{"blkio", (*limits).blkio1, (*limits).io2},
	{"hugetlb", (*limits).hugetlb1, (*limits).hugetlb2},
	{"rdma", (*limits).rdma, (*limits).rdma},
	{"net_cls", (*limits).netCls1, (*limits).netCls2},
	{"net_prio", (*limits).netPrio1, (*limits).netPrio2},
}

// plan lists the writes that res asks for.
func (m *Manager) plan(res *resources, current func(file string) string) ([]write, error) {
	l := &limits{m: m, res: res, current: current}
	for i := range controllers {
		c := &controllers[i]
		if m.onV2(c.v1) {
			c.f2(l)
		} else {
			c.f1(l)
		}
	}
	l.unified()
	return l.writes, l.err
}

// onV2 reports whether a controller is to be sought in the version 2 tree: on a hybrid host too, if it has no
// hierarchy of its own. The network controllers exist on version 1 only.
func (m *Manager) onV2(controller string) bool {
	switch m.layout {
	case host.CgroupV2:
		return true
	case host.CgroupHybrid:
		return m.driver == DriverCgroupfs && controller != "net_cls" && controller != "net_prio" && m.dirOf(controller) == nil
	}
	return false
}

// pids: a limit of 0 is written as 1. A container's first process counts, so nothing can be forked either way, and
// the process itself may still be cloned into the cgroup, which a limit of 0 forbids on version 2 (runc writes 1 too:
// systemd knows no 0).
func (l *limits) pids() {
	if p := l.res.pidsLimit; p != nil {
		switch {
		case *p < 0:
			l.add("pids", "pids.max", "max", "pids.limit", 0)
		default:
			l.int("pids", "pids.max", max(*p, 1), "pids.limit", 0)
		}
	}
}

func (l *limits) cpuset() {
	if s := l.res.cpusetCPUs; s != "" {
		l.add("cpuset", "cpuset.cpus", s, "cpu.cpus", 0)
	}
	if s := l.res.cpusetMems; s != "" {
		l.add("cpuset", "cpuset.mems", s, "cpu.mems", 0)
	}
}

// hugetlb limits faults and, since Linux 5.7, reservations. The specification wants the latter if there are such files.
func (l *limits) hugetlb1() { l.hugetlb(".limit_in_bytes") }
func (l *limits) hugetlb2() { l.hugetlb(".max") }

func (l *limits) hugetlb(suffix string) {
	for i, h := range l.res.hugetlb {
		place := "hugepageLimits[" + strconv.Itoa(i) + "]"
		l.uint("hugetlb", "hugetlb."+h.Pagesize+suffix, h.Limit, place, 0)
		l.uint("hugetlb", "hugetlb."+h.Pagesize+".rsvd"+suffix, h.Limit, place, optional)
	}
}

func (l *limits) rdma() {
	for _, name := range sortedKeys(l.res.rdma) {
		v, r := name, l.res.rdma[name]
		if r.HcaHandles != nil {
			v += " hca_handle=" + strconv.FormatUint(uint64(*r.HcaHandles), 10)
		}
		if r.HcaObjects != nil {
			v += " hca_object=" + strconv.FormatUint(uint64(*r.HcaObjects), 10)
		}
		l.add("rdma", "rdma.max", v, "rdma["+strconv.Quote(name)+"]", 0)
	}
}

func (l *limits) unified() {
	if len(l.res.unified) > 0 && l.err == nil && (l.m.layout == host.CgroupV1 || l.m.driver == DriverSystemd && l.m.layout != host.CgroupV2) {
		l.err = fmt.Errorf("%s.unified: needs cgroup version 2, which this host has not", placeRes)
	}
	for _, k := range sortedKeys(l.res.unified) {
		ctl := k
		for i := range len(k) {
			if k[i] == '.' {
				ctl = k[:i]
				break
			}
		}
		l.add(unifiedPrefix+ctl, k, l.res.unified[k], "unified["+strconv.Quote(k)+"]", 0)
	}
}

// unifiedPrefix marks the controller of a write that goes to the version 2 tree even where version 1 has it.
const unifiedPrefix = "\x00"

func sortedKeys[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// deviceLine is a line about a block device.
func deviceLine(major, minor int64, val string) string {
	return strconv.FormatInt(major, 10) + ":" + strconv.FormatInt(minor, 10) + " " + val
}
