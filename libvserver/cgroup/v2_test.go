package cgroup

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

// needControllers skips where the version 2 tree lacks controllers, as in a namespace made on a hybrid host.
func needControllers(t *testing.T, names ...string) {
	t.Helper()
	all, err := os.ReadFile(host.CgroupRoot + "/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !hasWord(string(all), n) {
			t.Skip("needs the controller " + n + " in the version 2 tree, which has only: " + string(all))
		}
	}
}

func wantFiles(t *testing.T, m *Manager, want map[string]string) {
	t.Helper()
	for f, v := range want {
		if got := read(t, m.Path("")+"/"+f); got != v {
			t.Errorf("%s: %q, want %q", f, got, v)
		}
	}
}

func TestLimitsV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "memory", "cpu", "cpuset", "pids")
	// Three levels that were not there: controllers are turned on in each.
	m := mustCreate(t, Options{Path: "/" + testID(t) + "/a/b", Resources: resourcesOf(t, `{"memory":{"limit":67108864,"reservation":33554432},
		"cpu":{"shares":512,"quota":50000,"period":200000,"burst":10000,"cpus":"0","mems":"0"},"pids":{"limit":77},
		"unified":{"memory.high":"50000000","cgroup.max.depth":"5","memory.oom.group":"1"}}`)})
	wantFiles(t, m, map[string]string{"memory.max": "67108864", "memory.low": "33554432", "cpu.weight": "59", "cpu.max": "50000 200000",
		"cpu.max.burst": "10000", "cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "77", "memory.high": "49999872", "cgroup.max.depth": "5", "memory.oom.group": "1"})
	start(t, m, "sleep 100 & wait")
	if s := statsOf(t, m); s.Memory.Usage.Limit != 67108864 || s.Pids.Limit != 77 {
		t.Errorf("%+v", s)
	}
}

func TestSwapV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "memory")
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"memory":{"limit":67108864,"swap":67108864}}`)})
	if !exists(m.Path("") + "/memory.swap.max") {
		t.Skip("needs swap accounting")
	}
	wantFiles(t, m, map[string]string{"memory.swap.max": "0"})
	for js, want := range map[string]string{`{"memory":{"swap":-1}}`: "max", `{"memory":{"swap":134217728}}`: "67108864"} {
		if err := m.Update(resourcesOf(t, js)); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, m, map[string]string{"memory.swap.max": want})
	}
}

func TestUpdateV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "memory", "cpu", "cpuset", "pids")
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"memory":{"limit":67108864},"cpu":{"quota":50000,"period":100000,"burst":40000},"pids":{"limit":50}}`)})
	start(t, m, "sleep 100 & wait")
	m = Load(m.State())
	for _, js := range []string{
		`{"cpu":{"quota":20000,"burst":10000}}`,                       // both down: the burst must go first
		`{"cpu":{"quota":200000,"burst":150000},"pids":{"limit":-1}}`, // both up: the quota must
		`{"cpu":{"idle":1,"shares":100}}`,
		`{"cpu":{"idle":0,"shares":2048}}`,
	} {
		if err := m.Update(resourcesOf(t, js)); err != nil {
			t.Fatalf("%s: %v", js, err)
		}
	}
	want := map[string]string{"cpu.max": "200000 100000", "cpu.max.burst": "150000", "pids.max": "max", "cpu.idle": "0", "memory.max": "67108864", "cpu.weight": "174"}
	wantFiles(t, m, want)
	checkErr(t, "a CPU that is not there", m.Update(resourcesOf(t, `{"pids":{"limit":60},"memory":{"limit":268435456},"cpu":{"quota":5000,"cpus":"x"}}`)),
		"linux.resources.cpu.cpus")
	wantFiles(t, m, want)
	checkErr(t, "checkBeforeUpdate", m.Update(resourcesOf(t, `{"memory":{"limit":4096,"checkBeforeUpdate":true}}`)), "linux.resources.memory.limit: 4096 is not above the current use")
	wantFiles(t, m, want)
}

func TestOOMKillsV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "memory")
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"memory":{"limit":8388608,"swap":8388608}}`)})
	if n, err := m.OOMKills(); n != 0 || err != nil {
		t.Error(n, err)
	}
	cmd := start(t, m, "exec head -c 50000000 /dev/zero | tail -c 40000000 > /dev/null")
	_ = cmd.Wait()
	if n, err := m.OOMKills(); err != nil || n == 0 {
		t.Error(n, err)
	}
}

func TestPidsLimitOfZeroV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "pids")
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"pids":{"limit":0}}`)})
	cmd := start(t, m, "sleep 0 2>/dev/null & wait; exec sleep 100") // cloned into it, but can't fork
	eventually(t, "it has tried to fork", func() bool { return !strings.HasSuffix(read(t, m.Path("")+"/pids.events"), "max 0") })
	_ = cmd
}

func TestBlockIOV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "io")
	var st unix.Stat_t
	if unix.Stat("/dev/ram0", &st) != nil {
		t.Skip("needs a block device /dev/ram0 (modprobe brd)")
	}
	dev := `"major":` + itoa(int(unix.Major(st.Rdev))) + `,"minor":` + itoa(int(unix.Minor(st.Rdev)))
	m := mustCreate(t, Options{Resources: resourcesOf(t, `{"blockIO":{"throttleReadBpsDevice":[{`+dev+`,"rate":1048576}],"throttleWriteIOPSDevice":[{`+dev+`,"rate":100}]}}`)})
	if got := read(t, m.Path("")+"/io.max"); !strings.HasSuffix(got, "rbps=1048576 wbps=max riops=max wiops=100") {
		t.Error(got)
	}
	if err := m.Update(resourcesOf(t, `{"blockIO":{"throttleReadBpsDevice":[{`+dev+`,"rate":0}]}}`)); err != nil {
		t.Error(err)
	}
	if got := read(t, m.Path("")+"/io.max"); !strings.HasSuffix(got, "rbps=max wbps=max riops=max wiops=100") {
		t.Error(got)
	}
	checkErr(t, "undone", m.Update(resourcesOf(t, `{"blockIO":{"throttleReadBpsDevice":[{`+dev+`,"rate":5000}]},"unified":{"nosuch.max":"1"}}`)), `unified["nosuch.max"]`)
	if got := read(t, m.Path("")+"/io.max"); !strings.HasSuffix(got, "rbps=max wbps=max riops=max wiops=100") {
		t.Error(got)
	}
	if !exists(m.Path("")+"/io.weight") && !exists(m.Path("")+"/io.bfq.weight") {
		checkErr(t, "weight", m.Update(resourcesOf(t, `{"blockIO":{"weight":100}}`)), "linux.resources.blockIO.weight")
		return
	}
	want, file := "default 910", "io.weight"
	if exists(m.Path("") + "/io.bfq.weight") {
		want, file = "default 100", "io.bfq.weight"
	}
	if err := m.Update(resourcesOf(t, `{"blockIO":{"weight":100}}`)); err != nil {
		t.Error(err)
	}
	wantFiles(t, m, map[string]string{file: want})
	// The ram disk has no scheduler with weights.
	if err := m.Update(resourcesOf(t, `{"blockIO":{"weight":500,"weightDevice":[{`+dev+`,"weight":200}]}}`)); err != nil {
		checkErr(t, "weight of a device", err, "linux.resources.blockIO.weightDevice[0].weight")
		wantFiles(t, m, map[string]string{file: want})
	}
}

// A parent that holds processes can't give out controllers: the error says so.
func TestBusyParentV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "pids", "memory")
	m := mustCreate(t, Options{})
	start(t, m, "exec sleep 100")
	sub := mustNew(t, Options{ID: "sub", Path: strings.TrimPrefix(m.Path(""), host.CgroupRoot) + "/sub", Resources: resourcesOf(t, `{"memory":{"limit":67108864}}`)})
	if err := sub.Create(); err != nil {
		t.Fatal(err)
	}
	checkErr(t, "Set", sub.Set(), "linux.resources.memory.limit: ")
	checkErr(t, "Set", sub.Set(), "controller memory is off: write +memory to cgroup.subtree_control")
	wantFiles(t, m, map[string]string{"cgroup.type": "domain", "cgroup.subtree_control": ""})
	// Of those that work on threads a limit can be had.
	if err := sub.Destroy(); err != nil {
		t.Fatal(err)
	}
	sub = mustCreate(t, Options{ID: "sub2", Path: strings.TrimPrefix(m.Path(""), host.CgroupRoot) + "/sub2", Resources: resourcesOf(t, `{"pids":{"limit":3}}`)})
	wantFiles(t, sub, map[string]string{"pids.max": "3", "cgroup.type": "threaded"})
	wantFiles(t, m, map[string]string{"cgroup.type": "domain threaded", "cgroup.subtree_control": "pids"})
	_ = m.Kill()
}

// Below a threaded cgroup a new one takes processes only if it is threaded too, and has no memory controller.
func TestThreadedV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "pids", "memory", "cpu")
	top := mustCreate(t, Options{})
	mid := top.Path("") + "/mid"
	if err := os.Mkdir(mid, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(mid+"/cgroup.type", "threaded"); err != nil {
		t.Fatal(err)
	}
	p := strings.TrimPrefix(top.Path(""), host.CgroupRoot)
	m := mustCreate(t, Options{ID: "x", Path: p + "/x", Resources: resourcesOf(t, `{"pids":{"limit":5}}`)})
	if got := read(t, m.Path("")+"/cgroup.type"); got != "threaded" {
		t.Errorf("it is %s", got)
	}
	wantFiles(t, m, map[string]string{"pids.max": "5"})
	y := mustNew(t, Options{ID: "y", Path: p + "/y", Resources: resourcesOf(t, `{"memory":{"limit":67108864}}`)})
	if err := y.Create(); err != nil {
		t.Fatal(err)
	}
	checkErr(t, "memory in a threaded tree", y.Set(), "the cgroup is domain invalid")
}

// What is in threaded cgroups below a container's is counted once, and by processes: what lists it is a list of threads.
func TestThreadedBelowV2(t *testing.T) {
	const asleep = "VSRUN_TEST_ASLEEP"
	if os.Getenv(asleep) != "" {
		time.Sleep(time.Minute)
		return
	}
	if !onV2(t) {
		return
	}
	m := mustCreate(t, Options{})
	defer func() { _ = m.Kill() }()
	// A program with several threads.
	start(t, m, asleep+"=1 exec "+os.Args[0]+" -test.run ^TestThreadedBelowV2$")
	pids, err := m.Pids(true)
	if err != nil || len(pids) != 1 {
		t.Fatalf("%v, %v", pids, err)
	}
	for _, dir := range []string{"a", "a/b"} {
		if err := os.Mkdir(m.Path("")+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(m.Path("")+"/"+dir+"/cgroup.type", "threaded"); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		if got, err := m.Pids(true); !slices.Equal(got, pids) || err != nil {
			t.Errorf("processes are %v, want %v: %v", got, pids, err)
		}
		if u, err := m.Usage(); u.Processes != 1 || err != nil {
			t.Errorf("counts %d processes, want 1: %v", u.Processes, err)
		}
	}
	check()
	var tasks []os.DirEntry
	for end := time.Now().Add(10 * time.Second); len(tasks) < 3; time.Sleep(10 * time.Millisecond) {
		if tasks, err = os.ReadDir("/proc/" + itoa(pids[0]) + "/task"); err != nil || time.Now().After(end) {
			t.Fatalf("%d threads: %v", len(tasks), err)
		}
	}
	for i, task := range tasks {
		if err := writeFile(m.Path("")+"/"+[]string{"a", "a/b"}[i%2]+"/cgroup.threads", task.Name()); err != nil {
			t.Fatal(err)
		}
		check()
	}
}

// A user with a delegated subtree has limits.
func TestDelegatedV2(t *testing.T) {
	const parentName = "vsruntest-delegated"
	if os.Getenv("VSRUN_TEST_NOBODY") == "" {
		if !onV2(t) {
			return
		}
		needControllers(t, "pids", "memory")
		uid := uint32(65534)
		p := mustCreate(t, Options{ID: "p", Path: "/" + parentName, OwnerUID: &uid})
		own := p.Path("") + "/own"
		if err := os.Mkdir(own, 0o755); err != nil {
			t.Fatal(err)
		}
		d := dir{path: own}
		if err := chownDelegated(&d, uid); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(own+"/cgroup.procs", itoa(os.Getpid())); err != nil {
			t.Fatal(err)
		}
		defer writeFile(host.CgroupRoot+"/cgroup.procs", itoa(os.Getpid()))
	}
	if !asNobody(t) {
		return
	}
	m := mustCreate(t, Options{ID: "vsruntest-d", Rootless: true, Resources: resourcesOf(t, `{"pids":{"limit":10},"memory":{"limit":67108864}}`)})
	if want := host.CgroupRoot + "/" + parentName + "/vsruntest-d"; m.Path("") != want {
		t.Errorf("at %s, want %s", m.Path(""), want)
	}
	wantFiles(t, m, map[string]string{"pids.max": "10", "memory.max": "67108864"})
	start(t, m, "exec sleep 100")
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
}

// The software RDMA device is made for the test alone, on a network device of its own.
func TestRdmaV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	needControllers(t, "rdma")
	sh := func(script string) (string, error) {
		out, err := exec.Command("sh", "-c", script).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := sh("ip link add vsruntest0 type dummy && ip link set vsruntest0 up"); err != nil {
		t.Skip("needs a dummy network device: ", out)
	}
	t.Cleanup(func() { _, _ = sh("ip link del vsruntest0") })
	if out, err := sh("rdma link add vsruntestrxe0 type rxe netdev vsruntest0"); err != nil {
		t.Skip("needs a software RDMA device (rdma_rxe): ", out)
	}
	t.Cleanup(func() { _, _ = sh("rdma link del vsruntestrxe0") })
	m := mustCreate(t, Options{Path: "/" + testID(t) + "/a", Resources: resourcesOf(t, `{"rdma":{"vsruntestrxe0":{"hcaHandles":3,"hcaObjects":10000}}}`)})
	wantFiles(t, m, map[string]string{"rdma.max": "vsruntestrxe0 hca_handle=3 hca_object=10000"})
	if err := m.Update(resourcesOf(t, `{"rdma":{"vsruntestrxe0":{"hcaObjects":5}}}`)); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, m, map[string]string{"rdma.max": "vsruntestrxe0 hca_handle=3 hca_object=5"})
	err := m.Update(resourcesOf(t, `{"rdma":{"nosuch0":{"hcaHandles":1}}}`))
	checkErr(t, "a device that is not there", err, `linux.resources.rdma["nosuch0"]: `)
}
