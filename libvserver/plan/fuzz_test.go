package plan

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

// FuzzBuild plans any configuration. No step may touch a path outside of the root filesystem but those that the
// configuration itself names as sources, and those of the host that are known by name.
func FuzzBuild(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no configurations in testdata")
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for how := range byte(8) {
			f.Add(raw, how)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, how byte) {
		b, err := spec.Parse(raw, "/bundle")
		if err != nil {
			return
		}
		checkPlan(t, b, how)
	})
}

// FuzzPaths plans a configuration with any strings in the places of paths.
func FuzzPaths(f *testing.F) {
	f.Add("/mnt", "/src", "bind,ro", "/dev/x", "net.ipv4.ip_forward", "/proc/x", "/work", "/cg", byte(0))
	f.Add("../../mnt/./..", "../../src", "rbind,rro,idmap", "/dev/../../x", "net/../../kernel/core_pattern", "/../..", "relative", "../..", byte(1))
	f.Add("/proc/self/fd/3", "", "remount", "/proc/self/fd/3", "kernel.shmmax", "/proc/self/fd/3/..", "/proc/self/fd/3", "a:b:c", byte(2))
	f.Add("/dev", "/dev", "bind", "/dev/ptmx", "fs.mqueue/../../x", "/dev/null", "//", "/", byte(3))
	f.Add("/sys/fs/cgroup", "cgroup", "copy-symlink,bind", "//dev//console", "kernel/domainname", "//", "/a/../b", "", byte(4))
	f.Fuzz(func(t *testing.T, dest, source, options, device, sysctl, masked, cwd, cgroup string, how byte) {
		typ := []string{"bind", "tmpfs", "cgroup", "proc"}[how%4]
		config := map[string]any{
			"ociVersion": "1.3.0", "root": map[string]any{"path": "rootfs"},
			"process": map[string]any{"cwd": cwd, "args": []string{"sh"}, "terminal": how&8 != 0},
			"mounts":  []any{map[string]any{"destination": dest, "type": typ, "source": source, "options": strings.Split(options, ",")}},
			"linux": map[string]any{
				"namespaces":  []any{map[string]any{"type": "mount"}, map[string]any{"type": "network"}, map[string]any{"type": "ipc"}, map[string]any{"type": "pid"}},
				"devices":     []any{map[string]any{"path": device, "type": "c", "major": 1, "minor": 3}},
				"maskedPaths": []string{masked}, "readonlyPaths": []string{masked}, "cgroupsPath": cgroup,
				"sysctl": map[string]string{sysctl: "1"},
			},
		}
		raw, err := json.Marshal(config)
		if err != nil {
			t.Skip(err)
		}
		b, err := spec.Parse(raw, "/bundle")
		if err != nil {
			return
		}
		checkPlan(t, b, how>>4)
	})
}

// checkPlan plans a bundle on one of several made-up hosts.
func checkPlan(t *testing.T, b *spec.Bundle, how byte) {
	facts := host(unified)
	if how&1 != 0 {
		facts = host(hybrid)
	}
	if how&2 != 0 {
		facts = user()
	}
	if how&4 != 0 {
		facts.Readlink = func(p string) (string, error) {
			if strings.HasPrefix(path.Base(p), "l") {
				return "../../target", nil
			}
			return "", unix.EINVAL
		}
	}
	p, err := Build(b, facts, &Options{ID: "ID", Wait: true, NoCgroup: how&2 != 0, NotifyDir: "/run/vsrun/ID/notify"})
	if err != nil {
		_ = err.Error()
	} else {
		_ = p.AppendText(nil)
		for _, s := range p.Steps {
			checkStep(t, b, p, facts, s)
		}
	}
	if b.Spec.Process == nil || len(b.Spec.Process.Args) == 0 {
		return
	}
	if p, err = BuildExec(b, facts, &ExecOptions{ID: "ID", Namespaces: allNamespaces}); err == nil {
		for _, s := range p.Steps {
			checkStep(t, b, p, facts, s)
		}
	}
}

// checkStep knows which paths a step of each kind touches. One that it does not know fails the test: say what it touches.
func checkStep(t *testing.T, b *spec.Bundle, p *Plan, facts *Facts, s Step) {
	t.Helper()
	_, _ = s.String(), s.At()
	inside := func(name string) {
		if !path.IsAbs(name) || path.Clean(name) != name || strings.IndexByte(name, 0) >= 0 {
			t.Fatalf("%s: %#v: %q may lead out of the root filesystem", s.At(), s, name)
		}
	}
	one := func(name string, of ...string) {
		for _, o := range of {
			if name == o {
				return
			}
		}
		t.Fatalf("%s: %#v: %q is none of %q", s.At(), s, name, of)
	}
	switch s := s.(type) {
	case Mount:
		inside(s.Target)
		if s.Kind == MountBind {
			one(s.Source, sources(b, facts)...)
		}
		if s.Fallback != "" {
			one(s.Fallback, append(sources(b, facts), "/proc", "/sys", "/dev/mqueue")...)
		}
	case Directory:
		inside(path.Clean("/" + s.Path)) // resolved in the root
	case Device:
		inside(s.Path)
	case Symlink:
		inside(s.Path)
		if s.IfExists != "" {
			one(s.IfExists, "/proc/kcore")
		}
	case MaskPath:
		inside(path.Clean("/" + s.Path))
	case ReadonlyPath:
		inside(path.Clean("/" + s.Path))
	case ReadonlyMount:
		inside(s.Path)
	case MountRoot:
		one(s.Path, b.Rootfs())
	case OpenRoot:
		one(s.Path, b.Rootfs())
	case Chroot:
		one(s.Path, b.Rootfs())
	case Propagation:
		one(s.Path, "/")
	case Sysctl:
		top, _, _ := strings.Cut(s.File, "/")
		one(top, "net", "kernel", "fs", "user")
		for part := range strings.SplitSeq(s.File, "/") {
			if part == "" || part == "." || part == ".." || strings.IndexByte(part, 0) >= 0 {
				t.Fatalf("%s: /proc/sys/%s", s.At(), s.File)
			}
		}
		if top == "kernel" {
			one(strings.TrimPrefix(s.File, "kernel/"), "msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced",
				"hostname", "domainname", "auto_msgmni", "sem_next_id", "msg_next_id", "shm_next_id")
		}
		if top == "fs" && !strings.HasPrefix(s.File, "fs/mqueue/") {
			t.Fatalf("%s: /proc/sys/%s", s.At(), s.File)
		}
	case Label:
		one(s.File, "exec", "apparmor/exec")
	case JoinNamespace:
		named := false
		for _, n := range b.Spec.Linux.Namespaces {
			named = named || n.Path == s.Path
		}
		if !named {
			t.Fatalf("%s: joins %q", s.At(), s.Path)
		}
	case Landlock, Chdir, LookPath, Exec: // in the container's root by then
	case Await, NewNamespaces, Dumpable, BecomeRoot, JoinCgroup, JoinContainer, EnterRoot, Tell, NewSession, Keyring, PivotRoot, ReadonlyRoot,
		Console, Hostname, Domainname, Loopback, Rlimit, OOMScoreAdj, Scheduler, IOPriority, MemoryPolicy, Affinity, Personality, NullStdio,
		NoNewPrivileges, User, Seccomp, CloseFDs, WaitStart: // no path but those of the program's own
	default:
		t.Fatalf("%T: say here which paths it touches", s)
	}
}

// sources are the paths of the host that a plan may bind.
func sources(b *spec.Bundle, facts *Facts) []string {
	list := []string{"/run/vsrun/ID/notify", cgroupRoot}
	for _, h := range facts.Cgroup.Hierarchies {
		list = append(list, h.Own, h.Caller)
	}
	for _, m := range b.Spec.Mounts {
		list = append(list, m.Source, path.Join(b.Dir, m.Source))
	}
	return list
}
