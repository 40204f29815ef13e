package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec"
)

// layout writes files below a directory, and makes those of scripts executable. "-> X" is a link to X.
func layout(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(to, file); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mode := os.FileMode(0o644)
		if strings.Contains(name, "/scripts/") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func converted(t *testing.T, files map[string]string) (*specs.Spec, string) {
	t.Helper()
	text, notes, err := convert(layout(t, files), "web")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Parse(text, "/"); err != nil {
		t.Errorf("the result is refused: %v", err)
	}
	s := new(specs.Spec)
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	return s, strings.Join(notes, "\n")
}

// TestGuest is a guest as "vserver web build" made them, with most of what could be set.
func TestGuest(t *testing.T) {
	s, notes := converted(t, map[string]string{
		".defaults/vdirbase/x":           "",
		"web/vdir":                       "-> ../.defaults/vdirbase/web",
		"web/run":                        "-> /var/run/vservers/web",
		"web/name":                       "web\n",
		"web/context":                    "1042\n",
		"web/cflags":                     "virt_uptime\n^24\nsched_hard\nvirt_load\n",
		"web/uts/nodename":               "www.example.org\n",
		"web/uts/release":                "2.6.22\n",
		"web/bcapabilities":              "CAP_NET_RAW\n~SYS_PTRACE\n",
		"web/ccapabilities":              "secure_mount\n",
		"web/apps/init/style":            "plain\n",
		"web/apps/init/mark":             "default\n",
		"web/apps/init/depends":          "db\n",
		"web/interfaces/0/ip":            "192.0.2.7\n",
		"web/interfaces/0/prefix":        "24\n",
		"web/interfaces/dev":             "eth0\n",
		"web/sched/fill-rate":            "7\n",
		"web/sched/interval":             "32\n",
		"web/nice":                       "5\n",
		"web/ionice/class":               "2\n",
		"web/ionice/priority":            "6\n",
		"web/ulimits/nofile":             "4096\n",
		"web/ulimits/core.soft":          "0\n",
		"web/rlimits/nproc.hard":         "100\n",
		"web/rlimits/openfd":             "100\n",
		"web/dlimits/0/directory":        "/nowhere/else\n",
		"web/dlimits/0/space_total":      "1000000\n",
		"web/sysctl/0/setting":           "kernel.shmmax\n",
		"web/sysctl/0/value":             "65536\n",
		"web/cpuset/cpus":                "0-1\n",
		"web/cgroup/cpu.weight":          "50\n",
		"web/cgroup/cpu_shares":          "512\n",
		"web/fstab":                      "none /proc proc defaults 0 0\n# comment\n/srv/www /var/www none bind,ro 0 0\nnone /tmp tmpfs size=16m,mode=1777 0 0\n",
		"web/scripts/pre-start":          "#!/bin/sh\n",
		"web/scripts/post-stop.d/10-log": "#!/bin/sh\n",
		"web/scripts/pre-stop":           "#!/bin/sh\n",
		"web/apps/pkgmgmt/internal":      "",
	})
	if !strings.HasSuffix(s.Root.Path, "/.defaults/vdirbase/web") || s.Root.Readonly {
		t.Errorf("root %+v", s.Root)
	}
	want := map[string]string{"context.xid": "1042", "context.flags": "virt_uptime,sched_hard", "net.addresses": "192.0.2.7", "rlimits.nproc.hard": "100", "sched.fill-rate": "7", "sched.interval": "32"}
	got := map[string]string{}
	for k, v := range s.Annotations {
		got[strings.TrimPrefix(k, spec.VServerPrefix)] = v
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s.Hostname != "www.example.org" || cmp.Diff([]string{"/sbin/init"}, s.Process.Args) != "" || s.Process.Terminal {
		t.Errorf("%s %v", s.Hostname, s.Process.Args)
	}
	caps := strings.Join(s.Process.Capabilities.Bounding, " ")
	if !strings.Contains(caps, "CAP_NET_RAW") || strings.Contains(caps, "CAP_SYS_PTRACE") || !strings.Contains(caps, "CAP_CHOWN") {
		t.Error(caps)
	}
	if s.Process.Scheduler.Nice != 5 || s.Process.IOPriority.Priority != 6 {
		t.Error("nice or ionice")
	}
	limits := []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 0, Hard: ^uint64(0)}, {Type: "RLIMIT_NOFILE", Soft: 4096, Hard: 4096}}
	if d := cmp.Diff(limits, s.Process.Rlimits); d != "" {
		t.Error(d)
	}
	if s.Linux.Sysctl["kernel.shmmax"] != "65536" || s.Linux.Resources.CPU.Cpus != "0-1" || s.Linux.Resources.Unified["cpu.weight"] != "50" {
		t.Errorf("%v %+v", s.Linux.Sysctl, s.Linux.Resources)
	}
	for _, ns := range s.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			t.Error("a network namespace")
		}
	}
	mounts := map[string]string{}
	for _, m := range s.Mounts {
		mounts[m.Destination] = m.Type + " " + m.Source + " " + strings.Join(m.Options, ",")
	}
	if mounts["/var/www"] != "bind /srv/www bind,ro" || mounts["/tmp"] != "tmpfs none size=16m,mode=1777" || !strings.HasPrefix(mounts["/proc"], "proc ") {
		t.Errorf("%v", mounts)
	}
	if s.Hooks == nil || len(s.Hooks.CreateRuntime) != 1 || s.Hooks.CreateRuntime[0].Args[2] != "web" || len(s.Hooks.Poststop) != 1 {
		t.Errorf("%+v", s.Hooks)
	}
	for _, w := range []string{
		"flag \"^24\"", "flag virt_load is not supported", "uts/release: not taken over", "ccapabilities: secure_mount",
		"systemctl enable vsrun@web", "Requires=vsrun@db.service", "ip address add 192.0.2.7/24 dev eth0", "rlimits/openfd: not taken over",
		"dlimits/0/: not taken over", "cgroup/cpu_shares: not taken over", "scripts/pre-stop: not taken over", "apps/pkgmgmt/internal: not taken over",
	} {
		if !strings.Contains(notes, w) {
			t.Errorf("no note of %q in:\n%s", w, notes)
		}
	}
}

// TestSmallest: one that says next to nothing.
func TestSmallest(t *testing.T) {
	s, notes := converted(t, map[string]string{"web/context": "7\n"})
	if s.Root.Path != "/vservers/web" || s.Hostname != "web" || s.Process.Args[0] != "/bin/sh" || !strings.Contains(s.Process.Args[2], "rc 3") {
		t.Errorf("%+v %v", s.Root, s.Process.Args)
	}
	if !strings.Contains(notes, "the host's whole network") || strings.Contains(notes, "not taken over") {
		t.Error(notes)
	}
}

func TestErrors(t *testing.T) {
	dir := layout(t, map[string]string{"web/context": "7\n", "file": "", "bad/sysctl/0/setting": "kernel.hostname\n", "bad/sysctl/0/value": "x\n"})
	for name, want := range map[string]string{"": "not the name", "../web": "not the name", ".defaults": "not the name", "none": "no such file", "file": "not a directory", "bad": "refused"} {
		if _, _, err := convert(dir, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bundle := filepath.Join(t.TempDir(), "b")
	if err := run(dir, "web", bundle); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, "web", bundle); err == nil {
		t.Error("config.json was overwritten")
	}
}
