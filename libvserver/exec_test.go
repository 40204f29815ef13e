package libvserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/cgroup"
)

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSubCgroups(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   map[string]string
		err    string
	}{
		{nil, nil, ""},
		{[]string{"/"}, map[string]string{"": "/"}, ""},
		{[]string{"a/b"}, map[string]string{"": "a/b"}, ""},
		{[]string{"cpu,cpuacct:a", "memory:b:c"}, map[string]string{"cpu": "a", "cpuacct": "a", "memory": "b:c"}, ""},
		{[]string{"name=systemd:x"}, map[string]string{"name=systemd": "x"}, ""},
		{[]string{"..a/b.."}, map[string]string{"": "..a/b.."}, ""},
		{[]string{".."}, nil, "bad sub cgroup path: .."},
		{[]string{"a/../b"}, nil, "bad sub cgroup path: a/../b"},
		{[]string{"cpu:../x"}, nil, "bad sub cgroup path: ../x"},
		{[]string{"a", "b"}, nil, "invalid --cgroup argument: a (missing <controller>: prefix)"},
		{[]string{"cpu:a", "b"}, nil, "invalid --cgroup argument: b (missing <controller>: prefix)"},
		{[]string{":a"}, nil, "invalid --cgroup argument: :a (empty <controller> prefix)"},
		{[]string{"cpu,:a"}, nil, "invalid --cgroup argument: cpu,:a (empty <controller> prefix)"},
		{[]string{"cpu:a", "memory,cpu:a"}, nil, "invalid --cgroup argument(s): controller cpu specified multiple times"},
	} {
		got, err := subCgroups(c.values)
		if d := cmp.Diff(c.want, got); d != "" || text(err) != c.err {
			t.Errorf("%q: %v, %s", c.values, err, d)
		}
	}
}

func TestKnownControllers(t *testing.T) {
	dirs := []cgroup.StateDir{{Hierarchy: "cpu,cpuacct"}, {Hierarchy: "pids"}, {Hierarchy: ""}}
	for _, c := range []struct {
		subs map[string]string
		err  string
	}{
		{nil, ""},
		{map[string]string{"": "a"}, ""},
		{map[string]string{"cpu": "a", "pids": "b"}, ""},
		{map[string]string{"cpu": "a", "cpuacct": "a"}, ""},
		{map[string]string{"memory": "a"}, "--cgroup: unknown controller memory"},
	} {
		if err := known(c.subs, dirs); text(err) != c.err {
			t.Errorf("%v: %v, want %q", c.subs, err, c.err)
		}
	}
	if known(map[string]string{"cpu": "a", "cpuacct": "b"}, dirs) == nil {
		t.Error("two places in one hierarchy are taken")
	}
}

func TestNumber(t *testing.T) {
	for s, want := range map[string]struct {
		n        uint32
		ok, like bool
	}{
		"0": {0, true, true}, "1000": {1000, true, true}, "007": {7, true, true}, "4294967294": {4294967294, true, true},
		"4294967295": {4294967295, false, true}, "4294967296": {0, false, true}, "-1": {0, false, true}, "+1": {0, false, true},
		"": {0, false, false}, "root": {0, false, false}, "1a": {0, false, false}, "0x10": {0, false, false}, "-": {0, false, false},
	} {
		n, ok := number(s)
		if ok != want.ok || ok && n != want.n || isNumber(s) != want.like {
			t.Errorf("%q: %d %v %v, want %+v", s, n, ok, isNumber(s), want)
		}
	}
}

func TestExecFlags(t *testing.T) {
	base := specs.Process{
		Cwd: "/tmp", Terminal: true, Env: []string{"A=1"}, User: specs.User{UID: 3, GID: 4, AdditionalGids: []uint32{5}},
		Capabilities: &specs.LinuxCapabilities{Bounding: make([]string, 1, 8), Inheritable: []string{}}, NoNewPrivileges: true,
	}
	base.Capabilities.Bounding[0] = "CAP_KILL"
	off := false
	p := base
	e := &execution{o: &ExecOptions{Args: []string{"x"}, Env: []string{"B=2"}, Caps: []string{"CAP_CHOWN"}, User: "7:8", AdditionalGids: []uint32{9}, NoNewPrivs: &off}}
	if err := e.flags(&p); err != nil {
		t.Fatal(err)
	}
	want := specs.Process{
		Cwd: "/tmp", Args: []string{"x"}, Env: []string{"A=1", "B=2"}, User: specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{5, 9}},
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL", "CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"},
			Permitted: []string{"CAP_CHOWN"}, Inheritable: []string{}, Ambient: []string{"CAP_CHOWN"}},
	}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"CAP_KILL"}, base.Capabilities.Bounding); d != "" || len(base.Env) != 1 || base.Capabilities.Bounding[:2][1] != "" {
		t.Errorf("the configuration was written to: %s", d)
	}
	for _, c := range []struct {
		o   ExecOptions
		err string
	}{
		{ExecOptions{}, "exec args cannot be empty"},
		{ExecOptions{Args: []string{"x"}, Cwd: "a"}, "Cwd must be an absolute path"},
		{ExecOptions{Args: []string{"x"}, Env: []string{"A"}}, `--env: "A" is not NAME=VALUE`},
		{ExecOptions{Args: []string{"x"}, Env: []string{"=A"}}, `--env: "=A" is not NAME=VALUE`},
		{ExecOptions{Args: []string{"x"}, Caps: []string{"CHOWN"}}, `--cap: unknown capability "CHOWN"`},
		{ExecOptions{Args: []string{"x"}, User: "-1"}, "bad uid: -1 is out of range"},
		{ExecOptions{Args: []string{"x"}, User: "1:-1"}, "bad gid: -1 is out of range"},
		{ExecOptions{Args: []string{"x"}, User: ":1"}, `bad uid: --user ":1" names no user`},
	} {
		p := base
		e := &execution{o: &c.o, root: -1}
		if err := e.flags(&p); text(err) != c.err {
			t.Errorf("%+v: %v, want %q", c.o, err, c.err)
		}
	}
}
