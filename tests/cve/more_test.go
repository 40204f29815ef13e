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

	"github.com/vsrun/vsrun/tests/harness"
)

// An engine must not hand on annotations that set a systemd unit's properties: the runtime says that it takes them, and
// does not take those that run something.
func TestSystemdProperties(t *testing.T) {
	p := attack(t, "2024-3154", "annotations with properties of systemd units", "weakened vsrun", "args:/bin/true")
	var f struct{ PotentiallyUnsafeConfigAnnotations []string }
	res := p.try("features")
	if res.Code == 0 && json.Unmarshal([]byte(res.Stdout), &f) == nil {
		for _, name := range []string{"org.systemd.property.ExecStartPre", "org.criu.config"} {
			if !slices.ContainsFunc(f.PotentiallyUnsafeConfigAnnotations, func(a string) bool { return strings.HasPrefix(name, a) }) {
				p.falls("features does not name %s", name)
			}
		}
	} else {
		p.note("no features command")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		p.note("no systemd here: the properties themselves are not tried")
		return
	}
	for name, value := range map[string]string{
		"ExecStartPre": `[('/bin/touch', ['/bin/touch', '` + p.victim + `/made'], false)]`,
		"ExecStart":    `[('/bin/touch', ['/bin/touch', '` + p.victim + `/made'], false)]`,
		"ExecStopPost": `[('/bin/touch', ['/bin/touch', '` + p.victim + `/made'], false)]`,
	} {
		raw, err := json.Marshal(value)
		p.check(err)
		p.bundle("c", `annotations={"org.systemd.property.`+name+`":`+string(raw)+`}`, "linux.cgroupsPath=system.slice:vsrun:"+p.tag, "args:/bin/true")
		if res := p.try("--systemd-cgroup", "run", "-b", p.path("c"), p.tag+"-c"); res.Code == 0 {
			p.falls("%s is taken", name)
		}
		p.remove(p.tag + "-c")
		p.unhurt()
		p.check(os.RemoveAll(p.path("c")))
	}
}

// A configuration file that a handler makes in the rootfs is a link of the container's.
func TestHandlerFile(t *testing.T) {
	p := attack(t, "2025-24965", ".krun_config.json in the rootfs is a link", "weakened vsrun", "root.readonly=false", "args:/bin/true",
		`annotations={"run.oci.handler":"krun"}`)
	for _, name := range []string{".krun_config.json", ".krun_vm.json"} {
		p.check(os.Symlink(p.victim+"/made", p.path("b", "rootfs", name)))
	}
	if res := p.run("b"); res.Code != 0 {
		p.note("did not run: %.60s", strings.TrimSpace(res.Stderr))
	}
	p.unhurt()
}

// Annotations that name a cgroup below the container's must not name one above it.
func TestDelegateCgroup(t *testing.T) {
	p := attack(t, "delegate-cgroup", "a delegated cgroup that is above the container's", "weakened vsrun", "args:/bin/true")
	p.config("b", shifted...)
	p.passable()
	above := p.tag + "-above"
	var dirs []string
	for _, dir := range cgroupDirs() {
		d := filepath.Join(dir, above)
		if os.Mkdir(d, 0o755) == nil {
			dirs = append(dirs, d)
			defer os.Remove(d)
		}
	}
	for _, up := range []string{"..", "../..", "/..", "x/../.."} {
		p.config("b", "linux.cgroupsPath=/"+above+"/b", `annotations={"run.oci.delegate-cgroup":"`+up+`","run.oci.systemd.subgroup":"`+up+`"}`)
		p.run("b")
		for _, d := range dirs {
			var st unix.Stat_t
			if err := unix.Stat(d, &st); err != nil {
				p.falls("%s: %v", d, err)
			} else if st.Uid != 0 {
				p.falls("%s belongs to %d", d, st.Uid)
			}
		}
	}
	for _, d := range dirs {
		_ = os.Remove(d + "/b")
	}
}

// A container to which its cgroup is delegated can nest others deeper than a path can name, and be in the last of them: it is
// killed and deleted all the same.
func TestDeepCgroup(t *testing.T) {
	p := attack(t, "deep-cgroup", "cgroups nested deeper than a path can name", "weakened vsrun", "args:/bin/sleep 1000",
		"-linux.namespaces[type=pid]")
	p.config("b", "linux.cgroupsPath=/"+p.tag+"-deep")
	id, _ := p.detached("b")
	pid := p.pid(id)
	name := strings.Repeat("d", 200)
	var made []string
	for _, dir := range cgroupDirs() {
		dir = filepath.Join(dir, p.tag+"-deep")
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		made = append(made, dir)
		defer removeDeep(dir)
		for range 45 {
			p.check(unix.Mkdirat(fd, name, 0o755))
			next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			p.check(err)
			unix.Close(fd)
			fd = next
		}
		if procs, err := unix.Openat(fd, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			_, _ = unix.Write(procs, []byte(strconv.Itoa(pid))) // in vain where a cpuset above has no processors
			unix.Close(procs)
		}
		unix.Close(fd)
	}
	if len(made) == 0 {
		t.Fatal("the container has no cgroup")
	}
	if res := p.try("delete", "--force", id); res.Code != 0 {
		p.falls("delete --force: %.100s", res.Stderr)
	}
	for _, dir := range made {
		if harness.Exists(dir) {
			p.falls("%s is left", dir)
		}
	}
	if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); len(b) > 0 { // that of a zombie is empty
		p.falls("the container's process is left")
	}
}

// removeDeep removes what TestDeepCgroup has made.
func removeDeep(dir string) {
	var below func(fd int)
	below = func(fd int) {
		sub, err := unix.Openat(fd, strings.Repeat("d", 200), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		below(sub)
		unix.Close(sub)
		harness.Poll(5*time.Second, func() bool { return unix.Unlinkat(fd, strings.Repeat("d", 200), unix.AT_REMOVEDIR) == nil })
	}
	if fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		below(fd)
		unix.Close(fd)
		_ = unix.Rmdir(dir)
	}
}

// What spec writes has no inheritable capabilities.
func TestSpecInheritable(t *testing.T) {
	p := attack(t, "2022-29162", "spec writes inheritable capabilities", "runc 1.0, weakened vsrun")
	p.check(os.Mkdir(p.path("s"), 0o755))
	p.must("spec", "-b", p.path("s"))
	raw, err := os.ReadFile(p.path("s", "config.json"))
	p.check(err)
	var c struct {
		Process struct {
			Capabilities struct{ Inheritable, Ambient, Bounding []string }
		}
	}
	p.check(json.Unmarshal(raw, &c))
	if len(c.Process.Capabilities.Bounding) == 0 {
		t.Fatal("no capabilities at all")
	}
	if list := c.Process.Capabilities.Inheritable; len(list) > 0 {
		p.falls("inheritable: %v", list)
	}
}

// A tmpfs with tmpcopyup covers a folder that another container has, too: it puts a device in the place of a file that is just being
// copied. The runtime may read any device.
func TestRaceCopyUp(t *testing.T) {
	p := attack(t, "-", "a file that tmpcopyup copies is swapped for a device", "weakened vsrun",
		`mounts+={"destination":"/vol","type":"bind","source":"DIR/vol","options":["bind"]}`,
		`mounts+={"destination":"/vol/d","type":"tmpfs","source":"tmpfs","options":["tmpcopyup","size=64k"]}`,
		`sh:[ -f /vol/d/f ] && [ "$(head -c 3 /vol/d/f)" != own ] && echo LEAKED; exit 0`)
	vol := p.path("vol")
	p.check(os.MkdirAll(vol+"/d", 0o755))
	p.check(os.WriteFile(vol+"/d/f", []byte("own"), 0o644))
	p.check(unix.Mknod(vol+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	if fd, err := unix.Open(vol+"/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Skipf("needs a folder for tests in which devices can be opened: %v", err)
	} else {
		unix.Close(fd)
	}
	stop := p.swap(vol+"/d/f", vol+"/zero")
	ran := 0
	n := rounds(200, func(int) bool {
		res, err := rt.Run(p.call("run", "-b", p.path("b"), p.tag+"-b"))
		p.check(err)
		p.remove(p.tag + "-b")
		switch {
		case strings.Contains(res.Stdout, "LEAKED"), strings.Contains(res.Stderr, "no space left"):
			p.falls("the device was read: %s%s", res.Stdout, res.Stderr)
			return false
		case res.Code == 0:
			ran++
		}
		return true
	})
	stop()
	p.note("%d rounds, %d containers ran", n, ran)
	if ran == 0 && !t.Failed() {
		t.Error("no container ran: nothing was tried")
	}
}

// A container that may make devices puts one in the place of /etc/passwd, which it may not open itself: to open it may do
// something (/dev/watchdog begins to count), and the runtime may open any.
func TestPasswdDevice(t *testing.T) {
	p := attack(t, "-", "/etc/passwd and /etc/group of the container are devices", "weakened vsrun", "root.readonly=false", "args:/bin/sleep 1000",
		`process.env=["PATH=/bin"]`)
	etc := p.path("b", "rootfs", "etc")
	for _, name := range []string{"passwd", "group"} {
		_ = os.Remove(filepath.Join(etc, name))
		p.check(unix.Mknod(filepath.Join(etc, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 11)))) // /dev/kmsg
	}
	opened := p.watch(unix.IN_OPEN, etc)
	id := p.tag + "-b"
	if res := p.tryDetached("b"); res.Code != 0 { // HOME is not set: it is looked for
		p.note("no container then: %.80s", res.Stderr)
	} else {
		for _, user := range []string{"root", "1000", "1000:staff", "0:0"} {
			p.try("exec", "-u", user, id, "/bin/true")
		}
		p.try("exec", "--additional-gids", "5", id, "/bin/true")
		p.must("exec", id, "/bin/true")
	}
	p.remove(id)
	for _, name := range opened() {
		p.falls("%s was opened", name)
	}
}

// A hook of createContainer is a program of the host: a library that the image's environment names is none of its own.
func TestHookEnvironment(t *testing.T) {
	p := attack(t, "2025-23266", "the image's LD_PRELOAD in a createContainer hook", "runc 1.1.15", "root.readonly=false", "args:/bin/true",
		`process.env+="LD_PRELOAD=./attacker.so"`)
	hook := p.path("hook")
	p.check(os.WriteFile(hook, []byte("#!/bin/sh\n/usr/bin/env >\"$1\"\n"), 0o755))
	list := map[string][]map[string]any{}
	for _, kind := range []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"} {
		list[kind] = []map[string]any{{"path": hook, "args": []string{"hook", p.path(kind)}}}
	}
	raw, err := json.Marshal(list)
	p.check(err)
	p.config("b", "hooks="+string(raw))
	if res := p.run("b"); res.Code != 0 {
		t.Fatalf("run: %s", res.Stderr)
	}
	for kind := range list {
		text, err := os.ReadFile(p.path(kind))
		if err != nil {
			t.Errorf("the hook did not run: %v", err)
		}
		if strings.Contains(string(text), "LD_PRELOAD") {
			p.falls("%s has it", kind)
		}
	}
}
