package cgroup

import (
	"fmt"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/vsrun/vsrun/libvserver/host"
)

func TestAnnotationProperties(t *testing.T) {
	props, err := annotationProperties(map[string]string{
		"org.systemd.property.TimeoutStopUSec": "uint64 5000000",
		"org.systemd.property.CollectMode":     "'inactive-or-failed'",
		"org.systemd.property.TimeoutAbortSec": "int32 2",
		"org.systemd.property.RuntimeMaxSec":   "1.5",
		"other":                                "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]dbus.Variant{}
	for _, p := range props {
		got[p.Name] = p.Value
	}
	want := map[string]dbus.Variant{
		"TimeoutStopUSec":  dbus.MakeVariant(uint64(5000000)),
		"CollectMode":      dbus.MakeVariant("inactive-or-failed"),
		"TimeoutAbortUSec": dbus.MakeVariant(uint64(2000000)),
		"RuntimeMaxUSec":   dbus.MakeVariant(uint64(1500000)),
	}
	for n, v := range want {
		if got[n].String() != v.String() {
			t.Errorf("%s: %s, want %s", n, got[n], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for k, c := range map[string]struct{ val, err string }{
		"org.systemd.property.":           {"1", "is not the name"},
		"org.systemd.property.No-Such":    {"1", "is not the name"},
		"org.systemd.property.ExecStart":  {"'/bin/sh'", "may not have systemd run commands"},
		"org.systemd.property.CPUWeight":  {"blah", `annotations["org.systemd.property.CPUWeight"]: "blah"`},
		"org.systemd.property.RestartSec": {"'x'", "not a number of seconds"},
	} {
		_, err := annotationProperties(map[string]string{k: c.val})
		checkErr(t, k, err, c.err)
	}
}

func TestDeviceProperties(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []string
		want  string
		err   string
	}{
		{"list", []string{"+c *:* m", "+c 1:3 rwm", "+b 8:* r", "+c *:5 r"},
			`DevicePolicy=strict DeviceAllow=[{char-* m} {/dev/char/1:3 rwm} {block-8 r}] `, ""},
		{"all", []string{"+a *:* rwm"}, ``, ""},
		{"all but", []string{"+a *:* rwm", "-c 1:3 r"}, `DevicePolicy=strict `, ""},
		{"not expressible", []string{"+c *:* rwm", "-c 1:3 r"}, "", "keeps no exceptions to exceptions"},
	} {
		props, err := deviceProperties(parse(t, c.rules...))
		checkErr(t, c.name, err, c.err)
		got := ""
		for _, p := range props {
			got += fmt.Sprintf("%s=%v ", p.Name, p.Value.Value())
		}
		if err == nil && got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestLibraryDirs(t *testing.T) {
	const cpu = "/sys/fs/cgroup/cpu,cpuacct/system.slice/a.scope"
	got := libraryDirs(map[string]string{"cpu": cpu, "cpuacct": cpu, "memory": "/sys/fs/cgroup/memory/system.slice/a.scope",
		"name=systemd": "/sys/fs/cgroup/systemd/system.slice/a.scope", "": "/sys/fs/cgroup/unified/system.slice/a.scope"}, host.CgroupHybrid)
	var lines []string
	for _, d := range got {
		lines = append(lines, d.hier+" "+d.path[:d.base])
	}
	if d := cmp.Diff([]string{"cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct", "memory /sys/fs/cgroup/memory", "name=systemd /sys/fs/cgroup/systemd", " /sys/fs/cgroup/unified"}, lines); d != "" {
		t.Error(d)
	}
	v2 := libraryDirs(map[string]string{"": "/sys/fs/cgroup/system.slice/a.scope"}, host.CgroupV2)
	if len(v2) != 1 || v2[0].base != len(host.CgroupRoot) || v2[0].made != 1 {
		t.Errorf("%+v", v2)
	}
}

func TestSystemdNew(t *testing.T) {
	m, err := New(Options{ID: "c1", Systemd: true, Path: "a.slice:p:c1", Layout: host.CgroupV2,
		Resources: resourcesOf(t, `{"pids":{"limit":5}}`)})
	if err != nil || !m.NeedsPid() || len(m.Paths()) != 0 {
		t.Fatal(m, err)
	}
	if j, err := m.JoinFDs(); err != nil || j.Cgroup != -1 || len(j.Tasks) != 0 {
		t.Error(j, err)
	}
	if err := m.Destroy(); err != nil { // nothing was made, so nobody is asked
		t.Error(err)
	}
	_, err = New(Options{ID: "c1", Systemd: true, Path: "/a/b", Layout: host.CgroupV2})
	checkErr(t, "path", err, "slice:prefix:name")
	if exists("/run/systemd/system") {
		t.Skip("the rest is for hosts without systemd")
	}
	checkErr(t, "Create", m.Create(), "systemd is not running")
}
