package plan

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

var update = flag.Bool("update", false, "write the golden files")

// host makes facts of a made-up host, on which every path but those below /missing is a directory or, with a dot in its
// name, a file.
func host(layout CgroupLayout) *Facts {
	return &Facts{
		Permitted: 1<<41 - 1,
		Cgroup:    layout,
		AppArmor:  true,
		SELinux:   true,
		Stat: func(p string) (uint32, error) {
			switch {
			case strings.HasPrefix(p, "/missing"):
				return 0, unix.ENOENT
			case strings.Contains(filepath.Base(p), "."):
				return unix.S_IFREG | 0o644, nil
			}
			return unix.S_IFDIR | 0o755, nil
		},
		Home: func(_ string, uid uint32) string {
			if uid == 0 {
				return "/root"
			}
			return ""
		},
	}
}

// user makes the facts of a runtime without privileges.
func user() *Facts {
	f := host(unified)
	f.EUID, f.EGID, f.Permitted, f.Unprivileged = 1000, 1000, 0, true
	return f
}

var (
	unified = CgroupLayout{Unified: true}
	hybrid  = CgroupLayout{Hierarchies: []CgroupHierarchy{
		{Name: "cpu,cpuacct", Options: []string{"cpu", "cpuacct"}, Links: []string{"cpu", "cpuacct"}, Own: "/sys/fs/cgroup/cpu,cpuacct/ID"},
		{Name: "memory", Options: []string{"memory"}, Links: []string{"memory"}, Own: "/sys/fs/cgroup/memory/ID"},
		{Name: "systemd", Options: []string{"none", "name=systemd"}, Own: "/sys/fs/cgroup/systemd/ID"},
		{Name: "unified", V2: true, Own: "/sys/fs/cgroup/unified/ID"},
	}}
)

// TestGolden compares the plans of the configurations in testdata with what they were. A changed plan is a changed launch:
// look at the difference, then run the test with -update.
func TestGolden(t *testing.T) {
	wait := Options{ID: "ID", Wait: true}
	for name, c := range map[string]struct {
		config string
		facts  *Facts
		opt    Options
	}{
		"default":         {"default", host(unified), wait},
		"default-run":     {"default", host(unified), Options{ID: "ID", Recorded: true}},
		"default-hybrid":  {"default", host(hybrid), wait},
		"default-nopivot": {"default", host(unified), Options{ID: "ID", Wait: true, NoPivot: true, NoNewKeyring: true, PreserveFDs: 2}},
		"default-systemd": {"default", host(unified), Options{ID: "ID", Wait: true, SystemdCgroup: true}},
		"userns":          {"userns", host(unified), wait},
		"userns-hybrid":   {"userns", host(hybrid), wait},
		"pod":             {"pod", host(unified), wait},
		"pod-rootless":    {"pod", user(), Options{ID: "ID", Wait: true, NoCgroup: true}},
		"rootless":        {"rootless", user(), Options{ID: "ID", Wait: true, NoCgroup: true}},
		"rootless-time":   {"rootless-time", user(), Options{ID: "ID", Wait: true, NoCgroup: true}},
		"full":            {"full", host(unified), Options{ID: "ID", Wait: true, NotifyDir: "/run/vsrun/ID/notify", Env: []string{"NOTIFY_SOCKET=/run/notify/notify.sock"}}},
		"nomount":         {"nomount", host(unified), wait},
		"shared":          {"shared", host(unified), wait},
		"netcontext":      {"netcontext", host(unified), wait},
		"unified":         {"unified", onTree(host(unified)), wait},
		"unified-userns":  {"unified-userns", onTree(host(unified)), wait},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile("testdata/" + c.config + ".json")
			if err != nil {
				t.Fatal(err)
			}
			b, err := spec.Parse(raw, "/bundle")
			if err != nil {
				t.Fatal(err)
			}
			p, err := Build(b, c.facts, &c.opt)
			if err != nil {
				t.Fatal(err)
			}
			got := p.AppendText(nil)
			golden := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the plan has changed (-was +is):\n%s", cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")))
			}
		})
	}
}

func parse(t *testing.T, config string) *spec.Bundle {
	t.Helper()
	b, err := spec.Parse([]byte(config), "/bundle")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const head = `{"ociVersion":"1.3.0","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"],"env":["PATH=/bin"]},`

// TestFaults: what only the host can tell is refused before anything is made, with its place in config.json.
func TestFaults(t *testing.T) {
	ns := `"linux":{"namespaces":[{"type":"mount"}]}}`
	for _, c := range []struct{ name, config, want string }{
		{"missing source", head + `"mounts":[{"destination":"/a","source":"/missing/x","options":["bind"]}],` + ns, "mounts[0].source: /missing/x: no such file or directory"},
		{"bind without a source", head + `"mounts":[{"destination":"/a","type":"bind"}],` + ns, "mounts[0].source"},
		{"idmap without maps", head + `"mounts":[{"destination":"/a","source":"/x","options":["bind","idmap"]}],` + ns, "mounts[0]"},
		{"apparmor", strings.Replace(head, `"cwd"`, `"apparmorProfile":"p","cwd"`, 1) + ns, `process.apparmorProfile: profile "p" asked for, but AppArmor is not enabled`},
		{"selinux", strings.Replace(head, `"cwd"`, `"selinuxLabel":"l","cwd"`, 1) + ns, `process.selinuxLabel: label "l" asked for, but SELinux is not enabled`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := spec.Parse([]byte(c.config), "/bundle")
			if err == nil {
				f := host(unified)
				f.AppArmor, f.SELinux = false, false
				_, err = Build(b, f, &Options{ID: "ID"})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestSourceInEarlierMount(t *testing.T) {
	b := parse(t, head+`"mounts":[{"destination":"/a","type":"tmpfs"},{"destination":"/b","source":"/missing/rootfs/a/sub","options":["bind"]}],"linux":{"namespaces":[{"type":"mount"}]}}`)
	b.Spec.Root.Path = "/missing/rootfs"
	if _, err := Build(b, host(unified), &Options{ID: "ID"}); err != nil {
		t.Errorf("a source below an earlier mount was refused: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	got := environment([]string{"A=1", "B=2", "A=3", "junk"}, []string{"B=4", "C=5"})
	if d := cmp.Diff([]string{"A=3", "B=4", "junk", "C=5"}, got); d != "" {
		t.Error(d)
	}
	if v, ok := lookup(got, "A"); v != "3" || !ok {
		t.Errorf("lookup A = %q, %v", v, ok)
	}
	if _, ok := lookup(got, "jun"); ok {
		t.Error("lookup jun found something")
	}
	if d := cmp.Diff([]string{"A=3", "junk", "C=5"}, unsetEnv(got, "B")); d != "" {
		t.Error(d)
	}
}

func TestLookPath(t *testing.T) {
	for _, c := range []struct {
		name, arg string
		env       []string
		want      []string
	}{
		{"slash", "./x", []string{"PATH=/bin"}, nil},
		{"path", "x", []string{"PATH=/bin::/usr/bin"}, []string{"/bin", ".", "/usr/bin"}},
		{"no path", "x", nil, strings.Split(defaultPath, ":")},
	} {
		if d := cmp.Diff(c.want, lookPath(c.arg, c.env).Dirs); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		name             string
		set, clr         uint64
		wantSet, wantClr uint64
	}{
		{"ro nosuid", unix.MS_RDONLY | unix.MS_NOSUID, 0, unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID, 0},
		{"rw exec", 0, unix.MS_RDONLY | unix.MS_NOEXEC, 0, unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC},
		{"noatime", unix.MS_NOATIME, 0, unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
		{"strictatime", unix.MS_STRICTATIME, 0, unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
		{"relatime", unix.MS_RELATIME, 0, 0, unix.MOUNT_ATTR__ATIME},
		{"nosymfollow", unix.MS_NOSYMFOLLOW, 0, unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
	} {
		set, clr, _ := attributes(c.set, c.clr)
		if set != c.wantSet || clr != c.wantClr {
			t.Errorf("%s: set %#x clear %#x, want %#x and %#x", c.name, set, clr, c.wantSet, c.wantClr)
		}
	}
}

func TestDataOptions(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"size=4m", "mode=711"}, []string{"size=4m", "mode=711"}},
		{[]string{"size=4m,mode=711,"}, []string{"size=4m", "mode=711"}},
		{[]string{`context="u:r:t:s0:c1,c2",size=1`}, []string{"context=u:r:t:s0:c1,c2", "size=1"}},
		{[]string{`name="a,b"`}, []string{`name="a,b"`}},
		{[]string{`lowerdir=/a\,b:/c,upperdir=/d`}, []string{`lowerdir=/a\,b:/c`, "upperdir=/d"}},
		{[]string{`x\`, `y,\`, `"z,`}, []string{`x\`, "y", `\`, `"z,`}},
	} {
		if d := cmp.Diff(c.want, dataOptions(c.in)); d != "" {
			t.Errorf("%q: %s", c.in, d)
		}
	}
}

// TestMountLabelOption: an annotation of Podman's chooses the option that a filesystem's label goes into.
func TestMountLabelOption(t *testing.T) {
	for value, want := range map[string]string{"": "context", "context": "context", "rootcontext": "rootcontext", "fscontext": "fscontext", "defcontext": "defcontext", "nocontext": ""} {
		b := parse(t, head+`"annotations":{"run.oci.mount_context_type":"`+value+`"},"mounts":[{"destination":"/a","type":"tmpfs"}],"linux":{"mountLabel":"u:r:t:s0:c1,c2","namespaces":[{"type":"mount"}]}}`)
		p, err := Build(b, host(unified), &Options{ID: "ID"})
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), `annotations["run.oci.mount_context_type"]: must be context,`) {
				t.Errorf("%s: %v", value, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, s := range p.Steps {
			if m, ok := s.(Mount); ok && m.Target == "/a" {
				found = slices.Contains(m.Data, want+"=u:r:t:s0:c1,c2")
			}
		}
		if !found {
			t.Errorf("%q: no %s", value, want)
		}
	}
}

// TestMountLabel: every filesystem has the label in the way that the kernel takes it.
func TestMountLabel(t *testing.T) {
	b := parse(t, head+`"mounts":[{"destination":"/tmpfs","type":"tmpfs"},{"destination":"/proc","type":"proc"},{"destination":"/mqueue","type":"mqueue"},`+
		`{"destination":"/sys","type":"sysfs"},{"destination":"/cgroup","type":"cgroup"},{"destination":"/bind","type":"bind","source":"/etc"}],`+
		`"linux":{"mountLabel":"u:r:t:s0","namespaces":[{"type":"mount"},{"type":"pid"},{"type":"ipc"},{"type":"network"},{"type":"cgroup"}]}}`)
	p, err := Build(b, host(unified), &Options{ID: "ID"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range p.Steps {
		if m, ok := s.(Mount); ok {
			got[m.Target] = strings.Join(m.Data, ",") + "|" + m.Label
		}
	}
	want := map[string]string{"/tmpfs": "context=u:r:t:s0|", "/proc": "|", "/mqueue": "|u:r:t:s0", "/sys": "|", "/cgroup": "|", "/bind": "|"}
	for target := range want {
		if d := cmp.Diff(want[target], got[target]); d != "" {
			t.Errorf("%s: %s", target, d)
		}
	}
}

// TestTargetsStayInside: whatever a config says, no step names a path outside the root filesystem to be changed.
func TestTargetsStayInside(t *testing.T) {
	b := parse(t, head+`"mounts":[{"destination":"../../a","type":"tmpfs"},{"destination":"/x/../../../etc","type":"tmpfs"}],"linux":{"namespaces":[{"type":"mount"}],"devices":[{"path":"/dev/../../../d","type":"c","major":1,"minor":3}]}}`)
	p, err := Build(b, host(unified), &Options{ID: "ID"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps {
		target := ""
		switch s := s.(type) {
		case Mount:
			target = s.Target
		case Device:
			target = s.Path
		case Symlink:
			target = s.Path
		case Directory:
			target = s.Path
		}
		if strings.Contains(target, "..") {
			t.Errorf("%s: %s leaves the root", s.At(), s)
		}
	}
}

func TestErrnoText(t *testing.T) {
	err := &os.PathError{Op: "stat", Path: "/x", Err: unix.ENOENT}
	if got := errnoText(errors.Join(err).(interface{ Unwrap() []error }).Unwrap()[0]); got != "no such file or directory" {
		t.Errorf("errnoText = %q", got)
	}
}
