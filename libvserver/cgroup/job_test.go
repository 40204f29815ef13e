package cgroup

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec/wire"
)

// libraryResources reads resources as package job does.
func libraryResources(t testing.TB, r *resources) *cgroups.Resources {
	t.Helper()
	w := wire.NewWriter(nil, "")
	r.encode(w)
	dec := json.NewDecoder(bytes.NewReader(w.Bytes()))
	dec.DisallowUnknownFields()
	var lib cgroups.Resources
	if err := dec.Decode(&lib); err != nil {
		t.Fatalf("%v: %s", err, w.Bytes())
	}
	return &lib
}

func TestLibraryResources(t *testing.T) {
	res, err := convert(resourcesOf(t, `{
		"memory":{"limit":1,"reservation":2,"swap":3,"swappiness":0,"disableOOMKiller":true,"checkBeforeUpdate":true,"kernelTCP":4},
		"cpu":{"shares":512,"quota":-1,"period":6,"burst":0,"realtimeRuntime":8,"realtimePeriod":9,"idle":0,"cpus":"0-1","mems":"0"},
		"pids":{"limit":-1},
		"blockIO":{"weight":10,"leafWeight":11,"weightDevice":[{"major":8,"minor":0,"weight":12,"leafWeight":13},{"major":8,"minor":1,"leafWeight":14}],
			"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
			"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":18446744073709551615}]},
		"hugepageLimits":[{"pageSize":"2MB","limit":209715200}],
		"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":5}]},
		"rdma":{"mlx5_0":{"hcaHandles":3,"hcaObjects":0}},
		"unified":{"memory.high":"max"}}`))
	if err != nil {
		t.Fatal(err)
	}
	throttle := func(rate uint64) []*cgroups.ThrottleDevice {
		return []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 0, rate)}
	}
	want := &cgroups.Resources{
		Memory: 1, MemoryReservation: 2, MemorySwap: 3, MemorySwappiness: ptr[uint64](0), OomKillDisable: true, MemoryCheckBeforeUpdate: true,
		CpuShares: 512, CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(512), CpuQuota: -1, CpuPeriod: 6, CpuBurst: ptr[uint64](0),
		CpuRtRuntime: 8, CpuRtPeriod: 9, CPUIdle: ptr[int64](0), CpusetCpus: "0-1", CpusetMems: "0", PidsLimit: ptr[int64](-1),
		BlkioWeight: 10, BlkioLeafWeight: 11,
		BlkioWeightDevice:          []*cgroups.WeightDevice{cgroups.NewWeightDevice(8, 0, 12, 13), cgroups.NewWeightDevice(8, 1, 0, 14)},
		BlkioThrottleReadBpsDevice: throttle(1), BlkioThrottleWriteBpsDevice: throttle(2),
		BlkioThrottleReadIOPSDevice: throttle(3), BlkioThrottleWriteIOPSDevice: throttle(1<<64 - 1),
		HugetlbLimit:  []*cgroups.HugepageLimit{{Pagesize: "2MB", Limit: 209715200}},
		NetClsClassid: 1048577, NetPrioIfpriomap: []*cgroups.IfPrioMap{{Interface: "eth0", Priority: 5}},
		Rdma:    map[string]cgroups.LinuxRdma{"mlx5_0": {HcaHandles: ptr[uint32](3), HcaObjects: ptr[uint32](0)}},
		Unified: map[string]string{"memory.high": "max"},
	}
	if d := cmp.Diff(want, libraryResources(t, &res)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(&cgroups.Resources{}, libraryResources(t, &resources{})); d != "" {
		t.Error("nothing set", d)
	}
}

// The conversions that are written anew here are the library's.
func TestConversionsAreTheLibrarys(t *testing.T) {
	for _, n := range []uint64{0, 1, 2, 3, 10, 100, 512, 1023, 1024, 1025, 2048, 99999, 262143, 262144, 262145, 1 << 40} {
		if got, want := weightOfShares(n), cgroups.ConvertCPUSharesToCgroupV2Value(n); got != want {
			t.Errorf("shares %d: weight %d, want %d", n, got, want)
		}
	}
	for _, n := range []uint16{0, 10, 11, 100, 500, 999, 1000} {
		if got, want := ioWeight(n), cgroups.ConvertBlkIOToIOWeightValue(n); got != want {
			t.Errorf("blockIO weight %d: %d, want %d", n, got, want)
		}
	}
	for _, both := range []int64{-1, 0, 1, 100, 200} {
		for _, memory := range []int64{-1, 0, 1, 100, 300} {
			got, err := swapAlone(both, memory)
			want, werr := cgroups.ConvertMemorySwapToCgroupV2Value(both, memory)
			if got != want || (err == nil) != (werr == nil) {
				t.Errorf("swap %d of memory %d: %d %v, want %d %v", both, memory, got, err, want, werr)
			}
		}
	}
}

func TestRunJob(t *testing.T) {
	inProcess := runHelper
	t.Cleanup(func() { runHelper = inProcess })
	for _, c := range []struct {
		out    string
		helper error
		answer string
		err    string
	}{
		{out: `{}`},
		{out: `{"answer":{"a":[1]},"new":{}}`, answer: `{"a":[1]}`},
		{out: `{"log":[{"level":"debug","message":"x"}],"error":"stop it: no","answer":[1]}`, answer: `[1]`, err: "stop it: no"},
		{out: `{"answer":`, err: "answer of vsrun-helper x: "},
		{helper: errors.New("vsrun-helper x: killed"), err: "killed"},
	} {
		runHelper = func(string, []byte) ([]byte, error) { return []byte(c.out), c.helper }
		answer, err := runJob("x", nil)
		checkErr(t, c.out, err, c.err)
		if string(answer) != c.answer {
			t.Errorf("%s: answer %s", c.out, answer)
		}
	}
}

func TestUnitRequest(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	for _, name := range []string{"DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "PATH"} {
		t.Setenv(name, "")
	}
	inProcess := runHelper
	t.Cleanup(func() { runHelper = inProcess })
	var got []string
	runHelper = func(name string, request []byte) ([]byte, error) {
		got = append(got, name+" "+string(request))
		switch name {
		case "systemd-apply":
			return []byte(`{"error":"set its limits: no","answer":{"":"/sys/fs/cgroup/a.slice/p-c1.scope"}}`), nil
		}
		return []byte(`{}`), nil
	}
	m := mustNew(t, Options{ID: "c1", Systemd: true, Path: "a.slice:p:c1", Layout: host.CgroupV2, OwnerUID: ptr[uint32](7),
		Resources: resourcesOf(t, `{"pids":{"limit":5}}`), Annotations: map[string]string{"org.systemd.property.CollectMode": "'x'"}})
	err := m.ApplyPid(12)
	checkErr(t, "apply", err, "systemd unit p-c1.scope: set its limits: no")
	if m.Path("") != "/sys/fs/cgroup/a.slice/p-c1.scope" {
		t.Error("what was made before the failure must be known:", m.Paths())
	}
	if err := m.updateUnit(&resources{pidsLimit: ptr[int64](6)}); err != nil {
		t.Error(err)
	}
	// The library takes memory and swap together for nothing without that of memory.
	if err := m.updateUnit(&resources{memorySwap: 6}); err != nil {
		t.Error(err)
	}
	for _, sub := range []string{"", "/below"} {
		if err := m.AttachPid(13, m.Path("")+sub); err != nil {
			t.Error(err)
		}
	}
	checkErr(t, "attach", m.AttachPid(13, "/sys/fs/cgroup/a.slice"), "/sys/fs/cgroup/a.slice is not in the cgroup of systemd unit p-c1.scope")
	if err := m.stopUnit(); err != nil {
		t.Error(err)
	}
	const env = `"env":["DBUS_SYSTEM_BUS_ADDRESS=","DBUS_SESSION_BUS_ADDRESS=","XDG_RUNTIME_DIR=/run/user/1","PATH="],"unit":["a.slice","p","c1"]`
	const made = `"debug":false,"layout":"v2","rootless":false,"paths":{"":"/sys/fs/cgroup/a.slice/p-c1.scope"},` + env
	if d := cmp.Diff([]string{
		`systemd-apply {"debug":false,"layout":"v2","rootless":false,` + env + `,"pid":12,"owner":7,"properties":[["CollectMode","'x'"]],"resources":{"pids_limit":5}}`,
		`systemd-set {` + made + `,"resources":{"pids_limit":6}}`,
		`systemd-set {` + made + `,"resources":{"memory":-1,"memory_swap":6}}`,
		`systemd-attach {` + made + `,"pid":13,"sub":""}`,
		`systemd-attach {` + made + `,"pid":13,"sub":"/below"}`,
		`systemd-stop {` + made + `}`,
	}, got); d != "" {
		t.Error(d)
	}
}

// What has been written is put back if systemd does not take it.
func TestUnitRefusesUpdate(t *testing.T) {
	inProcess := runHelper
	t.Cleanup(func() { runHelper = inProcess })
	path := t.TempDir()
	file := path + "/pids.max"
	if err := os.WriteFile(file, []byte("37"), 0o600); err != nil {
		t.Fatal(err)
	}
	during := ""
	runHelper = func(string, []byte) ([]byte, error) {
		during = read(t, file)
		return []byte(`{"error":"set its limits: no"}`), nil
	}
	m := &Manager{driver: DriverSystemd, layout: host.CgroupV2, unit: unitName{"a.slice", "p", "c1"}, dirs: []dir{{path: path, base: len(path), fd: -1}}}
	err := m.Update(resourcesOf(t, `{"pids":{"limit":38}}`))
	checkErr(t, "update", err, "systemd unit p-c1.scope: set its limits: no")
	if after := read(t, file); during != "38" || after != "37" {
		t.Errorf("pids.max was %q when systemd was asked, and is %q", during, after)
	}
}

// eventData is part of what events prints.
type eventData struct {
	CPU struct {
		Usage struct{ Total uint64 }
		PSI   *struct{}
	}
	Memory struct {
		Usage struct{ Limit, Usage uint64 }
		PSI   *struct{}
	}
	Pids    struct{ Current, Limit uint64 }
	Blkio   struct{ PSI *struct{} }
	Hugetlb map[string]struct{}
}

func statsOf(t *testing.T, m *Manager) (d eventData) {
	t.Helper()
	js, err := m.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(js, &d); err != nil {
		t.Fatalf("%v: %s", err, js)
	}
	return d
}

// withHelper has jobs done by the real vsrun-helper, if there is one.
func withHelper(t *testing.T) bool {
	if _, err := helper.ID(); err != nil {
		return false
	}
	inProcess := runHelper
	t.Cleanup(func() { runHelper = inProcess })
	runHelper = helper.Run
	return true
}

func TestStatsV1(t *testing.T) {
	needV1(t)
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"pids":{"limit":50},"memory":{"limit":67108864}}`)})
	start(t, m, "sleep 100 & wait")
	eventually(t, "two processes", func() bool { p, _ := m.Pids(true); return len(p) == 2 })
	s := statsOf(t, Load(m.State()))
	if s.Pids.Current != 2 || s.Pids.Limit != 50 || s.Memory.Usage.Limit != 67108864 || s.CPU.Usage.Total == 0 {
		t.Errorf("%+v", s)
	}
	if !withHelper(t) {
		t.Skip("the rest needs vsrun-helper")
	}
	if s := statsOf(t, m); s.Pids.Current != 2 || s.Pids.Limit != 50 {
		t.Errorf("by the helper: %+v", s)
	}
	if _, err := annotationProperties(map[string]string{"org.systemd.property.TasksMax": "x"}); err == nil || !strings.HasPrefix(err.Error(), `annotations["org.systemd.property.TasksMax"]: "x": `) {
		t.Error("an error of the job must come as such:", err)
	}
}

func TestStatsV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	m := mustCreate(t, Options{})
	start(t, m, "sleep 100 & wait")
	eventually(t, "two processes", func() bool { p, _ := m.Pids(true); return len(p) == 2 })
	if s := statsOf(t, m); s.Pids.Current != 2 {
		t.Error(s)
	}
}
