package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/spec"
)

const aboutResources = `path to the file containing the resources to update or '-' to read from the standard input

The accepted format is as follow (unchanged values can be omitted):

{
  "memory": {
    "limit": 0,
    "reservation": 0,
    "swap": 0,
    "checkBeforeUpdate": true
  },
  "cpu": {
    "shares": 0,
    "quota": 0,
    "burst": 0,
    "period": 0,
    "realtimeRuntime": 0,
    "realtimePeriod": 0,
    "cpus": "",
    "mems": "",
    "idle": 0
  },
  "blockIO": {
    "weight": 0
  }
}

Note: if data is to be read from a file or the standard input, all
other options are ignored.
`

// updateFlags are the values as they were given, "" for those that were not.
type updateFlags struct {
	file                                                               string
	blkioWeight, pidsLimit                                             string
	cpuPeriod, cpuQuota, cpuBurst, cpuShare, cpuRtPeriod, cpuRtRuntime string
	cpusetCpus, cpusetMems, cpuIdle                                    string
	memory, memoryReservation, memorySwap, kernel, kernelTCP           string
	l3, memBw                                                          string
}

func updateCommand() *command {
	var u updateFlags
	return &command{
		name: "update", usage: "update container resource constraints",
		args: "<container-id>",
		min:  1, max: 1,
		flags: u.define,
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			o := libvserver.UpdateOptions{ID: c.args[0], L3CacheSchema: u.l3, MemBwSchema: u.memBw}
			if o.Resources, err = u.resources(); err != nil {
				return 0, err
			}
			return 0, v.Update(&o)
		},
	}
}

func (u *updateFlags) define(f *flags) {
	f.string(&u.file, "resources, r", aboutResources)
	f.string(&u.blkioWeight, "blkio-weight", "Specifies per cgroup weight, range is from 10 to 1000")
	f.string(&u.cpuPeriod, "cpu-period", "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default")
	f.string(&u.cpuQuota, "cpu-quota", "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period")
	f.string(&u.cpuBurst, "cpu-burst", "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period")
	f.string(&u.cpuShare, "cpu-share", "CPU shares (relative weight vs. other containers)")
	f.string(&u.cpuRtPeriod, "cpu-rt-period", "CPU realtime period to be used for hardcapping (in usecs). 0 to use system default")
	f.string(&u.cpuRtRuntime, "cpu-rt-runtime", "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period")
	f.string(&u.cpusetCpus, "cpuset-cpus", "CPU(s) to use")
	f.string(&u.cpusetMems, "cpuset-mems", "Memory node(s) to use")
	f.string(&u.kernel, "kernel-memory", "")
	f.string(&u.kernelTCP, "kernel-memory-tcp", "")
	f.string(&u.memory, "memory", "Memory limit (in bytes)")
	f.string(&u.cpuIdle, "cpu-idle", "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE")
	f.string(&u.memoryReservation, "memory-reservation", "Memory reservation or soft_limit (in bytes)")
	f.string(&u.memorySwap, "memory-swap", "Total memory usage (memory + swap); set '-1' to enable unlimited swap")
	f.string(&u.pidsLimit, "pids-limit", "Maximum number of pids allowed in the container")
	f.string(&u.l3, "l3-cache-schema", "The string of Intel RDT/CAT L3 cache schema")
	f.string(&u.memBw, "mem-bw-schema", "The string of Intel RDT/MBA memory bandwidth schema")
}

// resources makes one document of what the flags say.
func (u *updateFlags) resources() (*specs.LinuxResources, error) {
	if u.file != "" {
		return readResources(u.file)
	}
	mem, cpu, pids, io := new(specs.LinuxMemory), new(specs.LinuxCPU), new(specs.LinuxPids), new(specs.LinuxBlockIO)
	for _, f := range [...]struct {
		name, val string
		to        **uint64
	}{
		{"cpu-burst", u.cpuBurst, &cpu.Burst}, {"cpu-period", u.cpuPeriod, &cpu.Period},
		{"cpu-rt-period", u.cpuRtPeriod, &cpu.RealtimePeriod}, {"cpu-share", u.cpuShare, &cpu.Shares},
	} {
		if f.val == "" {
			continue
		}
		v, err := strconv.ParseUint(f.val, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("invalid value for %s: %w", f.name, err)
		}
		*f.to = &v
	}
	for _, f := range [...]struct {
		name, val string
		parse     func(string) (int64, error)
		to        **int64
	}{
		{"cpu-idle", u.cpuIdle, parseInt, &cpu.Idle}, {"cpu-quota", u.cpuQuota, parseInt, &cpu.Quota},
		{"cpu-rt-runtime", u.cpuRtRuntime, parseInt, &cpu.RealtimeRuntime}, {"pids-limit", u.pidsLimit, parseAnyBase, &pids.Limit},
		{"memory", u.memory, parseBytes, &mem.Limit}, {"memory-swap", u.memorySwap, parseBytes, &mem.Swap},
		{"memory-reservation", u.memoryReservation, parseBytes, &mem.Reservation},
		{"kernel-memory", u.kernel, parseBytes, nil}, {"kernel-memory-tcp", u.kernelTCP, parseBytes, nil},
	} {
		if f.val == "" {
			continue
		}
		v, err := f.parse(f.val)
		switch {
		case err != nil:
			return nil, fmt.Errorf("invalid value for %s: %w", f.name, err)
		case f.to == nil:
			log.Warnf("--%s: kernel memory settings are ignored, as in runc and by Linux since 5.16", f.name)
		default:
			*f.to = &v
		}
	}
	if u.blkioWeight != "" {
		v, err := strconv.ParseUint(u.blkioWeight, 0, 16)
		if err != nil {
			return nil, fmt.Errorf("invalid value for blkio-weight: %w", err)
		}
		w := uint16(v)
		io.Weight = &w
	}
	cpu.Cpus, cpu.Mems = u.cpusetCpus, u.cpusetMems
	r := new(specs.LinuxResources)
	if *mem != (specs.LinuxMemory{}) {
		r.Memory = mem
	}
	if *cpu != (specs.LinuxCPU{}) {
		r.CPU = cpu
	}
	if pids.Limit != nil {
		r.Pids = pids
	}
	if io.Weight != nil {
		r.BlockIO = io
	}
	return r, nil
}

func parseInt(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

// parseAnyBase is for the flags that are numbers to runc's command line, not strings: 0x20 and 040 are 32.
func parseAnyBase(s string) (int64, error) { return strconv.ParseInt(s, 0, 64) }

func readResources(file string) (*specs.LinuxResources, error) {
	var raw []byte
	var err error
	name := file
	if file == "-" {
		name = "standard input"
		raw, err = io.ReadAll(os.Stdin)
	} else {
		raw, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("--resources: %w", err)
	}
	r, err := spec.ParseResources(raw)
	if err != nil {
		return nil, fmt.Errorf("--resources: %s: %w", name, err)
	}
	return r, nil
}

// parseBytes reads a size as runc does: a number, with a fraction if need be, and a unit of powers of 1024 in any case
// ("64m", "1.5GiB", "512 kB"); -1 is no limit.
func parseBytes(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	bad := errors.New("invalid size: '" + s + "'")
	end := strings.LastIndexAny(s, "0123456789.") + 1
	v, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || v < 0 {
		return 0, bad
	}
	unit := strings.ToLower(strings.TrimPrefix(s[end:], " "))
	if unit != "" {
		const prefixes = "bkmgtpezy"
		i := strings.IndexByte(prefixes, unit[0])
		rest := unit[1:]
		if i < 0 || rest != "" && (i == 0 || rest != "b" && rest != "ib") {
			return 0, bad
		}
		for ; i > 0; i-- {
			v *= 1024
		}
	}
	if v >= 1<<63 {
		return 0, errors.New("invalid size: '" + s + "' is too large")
	}
	return int64(v), nil
}
