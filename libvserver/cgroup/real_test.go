package cgroup

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

func TestJoinHybrid(t *testing.T) {
	needV1(t)
	id := testID(t)
	m := mustCreate(t, Options{ID: id})
	cmd := start(t, m, "sleep 100 & wait")
	eventually(t, "the child's child is in", func() bool { p, _ := m.Pids(false); return len(p) == 2 })
	own := ownCgroupLines(t, cmd.Process.Pid)
	for i := range m.dirs {
		if p := own[m.dirs[i].hier]; p != "/"+id {
			t.Errorf("%q: in %s", m.dirs[i].hier, p)
		}
	}
	if len(m.dirs) < 5 {
		t.Errorf("only %d hierarchies", len(m.dirs))
	}
	if m.Path("memory") != host.CgroupRoot+"/memory/"+id {
		t.Errorf("Path: %s", m.Path("memory"))
	}
}

func TestJoinV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	id := testID(t)
	m := mustCreate(t, Options{ID: id})
	cmd := start(t, m, "sleep 100")
	if got := ownCgroupLines(t, cmd.Process.Pid)[""]; got != "/"+id {
		t.Errorf("in %s", got)
	}
}

// Everything that Create makes goes, parents too, and nothing that it found.
func TestDestroyV1(t *testing.T) { needV1(t); testDestroy(t, "memory") }
func TestDestroyV2(t *testing.T) {
	if onV2(t) {
		testDestroy(t, "")
	}
}

func testDestroy(t *testing.T, ctl string) {
	id := testID(t)
	keep := (&Manager{}).layoutRoot(ctl) + "/" + id + "-kept"
	if err := os.Mkdir(keep, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(keep)
	m := mustNew(t, Options{ID: "c", Path: "/" + id + "-kept/a/b/c"})
	intent := m.Intent()
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(intent, m.State()); d != "" {
		t.Errorf("Intent foresaw otherwise: %s", d)
	}
	if m.dirOf(ctl).made != 3 {
		t.Errorf("made %d components, want 3", m.dirOf(ctl).made)
	}
	// A second container beside it, and cgroups that the first made for itself.
	other := mustCreate(t, Options{ID: "d", Path: "/" + id + "-kept/a/d"})
	for _, sub := range []string{"/x", "/x/y", "/z"} {
		if err := os.Mkdir(m.Path(ctl)+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Load(m.State()).Destroy(); err != nil {
		t.Fatal(err)
	}
	if exists(keep+"/a/b") || !exists(keep+"/a/d") {
		t.Error("wrong directories are left")
	}
	if err := m.Destroy(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := other.Destroy(); err != nil {
		t.Fatal(err)
	}
	if !exists(keep) {
		t.Error("removed a cgroup that it did not make")
	}
	if names, _ := listDirs(keep); len(names) > 1 || len(names) == 1 && names[0] != "a" {
		t.Errorf("left %q", names)
	}
	_ = os.Remove(keep + "/a") // the first made it, the second was in it
}

// layoutRoot is the mount point of a controller's hierarchy.
func (m *Manager) layoutRoot(ctl string) string {
	if host.CgroupLayout() == host.CgroupV2 {
		return host.CgroupRoot
	}
	return host.CgroupRoot + "/" + ctl
}

func TestCreateLeavesNothingWhenItFails(t *testing.T) {
	needV1(t)
	id := testID(t)
	probe := mustNew(t, Options{ID: id})
	blocker := ""
	for i := range probe.dirs {
		if d := &probe.dirs[i]; !d.v2() && !d.has("cpuset") { // that would need CPUs first
			blocker = d.path // made after others
		}
	}
	if err := os.Mkdir(blocker, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(blocker)
	c := start(t, mustCreate(t, Options{ID: id + "x"}), "exec sleep 100")
	if err := os.WriteFile(blocker+"/cgroup.procs", []byte(itoa(c.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	m := mustNew(t, Options{ID: id})
	checkErr(t, "Create", m.Create(), "cgroup "+blocker+" is not empty: 1 processes are in it")
	_ = c.Process.Kill()
	_ = c.Wait()
	for i := range probe.dirs {
		if p := probe.dirs[i].path; p != blocker && exists(p) {
			t.Errorf("%s is left", p)
		}
	}
	if !exists(blocker) {
		t.Error("removed what was there before")
	}
}

func TestCreateRefusesFrozen(t *testing.T) {
	if !onV2(t) {
		return
	}
	path := host.CgroupRoot + "/" + testID(t)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	if err := writeFile(path+"/cgroup.freeze", "1"); err != nil {
		t.Fatal(err)
	}
	checkErr(t, "Create", mustNew(t, Options{}).Create(), "is frozen")
}

func TestLimitsV1(t *testing.T) {
	needV1(t)
	dev, major := blockDevice(t)
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432,"swappiness":10,"disableOOMKiller":true,"kernelTCP":1048576},
		"cpu":{"shares":512,"quota":50000,"period":200000,"burst":10000,"cpus":"0","mems":"0"},"pids":{"limit":77},
		"blockIO":{"throttleReadBpsDevice":[{`+major+`,"rate":1048576}]}}`)})
	for f, want := range map[string]string{
		"memory/memory.limit_in_bytes": "67108864", "memory/memory.soft_limit_in_bytes": "33554432", "memory/memory.swappiness": "10",
		"memory/memory.memsw.limit_in_bytes": "134217728", "memory/memory.kmem.tcp.limit_in_bytes": "1048576",
		"cpu/cpu.shares": "512", "cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "200000", "cpu/cpu.cfs_burst_us": "10000",
		"cpuset/cpuset.cpus": "0", "cpuset/cpuset.mems": "0", "pids/pids.max": "77",
		"blkio/blkio.throttle.read_bps_device": dev + " 1048576",
	} {
		ctl, file, _ := strings.Cut(f, "/")
		if m.Path(ctl) == "" {
			continue
		}
		if got := read(t, m.Path(ctl)+"/"+file); got != want {
			t.Errorf("%s: %s, want %s", f, got, want)
		}
	}
	if got := read(t, m.Path("memory")+"/memory.oom_control"); !strings.HasPrefix(got, "oom_kill_disable 1") {
		t.Error(got)
	}
}

func TestLimitErrors(t *testing.T) {
	needV1(t)
	for _, c := range []struct{ res, err string }{
		{`{"cpu":{"cpus":"4000"}}`, `linux.resources.cpu.cpus: write "4000" to /sys/fs/cgroup/cpuset/`},
		{`{"cpu":{"quota":5}}`, `linux.resources.cpu.quota: write "5" to`},
		{`{"cpu":{"period":1}}`, `linux.resources.cpu.period: write "1" to`},
		{`{"cpu":{"shares":1}}`, `linux.resources.cpu.shares: 1 is not between`},
		{`{"cpu":{"realtimePeriod":18446744073709551615}}`, `linux.resources.cpu.realtimePeriod: `},
		{`{"blockIO":{"weight":1001}}`, `linux.resources.blockIO.weight: 1001 is not between`},
		{`{"blockIO":{"leafWeight":9}}`, `linux.resources.blockIO.leafWeight: 9 is not between`},
		{`{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":9}]}}`, `linux.resources.blockIO.weightDevice[0].leafWeight: 9 is not between`},
		{`{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}`, `linux.resources.hugepageLimits[0]: `},
		{`{"rdma":{"nosuch0":{"hcaHandles":1}}}`, `linux.resources.rdma["nosuch0"]: `},
		{`{"unified":{"nosuch.max":"1"}}`, `linux.resources.unified`},
	} {
		m, err := New(Options{ID: testID(t), Resources: resourcesOf(t, c.res)})
		if err == nil {
			if err = m.Create(); err == nil {
				err = m.Set()
			}
			if derr := m.Destroy(); derr != nil {
				t.Error(derr)
			}
		}
		checkErr(t, c.res, err, c.err)
	}
}

// The version 2 tree of a hybrid host holds controllers that have no hierarchy; here hugetlb.
func TestUnifiedLimits(t *testing.T) {
	for _, hybrid := range []bool{true, false} {
		if hybrid && host.CgroupLayout() != host.CgroupHybrid {
			continue
		}
		if !hybrid && !onV2(t) {
			continue
		}
		root := host.CgroupRoot
		if hybrid {
			root += "/unified"
		}
		needRoot(t)
		if all, _ := os.ReadFile(root + "/cgroup.controllers"); !hasWord(string(all), "hugetlb") {
			t.Skip("needs the hugetlb controller in the version 2 tree")
		}
		m := mustCreate(t, Options{Path: "/" + testID(t) + "/a/b", Resources: resourcesOf(t,
			`{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"unified":{"cgroup.max.depth":"3"}}`)})
		for f, want := range map[string]string{"hugetlb.2MB.max": "4194304", "hugetlb.2MB.rsvd.max": "4194304", "cgroup.max.depth": "3"} {
			if got := read(t, m.Path("")+"/"+f); got != want {
				t.Errorf("%s: %s, want %s", f, got, want)
			}
		}
		if err := m.Update(resourcesOf(t, `{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}`)); err != nil {
			t.Error(err)
		}
		if got := read(t, m.Path("")+"/hugetlb.2MB.max"); got != "0" {
			t.Errorf("after the update: %s", got)
		}
	}
}

func TestUpdateV1(t *testing.T) {
	needV1(t)
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"memory":{"limit":67108864,"swap":67108864},"cpu":{"quota":50000,"period":100000,"shares":100},"pids":{"limit":50}}`)})
	mem, cpu := m.Path("memory"), m.Path("cpu")
	devices := read(t, m.Path("devices")+"/devices.list")
	m = Load(m.State())
	for _, js := range []string{
		`{"memory":{"limit":134217728,"swap":134217728},"cpu":{"quota":20000,"period":10000},"devices":[{"allow":true,"access":"rwm"}]}`, // up, both pairs
		`{"memory":{"limit":33554432,"swap":33554432},"cpu":{"quota":1000,"period":200000,"burst":500}}`,                                 // down
	} {
		if err := m.Update(resourcesOf(t, js)); err != nil {
			t.Fatalf("%s: %v", js, err)
		}
	}
	values := func() [6]string {
		return [...]string{read(t, mem+"/memory.limit_in_bytes"), read(t, mem+"/memory.memsw.limit_in_bytes"), read(t, cpu+"/cpu.cfs_quota_us"),
			read(t, cpu+"/cpu.cfs_period_us"), read(t, cpu+"/cpu.shares"), read(t, m.Path("pids")+"/pids.max")}
	}
	want := [...]string{"33554432", "33554432", "1000", "200000", "100", "50"}
	if got := values(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if read(t, m.Path("devices")+"/devices.list") != devices {
		t.Error("an update changed the device rules")
	}
	// The last value is refused: everything goes back.
	err := m.Update(resourcesOf(t, `{"pids":{"limit":60},"memory":{"limit":268435456,"swap":268435456},"cpu":{"shares":200,"quota":5000,"cpus":"4000"}}`))
	checkErr(t, "Update", err, "linux.resources.cpu.cpus")
	if got := values(); got != want {
		t.Errorf("after a refused update: %q, want %q", got, want)
	}
	if err := m.Update(nil); err != nil {
		t.Error(err)
	}
}

func TestUpdateUndoesTables(t *testing.T) {
	needV1(t)
	dev, major := blockDevice(t)
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"blockIO":{"throttleReadBpsDevice":[{`+major+`,"rate":1000}]}}`)})
	file := m.Path("blkio") + "/blkio.throttle.read_bps_device"
	var undo undoLog
	ws := []write{
		{ctl: "blkio", file: "blkio.throttle.read_bps_device", val: dev + " 2000"},
		{ctl: "blkio", file: "blkio.throttle.write_bps_device", val: dev + " 2000"},
		{ctl: "memory", file: "memory.oom_control", val: "1"},
	}
	if err := m.put(ws, &undo); err != nil {
		t.Fatal(err)
	}
	if got := read(t, file); got != dev+" 2000" {
		t.Fatal(got)
	}
	if err := m.put(undo.writes(), nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, file); got != dev+" 1000" {
		t.Error(got)
	}
	if got := read(t, m.Path("blkio")+"/blkio.throttle.write_bps_device"); got != "" {
		t.Error(got)
	}
	if got := read(t, m.Path("memory")+"/memory.oom_control"); !strings.HasPrefix(got, "oom_kill_disable 0") {
		t.Error(got)
	}
}

func TestMemoryLimitBelowUseV1(t *testing.T) {
	needV1(t)
	m := mustCreate(t, Options{})
	start(t, m, "x=$(head -c 3000000 /dev/zero | tr '\\0' x); sleep 100 & wait")
	eventually(t, "memory is in use", func() bool {
		n, _ := strconv.Atoi(read(t, m.Path("memory")+"/memory.usage_in_bytes"))
		return n > 3000000
	})
	err := m.Update(resourcesOf(t, `{"memory":{"limit":65536}}`))
	if err == nil {
		t.Skip("the kernel reclaimed enough")
	}
	checkErr(t, "Update", err, "current use is")
}

// A container to which its cgroup is delegated can nest others deeper than a path can name.
func TestDeepV1(t *testing.T) { needV1(t); testDeep(t, "pids") }
func TestDeepV2(t *testing.T) {
	if onV2(t) {
		testDeep(t, "")
	}
}

func testDeep(t *testing.T, ctl string) {
	m := mustCreate(t, Options{})
	cmd := start(t, m, "sleep 100")
	fd, err := open(m.Path(ctl), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 200)
	for range 45 {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	procs, err := unix.Openat(fd, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	unix.Close(fd)
	if err != nil {
		t.Fatal(err)
	}
	err = writeAll(procs, strconv.Itoa(cmd.Process.Pid))
	unix.Close(procs)
	if err != nil {
		t.Fatal(err)
	}
	m = Load(m.State())
	if pids, err := m.everyone(); err != nil || !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("%v, %v: without %d", pids, err, cmd.Process.Pid)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := m.Destroy(); err != nil {
		t.Fatalf("%.200s", err)
	}
	if exists(m.Path(ctl)) {
		t.Error("still there")
	}
}

func TestFreezeAndKillV1(t *testing.T) { needV1(t); testFreezeAndKill(t) }
func TestFreezeAndKillV2(t *testing.T) {
	if onV2(t) {
		testFreezeAndKill(t)
	}
}

func testFreezeAndKill(t *testing.T) {
	m := mustCreate(t, Options{})
	if empty, err := m.Empty(); !empty || err != nil {
		t.Error("a new cgroup is not empty", err)
	}
	cmd := start(t, m, "while :; do sleep 0.01; done & sleep 100 & wait")
	eventually(t, "three processes", func() bool { p, _ := m.Pids(true); return len(p) >= 3 })
	m = Load(m.State())
	if empty, err := m.Empty(); empty || err != nil {
		t.Error("a full cgroup is empty", err)
	}
	if err := m.Freeze(true); err != nil {
		t.Fatal(err)
	}
	if f, err := m.Frozen(); !f || err != nil {
		t.Error("not frozen", err)
	}
	before, _ := m.Pids(true)
	time.Sleep(30 * time.Millisecond)
	if after, _ := m.Pids(true); !cmp.Equal(before, after) {
		t.Errorf("a frozen shell forks: %v, then %v", before, after)
	}
	if err := m.Freeze(false); err != nil {
		t.Fatal(err)
	}
	if f, err := m.Frozen(); f || err != nil {
		t.Error("still frozen", err)
	}
	if err := m.Freeze(true); err != nil {
		t.Fatal(err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "all are dead", func() bool { e, _ := m.Empty(); return e })
	if err := m.Destroy(); err != nil {
		t.Fatal(err)
	}
	if m.Exists() {
		t.Error("still there")
	}
	// Of what is gone nothing is an error.
	if f, err := m.Frozen(); f || err != nil {
		t.Error("Frozen", f, err)
	}
	if e, err := m.Empty(); !e || err != nil {
		t.Error("Empty", e, err)
	}
	if err := m.Kill(); err != nil {
		t.Error("Kill", err)
	}
	if _, err := m.OOMKills(); err != nil {
		t.Error("OOMKills", err)
	}
}

// Without cgroup.kill, and with processes that fork all the time and sit in cgroups below.
func TestSignalAll(t *testing.T) {
	needRoot(t)
	m := mustCreate(t, Options{})
	all := m.dirs
	if m.layout == host.CgroupHybrid {
		m.dirs = all[:len(all)-1] // version 1 only
	}
	defer func() { m.dirs = all }()
	sub := m.main().path + "/sub"
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	flag := t.TempDir() + "/go"
	cmd := start(t, m, "while ! [ -e "+flag+" ]; do sleep 0.01; done; while :; do sleep 0.001 & done")
	if err := writeFile(sub+"/cgroup.procs", itoa(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it forks", func() bool { p, _ := m.Pids(true); return len(p) > 5 })
	if p, _ := m.Pids(false); len(p) > 1 { // one sleep may have been left behind
		t.Errorf("%v are not in the cgroup below", p)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "all are dead", func() bool { e, _ := m.Empty(); return e })
}

// What has left the version 2 cgroup is still killed.
func TestKillStrayHybrid(t *testing.T) {
	needV1(t)
	if host.CgroupLayout() != host.CgroupHybrid {
		t.Skip("needs a hybrid host")
	}
	m := mustCreate(t, Options{})
	cmd := start(t, m, "exec sleep 100")
	if err := writeFile(host.CgroupRoot+"/unified/cgroup.procs", itoa(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(cmd.Process.Pid, &ws, 0, nil); err != nil || ws.Signal() != unix.SIGKILL {
		t.Error(err, ws)
	}
}

func TestDestroyNamesWhoIsLeft(t *testing.T) {
	needRoot(t)
	m := mustCreate(t, Options{})
	cmd := start(t, m, "exec sleep 100")
	err := removeTree(m.main().path, time.Now().Add(20*time.Millisecond))
	checkErr(t, "removeTree", err, "device or resource busy (still in it: "+itoa(cmd.Process.Pid)+")")
	if !errors.Is(err, unix.EBUSY) {
		t.Error("not EBUSY")
	}
	_ = m.Kill()
	_ = cmd.Wait()
}

func TestOOMKillsV1(t *testing.T) {
	needV1(t)
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"memory":{"limit":4194304,"swap":4194304}}`)})
	cmd := start(t, m, "exec head -c 50000000 /dev/zero | tail -c 40000000 > /dev/null")
	_ = cmd.Wait()
	if n, err := m.OOMKills(); err != nil || n == 0 {
		t.Error(n, err)
	}
}

func TestRelativePathV1(t *testing.T) {
	needV1(t)
	id := testID(t)
	m := mustCreate(t, Options{Path: id + "/rel"})
	own := ownCgroupLines(t, os.Getpid())
	for i := range m.dirs {
		d := &m.dirs[i]
		want := strings.TrimSuffix(own[d.hier], "/")
		if d.v2() {
			want = want[:max(strings.LastIndexByte(want, '/'), 0)]
		}
		if got := d.path[d.base:]; got != want+"/"+id+"/rel" {
			t.Errorf("%q: %s, own is %s", d.hier, got, own[d.hier])
		}
	}
	cmd := start(t, m, "exec sleep 100")
	eventually(t, "it is in", func() bool { p, _ := m.Pids(false); return len(p) == 1 && p[0] == cmd.Process.Pid })
	_ = m.Kill()
	_ = cmd.Wait()
}

func TestAddPid(t *testing.T) {
	needRoot(t)
	m := mustCreate(t, Options{})
	cmd := start(t, mustCreate(t, Options{ID: testID(t) + "2"}), "exec sleep 100")
	if err := m.AddPid(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if p, _ := m.Pids(true); len(p) != 1 {
		t.Error(p)
	}
	_ = m.Kill()
	_ = cmd.Wait()
}

func TestOwnerV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	m := mustCreate(t, Options{OwnerUID: ptr[uint32](1234)})
	owner := func(f string) uint32 {
		var st unix.Stat_t
		if err := unix.Stat(m.Path("")+f, &st); err != nil {
			t.Error(err)
		}
		return st.Uid
	}
	if owner("") != 1234 || owner("/cgroup.procs") != 1234 || owner("/cgroup.subtree_control") != 1234 || owner("/cgroup.freeze") != 0 {
		t.Error("owners")
	}
}

func TestNoDescriptorIsLeft(t *testing.T) {
	needRoot(t)
	count := func() int { d, _ := os.ReadDir("/proc/self/fd"); return len(d) }
	before := count()
	for range 3 {
		m := mustCreate(t, Options{})
		if _, err := m.JoinFDs(); err != nil {
			t.Fatal(err)
		}
		if err := m.Destroy(); err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
}
