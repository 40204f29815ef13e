package cgroup

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/host"
)

func allV1() *Manager {
	m := &Manager{layout: host.CgroupV1, driver: DriverCgroupfs}
	for _, h := range []string{"cpuset", "cpu,cpuacct", "memory", "devices", "blkio", "pids", "hugetlb", "net_cls,net_prio", "rdma"} {
		m.dirs = append(m.dirs, dir{hier: h, path: "/nowhere/" + h, base: len("/nowhere"), fd: -1})
	}
	return m
}

func allV2() *Manager {
	return &Manager{layout: host.CgroupV2, driver: DriverCgroupfs, dirs: []dir{{path: "/nowhere", base: 0, fd: -1}}}
}

func resourcesOf(t *testing.T, js string) *specs.LinuxResources {
	t.Helper()
	var r specs.LinuxResources
	if err := json.Unmarshal([]byte(js), &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// planned gives the writes as "file=value".
func planned(t *testing.T, m *Manager, js string, current func(string) string) ([]string, error) {
	t.Helper()
	res, err := convert(resourcesOf(t, js))
	if err != nil {
		return nil, err
	}
	ws, err := m.plan(&res, current)
	var out []string
	for _, w := range ws {
		if !strings.HasPrefix(w.place, "linux.resources.") {
			t.Errorf("%s: place %q", w.file, w.place)
		}
		out = append(out, w.file+"="+w.val)
	}
	return out, err
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name, res  string
		v1, v2     []string
		err1, err2 string
	}{
		{name: "empty", res: `{}`},
		{name: "pids", res: `{"pids":{"limit":100}}`, v1: []string{"pids.max=100"}, v2: []string{"pids.max=100"}},
		{name: "pids none", res: `{"pids":{"limit":-1}}`, v1: []string{"pids.max=max"}, v2: []string{"pids.max=max"}},
		{name: "pids 0", res: `{"pids":{"limit":0}}`, v1: []string{"pids.max=1"}, v2: []string{"pids.max=1"}},
		{name: "pids unset", res: `{"pids":{}}`},
		{name: "memory", res: `{"memory":{"limit":1000,"reservation":500,"swap":3000}}`,
			v1: []string{"memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=3000", "memory.soft_limit_in_bytes=500"},
			v2: []string{"memory.swap.max=2000", "memory.max=1000", "memory.low=500"}},
		{name: "memory without swap", res: `{"memory":{"limit":1000,"swap":1000}}`,
			v1: []string{"memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=1000"},
			v2: []string{"memory.swap.max=0", "memory.max=1000"}},
		{name: "memory unlimited", res: `{"memory":{"limit":-1}}`,
			v1: []string{"memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"},
			v2: []string{"memory.swap.max=max", "memory.max=max"}},
		{name: "swap unlimited", res: `{"memory":{"limit":1000,"swap":-1}}`,
			v1: []string{"memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=-1"},
			v2: []string{"memory.swap.max=max", "memory.max=1000"}},
		{name: "swap below memory", res: `{"memory":{"limit":1000,"swap":500}}`, err1: "memory.swap: 500", err2: "memory.swap: 500"},
		{name: "swap alone", res: `{"memory":{"swap":500}}`, v1: []string{"memory.memsw.limit_in_bytes=500"}, err2: "memory.swap: unable to set swap limit without memory limit"},
		{name: "memory of v1", res: `{"memory":{"kernelTCP":7,"swappiness":60,"disableOOMKiller":true,"useHierarchy":true}}`,
			v1:   []string{"memory.oom_control=1", "memory.swappiness=60", "memory.kmem.tcp.limit_in_bytes=7", "memory.use_hierarchy=1"},
			err2: "memory.swappiness: can't be converted to cgroup version 2"},
		{name: "kernel memory", res: `{"memory":{"kernel":7}}`, v1: []string{"memory.kmem.limit_in_bytes=7"}},
		{name: "oom killer on", res: `{"memory":{"disableOOMKiller":false}}`},
		{name: "oom killer off", res: `{"memory":{"disableOOMKiller":true}}`, v1: []string{"memory.oom_control=1"}, err2: "memory.disableOOMKiller"},
		{name: "swappiness", res: `{"memory":{"swappiness":101}}`, err1: "memory.swappiness: 101", err2: "memory.swappiness: 101"},
		{name: "swappiness left alone", res: `{"memory":{"swappiness":18446744073709551615}}`},
		{name: "memory below -1", res: `{"memory":{"limit":-2}}`, err1: "memory.limit: -2", err2: "memory.limit: -2"},
		{name: "cpu", res: `{"cpu":{"shares":1024,"quota":50000,"period":100000,"burst":1000,"cpus":"0-1","mems":"0"}}`,
			v1: []string{"cpu.shares=1024", "cpu.cfs_period_us=100000", "cpu.cfs_burst_us=1000", "cpu.cfs_quota_us=50000", "cpuset.cpus=0-1", "cpuset.mems=0"},
			v2: []string{"cpu.weight=100", "cpu.max.burst=1000", "cpu.max=50000 100000", "cpuset.cpus=0-1", "cpuset.mems=0"}},
		{name: "quota alone", res: `{"cpu":{"quota":50000}}`, v1: []string{"cpu.cfs_quota_us=50000"}, v2: []string{"cpu.max=50000 100000"}},
		{name: "period alone", res: `{"cpu":{"period":50000}}`, v1: []string{"cpu.cfs_period_us=50000"}, v2: []string{"cpu.max=max 50000"}},
		{name: "no quota", res: `{"cpu":{"quota":-1}}`, v1: []string{"cpu.cfs_quota_us=-1"}, v2: []string{"cpu.max=max 100000"}},
		{name: "idle", res: `{"cpu":{"idle":1,"shares":2}}`, v1: []string{"cpu.shares=2", "cpu.idle=1"}, v2: []string{"cpu.weight=1", "cpu.idle=1"}},
		{name: "not idle", res: `{"cpu":{"idle":0,"shares":262144}}`, v1: []string{"cpu.idle=0", "cpu.shares=262144"}, v2: []string{"cpu.idle=0", "cpu.weight=10000"}},
		{name: "idle of 2", res: `{"cpu":{"idle":2}}`, err1: "cpu.idle: 2", err2: "cpu.idle: 2"},
		{name: "shares of 1", res: `{"cpu":{"shares":1}}`, err1: "cpu.shares: 1 is not between 2 and 262144", v2: []string{"cpu.weight=1"}},
		{name: "burst above quota", res: `{"cpu":{"quota":1000,"burst":2000}}`, err1: "cpu.burst: 2000", err2: "cpu.burst: 2000"},
		{name: "realtime", res: `{"cpu":{"realtimeRuntime":1,"realtimePeriod":2}}`, v1: []string{"cpu.rt_period_us=2", "cpu.rt_runtime_us=1"}, err2: "cpu.realtimeRuntime"},
		{name: "blockIO", res: `{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":10}],
			"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":100}],"throttleWriteBpsDevice":[{"major":8,"minor":1,"rate":0}],
			"throttleReadIOPSDevice":[{"major":8,"minor":2,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":3,"rate":4}]}}`,
			v1: []string{"blkio.bfq.weight=500", "blkio.bfq.weight_device=8:0 10", "blkio.throttle.read_bps_device=8:0 100",
				"blkio.throttle.write_bps_device=8:1 0", "blkio.throttle.read_iops_device=8:2 3", "blkio.throttle.write_iops_device=8:3 4"},
			v2: []string{"io.weight=default 4950", "io.weight=8:0 1", "io.max=8:0 rbps=100", "io.max=8:1 wbps=max", "io.max=8:2 riops=3", "io.max=8:3 wiops=4"}},
		{name: "weight of 5", res: `{"blockIO":{"weight":5}}`, err1: "blockIO.weight: 5", err2: "blockIO.weight: 5"},
		{name: "leaf weight", res: `{"blockIO":{"leafWeight":50,"weightDevice":[{"major":1,"minor":2,"leafWeight":20}]}}`,
			v1: []string{"blkio.leaf_weight_device=1:2 20", "blkio.leaf_weight=50"}, err2: "blockIO.leafWeight"},
		{name: "no weight", res: `{"blockIO":{"weightDevice":[{"major":1,"minor":2}]}}`, err1: "weightDevice[0]: needs weight", err2: "weightDevice[0]: needs weight"},
		{name: "hugetlb", res: `{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}`,
			v1: []string{"hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes=4194304"},
			v2: []string{"hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"}},
		{name: "hugetlb escape", res: `{"hugepageLimits":[{"pageSize":"../x","limit":1}]}`, err1: "hugepageLimits[0].pageSize", err2: "hugepageLimits[0].pageSize"},
		{name: "network", res: `{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]}}`,
			v1: []string{"net_cls.classid=1048577", "net_prio.ifpriomap=eth0 5"}, err2: "network.classID"},
		{name: "priorities", res: `{"network":{"priorities":[{"name":"eth0","priority":5}]}}`, v1: []string{"net_prio.ifpriomap=eth0 5"}, err2: "network.priorities"},
		{name: "rdma", res: `{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1}}}`,
			v1: []string{"rdma.max=mlx4_0 hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"},
			v2: []string{"rdma.max=mlx4_0 hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"}},
		{name: "rdma empty", res: `{"rdma":{"mlx5_1":{}}}`, err1: `rdma["mlx5_1"]: needs`, err2: `rdma["mlx5_1"]: needs`},
		{name: "unified", res: `{"unified":{"memory.high":"1G","hugetlb.1GB.max":"0"}}`, err1: "unified: needs cgroup version 2",
			v2: []string{"hugetlb.1GB.max=0", "memory.high=1G"}},
		{name: "unified escape", res: `{"unified":{"../memory.high":"1"}}`, err1: "without slashes", err2: "without slashes"},
		{name: "unified form", res: `{"unified":{"memory":"1"}}`, err1: "CONTROLLER.PARAMETER", err2: "CONTROLLER.PARAMETER"},
	} {
		for _, v := range []struct {
			name string
			m    *Manager
			want []string
			err  string
		}{{c.name + " on v1", allV1(), c.v1, c.err1}, {c.name + " on v2", allV2(), c.v2, c.err2}} {
			got, err := planned(t, v.m, c.res, nil)
			checkErr(t, v.name, err, v.err)
			if err != nil {
				continue
			}
			if d := cmp.Diff(v.want, got); d != "" {
				t.Errorf("%s: %s", v.name, d)
			}
		}
	}
}

// A controller that has no version 1 hierarchy is sought in a hybrid host's version 2 tree.
func TestPlanHybrid(t *testing.T) {
	m := allV1()
	m.layout = host.CgroupHybrid
	m.dirs = append(m.dirs[:6], dir{path: "/u", fd: -1}) // without hugetlb, network, rdma
	got, err := planned(t, m, `{"memory":{"limit":5},"hugepageLimits":[{"pageSize":"2MB","limit":7}],"unified":{"memory.high":"9"}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"memory.limit_in_bytes=5", "hugetlb.2MB.max=7", "hugetlb.2MB.rsvd.max=7", "memory.high=9"}, got); d != "" {
		t.Error(d)
	}
	for ctl, want := range map[string]string{"memory": "/nowhere/memory", "hugetlb": "/u", unifiedPrefix + "memory": "/u", "cpuacct": "/nowhere/cpu,cpuacct"} {
		if got := m.dirFor(ctl).path; got != want {
			t.Errorf("dirFor(%q) = %s, want %s", ctl, got, want)
		}
	}
}

// An update of one of two values that version 2 keeps in one file keeps the other.
func TestPlanUpdateV2(t *testing.T) {
	current := func(file string) string {
		return map[string]string{"cpu.max": "20000 50000", "memory.max": "1000"}[file]
	}
	for res, want := range map[string]string{
		`{"cpu":{"quota":30000}}`:  "cpu.max=30000 50000",
		`{"cpu":{"period":25000}}`: "cpu.max=20000 25000",
		`{"cpu":{"quota":-1}}`:     "cpu.max=max 50000",
		`{"memory":{"swap":1500}}`: "memory.swap.max=500",
	} {
		got, err := planned(t, allV2(), res, current)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, %v, want %q", res, got, err, want)
		}
	}
}
