package cve

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// allCaps gives a container's process everything.
const allCaps = `process.capabilities={"bounding":["CAP_SYS_PTRACE","CAP_SYS_ADMIN","CAP_DAC_OVERRIDE","CAP_MKNOD","CAP_CHOWN","CAP_FOWNER","CAP_SYS_CHROOT","CAP_DAC_READ_SEARCH"],` +
	`"effective":["CAP_SYS_PTRACE","CAP_SYS_ADMIN","CAP_DAC_OVERRIDE","CAP_MKNOD","CAP_CHOWN","CAP_FOWNER","CAP_SYS_CHROOT","CAP_DAC_READ_SEARCH"],` +
	`"permitted":["CAP_SYS_PTRACE","CAP_SYS_ADMIN","CAP_DAC_OVERRIDE","CAP_MKNOD","CAP_CHOWN","CAP_FOWNER","CAP_SYS_CHROOT","CAP_DAC_READ_SEARCH"]}`

// ownCopy gives the test a copy of the runtime's binary to lose, and returns its path.
func (p *place) ownCopy(mode os.FileMode) (string, func()) {
	data, err := os.ReadFile(rt.Path)
	p.check(err)
	name := p.path(rt.Name)
	p.check(os.WriteFile(name, data, 0o755))
	p.check(os.Chmod(name, mode))
	old := rt.Path
	rt.Path = name
	p.Cleanup(func() { rt.Path = old })
	return name, func() {
		p.Helper()
		now, err := os.ReadFile(name)
		p.check(err)
		st, err := os.Stat(name)
		p.check(err)
		if string(now) != string(data) || st.Mode().Perm() != mode {
			p.falls("the runtime's binary was changed (%d bytes, then %d; mode %v)", len(data), len(now), st.Mode())
		}
	}
}

func (p *place) waitOutput(file, text string) bool {
	return harness.Poll(10*time.Second, func() bool {
		data, _ := os.ReadFile(file)
		return strings.Contains(string(data), text)
	})
}

// guarded checks that a process can't be the way to write the runtime's binary: it runs another file, or one behind a
// read-only mount, or one that fs-verity seals.
func (p *place) guarded(what string, pid int) {
	p.Helper()
	exe := "/proc/" + strconv.Itoa(pid) + "/exe"
	var seen, own unix.Statx_t
	p.check(unix.Statx(unix.AT_FDCWD, exe, 0, unix.STATX_BASIC_STATS, &seen))
	p.check(unix.Statx(unix.AT_FDCWD, rt.Path, 0, unix.STATX_BASIC_STATS, &own))
	var fs unix.Statfs_t
	p.check(unix.Statfs(exe, &fs))
	same := seen.Ino == own.Ino && seen.Dev_major == own.Dev_major && seen.Dev_minor == own.Dev_minor
	if same && fs.Flags&unix.ST_RDONLY == 0 && seen.Attributes&unix.STATX_ATTR_VERITY == 0 {
		p.falls("%s runs the host's own binary through a writable mount", what)
	}
}

func TestExeCreated(t *testing.T) {
	p := attack(t, "2019-5736", "exe of the created container is writable", "weakened vsrun",
		`process.args=["/proc/self/exe"]`)
	_, unchanged := p.ownCopy(0o755)
	id := p.tag + "-b"
	if res := p.try("create", "-b", p.path("b"), id); res.Code == 0 {
		p.guarded("the created container", p.pid(id))
		p.try("start", id)
	}
	p.remove(id)
	p.check(os.WriteFile(p.path("b", "rootfs", "bad"), []byte("#!/proc/self/exe\n"), 0o755))
	p.config("b", `process.args=["/bad"]`)
	p.run("b")
	unchanged()
}

// The container's first process waits for those that join it, and takes their executables.
func TestExeExec(t *testing.T) {
	p := attack(t, "2019-5736", "exec of #!/proc/self/exe, pid 1 writes its exe", "a bare nsenter, here", "args:/bin/probe exe DIR", allCaps)
	_, unchanged := p.ownCopy(0o755)
	p.check(os.WriteFile(p.path("b", "rootfs", "bad"), []byte("#!/proc/self/exe\n"), 0o755))
	p.check(os.Symlink("/proc/self/exe", p.path("b", "rootfs", "worse")))
	id, out := p.detached("b")
	if !p.waitOutput(out, "ready") {
		t.Fatal("the attacker does not run")
	}
	pid := p.pid(id)
	for range 12 {
		p.try("exec", id, "/bad")
		p.try("exec", id, "/worse", "--version")
		p.try("exec", id, "/bin/true")
	}
	time.Sleep(600 * time.Millisecond)
	unchanged()

	// The control: whoever joins without care falls.
	busybox, err := harness.Busybox()
	p.check(err)
	control := p.path("busybox-control")
	data, err := os.ReadFile(busybox)
	p.check(err)
	p.check(os.WriteFile(control, data, 0o755))
	bites := harness.Poll(10*time.Second, func() bool {
		_ = exec.Command(control, "nsenter", "-t", strconv.Itoa(pid), "-m", "-p", "/bad").Run()
		time.Sleep(20 * time.Millisecond)
		now, err := os.ReadFile(control)
		return err != nil || string(now) != string(data)
	})
	if !bites {
		text, _ := os.ReadFile(out)
		p.Logf("the attacker: %s", text)
		p.Error("the attack does not bite: not even a bare nsenter falls")
	}
	p.remove(id)
}

// A binary without w for its owner is no guard: the owner may change the mode.
func TestExeOwner(t *testing.T) {
	p := attack(t, "2019-5736", "the binary is its user's own, mode 0555, rootless", "vsrun before its fix", "args:/bin/probe exe DIR", allCaps,
		`linux.namespaces+={"type":"user"}`, `linux.uidMappings=[{"containerID":0,"hostID":65534,"size":1}]`,
		`linux.gidMappings=[{"containerID":0,"hostID":65534,"size":1}]`, "-linux.resources", "-linux.cgroupsPath",
		"-mounts[destination=/sys/fs/cgroup]", "-linux.namespaces[type=network]", "-mounts[destination=/sys]",
		"-mounts[destination=/dev/pts].options[5]")
	if rt.Name != "vsrun" {
		t.Skip("the peers need more help to run without root here")
	}
	name, unchanged := p.ownCopy(0o555)
	p.check(os.WriteFile(p.path("b", "rootfs", "bad"), []byte("#!/proc/self/exe\n"), 0o755))
	p.check(filepath.Walk(p.dir, func(f string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(f, 65534, 65534)
	}))
	p.check(os.Chmod(filepath.Dir(p.dir), 0o755))
	user := func(args ...string) harness.Result {
		c := p.call(args...)
		c.Path = "setpriv"
		c.Args = append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", "--", name}, c.Args...)
		c.Stdout = p.path("out-" + strconv.Itoa(int(time.Now().UnixNano())))
		if args[0] == "run" {
			c.Stdout = p.path("b.out")
		}
		return p.do(c)
	}
	id := p.tag + "-b"
	if res := user("run", "-d", "-b", p.path("b"), id); res.Code != 0 {
		t.Skipf("no rootless container: %s", res.Stderr)
	}
	if !p.waitOutput(p.path("b.out"), "ready") {
		t.Fatal("the attacker does not run")
	}
	for range 10 {
		user("exec", id, "/bad")
		user("exec", id, "/bin/true")
	}
	time.Sleep(500 * time.Millisecond)
	out, _ := os.ReadFile(p.path("b.out"))
	p.Logf("the attacker: %s", out)
	unchanged()
	user("delete", "--force", id)
}

// The program of a startContainer hook is the container's: /proc/self/exe there is the binary of whoever starts it.
func TestExeStartHook(t *testing.T) {
	p := attack(t, "2019-5736", "startContainer hook is #!/proc/self/exe", "vsrun before its fix", "args:/bin/true")
	p.bundle("a", "args:/bin/probe exe DIR", allCaps)
	_, unchanged := p.ownCopy(0o755)
	id, out := p.detached("a")
	if !p.waitOutput(out, "ready") {
		t.Fatal("the attacker does not run")
	}
	p.check(os.WriteFile(p.path("b", "rootfs", "bad"), []byte("#!/proc/self/exe\n"), 0o755))
	p.config("b", `hooks={"startContainer":[{"path":"/bad"}]}`, "linux.namespaces[type=pid].path=/proc/"+strconv.Itoa(p.pid(id))+"/ns/pid")
	for range 10 {
		b := p.tag + "-b"
		p.try("create", "-b", p.path("b"), b)
		p.try("start", b)
		p.remove(b)
	}
	time.Sleep(600 * time.Millisecond)
	text, _ := os.ReadFile(out)
	p.Logf("the attacker: %s", text)
	unchanged()
	p.remove(id)
}
