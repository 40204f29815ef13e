package cgroup

import (
	"os"
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

func TestJoinFDs(t *testing.T) {
	needRoot(t)
	m := mustCreate(t, Options{})
	m = Load(m.State())
	j, err := m.JoinFDs()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	fds := append([]int{}, j.Tasks...)
	if j.Cgroup >= 0 {
		fds = append(fds, j.Cgroup)
	}
	for i, fd := range fds {
		want := m.dirs[i].path + "/tasks"
		if m.dirs[i].v2() {
			want = m.dirs[i].path
		}
		if got := linkOf(t, fd); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if len(fds) != len(m.dirs) {
		t.Errorf("%d descriptors for %d hierarchies", len(fds), len(m.dirs))
	}
	m.Close()
	if err := m.Destroy(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.JoinFDs(); err == nil {
		t.Error("no error when it is gone")
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
