package cve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRootfsLinks(t *testing.T) {
	for _, c := range []struct{ id, dir, bites string }{
		{"2019-19921", "proc", "weakened vsrun"},
		{"2019-19921", "sys", "weakened vsrun"},
		{"2026-41579", "dev", "runc 1.1.5, crun 1.8.1"},
		{"2026-47766", "dev without a mount", "runc 1.1.5, crun 1.8.1"},
	} {
		for _, how := range []string{"absolute", "relative"} {
			t.Run(strings.ReplaceAll(c.dir, " ", "-")+"-"+how, func(t *testing.T) {
				p := attack(t, c.id, "rootfs/"+c.dir+" is a link, "+how, c.bites, "root.readonly=false",
					"sh:grep -q . /proc/self/status || echo no procfs")
				name, _, bare := strings.Cut(c.dir, " ")
				link := p.path("b", "rootfs", name)
				p.check(os.RemoveAll(link))
				p.check(os.Symlink(map[bool]string{true: p.victim, false: "../../victim"}[how == "absolute"], link))
				p.check(os.MkdirAll(filepath.Join(p.path("b", "rootfs"), p.victim), 0o755))
				p.check(os.MkdirAll(p.path("b", "rootfs", "victim"), 0o755))
				if bare {
					for _, d := range []string{"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"} {
						p.config("b", "-mounts[destination="+d+"]")
					}
				}
				if res := p.run("b"); name != "dev" && res.Code == 0 {
					p.falls("/%s may be a link", name)
				}
				p.unhurt()
			})
		}
	}
}

func TestMountTargets(t *testing.T) {
	p := attack(t, "2019-18837", "a mount's target is a link out of the rootfs", "weakened vsrun", "root.readonly=false",
		`mounts+={"destination":"/mnt/made/deep","type":"tmpfs","source":"tmpfs"}`, `mounts+={"destination":"/mnt/file","type":"bind","source":"DIR/f","options":["bind"]}`)
	p.check(os.WriteFile(p.path("f"), nil, 0o644))
	for _, to := range []string{p.victim, "../../victim", "../../../../../../../../" + p.victim} {
		link := p.path("b", "rootfs", "mnt")
		p.check(os.RemoveAll(link))
		p.check(os.Symlink(to, link))
		p.run("b")
		p.unhurt()
	}
}

func TestMountInProc(t *testing.T) {
	p := attack(t, "2015-3631", "mounts in /proc", "runc 1.1.5, crun 1.8.1")
	p.check(os.MkdirAll(p.path("fake", "sys", "net", "ipv4"), 0o755))
	for _, d := range []string{"/proc/sys/net", "/proc/self", "/proc/1/attr", "/proc/self/attr"} {
		p.bundle("c", `mounts+={"destination":"`+d+`","type":"tmpfs","source":"tmpfs"}`)
		if res := p.run("c"); res.Code == 0 {
			p.falls("a tmpfs on %s is taken", d)
		}
		p.check(os.RemoveAll(p.path("c")))
	}
}

func TestFakeNull(t *testing.T) {
	for _, how := range []string{"rootfs", "bind"} {
		t.Run(how, func(t *testing.T) {
			p := attack(t, "2025-31133", "a mask is made of a false /dev/null, by "+how, "runc 1.1.5", "root.readonly=false",
				`linux.maskedPaths=["/etc/secret"]`, "sh:cat /etc/secret; echo OVERWRITTEN >> /etc/secret")
			for _, d := range []string{"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"} {
				p.config("b", "-mounts[destination="+d+"]")
			}
			dev := p.path("b", "rootfs", "dev")
			if how == "bind" {
				dev = p.path("dev")
				p.check(os.Mkdir(dev, 0o755))
				p.config("b", `mounts+={"destination":"/dev","type":"bind","source":"`+dev+`","options":["bind"]}`)
			}
			etc := p.path("b", "rootfs", "etc")
			p.check(os.WriteFile(etc+"/secret", []byte("SECRET\n"), 0o644))
			p.check(os.WriteFile(etc+"/other", []byte("OTHER\n"), 0o644))
			p.check(os.Symlink("/etc/other", dev+"/null"))
			res := p.run("b")
			other, _ := os.ReadFile(etc + "/other")
			if res.Stdout != "" || string(other) != "OTHER\n" {
				p.falls("the mask shows %q", strings.TrimSpace(res.Stdout))
			}
		})
	}
}

func TestFakeProc(t *testing.T) {
	for _, dest := range []string{"/proc", "/proc/sys", "/proc/self/attr"} {
		t.Run(strings.ReplaceAll(dest[1:], "/", "-"), func(t *testing.T) {
			p := attack(t, "2025-52881", "a sysctl with a false "+dest, "weakened vsrun", `linux.sysctl={"net.ipv4.ip_forward":"1"}`)
			file := p.path("fake", "sys", "net", "ipv4", "ip_forward")
			source := p.path("fake")
			p.check(os.MkdirAll(filepath.Dir(file), 0o755))
			p.check(os.WriteFile(file, []byte("untouched"), 0o644))
			if dest != "/proc" {
				source += "/sys"
			} else {
				p.config("b", "-mounts[destination=/proc]")
			}
			p.config("b", `mounts+={"destination":"`+dest+`","type":"bind","source":"`+source+`","options":["bind"]}`)
			p.run("b")
			if text, _ := os.ReadFile(file); string(text) != "untouched" {
				p.falls("the false file was written: %q", text)
			}
		})
	}
}

// The racers: a volume of the container's swaps a folder for a link while the runtime mounts on it.
func TestRaceTarget(t *testing.T) {
	p := attack(t, "2021-30465", "a mount's target is swapped for a link meanwhile", "weakened vsrun", "root.readonly=false",
		`mounts+={"destination":"/vol","type":"bind","source":"DIR/vol","options":["bind"]}`,
		`mounts+={"destination":"/vol/a/made/deep","type":"tmpfs","source":"tmpfs"}`,
		`mounts+={"destination":"/vol/a","type":"tmpfs","source":"tmpfs"}`,
		`hooks={"createRuntime":[{"path":"/bin/sh","args":["sh","-c","p=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); cat /proc/$p/mountinfo >> DIR/mounts"]}]}`)
	vol := p.path("vol")
	p.check(os.MkdirAll(vol+"/a", 0o755))
	p.check(os.MkdirAll(filepath.Join(p.path("b", "rootfs"), p.victim), 0o755))
	p.check(os.Symlink(p.victim, vol+"/b"))
	stop := p.swap(vol+"/a", vol+"/b")
	n, ran := 0, 0
	n = rounds(300, func(int) bool {
		res, err := rt.Run(p.call("run", "-b", p.path("b"), p.tag+"-b"))
		p.check(err)
		if res.Code == 0 {
			ran++
		}
		p.remove(p.tag + "-b")
		return !t.Failed()
	})
	stop()
	text, _ := os.ReadFile(p.path("mounts"))
	if strings.Contains(string(text), " "+p.victim) {
		p.falls("mounted on the host's folder")
	}
	p.unhurt()
	p.note("%d rounds, %d containers ran", n, ran)
	if ran == 0 || len(text) == 0 {
		t.Error("no container ran: nothing was tried")
	}
}

func TestRaceConsole(t *testing.T) {
	p := attack(t, "2025-52565", "/dev/console is swapped for a link meanwhile", "weakened vsrun", "root.readonly=false", "process.terminal=true",
		`mounts+={"destination":"/dev","type":"bind","source":"DIR/dev","options":["bind"]}`)
	// First /dev of the volume, then the rest.
	for _, d := range []string{"/dev", "/dev/shm", "/dev/mqueue"} {
		p.config("b", "-mounts[destination="+d+"]")
	}
	p.config("b", `mounts=[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev","type":"bind","source":"`+p.path("dev")+
		`","options":["bind"]},{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["newinstance","ptmxmode=0666","mode=0620"]}]`)
	dev := p.path("dev")
	p.check(os.MkdirAll(dev+"/pts", 0o755))
	p.check(os.Symlink("pts/ptmx", dev+"/ptmx"))
	p.check(os.WriteFile(dev+"/console", nil, 0o644))
	p.check(os.Symlink(p.victim+"/made", dev+"/console2"))
	p.check(unix.Mknod(dev+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	stop := p.swap(dev+"/console", dev+"/console2")
	ran := 0
	n := rounds(200, func(i int) bool {
		socket := p.path(fmt.Sprintf("s%d", i))
		got, l, err := listen(socket)
		p.check(err)
		res, err := rt.Run(p.call("create", "--console-socket", socket, "-b", p.path("b"), p.tag+"-b"))
		p.check(err)
		if res.Code == 0 {
			ran++
			if r := <-got; r.File != nil {
				r.File.Close()
			}
		} else if i == 0 {
			p.Logf("%s", res.Stderr)
		}
		l.Close()
		p.remove(p.tag + "-b")
		return true
	})
	stop()
	p.unhurt()
	p.note("%d rounds, %d containers ran", n, ran)
	if ran == 0 {
		t.Error("no container ran: nothing was tried")
	}
}

func TestRaceReadonly(t *testing.T) {
	p := attack(t, "GHSA-3q8j", "a readonly path is swapped for a link meanwhile", "weakened vsrun", "root.readonly=false",
		`mounts+={"destination":"/vol","type":"bind","source":"DIR/vol","options":["bind"]}`,
		`linux.readonlyPaths=["/vol/a"]`, `linux.maskedPaths=["/vol/a"]`,
		"sh:grep -q -e ' /vol/[ab] ' -e ' /target ' /proc/self/mountinfo || echo UNPROTECTED; grep -e ' /vol/[ab] rw' -e ' /target rw' /proc/self/mountinfo && echo UNPROTECTED; true")
	vol := p.path("vol")
	p.check(os.MkdirAll(vol+"/a", 0o755))
	p.check(os.MkdirAll(p.path("b", "rootfs", "target"), 0o755))
	p.check(os.Symlink("/target", vol+"/b"))
	stop := p.swap(vol+"/a", vol+"/b")
	ran, open := 0, 0
	n := rounds(200, func(int) bool {
		res, err := rt.Run(p.call("run", "-b", p.path("b"), p.tag+"-b"))
		p.check(err)
		if res.Code == 0 {
			ran++
		}
		if strings.Contains(res.Stdout, "UNPROTECTED") {
			open++
		}
		p.remove(p.tag + "-b")
		return true
	})
	stop()
	if open > 0 {
		p.falls("%d times nothing was protected", open)
	}
	p.unhurt()
	p.note("%d rounds, %d containers ran", n, ran)
	if ran == 0 {
		t.Error("no container ran: nothing was tried")
	}
}
