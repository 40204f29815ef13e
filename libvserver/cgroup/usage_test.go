package cgroup

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vsrun/vsrun/libvserver/host"
)

// fakeManager has the files of a cgroup, by "HIERARCHY/NAME", in directories of no kernel's.
func fakeManager(t *testing.T, layout host.Layout, files map[string]string) *Manager {
	t.Helper()
	m := &Manager{driver: DriverCgroupfs, layout: layout}
	root := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		hier, _ := filepath.Split(name)
		dirPath := filepath.Join(root, hier)
		if err := os.MkdirAll(dirPath, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
		if hier = filepath.Clean(hier); hier == "unified" {
			hier = ""
		}
		if !slices.ContainsFunc(m.dirs, func(d dir) bool { return d.hier == hier }) {
			m.dirs = append(m.dirs, dir{hier: hier, path: dirPath, fd: -1})
		}
	}
	return m
}

func TestUsageFiles(t *testing.T) {
	v1 := map[string]string{
		"devices/cgroup.procs":                            "11\n12\n13\n",
		"memory/memory.usage_in_bytes":                    "4096\n",
		"memory/memory.max_usage_in_bytes":                "8192\n",
		"memory/memory.limit_in_bytes":                    "16384\n",
		"cpu,cpuacct/cpuacct.usage":                       "3210000000\n",
		"cpu,cpuacct/cpuacct.stat":                        "user 200\nsystem 121\n",
		"cpu,cpuacct/cpu.stat":                            "nr_periods 9\nnr_throttled 4\nthrottled_time 555\n",
		"pids/pids.current":                               "5\n",
		"pids/pids.max":                                   "50\n",
		"blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 200\n8:0 Sync 300\n8:16 Read 1\n8:16 Write 2\nTotal 603\n",
		"blkio/blkio.throttle.io_serviced_recursive":      "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
	}
	want := Usage{HasMemory: true, HasTasks: true, HasIO: true, Memory: 4096, MemoryPeak: 8192, MemoryLimit: 16384,
		CPU: 3210000000, CPUUser: 2e9, CPUSystem: 121e7, Periods: 9, Throttled: 4, ThrottledTime: 555,
		Processes: 3, Tasks: 5, TasksLimit: 50, ReadBytes: 101, WriteBytes: 202, Reads: 10, Writes: 20}
	hybrid := maps.Clone(v1)
	hybrid["unified/cpu.stat"] = "usage_usec 1000\nuser_usec 700\nsystem_usec 300\nnice_usec 5\n"
	wantHybrid := want
	wantHybrid.CPU, wantHybrid.CPUUser, wantHybrid.CPUSystem = 1e6, 7e5, 3e5
	v2 := map[string]string{
		"unified/cgroup.procs":   "11\n12\n13\n",
		"unified/memory.current": "4096\n", "unified/memory.peak": "8192\n", "unified/memory.max": "16384\n",
		"unified/cpu.stat":     "usage_usec 3210000\nuser_usec 2000000\nsystem_usec 1210000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n",
		"unified/pids.current": "5\n", "unified/pids.max": "50\n",
		"unified/io.stat": "8:0 rbytes=100 wbytes=200 rios=10 wios=20 dbytes=9 dios=9\n8:16 rbytes=1 wbytes=2 rios=0 wios=0 dbytes=0 dios=0\n8:32 \n",
	}
	wantV2 := want
	wantV2.ThrottledTime = 7000
	free := maps.Clone(v2)
	free["unified/memory.max"], free["unified/pids.max"] = "max\n", "max\n"
	delete(free, "unified/memory.peak") // before Linux 5.19
	wantFree := wantV2
	wantFree.MemoryLimit, wantFree.TasksLimit, wantFree.MemoryPeak = NoLimit, NoLimit, 0
	free1 := maps.Clone(v1)
	free1["memory/memory.limit_in_bytes"], free1["pids/pids.max"] = "9223372036854771712\n", "max\n"
	wantFree1 := want
	wantFree1.MemoryLimit, wantFree1.TasksLimit = NoLimit, NoLimit
	for name, c := range map[string]struct {
		layout host.Layout
		files  map[string]string
		want   Usage
	}{
		"v1":                       {host.CgroupV1, v1, want},
		"v1 without limits":        {host.CgroupV1, free1, wantFree1},
		"hybrid":                   {host.CgroupHybrid, hybrid, wantHybrid},
		"v2":                       {host.CgroupV2, v2, wantV2},
		"v2 without limits":        {host.CgroupV2, free, wantFree},
		"v2 without controllers":   {host.CgroupV2, map[string]string{"unified/cgroup.procs": "1\n", "unified/cpu.stat": "usage_usec 1\n"}, Usage{Processes: 1, CPU: 1000}},
		"hybrid, only the v2 tree": {host.CgroupHybrid, map[string]string{"devices/cgroup.procs": "", "unified/pids.current": "2", "unified/pids.max": "3"}, Usage{HasTasks: true, Tasks: 2, TasksLimit: 3}},
	} {
		got, err := fakeManager(t, c.layout, c.files).Usage()
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	if _, err := (&Manager{}).Usage(); err != ErrNoCgroup {
		t.Error(err)
	}
	gone := fakeManager(t, host.CgroupV2, v2)
	if err := os.RemoveAll(gone.dirs[0].path); err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Usage(); err == nil {
		t.Error("no error from a cgroup that is gone")
	}
}

// The figures of a real cgroup agree with the library's.
func TestUsageV1(t *testing.T) {
	needV1(t)
	testUsage(t, `{"memory":{"limit":67108864},"pids":{"limit":50}}`)
}
func TestUsageV2(t *testing.T) {
	if onV2(t) {
		testUsage(t, `{}`)
	}
}

func testUsage(t *testing.T, res string) {
	m := mustCreate(t, Options{Resources: resourcesOf(t, res)})
	start(t, m, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 100 & wait")
	eventually(t, "two processes", func() bool { p, _ := m.Pids(true); return len(p) == 2 })
	u, err := Load(m.State()).Usage()
	if err != nil {
		t.Fatal(err)
	}
	s := statsOf(t, m)
	if u.Processes != 2 || u.CPU == 0 || u.CPU > 2*s.CPU.Usage.Total+1e6 { // of two hierarchies, read one after the other
		t.Errorf("%+v, %d ns by the library", u, s.CPU.Usage.Total)
	}
	limit := s.Pids.Limit
	if limit == 0 { // which is the library's word for none
		limit = NoLimit
	}
	if u.HasTasks && (u.Tasks != 2 || u.Tasks != s.Pids.Current || u.TasksLimit != limit) {
		t.Errorf("%+v, %+v by the library", u, s.Pids)
	}
	if u.HasMemory && (u.MemoryLimit != s.Memory.Usage.Limit || u.Memory == 0 || u.MemoryPeak < u.Memory) {
		t.Errorf("%+v, %+v by the library", u, s.Memory.Usage)
	}
	// Cgroups below count.
	sub := m.main().path + "/sub"
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	pids, _ := m.Pids(true)
	if err := writeFile(sub+"/cgroup.procs", strconv.Itoa(pids[len(pids)-1])); err != nil {
		t.Fatal(err)
	}
	if u, err := m.Usage(); err != nil || u.Processes != 2 {
		t.Errorf("%d processes with one below, %v", u.Processes, err)
	}
}

// A hybrid host's version 2 tree adds what version 1 lacks.
func TestStatsHybrid(t *testing.T) {
	needV1(t)
	if host.CgroupLayout() != host.CgroupHybrid {
		t.Skip("needs a hybrid host")
	}
	m := mustCreate(t, Options{})
	s := statsOf(t, m)
	if _, err := os.Stat(m.Path("") + "/memory.pressure"); err == nil && (s.CPU.PSI == nil || s.Memory.PSI == nil || s.Blkio.PSI == nil) {
		t.Error("no pressure")
	}
	if _, err := os.Stat(m.Path("") + "/hugetlb.2MB.current"); err == nil && len(s.Hugetlb) == 0 {
		t.Error("no huge pages")
	}
}

func TestWatchV1(t *testing.T) {
	needV1(t)
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"memory":{"limit":4194304,"swap":4194304}}`)})
	if m.Path("memory") == "" {
		t.Skip("needs the memory controller")
	}
	w, err := m.Watch()
	if err != nil || !w.Memory() {
		t.Fatal(err)
	}
	defer w.Close()
	if oom, readable, err := w.Wait(0, -1); oom || readable || err != nil {
		t.Error(oom, readable, err)
	}
	cmd := start(t, m, "exec head -c 50000000 /dev/zero | tail -c 40000000 > /dev/null")
	eventually(t, "it is announced", func() bool { oom, _, err := w.Wait(time.Second, -1); return oom && err == nil })
	_ = cmd.Wait()
	if w.events >= 0 {
		eventually(t, "the end of all processes is announced", func() bool {
			_, _, _ = w.Wait(time.Second, -1)
			e, err := m.Empty()
			return e && err == nil
		})
	}
	for w.Last() {
	}
	// The removal of the cgroup is announced to no one as a lack of memory.
	if err := m.Destroy(); err != nil {
		t.Fatal(err)
	}
	if oom, _, err := w.Wait(0, -1); oom || err != nil {
		t.Error(oom, err)
	}
}

func TestWatchV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	m := mustCreate(t, Options{})
	cmd := start(t, m, "exec sleep 100")
	w, err := m.Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, _, _ = w.Wait(0, -1) // what was announced before
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	begin := time.Now()
	if oom, _, err := w.Wait(time.Minute, -1); oom || err != nil || time.Since(begin) > 30*time.Second {
		t.Error(oom, err, time.Since(begin))
	}
	if e, err := m.Empty(); !e || err != nil {
		t.Error("not empty", err)
	}
}

// Version 2 counts kills in memory.events, where there is a memory controller.
func TestWatchCounts(t *testing.T) {
	m := fakeManager(t, host.CgroupV2, map[string]string{"unified/cgroup.events": "populated 1\n", "unified/memory.events": "low 0\noom 3\noom_kill 1\n"})
	w, err := m.Watch()
	if err != nil || !w.Memory() {
		t.Fatal(err)
	}
	defer w.Close()
	if w.Last() {
		t.Error("a kill from before the watch")
	}
	if err := os.WriteFile(m.dirs[0].path+"/memory.events", []byte("low 0\noom 4\noom_kill 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !w.Last() || w.Last() {
		t.Error("one kill is told of once")
	}
	if _, err := (&Manager{}).Watch(); err != ErrNoCgroup {
		t.Error(err)
	}
}

func BenchmarkUsage(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: makes a cgroup")
	}
	m, err := New(Options{ID: "vsruntest-usage"})
	if err == nil {
		err = m.Create()
	}
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = m.Destroy() }()
	for b.Loop() {
		if _, err := m.Usage(); err != nil {
			b.Fatal(err)
		}
	}
}
