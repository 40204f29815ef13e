package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vsrun/vsrun/libvserver/host"
)

func TestCheckPath(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{in: "/a/b", want: "/a/b"},
		{in: "//a/./b//", want: "/a/b"},
		{in: "a/b", want: "a/b"},
		{in: "./a", want: "a"},
		{in: "/kubepods/burstable/pod1/c1", want: "/kubepods/burstable/pod1/c1"},
		{in: "/a..b", want: "/a..b"},
		{in: "/", err: "root cgroup"},
		{in: ".", err: "root cgroup"},
		{in: "/../x", err: `must not contain ".."`},
		{in: "a/../../x", err: `must not contain ".."`},
		{in: "..", err: `must not contain ".."`},
		{in: "/a\x00b", err: "NUL"},
		{in: "/" + strings.Repeat("x", 256), err: "longer than 255"},
	} {
		got, err := checkPath(c.in)
		checkErr(t, c.in, err, c.err)
		if got != c.want {
			t.Errorf("checkPath(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// checkErr wants an error that holds want, or none if want is empty.
func checkErr(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want == "":
	case err == nil:
		t.Errorf("%s: no error, want %q", what, want)
	case want == "" || !strings.Contains(err.Error(), want):
		t.Errorf("%s: error %q, want %q", what, err, want)
	}
}

func TestParseUnit(t *testing.T) {
	for _, c := range []struct{ in, unit, slice, err string }{
		{in: "", unit: "vsrun-c1.scope"},
		{in: "system.slice:docker:abc", unit: "docker-abc.scope", slice: "system.slice"},
		{in: "kubepods-besteffort-pod1.slice:cri-containerd:c", unit: "cri-containerd-c.scope", slice: "kubepods-besteffort-pod1.slice"},
		{in: ":p:n", unit: "p-n.scope"},
		{in: "a.slice:p:n.slice", unit: "n.slice", slice: "a.slice"},
		{in: "/system.slice/docker-abc", err: "slice:prefix:name"},
		{in: "a:b", err: "slice:prefix:name"},
		{in: "a.slice:b:c:d", err: "slice:prefix:name"},
		{in: "a.slice:p:", err: "names no unit"},
		{in: "a:p:n", err: "invalid slice name"},
		{in: "a--b.slice:p:n", err: "invalid slice name"},
		{in: "../x.slice:p:n", err: "invalid slice name"},
		{in: "a.slice:p:../n", err: "slash"},
		{in: "a.slice:p/q:n", err: "slash"},
	} {
		u, err := parseUnit(c.in, "c1")
		checkErr(t, c.in, err, c.err)
		if err == nil && (u.unit() != c.unit || u.slice != c.slice) {
			t.Errorf("parseUnit(%q) = unit %q in %q, want %q in %q", c.in, u.unit(), u.slice, c.unit, c.slice)
		}
	}
}

func TestNewRefusesIDs(t *testing.T) {
	for _, id := range []string{"", ".", "..", "a/b", "../x", "a\x00"} {
		if _, err := New(Options{ID: id}); err == nil {
			t.Errorf("New took the id %q", id)
		}
	}
}

func TestOwnPlace(t *testing.T) {
	const mi = `22 27 0:21 / /proc rw - proc proc rw
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 /docker/abc /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:39 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
43 31 0:40 /else /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
`
	const cg = `9:name=systemd:/user
5:devices:/docker/abc/inner
4:memory:/a:b/c
3:cpuacct,cpu:/x
2:pids:/docker/abc
1:freezer:/../../y
0::/user.slice/session-1.scope
`
	o := &ownCgroups{cg, mi}
	for _, c := range []struct{ hier, point, want, err string }{
		{"memory", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a:b/c/rel/x", ""},
		{"devices", "/sys/fs/cgroup/devices", "/sys/fs/cgroup/devices/inner/rel/x", ""}, // the mount shows a part
		{"cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/x/rel/x", ""},
		{"pids", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/pids/rel/x", ""},              // another part than ours
		{"freezer", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/freezer/rel/x", ""},     // outside of the namespace
		{"", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice/rel/x", ""}, // beside the own one
		{"name=systemd", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd/user/rel/x", ""},
		{"rdma", "/sys/fs/cgroup/rdma", "", "no entry for rdma"},
	} {
		d, err := o.place(c.hier, c.point, "rel/x")
		checkErr(t, c.hier, err, c.err)
		if d.path != c.want {
			t.Errorf("%s: %q, want %q", c.hier, d.path, c.want)
		}
		if err == nil && (d.base != len(c.point) || d.fd != -1) {
			t.Errorf("%s: base %d, fd %d", c.hier, d.base, d.fd)
		}
	}
	root := &ownCgroups{"0::/\n", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"}
	if d, err := root.place("", "/sys/fs/cgroup", "x"); err != nil || d.path != "/sys/fs/cgroup/x" {
		t.Errorf("in the root cgroup: %q, %v", d.path, err)
	}
}

func TestBaseOf(t *testing.T) {
	for _, c := range []struct {
		path, hier string
		l          host.Layout
		want       string
	}{
		{"/sys/fs/cgroup/a/b", "", host.CgroupV2, "/sys/fs/cgroup"},
		{"/sys/fs/cgroup/unified/a/b", "", host.CgroupHybrid, "/sys/fs/cgroup/unified"},
		{"/sys/fs/cgroup/cpu,cpuacct/a", "cpu,cpuacct", host.CgroupV1, "/sys/fs/cgroup/cpu,cpuacct"},
		{"/sys/fs/cgroup/memory", "memory", host.CgroupV1, "/sys/fs/cgroup/memory"},
	} {
		if got := c.path[:baseOf(c.path, c.hier, c.l)]; got != c.want {
			t.Errorf("%s: %q, want %q", c.path, got, c.want)
		}
	}
}

func TestStateRoundTrip(t *testing.T) {
	for _, s := range []State{
		{Driver: DriverCgroupfs, Layout: host.CgroupV2, Dirs: []StateDir{{"", "/sys/fs/cgroup/a/b", 2}}},
		{Driver: DriverSystemd, Layout: host.CgroupHybrid, Rootless: true, Unit: "a.slice:p:n \"x\"", Dirs: []StateDir{
			{"cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a", 1}, {"", "/sys/fs/cgroup/unified/a", 0}}},
		{},
	} {
		buf := s.AppendJSON([]byte("x"))[1:]
		r := newReader(buf)
		got := ReadState(r)
		if err := r.End(); err != nil {
			t.Fatalf("%s: %v", buf, err)
		}
		if d := cmp.Diff(s, got); d != "" {
			t.Errorf("%s: %s", buf, d)
		}
		if len(s.Dirs) > 0 {
			if d := cmp.Diff(s, Load(s).State()); d != "" {
				t.Errorf("Load: %s", d)
			}
		}
	}
	s := State{Dirs: []StateDir{{"cpu,cpuacct", "/c", 1}, {"", "/u", 1}}}
	if got := string(s.AppendPathsJSON(nil)); got != `{"cpu":"/c","cpuacct":"/c","":"/u"}` {
		t.Errorf("AppendPathsJSON: %s", got)
	}
}

// A state file is the runtime's own, but nothing in it may lead out of the cgroup filesystem.
func TestLoadDropsStrayPaths(t *testing.T) {
	m := Load(State{Driver: DriverCgroupfs, Layout: host.CgroupV1, Dirs: []StateDir{
		{"memory", "/etc/x", 1}, {"memory", "/sys/fs/cgroup/memory/../../x", 1}, {"pids", "/sys/fs/cgroup/pids/x", 9},
	}})
	if len(m.dirs) != 1 || m.dirs[0].made != 1 {
		t.Errorf("dirs %+v", m.dirs)
	}
}
