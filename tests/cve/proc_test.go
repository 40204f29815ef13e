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

// What the default bundle leaves of /proc: nothing of the host can be opened for writing, no memory of the kernel be read.
// Nothing is written: to open is enough.
func TestProcDefaults(t *testing.T) {
	p := attack(t, "2015-3630", "files of /proc that are the host's, default bundle", "weakened vsrun",
		`sh:for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/panic_on_oom /proc/irq/default_smp_affinity /proc/sys/fs/file-max; do ( : >> $f ) 2>/dev/null && echo OPEN $f; done; for f in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug; do [ -n "$(head -c 1 $f 2>/dev/null | od)" ] && [ -e $f ] && head -c 1 $f 2>/dev/null | grep -q . && echo READ $f; done; echo done`)
	res := p.run("b")
	if !strings.Contains(res.Stdout, "done") {
		t.Fatalf("nothing was tried: %s", res.Stderr)
	}
	for line := range strings.Lines(res.Stdout) {
		if line = strings.TrimSpace(line); line != "done" {
			p.falls("%s", line)
		}
	}
}

// fakeProc makes a tree with the files of /proc that runtimes write, for a container to put in /proc's place.
func (p *place) fakeProc(dir string) {
	p.Helper()
	for _, f := range fakeFiles {
		p.check(os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755))
		p.check(os.WriteFile(filepath.Join(dir, f), []byte("untouched"), 0o666))
		p.check(os.Chmod(filepath.Join(dir, f), 0o666))
	}
}

var fakeFiles = []string{"sys/net/ipv4/ip_forward", "self/oom_score_adj", "self/attr/exec", "self/attr/apparmor/exec", "self/attr/keycreate",
	"thread-self/attr/exec", "thread-self/attr/apparmor/exec", "self/timens_offsets", "sysrq-trigger"}

func (p *place) fakeUntouched(dir string) {
	p.Helper()
	for _, f := range fakeFiles {
		if text, err := os.ReadFile(filepath.Join(dir, f)); err != nil || string(text) != "untouched" {
			p.falls("%s was written: %q %v", f, text, err)
		}
	}
}

// label is an edit for a label of the LSM that the host has; "" if it has none.
func label() string {
	switch {
	case harness.HasLSM("apparmor"):
		return `process.apparmorProfile="unconfined"`
	case harness.HasLSM("selinux"):
		return `process.selinuxLabel="system_u:system_r:container_t:s0"`
	}
	return ""
}

// An image's volume on /proc takes the label (CVE-2019-16884), the limits of the memory killer and the sysctls.
func TestFakeProcLabel(t *testing.T) {
	for _, how := range []string{"bind", "image", "through a link"} {
		t.Run(strings.ReplaceAll(how, " ", "-"), func(t *testing.T) {
			p := attack(t, "2019-16884", "label and oom_score_adj with a false /proc, "+how, "weakened vsrun", "process.oomScoreAdj=123", "root.readonly=false", "args:/bin/true")
			if l := label(); l != "" {
				p.config("b", l)
			} else {
				p.note("no LSM here: without the label")
			}
			fake := p.path("fake")
			rootfs := p.path("b", "rootfs")
			p.config("b", "-mounts[destination=/proc]", `linux.sysctl={"net.ipv4.ip_forward":"1"}`)
			switch how {
			case "bind":
				p.fakeProc(fake)
				p.config("b", `mounts+={"destination":"/proc","type":"bind","source":"DIR/fake","options":["bind"]}`)
			case "image":
				fake = filepath.Join(rootfs, "proc")
				p.fakeProc(fake)
			default:
				p.fakeProc(fake)
				p.check(os.RemoveAll(rootfs + "/proc"))
				p.check(os.Symlink("/vol", rootfs+"/proc"))
				p.config("b", `mounts+={"destination":"/vol","type":"bind","source":"DIR/fake","options":["bind"]}`)
			}
			p.run("b")
			p.fakeUntouched(fake)
		})
	}
}

// A container that may mount puts a tree of its own on /proc, then the host's exec comes.
func TestExecFakeProc(t *testing.T) {
	p := attack(t, "2025-52881", "exec into a container that has covered its /proc", "weakened vsrun", allCaps, "root.readonly=false",
		"sh:mount --bind /fake /proc && echo covered; exec sleep 1000")
	p.fakeProc(p.path("b", "rootfs", "fake"))
	id, out := p.detached("b")
	if !p.waitOutput(out, "covered") {
		text, _ := os.ReadFile(out)
		t.Skipf("the container can't cover its /proc here: %s", text)
	}
	file := p.path("process.json")
	process := `{"cwd":"/","args":["/bin/true"],"env":["PATH=/bin"],"user":{"uid":0,"gid":0},"oomScoreAdj":321%s}`
	for _, l := range []string{"", `,"apparmorProfile":"unconfined"`} {
		if l != "" && !harness.HasLSM("apparmor") {
			p.note("no AppArmor here: without the label")
			continue
		}
		p.check(os.WriteFile(file, fmt.Appendf(nil, process, l), 0o644))
		p.try("exec", "--process", file, id)
	}
	p.fakeUntouched(p.path("b", "rootfs", "fake"))
	p.remove(id)
}

// The rootfs is shared with another container, which swaps its /proc for a link while the runtime is at work
// (CVE-2019-19921, 2023-27561, 2023-28642, 2025-52881).
func TestRaceProc(t *testing.T) {
	p := attack(t, "2023-27561", "the rootfs's /proc is swapped for a link meanwhile", "weakened vsrun", "root.readonly=false", "process.oomScoreAdj=123",
		`linux.sysctl={"net.ipv4.ip_forward":"1"}`, "args:/bin/true")
	if l := label(); l != "" {
		p.config("b", l)
	}
	rootfs := p.path("b", "rootfs")
	// In the rootfs, so that a link in it can lead there.
	fake := filepath.Join(rootfs, "fake")
	p.fakeProc(fake)
	p.check(os.MkdirAll(rootfs+"/proc", 0o755))
	p.check(os.Symlink("/fake", rootfs+"/proc2"))
	stop := p.swap(rootfs+"/proc", rootfs+"/proc2")
	ran := 0
	n := rounds(200, func(int) bool {
		res, err := rt.Run(p.call("run", "-b", p.path("b"), p.tag+"-b"))
		p.check(err)
		if res.Code == 0 {
			ran++
		}
		p.remove(p.tag + "-b")
		return true
	})
	stop()
	p.fakeUntouched(fake)
	p.unhurt()
	p.note("%d rounds, %d containers ran", n, ran)
	if ran == 0 {
		t.Error("no container ran: nothing was tried")
	}
}

// What is made for a mount is made in the folder that was looked at.
func TestRaceMake(t *testing.T) {
	p := attack(t, "2024-45310", "a missing mount target's parent is swapped for a link", "weakened vsrun", "root.readonly=false",
		`mounts+={"destination":"/vol","type":"bind","source":"DIR/vol","options":["bind"]}`,
		`mounts+={"destination":"/vol/a/folder/deep","type":"tmpfs","source":"tmpfs"}`,
		`mounts+={"destination":"/vol/a/file","type":"bind","source":"DIR/f","options":["bind"]}`,
		`mounts+={"destination":"/vol/a/more/file","type":"bind","source":"DIR/f","options":["bind"]}`)
	p.check(os.WriteFile(p.path("f"), nil, 0o644))
	vol := p.path("vol")
	p.check(os.MkdirAll(vol+"/a", 0o755))
	p.check(os.Symlink(p.victim, vol+"/b"))
	stop := p.swap(vol+"/a", vol+"/b")
	ran := 0
	n := rounds(200, func(int) bool {
		res, err := rt.Run(p.call("run", "-b", p.path("b"), p.tag+"-b"))
		p.check(err)
		if res.Code == 0 {
			ran++
		}
		p.remove(p.tag + "-b")
		// What was made is in the way of the next round.
		for _, d := range []string{"/a", "/b"} {
			if st, err := os.Lstat(vol + d); err == nil && st.IsDir() {
				for _, f := range []string{"folder", "file", "more"} {
					_ = os.RemoveAll(vol + d + "/" + f)
				}
			}
		}
		entries, err := os.ReadDir(p.victim)
		return err == nil && len(entries) == 1
	})
	stop()
	p.unhurt()
	p.note("%d rounds, %d containers ran", n, ran)
	if ran == 0 {
		t.Error("no container ran: nothing was tried")
	}
}

// A static program in the container opens no library: who does is the runtime, in the container's root.
func TestForeignLibraries(t *testing.T) {
	p := attack(t, "2019-14271", "the runtime loads libraries of the container", "weakened vsrun", "root.readonly=false", "args:/bin/sleep 1000")
	rootfs := p.path("b", "rootfs")
	var dirs []string
	for _, d := range []string{"lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"} {
		dir := filepath.Join(rootfs, d)
		p.check(os.MkdirAll(dir, 0o755))
		for _, l := range []string{"libc.so.6", "libnss_files.so.2", "libnss_compat.so.2", "libnss_systemd.so.2", "ld-linux-x86-64.so.2", "libcap.so.2", "libseccomp.so.2"} {
			p.check(os.WriteFile(filepath.Join(dir, l), []byte("false"), 0o755))
		}
		dirs = append(dirs, dir)
	}
	p.check(os.WriteFile(filepath.Join(rootfs, "etc", "nsswitch.conf"), []byte("passwd: files systemd\ngroup: files\n"), 0o644))
	p.check(os.WriteFile(filepath.Join(rootfs, "etc", "passwd"), []byte("root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"), 0o644))
	opened := p.watch(unix.IN_OPEN, dirs...)
	id, _ := p.detached("b")
	p.try("exec", id, "/bin/true")
	p.try("exec", "-u", "user", id, "/bin/true")
	p.try("ps", id)
	p.try("kill", id, "KILL")
	p.remove(id)
	for _, name := range opened() {
		p.falls("%s was opened", name)
	}
}
