package cgroup

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/spec/wire"
)

// runHelper starts vsrun-helper; tests do the job themselves.
var runHelper = helper.Run

// runJob has vsrun-helper do what needs github.com/opencontainers/cgroups: package job has the other side. The answer
// may be there even when there is an error: what was done before it happened. Lines that the library logged come with
// it and go to the log.
func runJob(name string, request []byte) (answer []byte, err error) {
	out, err := runHelper(name, request)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(out)
	failure := ""
	if r.BeginObject() {
		for r.NextKey() {
			switch r.Key() {
			case "answer":
				answer = r.Raw()
			case "error":
				failure = r.String()
			case "log":
				readLog(r)
			default:
				r.Skip()
			}
		}
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("answer of %s %s: %w", helper.Name, name, err)
	}
	if failure != "" {
		return answer, errors.New(failure)
	}
	return answer, nil
}

// readLog passes on lines like {"level":"warning","message":"…"}.
func readLog(r *wire.Reader) {
	if !r.BeginArray() {
		return
	}
	for r.NextElem() {
		level, message := log.LevelDebug, ""
		if !r.BeginObject() {
			continue
		}
		for r.NextKey() {
			switch r.Key() {
			case "level":
				s := r.String()
				for l := log.LevelError; l < log.LevelDebug; l++ {
					if l.String() == s {
						level = l
					}
				}
			case "message":
				message = r.String()
			default:
				r.Skip()
			}
		}
		log.Line(level, message)
	}
}

// beginRequest begins a job's request with what all of them are told.
func (m *Manager) beginRequest() *wire.Writer {
	w := wire.NewWriter(nil, "")
	w.BeginObject()
	w.Key("debug")
	w.Bool(log.Enabled(log.LevelDebug))
	w.Key("layout")
	w.String(m.layout.String())
	w.Key("rootless")
	w.Bool(m.rootless)
	if len(m.dirs) > 0 {
		w.Key("paths")
		w.StringMap(m.Paths())
	}
	return w
}

// beginUnitRequest is beginRequest for jobs about the unit.
func (m *Manager) beginUnitRequest() *wire.Writer {
	w := m.beginRequest()
	encodeEnv(w)
	w.Key("unit")
	w.Strings([]string{m.unit.slice, m.unit.prefix, m.unit.name})
	return w
}

// encodeEnv tells what is needed to find the bus: the helper is started without an environment.
func encodeEnv(w *wire.Writer) {
	w.Key("env")
	w.BeginArray()
	for _, name := range [...]string{"DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			w.String(name + "=" + v)
		}
	}
	w.EndArray()
}

// encode prints resources as the library's Resources are in JSON.
func (r *resources) encode(w *wire.Writer) {
	w.BeginObject()
	putInt(w, "memory", r.memory)
	putInt(w, "memory_reservation", r.memoryReservation)
	putInt(w, "memory_swap", r.memorySwap)
	putPointer(w, "memory_swappiness", r.memorySwappiness)
	putFlag(w, "memory_check_before_update", r.memoryCheck)
	putFlag(w, "oom_kill_disable", r.oomKillDisable)
	putUint(w, "cpu_shares", r.cpuShares)
	putUint(w, "cpu_weight", r.cpuWeight)
	putInt(w, "cpu_quota", r.cpuQuota)
	putUint(w, "cpu_period", r.cpuPeriod)
	putPointer(w, "cpu_burst", r.cpuBurst)
	putInt(w, "cpu_rt_quota", r.cpuRTRuntime)
	putUint(w, "cpu_rt_period", r.cpuRTPeriod)
	putPointer(w, "cpu_idle", r.cpuIdle)
	putText(w, "cpuset_cpus", r.cpusetCPUs)
	putText(w, "cpuset_mems", r.cpusetMems)
	putPointer(w, "pids_limit", r.pidsLimit)
	putUint(w, "blkio_weight", uint64(r.blkioWeight))
	putUint(w, "blkio_leaf_weight", uint64(r.blkioLeafWeight))
	putList(w, "blkio_weight_device", r.blkioWeightDevice, func(d *weightDevice) {
		putInt(w, "major", d.major)
		putInt(w, "minor", d.minor)
		putUint(w, "weight", uint64(d.weight))
		putUint(w, "leafWeight", uint64(d.leafWeight))
	})
	throttle := func(d *specs.LinuxThrottleDevice) {
		putInt(w, "major", d.Major)
		putInt(w, "minor", d.Minor)
		putUint(w, "rate", d.Rate)
	}
	putList(w, "blkio_throttle_read_bps_device", r.throttleReadBPS, throttle)
	putList(w, "blkio_throttle_write_bps_device", r.throttleWriteBPS, throttle)
	putList(w, "blkio_throttle_read_iops_device", r.throttleReadIOPS, throttle)
	putList(w, "blkio_throttle_write_iops_device", r.throttleWriteIOPS, throttle)
	putList(w, "hugetlb_limit", r.hugetlb, func(l *specs.LinuxHugepageLimit) {
		putText(w, "page_size", l.Pagesize)
		putUint(w, "limit", l.Limit)
	})
	putUint(w, "net_cls_classid_u", uint64(r.netClassID))
	putList(w, "net_prio_ifpriomap", r.netPriorities, func(p *specs.LinuxInterfacePriority) {
		putText(w, "interface", p.Name)
		putUint(w, "priority", uint64(p.Priority))
	})
	if len(r.rdma) > 0 {
		w.Key("rdma")
		w.BeginObject()
		for _, name := range sortedKeys(r.rdma) {
			l := r.rdma[name]
			w.Key(name)
			w.BeginObject()
			putPointer(w, "hca_handles", l.HcaHandles)
			putPointer(w, "hca_objects", l.HcaObjects)
			w.EndObject()
		}
		w.EndObject()
	}
	if len(r.unified) > 0 {
		w.Key("unified")
		w.StringMap(r.unified)
	}
	w.EndObject()
}

// The following leave out what is not set.

func putInt(w *wire.Writer, key string, v int64) {
	if v != 0 {
		w.Key(key)
		w.Int(v)
	}
}

func putUint(w *wire.Writer, key string, v uint64) {
	if v != 0 {
		w.Key(key)
		w.Uint(v)
	}
}

func putText(w *wire.Writer, key, v string) {
	if v != "" {
		w.Key(key)
		w.String(v)
	}
}

func putFlag(w *wire.Writer, key string, v bool) {
	if v {
		w.Key(key)
		w.Bool(v)
	}
}

func putPointer[T int64 | uint64 | uint32](w *wire.Writer, key string, v *T) {
	if v == nil {
		return
	}
	w.Key(key)
	if *v < 0 {
		w.Int(int64(*v))
	} else {
		w.Uint(uint64(*v))
	}
}

func putList[T any](w *wire.Writer, key string, vs []T, each func(*T)) {
	if len(vs) == 0 {
		return
	}
	w.Key(key)
	w.BeginArray()
	for i := range vs {
		w.BeginObject()
		each(&vs[i])
		w.EndObject()
	}
	w.EndArray()
}
