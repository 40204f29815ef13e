package cgroup

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

// linkOf tells what a descriptor is.
func linkOf(t *testing.T, fd int) string {
	t.Helper()
	l, err := os.Readlink("/proc/self/fd/" + itoa(fd))
	if err != nil {
		t.Error(err)
	}
	if fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || fl&unix.FD_CLOEXEC == 0 {
		t.Errorf("%s is inherited by programs", l)
	}
	return l
}

func TestJoinSubV1(t *testing.T) {
	needV1(t)
	m := mustCreate(t, Options{})
	mem := m.Path("memory")
	if err := os.Mkdir(mem+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	j, err := m.JoinSub(map[string]string{"memory": "/sub"})
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range j.Tasks {
		want := m.dirs[i].path + "/tasks"
		if m.dirs[i].has("memory") {
			want = mem + "/sub/tasks"
		}
		if got := linkOf(t, fd); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	j.Close()
	for subs, want := range map[string]string{"nosuch=x": "controllers \"nosuch\"", "memory=../x": "must not contain", "=a/../../b": "must not contain", "=nosuch": "no such file", "memory,pids=x": "no hierarchy"} {
		key, sub, _ := strings.Cut(subs, "=")
		_, err := m.JoinSub(map[string]string{key: sub})
		checkErr(t, subs, err, want)
	}
}

func TestJoinSubAndWithV2(t *testing.T) {
	if !onV2(t) {
		return
	}
	m := mustCreate(t, Options{})
	sub := m.Path("") + "/sub"
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	j, err := m.JoinSub(map[string]string{"": "sub"})
	if err != nil || linkOf(t, j.Cgroup) != sub || len(j.Tasks) != 0 {
		t.Error(j, err)
	}
	cmd := start(t, m, "exec sleep 100")
	if err := writeFile(sub+"/cgroup.procs", itoa(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	w, err := m.JoinWith(cmd.Process.Pid)
	if err != nil || linkOf(t, w.Cgroup) != sub {
		t.Error(w, err)
	}
	j.Close()
	w.Close()
	if _, err := m.JoinSub(map[string]string{"memory": "sub"}); err == nil {
		t.Error("a controller's own path on version 2")
	}
}

func TestSteps(t *testing.T) {
	m := allV2()
	m.dirs[0].path = "/sys/fs/cgroup/c"
	m.explicit = true
	res, err := convert(resourcesOf(t, `{"pids":{"limit":5}}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.writes, err = m.plan(&res, nil); err != nil {
		t.Fatal(err)
	}
	m.rules = parse(t, "-a *:* rwm")
	m.rules = append(m.rules, defaultRules[2].rule)
	want := []Step{
		{"mkdir", "/sys/fs/cgroup/c", "", "linux.cgroupsPath"},
		{"write", "/sys/fs/cgroup/c/pids.max", "5", "linux.resources.pids.limit"},
		{"devices", "/sys/fs/cgroup/c", "deny a *:* rwm", "linux.resources.devices[0]"},
		{"devices", "/sys/fs/cgroup/c", "allow c 1:3 rwm", ""},
	}
	if d := cmp.Diff(want, m.Steps()); d != "" {
		t.Error(d)
	}
	if s := (&Manager{layout: host.CgroupV2, driver: DriverSystemd, unit: unitName{"a.slice", "p", "n"}}).Steps(); len(s) != 1 || s[0].Path != "p-n.scope" {
		t.Error(s)
	}
}
