package cgroup

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/libvserver/cgroup/job"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec/wire"
	"golang.org/x/sys/unix"
)

// TestMain has vsrun-helper's jobs done in this process, and takes controllers that tests have turned on in the root of the version 2 tree off again.
func TestMain(m *testing.M) {
	runHelper = job.Run
	control := host.CgroupRoot + "/cgroup.subtree_control"
	if host.CgroupLayout() == host.CgroupHybrid {
		control = host.CgroupRoot + "/unified/cgroup.subtree_control"
	}
	before, _ := os.ReadFile(control)
	code := m.Run()
	after, _ := os.ReadFile(control)
	for c := range strings.FieldsSeq(string(after)) {
		if !hasWord(string(before), c) {
			_ = writeFile(control, "-"+c)
		}
	}
	os.Exit(code)
}

func newReader(b []byte) *wire.Reader { return wire.NewReader(b) }

func ptr[T any](v T) *T { return &v }

// onV2 runs the test again in a mount namespace of its own where /sys/fs/cgroup is nothing but a version 2 tree, and
// returns true in there.
func onV2(t *testing.T) bool {
	t.Helper()
	needRoot(t)
	if host.CgroupLayout() == host.CgroupV2 {
		return true
	}
	if os.Getenv("VSRUN_TEST_V2") != "" {
		t.Fatal("the namespace made for this test has no pure version 2 tree")
	}
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount --make-rprivate / && umount -l /sys/fs/cgroup &&
		mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"`, "sh", "/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Args[len(cmd.Args)-4] = os.Args[0]
	cmd.Env = append(os.Environ(), "VSRUN_TEST_V2=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("on version 2: %v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "--- SKIP") {
		t.Skip(out.String())
	}
	return false
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes cgroups")
	}
}

// needV1 skips where the version 1 controllers are not mounted.
func needV1(t *testing.T) {
	t.Helper()
	needRoot(t)
	if l := host.CgroupLayout(); l != host.CgroupV1 && l != host.CgroupHybrid {
		t.Skip("needs version 1 cgroups: this host has " + l.String())
	}
}

// mustNew makes a manager whose cgroup is gone when the test ends.
func mustNew(t *testing.T, o Options) *Manager {
	t.Helper()
	if o.ID == "" {
		o.ID = testID(t)
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Destroy(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func mustCreate(t *testing.T, o Options) *Manager {
	t.Helper()
	m := mustNew(t, o)
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	if err := m.Set(); err != nil {
		t.Fatal(err)
	}
	return m
}

func testID(t *testing.T) string {
	return "vsruntest-" + strconv.Itoa(os.Getpid()) + "-" + strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())
}

// start runs a shell script in the cgroup, joined as the runtime's child joins, and kills it when the test ends.
func start(t *testing.T, m *Manager, script string) *exec.Cmd {
	t.Helper()
	j, err := m.JoinFDs()
	if err != nil {
		t.Fatal(err)
	}
	join := ""
	cmd := exec.Command("sh") // killed and waited for by the caller, or when the test ends
	for i, fd := range j.Tasks {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(dup), "tasks")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		// dash takes only one digit for a descriptor.
		join += "echo 0 > /proc/self/fd/" + strconv.Itoa(3+i) + " || exit 99\n"
	}
	cmd.Args = append(cmd.Args, "-c", join+script)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if j.Cgroup >= 0 {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, j.Cgroup
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
	})
	eventually(t, "the child has joined", func() bool {
		if strings.Contains(read(t, "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/stat"), ") Z ") {
			return true // and done already
		}
		l := ownCgroupLines(t, cmd.Process.Pid)
		for i := range m.dirs {
			if d := &m.dirs[i]; l[d.hier] != d.path[d.base:] {
				return false
			}
		}
		return true
	})
	return cmd
}

// ownCgroupLines returns the cgroup of a process in each hierarchy.
func ownCgroupLines(t *testing.T, pid int) map[string]string {
	t.Helper()
	lines := map[string]string{}
	for l := range strings.SplitSeq(read(t, "/proc/"+strconv.Itoa(pid)+"/cgroup"), "\n") {
		if f := strings.SplitN(l, ":", 3); len(f) == 3 {
			lines[f[1]] = f[2]
		}
	}
	return lines
}

// eventually waits for a condition that other processes bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(b))
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

// blockDevice returns a block device of the host as "8:0" and as two members of JSON.
func blockDevice(t *testing.T) (dev, members string) {
	t.Helper()
	names, _ := os.ReadDir("/sys/block")
	for _, n := range names {
		if dev := read(t, "/sys/block/"+n.Name()+"/dev"); dev != "" {
			major, minor, _ := strings.Cut(dev, ":")
			return dev, `"major":` + major + `,"minor":` + minor
		}
	}
	t.Skip("needs a block device")
	return "", ""
}
