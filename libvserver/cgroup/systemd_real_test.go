package cgroup

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vsrun/vsrun/libvserver/host"
)

func needSystemd(t *testing.T) {
	t.Helper()
	needRoot(t)
	if !exists("/run/systemd/system") {
		t.Skip("needs a host that runs systemd")
	}
}

// unitProperties returns what systemd says of a unit.
func unitProperties(t *testing.T, unit string, names ...string) map[string]string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "-p", strings.Join(names, ","), unit).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl show: %v: %s", err, out)
	}
	props := map[string]string{}
	for l := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		k, v, _ := strings.Cut(l, "=")
		props[k] = v
	}
	return props
}

func TestSystemdScope(t *testing.T) {
	needSystemd(t)
	t.Log("by vsrun-helper:", withHelper(t))
	id := "c" + itoa(int(time.Now().UnixNano()%1e9))
	m := mustNew(t, Options{ID: id, Systemd: true, Path: "vsruntest.slice:vsruntest:" + id,
		Resources:   resourcesOf(t, `{"memory":{"limit":67108864},"cpu":{"quota":50000,"period":100000,"shares":512},"pids":{"limit":77}}`),
		Annotations: map[string]string{"org.systemd.property.CollectMode": "'inactive-or-failed'"}})
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	begin := time.Now()
	if err := m.ApplyPid(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	t.Log("ApplyPid took", time.Since(begin))
	state := m.State()
	t.Log(string(state.AppendJSON(nil)))

	checkPlace := func(when string) {
		t.Helper()
		own := ownCgroupLines(t, cmd.Process.Pid)
		for i := range m.dirs {
			d := &m.dirs[i]
			if want := "/vsruntest.slice/vsruntest-" + id + ".scope"; own[d.hier] != want || d.path[d.base:] != want {
				t.Errorf("%s: %q: in %s, path %s, want %s", when, d.hier, own[d.hier], d.path, want)
			}
		}
	}
	check := func(limits map[string]string) {
		t.Helper()
		for f, want := range limits {
			ctl, _, _ := strings.Cut(f, ".")
			p := m.Path(ctl)
			if p == "" || !exists(p+"/"+f) {
				continue // the other version's
			}
			if got := read(t, p+"/"+f); got != want {
				t.Errorf("%s: %s, want %s", f, got, want)
			}
		}
	}
	limits := map[string]string{"memory.max": "67108864", "memory.limit_in_bytes": "67108864", "cpu.max": "50000 100000", "cpu.cfs_quota_us": "50000",
		"pids.max": "77", "cpu.weight": "59", "cpu.shares": "512"}
	check(limits)
	if p := unitProperties(t, m.unit.unit(), "TasksMax", "CollectMode", "Slice"); !cmp.Equal(p, map[string]string{"TasksMax": "77", "CollectMode": "inactive-or-failed", "Slice": "vsruntest.slice"}) {
		t.Error(p)
	}

	// Devices, and that they stay as they are when systemd reads its units again.
	m.Close()
	for _, when := range []string{"at first", "after daemon-reload", "after an update"} {
		switch when {
		case "after daemon-reload":
			if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		case "after an update":
			m = Load(state)
			if err := m.Update(resourcesOf(t, `{"pids":{"limit":88},"cpu":{"quota":70000}}`)); err != nil {
				t.Fatal(err)
			}
			limits["pids.max"], limits["cpu.max"], limits["cpu.cfs_quota_us"] = "88", "70000 100000", "70000"
			check(limits)
			if p := unitProperties(t, m.unit.unit(), "TasksMax", "CPUQuotaPerSecUSec"); !cmp.Equal(p, map[string]string{"TasksMax": "88", "CPUQuotaPerSecUSec": "700ms"}) {
				t.Error(p)
			}
		}
		checkPlace(when)
		if d := cmp.Diff(deviceCases[0].want, probeDevices(t, m)); d != "" {
			t.Errorf("devices %s: %s", when, d)
		}
	}
	check(limits)

	if err := m.Freeze(true); err != nil {
		t.Error(err)
	}
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if err := m.Destroy(); err != nil {
		t.Error(err)
	}
	for i := range m.dirs {
		if exists(m.dirs[i].path) {
			t.Errorf("%s is left", m.dirs[i].path)
		}
	}
	if p := unitProperties(t, m.unit.unit(), "LoadState"); p["LoadState"] != "not-found" {
		t.Error(p)
	}
	_ = exec.Command("systemctl", "stop", "vsruntest.slice").Run()
	if host.CgroupLayout() == host.CgroupV2 && exists(host.CgroupRoot+"/vsruntest.slice") {
		t.Log("systemd keeps the slice")
	}
}
