package netcontext

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vsrun/vsrun/tests/harness"
)

// A kernel that lacks what a context needs is told apart, with the version that has it; nothing is made.
func TestOldKernel(t *testing.T) {
	p := newPlace(t)
	for _, tt := range []struct{ without, want string }{
		{"bpf", "the BPF hook of cgroup v2 for closed sockets is not supported by this kernel (needs "},
		{"cookie", "SO_NETNS_COOKIE is not supported by this kernel (Linux has it since 5.14"},
	} {
		g := p.bundle("old"+tt.without, "10.77.0.1")
		c := p.call("run", "-b", g.dir, g.id)
		// What is pinned shows that the kernel can: it must not be seen.
		c.Prefix = []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /sys/fs/bpf && exec "$0" "$@"`, sockets, "without", tt.without}
		res, err := rt.Run(c)
		if err != nil || res.Code != 1 || !strings.Contains(res.Stderr, tt.want) || !strings.Contains(res.Stderr, "net.addresses") || strings.Count(res.Stderr, "\n") != 1 {
			t.Errorf("without %s: %v %d %q, want %q", tt.without, err, res.Code, res.Stderr, tt.want)
		}
		if p.try("state", g.id).Code == 0 {
			t.Errorf("without %s: the container is there", tt.without)
		}
	}
	p.end()
}

// Who is not root is told so.
func TestWithoutPrivileges(t *testing.T) {
	p := newPlace(t)
	for _, edit := range []string{annotation + `net.addresses"=10.77.0.1`, annotation + `rlimits.nsock"="5"`} {
		g := p.bundle("user", "", edit, "-mounts[destination=/dev/pts]", `linux.namespaces+={"type":"user"}`, `linux.uidMappings=[{"containerID":0,"hostID":65534,"size":1}]`, `linux.gidMappings=[{"containerID":0,"hostID":65534,"size":1}]`)
		dir, err := os.MkdirTemp("", "vsrun-user")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		for d := g.dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
			_ = os.Chmod(d, 0o755)
		}
		_ = os.Chmod(filepath.Join(g.dir, "config.json"), 0o644)
		c := harness.Call{Args: []string{"--root", dir, "run", "-b", g.dir, g.id}, Env: []string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + dir, harness.TagEnv + "=" + p.tag},
			Prefix: []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}}
		res, err := rt.Run(c)
		if err != nil || res.Code != 1 || !strings.Contains(res.Stderr, "needs root's privileges: it is done by BPF programs") || strings.Count(res.Stderr, "\n") != 1 {
			t.Errorf("%s: %v %d %q", edit, err, res.Code, res.Stderr)
		}
		os.RemoveAll(g.dir)
	}
	p.end()
}

// With the systemd cgroup driver, whatever systemd does to the scope.
func TestSystemd(t *testing.T) {
	p := newPlace(t)
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("needs systemd")
	}
	g := p.bundle("a", "10.77.0.1,10.77.0.3", annotation+`rlimits.nsock"="20"`, `linux.cgroupsPath="system.slice:vsrun:`+p.tag+`"`)
	p.must("--systemd-cgroup", "run", "-d", "-b", g.dir, g.id)
	t.Cleanup(func() { p.try("delete", "--force", g.id) })
	g.serve("serve", "tcp", "0.0.0.0:80", "A")
	check := func(when string) {
		t.Helper()
		for _, tt := range [][2]string{{"bind tcp 10.77.0.2:81", "bind EADDRNOTAVAIL"}, {"bind tcp 0.0.0.0:81", "ok 0.0.0.0:81"}, {"many 30", "19 ENOBUFS"}, {"socket 17 3 768", "socket EPERM"}} {
			if got := g.in(strings.Fields(tt[0])...); got != tt[1] {
				t.Errorf("%s: %s: %q, want %q", when, tt[0], got, tt[1])
			}
		}
		for _, addr := range []string{"10.77.0.1:80", "10.77.0.3:80"} {
			if got := answer(p.world("get", "tcp", addr)); got != "A" {
				t.Errorf("%s: %s: %q", when, addr, got)
			}
		}
	}
	check("started")
	for _, what := range []string{"daemon-reload", "daemon-reexec"} {
		if out, err := exec.Command("systemctl", what).CombinedOutput(); err != nil {
			t.Fatalf("systemctl %s: %v: %s", what, err, out)
		}
		check(what)
	}
	p.must("update", "--pids-limit", "100", "--memory", "200000000", g.id)
	p.must("pause", g.id)
	p.must("resume", g.id)
	check("update, pause, resume")
	if out, err := exec.Command("systemctl", "set-property", "--runtime", "vsrun-"+p.tag+".scope", "IPAddressDeny=192.0.2.0/24").CombinedOutput(); err != nil {
		t.Errorf("systemctl set-property: %v: %s", err, out)
	}
	check("systemd's own programs on the cgroup")
	g.delete()
	p.end()
}
