package cgroup

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec/wire"
)

func TestAnnotationProperties(t *testing.T) {
	var jobs []string
	inProcess := runHelper
	runHelper = func(name string, request []byte) ([]byte, error) {
		jobs = append(jobs, name)
		return inProcess(name, request)
	}
	t.Cleanup(func() { runHelper = inProcess })

	plain := map[string]string{
		"org.systemd.property.TimeoutStopUSec": "uint64 5000000",
		"org.systemd.property.CollectMode":     "'inactive-or-failed'",
		"org.systemd.property.TimeoutAbortSec": "int32 2",
		"org.systemd.property.KillSignal":      "37",
		"org.systemd.property.SendSIGHUP":      "true",
		"other":                                "x",
	}
	props, err := annotationProperties(plain)
	if err != nil || len(jobs) != 0 {
		t.Error("usual values: no helper is needed", jobs, err)
	}
	var got []string
	for _, p := range props {
		got = append(got, p.name+" "+p.value)
	}
	if d := cmp.Diff([]string{"CollectMode 'inactive-or-failed'", "KillSignal 37", "SendSIGHUP true", "TimeoutAbortSec int32 2", "TimeoutStopUSec uint64 5000000"}, got); d != "" {
		t.Error(d)
	}
	plain["org.systemd.property.RuntimeMaxSec"] = "1.5"
	if props, err = annotationProperties(plain); err != nil || len(props) != 6 || !slices.Equal(jobs, []string{"systemd-check"}) {
		t.Error(props, jobs, err)
	}
	for k, c := range map[string]struct{ val, err string }{
		"org.systemd.property.":           {"1", "is not the name"},
		"org.systemd.property.No-Such":    {"1", "is not the name"},
		"org.systemd.property.ExecStart":  {"'/bin/sh'", "may not have systemd run commands"},
		"org.systemd.property.CPUWeight":  {"blah", `annotations["org.systemd.property.CPUWeight"]: "blah"`},
		"org.systemd.property.TasksMax":   {"uint32 99999999999", `"uint32 99999999999"`},
		"org.systemd.property.RestartSec": {"'x'", "not a number of seconds"},
	} {
		_, err := annotationProperties(map[string]string{k: c.val})
		checkErr(t, k, err, c.err)
	}
}

// What is taken for plainly right must be right.
func TestPlainProperties(t *testing.T) {
	for _, c := range []struct {
		name, value string
		plain       bool
	}{
		{"TasksMax", "0", true}, {"TasksMax", "uint64 999999999999999999", true}, {"TasksMax", "999999999", true}, {"A", "'a-b_c.D9'", true},
		{"A", "false", true}, {"A", "''", true},
		{"TasksMax", "", false}, {"TasksMax", "09", false}, {"TasksMax", "2147483648", false}, {"TasksMax", "-1", false},
		{"TasksMax", "byte 300", false}, {"TasksMax", "uint64 ", false}, {"TasksMax", "uint64  1", false},
		{"ASec", "'a'", false}, {"ASec", "true", false}, {"ASec", "1", true},
		{"A", "'", false}, {"A", "'a''b'", false}, {"A", `'a\'`, false}, {"A", "'é'", false}, {"A", "['a']", false},
	} {
		p := property{c.name, c.value}
		if got := p.plain(); got != c.plain {
			t.Errorf("%v: %v", p, got)
		}
		if !c.plain {
			continue
		}
		w := wire.NewWriter(nil, "")
		w.BeginObject()
		encodeProperties(w, []property{p})
		w.EndObject()
		if _, err := runJob("systemd-check", w.Bytes()); err != nil {
			t.Errorf("%v: %v", p, err)
		}
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
		d, err := deviceProperties(parse(t, c.rules...))
		checkErr(t, c.name, err, c.err)
		got := ""
		if d.policy != "" {
			got = "DevicePolicy=" + d.policy + " "
		}
		if len(d.allow) > 0 {
			got += fmt.Sprintf("DeviceAllow=%v ", d.allow)
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
