package cve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

var listen = harness.ListenFD

func TestManyMappings(t *testing.T) {
	p := attack(t, "2021-43784", "6000 uid mappings", "weakened vsrun", "sh:cat /proc/self/uid_map", "-mounts[destination=/sys/fs/cgroup]")
	var maps []string
	for i := range 6000 {
		maps = append(maps, fmt.Sprintf(`{"containerID":%d,"hostID":%d,"size":1}`, i, 100000+i))
	}
	list := "[" + strings.Join(maps, ",") + "]"
	p.config("b", `linux.namespaces+={"type":"user"}`, "linux.uidMappings="+list, "linux.gidMappings="+list)
	if res := p.run("b"); res.Code == 0 {
		p.falls("the container runs with %d mappings", strings.Count(res.Stdout, "\n"))
	}
}

func TestSysctls(t *testing.T) {
	p := attack(t, "2022-0811", "sysctls of the host", "weakened vsrun")
	core, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	p.check(err)
	same := strings.TrimSpace(string(core)) // so that a success changes nothing
	for _, key := range []string{"kernel.core_pattern", "kernel/core_pattern", "net.../../kernel/core_pattern", "net/../kernel/core_pattern",
		"net.ipv4/../../kernel/core_pattern", "fs.mqueue/../../kernel/core_pattern", "kernel.msgmax/../core_pattern", "net/ipv4/../../kernel/core_pattern"} {
		p.bundle("c", `linux.sysctl={"`+key+`":"`+same+`"}`)
		if res := p.run("c"); res.Code == 0 {
			p.falls("sysctl %s is taken", key)
		}
		p.check(os.RemoveAll(p.path("c")))
	}
	p.config("b", `linux.sysctl={"kernel.shm_rmid_forced":"1+kernel.core_pattern=`+p.victim+`"}`)
	p.run("b")
	if now, _ := os.ReadFile("/proc/sys/kernel/core_pattern"); string(now) != string(core) {
		p.falls("core_pattern is %q", now)
	}
}

func TestInheritable(t *testing.T) {
	p := attack(t, "2022-29162", "inheritable capabilities nobody asked for", "weakened vsrun", "sh:grep CapInh /proc/self/status; sleep 1000")
	id, out := p.detached("b")
	p.waitOutput(out, "CapInh")
	text, _ := os.ReadFile(out)
	all := string(text) + p.try("exec", "--cap", "CAP_NET_RAW", id, "/bin/grep", "CapInh", "/proc/self/status").Stdout +
		p.try("exec", id, "/bin/grep", "CapInh", "/proc/self/status").Stdout
	if strings.Count(all, "CapInh") < 2 {
		t.Fatalf("no answer: %q", all)
	}
	for line := range strings.Lines(all) {
		if strings.Trim(strings.TrimPrefix(strings.TrimSpace(line), "CapInh:"), "0\t ") != "" {
			p.falls("%s", strings.TrimSpace(line))
		}
	}
	p.remove(id)
}

// An id must never be able to name anything but the folder of the test: delete of a runtime that believes it removes what
// it names, as crun 1.8.1 does. So "/", "." and ".." are not tried.
func TestIDs(t *testing.T) {
	p := attack(t, "ids", "container ids that are paths", "crun 1.8.1 (delete)")
	for _, id := range []string{"../victim", "a/../../victim"} {
		if res := p.try("create", "-b", p.path("b"), id); res.Code == 0 {
			p.falls("id %q is taken", id)
			_, _ = rt.Run(p.call("delete", "--force", id))
		}
		_ = p.try("delete", "--force", id)
		p.unhurt()
	}
}

func TestExecCgroup(t *testing.T) {
	p := attack(t, "exec --cgroup", "exec into a cgroup outside the container's", "crun 1.8.1", "args:/bin/sleep 1000")
	id, _ := p.detached("b")
	above := p.tag + "-above"
	for _, dir := range cgroupDirs() {
		_ = os.Mkdir(filepath.Join(dir, above), 0o755)
		defer os.Remove(filepath.Join(dir, above))
	}
	for _, sub := range []string{"..", "../..", "/..", "/../..", "../" + above, "x/../../" + above, "cpu:..", "memory:../" + above, "pids:/../" + above} {
		res := p.try("exec", "--cgroup", sub, id, "/bin/true")
		if res.Code == 0 {
			p.falls("exec --cgroup %s is taken", sub)
		}
	}
	p.remove(id)
}

func TestCgroupsPath(t *testing.T) {
	p := attack(t, "cgroupsPath", "a cgroup's path leads out of the hierarchy", "crun 1.8.1", "args:/bin/true")
	for _, up := range []string{"/../../../../../../..", "../../../../../../.."} {
		p.config("b", "linux.cgroupsPath="+up+p.victim+"/cg")
		made := p.watch(unix.IN_CREATE, p.victim) // it may be gone again at the end
		p.run("b")
		for _, name := range made() {
			p.falls("%s was made in the host's folder", name)
		}
		p.unhurt()
		for _, dir := range cgroupDirs() { // where the path was taken to be inside
			for d := filepath.Join(dir, p.victim, "cg"); len(d) > len(dir); d = filepath.Dir(d) {
				_ = os.Remove(d)
			}
		}
	}
}

func cgroupDirs() (dirs []string) {
	dirs, _ = filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for i := range dirs {
		dirs[i] = filepath.Dir(dirs[i])
	}
	return append(dirs, "/sys/fs/cgroup")
}

// What no rule allows is denied: the disk of the host is only opened for reading.
func TestDeviceDefault(t *testing.T) {
	for _, resources := range []string{"none", "{}", `{"memory":{}}`} {
		t.Run(resources, func(t *testing.T) {
			p := attack(t, "GHSA-g54h", "the host's disk, resources "+resources, "weakened vsrun", "root.readonly=false", allCaps)
			if resources == "none" {
				p.config("b", "-linux.resources")
			} else {
				p.config("b", "linux.resources="+resources)
			}
			var st unix.Stat_t
			var disk string
			for _, d := range []string{"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"} {
				if unix.Stat(d, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && readable(d) {
					disk = fmt.Sprintf("%d %d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
					break
				}
			}
			if disk == "" {
				t.Skip("needs a block device that the host's root can open")
			}
			p.config("b", "sh:mknod /tmp/d b "+disk+"; dd if=/tmp/d of=/dev/null bs=512 count=1 2>/dev/null && echo READ; sleep 1000")
			id, out := p.detached("b")
			res := p.try("exec", id, "/bin/sh", "-c", "mknod /tmp/e b "+disk+"; dd if=/tmp/e of=/dev/null bs=512 count=1 2>/dev/null && echo READ")
			text, _ := os.ReadFile(out)
			if strings.Contains(string(text)+res.Stdout, "READ") {
				p.falls("the disk can be read")
			}
			p.remove(id)
		})
	}
}

func TestExecUser(t *testing.T) {
	for _, c := range []struct{ id, what, user string }{
		{"2026-30892", "exec -u 1 is taken for 0:0", "1"},
		{"2016-3697", "exec -u 1000, and a user named 1000 who is root", "1000"},
		{"2016-3697", "exec -u 1000:1000, and a user named 1000 who is root", "1000:1000"},
	} {
		t.Run(c.user, func(t *testing.T) { execUser(t, c.id, c.what, c.user) })
	}
}

// readable tells if this machine lets its own root open a disk.
func readable(name string) bool {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

func execUser(t *testing.T, id, what, u string) {
	p := attack(t, id, what, "weakened vsrun", "args:/bin/sleep 1000")
	p.check(os.WriteFile(p.path("b", "rootfs", "etc", "passwd"), []byte("1000:x:0:0::/:/bin/sh\n1:x:0:0::/:/bin/sh\n"), 0o644))
	cid, _ := p.detached("b")
	res := p.try("exec", "-u", u, cid, "/bin/id", "-u")
	want, _, _ := strings.Cut(u, ":")
	if res.Code == 0 && strings.TrimSpace(res.Stdout) != want {
		p.falls("-u %s is %s", u, strings.TrimSpace(res.Stdout))
	}
	p.remove(cid)
}

func TestAbstractSockets(t *testing.T) {
	p := attack(t, "2020-15257", "abstract sockets in a container's reach", "weakened vsrun", "-linux.namespaces[type=network]", "-mounts[destination=/sys]")
	p.config("b", "args:/bin/sleep 1000")
	id := p.tag + "-b"
	before := abstractSockets(p)
	look := func(when string) {
		for name := range abstractSockets(p) {
			if !before[name] && (strings.Contains(name, p.tag) || strings.Contains(name, rt.Name)) {
				p.falls("%s: %s", when, name)
			}
		}
	}
	p.must("create", "-b", p.path("b"), id)
	look("created")
	p.must("start", id)
	look("running")
	p.try("exec", "-d", id, "/bin/sleep", "100")
	look("exec")
	p.remove(id)
}

// abstractSockets are the names in the abstract namespace of this network namespace.
func abstractSockets(p *place) map[string]bool {
	p.Helper()
	text, err := os.ReadFile("/proc/net/unix")
	p.check(err)
	names := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "@"); ok {
			names[name] = true
		}
	}
	return names
}

// Without a cgroup namespace the host's cgroups are mounted; they must be read-only as asked.
func TestCgroupMount(t *testing.T) {
	p := attack(t, "2023-25809", "cgroup mount with ro, no cgroup namespace, user namespace", "weakened vsrun",
		"-linux.namespaces[type=cgroup]", "sh:grep ' /sys/fs/cgroup' /proc/self/mounts; find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -exec sh -c 'echo 1 2>/dev/null > {} && echo WROTE {}' ';'; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo WROTE")
	p.config("b", shifted...)
	for d := p.dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		p.check(os.Chmod(d, 0o755))
	}
	res := p.run("b")
	for line := range strings.Lines(res.Stdout) {
		f := strings.Fields(line)
		if strings.Contains(line, "WROTE") || len(f) > 3 && strings.Contains(f[2], "cgroup") && !strings.HasPrefix(f[3], "ro") {
			p.falls("%s", strings.TrimSpace(line))
		}
	}
	if res.Code != 0 && res.Stdout == "" {
		p.note("did not run: %.80s", strings.TrimSpace(res.Stderr))
	}
}
