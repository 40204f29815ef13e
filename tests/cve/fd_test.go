package cve

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCwdFD(t *testing.T) {
	p := attack(t, "2024-21626", "cwd /proc/self/fd/N, run and exec", "weakened vsrun")
	up := strings.Repeat("../", 12)
	script := "cat ./" + up + strings.TrimPrefix(p.victim, "/") + "/marker"
	p.bundle("sleep", "args:/bin/sleep 1000")
	id, _ := p.detached("sleep")
	p.config("b", "sh:"+script)
	for n := 3; n <= 15; n++ {
		dir := "/proc/self/fd/" + strconv.Itoa(n)
		p.config("b", "process.cwd="+dir)
		if res := p.run("b"); strings.Contains(res.Stdout, "HOST-MARKER") {
			p.falls("run with cwd %s reads the host", dir)
		}
		if res := p.try("exec", "--cwd", dir, id, "/bin/sh", "-c", script); strings.Contains(res.Stdout, "HOST-MARKER") {
			p.falls("exec with cwd %s reads the host", dir)
		}
		// A program of the host, by the same way.
		exe := dir + "/" + up + "bin/true"
		p.config("b", "process.cwd=/", `process.args=["`+exe+`"]`)
		if res := p.run("b"); res.Code == 0 {
			p.falls("run of %s executes the host's", exe)
		}
		if res := p.try("exec", id, exe); res.Code == 0 {
			p.falls("exec of %s executes the host's", exe)
		}
		p.config("b", "sh:"+script)
	}
	p.remove(id)
}

func TestLeakedFDs(t *testing.T) {
	p := attack(t, "2024-21626", "descriptors above 2 in run and exec", "weakened vsrun",
		"sh:for f in /proc/self/fd/*; do readlink $f; done; sleep 1000")
	id, out := p.detached("b")
	if !p.waitOutput(out, "stdout") && !p.waitOutput(out, "/") {
		t.Fatal("no output")
	}
	time.Sleep(100 * time.Millisecond)
	text, err := os.ReadFile(out)
	p.check(err)
	texts := []string{string(text)}
	texts = append(texts, p.try("exec", id, "/bin/sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done").Stdout)
	texts = append(texts, p.try("exec", id, "/bin/ls", "/proc/self/fd/").Stdout)
	for _, s := range texts {
		for line := range strings.Lines(s) {
			line = strings.TrimSpace(line)
			if n, err := strconv.Atoi(line); err == nil && n > 3 || strings.Contains(line, "cgroup") || line == "/" {
				p.falls("%q is open", line)
			}
		}
	}
	// The waiting process, too: who joins its pid namespace sees it.
	p.bundle("c")
	cid := p.tag + "-c"
	p.must("create", "-b", p.path("c"), cid)
	dir := fmt.Sprintf("/proc/%d/fd", p.pid(cid))
	entries, err := os.ReadDir(dir)
	p.check(err)
	for _, e := range entries {
		if to, _ := os.Readlink(dir + "/" + e.Name()); e.Name() > "2" && strings.HasPrefix(to, "/") && !strings.Contains(to, "exec.fifo") {
			p.falls("the created container holds %s", to)
		}
	}
	p.remove(cid)
	p.remove(id)
}

// What the kernel tells everybody of a process that joins must not be the host's: its environment, its arguments, its mounts.
func TestJoinPeeked(t *testing.T) {
	for _, how := range []string{"exec", "exec -d -t", "create", "startContainer", "exec, with CAP_SYS_PTRACE"} {
		t.Run(strings.ReplaceAll(how, " ", ""), func(t *testing.T) {
			p := attack(t, "2016-9962", "pid 1 reads environment and mounts of "+how, map[bool]string{true: "vsrun before its fix"}[strings.HasPrefix(how, "exec")], "args:/bin/true")
			word := p.tag + "-mount"
			backwards := p.secret()
			at := p.path(word)
			p.check(os.Mkdir(at, 0o755))
			p.check(unix.Mount("tmpfs", at, "tmpfs", 0, ""))
			defer func() { p.check(unix.Unmount(at, 0)) }()
			var caps []string
			if strings.HasSuffix(how, "CAP_SYS_PTRACE") {
				caps = []string{allCaps}
			}
			p.bundle("a", append(caps, "args:/bin/probe peek "+word+" "+backwards, "-mounts[destination=/sys/fs/cgroup]")...)
			p.must("run", "--help") // the runtime is in the page cache
			id, out := p.detached("a")
			if !p.waitOutput(out, "ready") {
				t.Fatal("the attacker does not run")
			}
			p.config("b", fmt.Sprintf("linux.namespaces[type=pid].path=/proc/%d/ns/pid", p.pid(id)), "-mounts[destination=/sys/fs/cgroup]")
			if how == "startContainer" {
				p.config("b", `hooks={"startContainer":[{"path":"/bin/true"},{"path":"/bin/true"}]}`)
			}
			rounds(60, func(int) bool {
				switch how {
				case "exec", "exec, with CAP_SYS_PTRACE":
					p.try("exec", id, "/bin/true")
				case "exec -d -t":
					p.try("exec", "-d", id, "/bin/true")
				default:
					p.run("b")
				}
				return true
			})
			text, _ := os.ReadFile(out)
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				switch {
				case !strings.HasPrefix(line, "READ"):
				case !strings.HasPrefix(how, "exec") && line == "READ in environ", !strings.HasPrefix(how, "exec") && line == "READ in memory":
					p.falls("%s", line)
				case strings.HasPrefix(how, "exec"):
					p.falls("%s", line)
				default:
					// A container that is built in a shared pid namespace begins with the host's mounts.
					p.note("information: %s", line)
				}
			}
			p.remove(id)
		})
	}
}

// secret puts a word into the environment of the runtime's caller, and returns it backwards.
func (p *place) secret() string {
	word := []byte(p.tag + "-secret")
	p.env = append(p.env, "HOST_ENV="+string(word))
	slices.Reverse(word)
	return string(word)
}

// What an exec has brought into a container that is only created may trace there: what waits for start has been the runtime.
func TestCreatedPeeked(t *testing.T) {
	for _, c := range []struct{ name, edit string }{
		{"in the runtime's memory", ""}, {"in a copy of it", `linux.namespaces+={"type":"time"}`},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			p := attack(t, "2016-9962", "who came later reads the environment of create: "+c.name, "crun 1.21, vsrun before its fix", "args:/bin/sleep 1000",
				"-mounts[destination=/sys/fs/cgroup]")
			if c.edit != "" {
				p.config("b", c.edit)
			}
			backwards := p.secret()
			id, out := p.tag+"-b", p.path("tracer.out")
			p.must("create", "-b", p.path("b"), id)
			p.env = p.env[:len(p.env)-1]
			p.execInto(out, "--cap", "CAP_SYS_PTRACE", id, "/bin/probe", "peek", p.tag+"-none", backwards)
			if !p.waitOutput(out, "ready") {
				t.Fatal("the attacker does not run")
			}
			rounds(20, func(int) bool { p.must("exec", id, "/bin/true"); return true })
			text, err := os.ReadFile(out)
			p.check(err)
			for line := range strings.Lines(string(text)) {
				if line != "ready\n" {
					p.falls("%s", strings.TrimSpace(line))
				}
			}
			p.remove(id)
		})
	}
}

// userns gives a bundle a user namespace in which everything is mapped as it is: what it reaches is the host's.
var userns = []string{`linux.namespaces+={"type":"user"}`, `linux.uidMappings=[{"containerID":0,"hostID":0,"size":65536}]`,
	`linux.gidMappings=[{"containerID":0,"hostID":0,"size":65536}]`}

// shifted gives a bundle a user namespace with ids of its own.
var shifted = []string{`linux.namespaces+={"type":"user"}`, `linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`,
	`linux.gidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`}

// passable lets other users come to the test's folder, and so to the victim.
func (p *place) passable() {
	p.Helper()
	for d := p.dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		p.check(os.Chmod(d, 0o755))
	}
}

// execInto is exec -d with the output in a file.
func (p *place) execInto(out string, args ...string) {
	p.Helper()
	c := p.call(append([]string{"exec", "-d"}, args...)...)
	c.Stdout = out
	if res := p.do(c); res.Code != 0 {
		p.Fatalf("exec: %s", res.Stderr)
	}
}

// reached is by what ways an attacker says in its output that it came to the victim.
func (p *place) reached(out string) (ways []string) {
	p.Helper()
	text, _ := os.ReadFile(out)
	p.Logf("the attacker: %s", text)
	for line := range strings.Lines(string(text)) {
		if way, ok := strings.CutPrefix(strings.TrimSpace(line), "REACHED by "); ok {
			ways = append(ways, way)
		}
	}
	return ways
}

// A first process that can trace all it sees looks for the host behind those that join it.
func TestJoinTraced(t *testing.T) {
	bites := map[string]string{
		"no CAP_SYS_PTRACE startContainer":             "vsrun before its fix",
		"with CAP_SYS_PTRACE exec":                     "crun 1.8.1 (fd 7)",
		"user namespace create":                        "crun 1.8.1",
		"user namespace startContainer":                "crun 1.8.1",
		"user namespace of its own ids create":         "crun 1.8.1",
		"user namespace of its own ids startContainer": "crun 1.8.1",
	}
	for _, c := range []struct {
		name  string
		edits []string
	}{
		{"no CAP_SYS_PTRACE", nil},
		{"with CAP_SYS_PTRACE", []string{allCaps}},
		{"user namespace", append([]string{allCaps}, userns...)},
		{"user namespace of its own ids", append([]string{allCaps}, shifted...)},
	} {
		for _, how := range []string{"exec", "create", "startContainer", "createContainer"} {
			t.Run(strings.ReplaceAll(c.name+" "+how, " ", "-"), func(t *testing.T) {
				p := attack(t, "2016-9962", "pid 1 looks behind "+how+": "+c.name, bites[c.name+" "+how], "root.readonly=false")
				edits := append([]string{"args:/bin/probe look " + p.victim + "/marker"}, c.edits...)
				edits = append(edits, "-mounts[destination=/sys/fs/cgroup]")
				p.bundle("a", edits...)
				p.passable()
				res := p.tryDetached("a")
				if res.Code != 0 {
					t.Skipf("no such container here: %.200s", res.Stderr)
				}
				id, out := p.tag+"-a", p.path("a.out")
				if !p.waitOutput(out, "ready") {
					t.Fatal("the attacker does not run")
				}
				ns := fmt.Sprintf("/proc/%d/ns/", p.pid(id))
				joined := []string{"linux.namespaces[type=pid].path=" + ns + "pid", "-mounts[destination=/sys/fs/cgroup]"}
				if len(c.edits) > 1 {
					joined = append(joined, `linux.namespaces+={"type":"user","path":"`+ns+`user"}`)
				}
				p.config("b", joined...)
				if strings.HasSuffix(how, "Container") {
					p.config("b", `hooks={"`+how+`":[{"path":"/bin/true"},{"path":"/bin/true"},{"path":"/bin/true"}]}`)
				}
				failed := ""
				n := rounds(20, func(int) bool {
					if how == "exec" {
						p.try("exec", id, "/bin/true")
					} else if res := p.run("b"); res.Code != 0 {
						failed = res.Stderr
					}
					return true
				})
				if n < 20 {
					p.note("%d rounds", n)
				}
				if failed != "" {
					p.note("the joining container did not run: %.100s", strings.TrimSpace(failed))
				}
				switch got := p.reached(out); {
				case len(got) == 0:
				case c.name == "with CAP_SYS_PTRACE" && how != "exec":
					// It may trace the host's root in its pid namespace, and the new container is built there: the kernel
					// offers nothing against that.
					p.note("information: reached by %v", got)
				case how == "createContainer" && len(c.edits) > 1:
					// These hooks are programs of the host, in the host's root (pivot_root comes after them).
					p.note("information: the hook was reached by %v", got)
				default:
					p.falls("the host was reached by %v", got)
				}
				p.remove(id)
			})
		}
	}
}

// The container's own process can trace nothing, but another one that came into its pid namespace can: one that an exec has
// brought, or another container's.
func TestJoinTracedByOther(t *testing.T) {
	for _, by := range []string{"exec --cap", "exec --process", "another container"} {
		t.Run(strings.ReplaceAll(by, " ", "-"), func(t *testing.T) {
			p := attack(t, "2016-9962", "who came later looks behind exec: "+by, "vsrun before its fix", "root.readonly=false", "args:/bin/sleep 1000",
				"-mounts[destination=/sys/fs/cgroup]")
			look := "/bin/probe look " + p.victim + "/marker"
			p.passable()
			id, _ := p.detached("b")
			out := p.path("tracer.out")
			switch by {
			case "exec --cap":
				p.execInto(out, append([]string{"--cap", "CAP_SYS_PTRACE", id}, strings.Fields(look)...)...)
			case "exec --process":
				p.bundle("proc", "args:"+look, allCaps)
				text, err := os.ReadFile(p.path("proc", "config.json"))
				p.check(err)
				var config struct{ Process json.RawMessage }
				p.check(json.Unmarshal(text, &config))
				p.check(os.WriteFile(p.path("process.json"), config.Process, 0o644))
				p.execInto(out, "--process", p.path("process.json"), id)
			default:
				p.bundle("a", "args:"+look, allCaps, "root.readonly=false", "-mounts[destination=/sys/fs/cgroup]",
					fmt.Sprintf("linux.namespaces[type=pid].path=/proc/%d/ns/pid", p.pid(id)))
				var other string
				other, out = p.detached("a")
				defer p.remove(other)
			}
			if !p.waitOutput(out, "ready") {
				t.Fatal("the attacker does not run")
			}
			if n := rounds(40, func(int) bool { p.must("exec", id, "/bin/true"); return true }); n < 40 {
				p.note("%d rounds", n)
			}
			for _, by := range p.reached(out) {
				p.falls("the host was reached by %s", by)
			}
			p.remove(id)
		})
	}
}

// The same behind a hook: what an exec has brought into a container that is only created is there when start runs hooks in it.
func TestHookTracedByOther(t *testing.T) {
	p := attack(t, "2016-9962", "who came later looks behind startContainer", "vsrun before its fix", "root.readonly=false", "args:/bin/sleep 1000",
		"-mounts[destination=/sys/fs/cgroup]", `hooks={"startContainer":[{"path":"/bin/true"},{"path":"/bin/true"},{"path":"/bin/true"},{"path":"/bin/true"}]}`)
	p.passable()
	id := p.tag + "-b"
	n := rounds(20, func(i int) bool {
		p.must("create", "-b", p.path("b"), id)
		out := p.path("tracer." + strconv.Itoa(i))
		p.execInto(out, "--cap", "CAP_SYS_PTRACE", id, "/bin/probe", "look", p.victim+"/marker")
		if !p.waitOutput(out, "ready") {
			t.Fatal("the attacker does not run")
		}
		p.must("start", id)
		p.remove(id)
		got := p.reached(out)
		for _, by := range got {
			p.falls("the host was reached by %s", by)
		}
		return len(got) == 0
	})
	p.note("%d rounds", n)
}
