package cve

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An engine must not hand on annotations that set a systemd unit's properties: the runtime says that it takes them, and
// does not take those that run something.
func TestSystemdProperties(t *testing.T) {
	p := attack(t, "2024-3154", "annotations with properties of systemd units", "weakened vsrun", "args:/bin/true")
	var f struct{ PotentiallyUnsafeConfigAnnotations []string }
	res := p.try("features")
	if res.Code == 0 && json.Unmarshal([]byte(res.Stdout), &f) == nil {
		if !slices.ContainsFunc(f.PotentiallyUnsafeConfigAnnotations, func(a string) bool { return strings.HasPrefix("org.systemd.property.ExecStartPre", a) }) {
			p.falls("features does not name org.systemd.property.")
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
	for d := p.dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		p.check(os.Chmod(d, 0o755))
	}
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
