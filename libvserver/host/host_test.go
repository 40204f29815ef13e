package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{
		"6.1.0-40-amd64": {6, 1, 0}, "5.12": {5, 12, 0}, "6.18.44-fc-v669": {6, 18, 44},
		"7.0-rc1": {7, 0, 0}, "": {}, "4": {4, 0, 0}, "5.10.0.1": {5, 10, 0}, "x.1": {},
	} {
		if got := ParseVersion(in); got != want {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
	order := []string{"2.6.26", "4.19", "5.2", "5.10", "5.10.3", "6.0"}
	for i := range order {
		for j := range order {
			if got := ParseVersion(order[i]).Less(ParseVersion(order[j])); got != (i < j) {
				t.Errorf("%s < %s: %v", order[i], order[j], got)
			}
		}
	}
}

func TestUnsupported(t *testing.T) {
	for _, tc := range []struct {
		f             *Feature
		release, want string
	}{
		{&Feature{Name: "idmapped mounts", Plural: true, Since: "5.12"}, "5.10.0-30-amd64",
			"idmapped mounts are not supported by this kernel (needs Linux 5.12; this is 5.10.0)"},
		{&Feature{Name: "Landlock", Since: "5.13", Config: "CONFIG_SECURITY_LANDLOCK"}, "6.1.0",
			"Landlock is not supported by this kernel (needs CONFIG_SECURITY_LANDLOCK, which Linux 6.1.0 here lacks or has switched off)"},
		{&Feature{Name: "openat2", Since: "5.6"}, "6.1.0",
			"openat2 is not supported by this kernel (Linux has it since 5.6; this is 6.1.0, where it is missing or forbidden)"},
	} {
		err := error(&Unsupported{tc.f, tc.release})
		if err.Error() != tc.want {
			t.Errorf("got  %s\nwant %s", err, tc.want)
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Error("is not errors.ErrUnsupported")
		}
	}
}

func TestErr(t *testing.T) {
	calls := 0
	count := func(err error) func() error { return func() error { calls++; return err } }
	for _, tc := range []struct {
		probe       error
		ok, missing bool
	}{
		{nil, true, false}, {errMissing, false, true}, {unix.ENOSYS, false, true},
		{fmt.Errorf("x: %w", unix.EOPNOTSUPP), false, true}, {unix.EPERM, false, false},
	} {
		calls = 0
		f := &Feature{Name: "x", Since: "1.0", probe: count(tc.probe)}
		for range 3 {
			if f.Supported() != tc.ok {
				t.Errorf("%v: Supported() = %v", tc.probe, !tc.ok)
			}
		}
		var u *Unsupported
		if errors.As(f.Err(), &u) != tc.missing || (f.Hint() != "") != tc.missing {
			t.Errorf("%v: got %v", tc.probe, f.Err())
		}
		if calls != 1 {
			t.Errorf("%v: probed %d times", tc.probe, calls)
		}
	}
}

// TestProbes checks every probe against the running kernel's version: what a
// kernel is too old for must not be found, and what depends on nothing but the
// version must be.
func TestProbes(t *testing.T) {
	this := ParseVersion(KernelRelease())
	before := openFDs(t)
	for _, g := range Groups() {
		for _, f := range g.Features {
			err := f.Err()
			t.Logf("%-12s %-45s since %-8s %v", g.Name, f.Name, f.Since, err)
			old := this.Less(ParseVersion(f.Since))
			switch {
			case old && err == nil:
				t.Errorf("%s: found, but this is Linux %v", f.Name, this)
			case !old && f.Config == "" && err != nil && os.Geteuid() == 0:
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	}
	if after := openFDs(t); len(after) != len(before) {
		t.Errorf("open before: %q, and after: %q", before, after)
	}
}

// openFDs are what the process has open.
func openFDs(t *testing.T) (files []string) {
	t.Helper()
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range l {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		files = append(files, e.Name()+" "+to)
	}
	return files
}

// TestProbeOfBogusFlag proves that the flag probes can say no.
func TestProbeOfBogusFlag(t *testing.T) {
	if err := accepted(clone3(&cloneArgs{flags: 1 << 62, cgroup: badFD}), unix.EBADF); err != errMissing {
		t.Errorf("clone3: %v", err)
	}
	if err := seccompFlags(1 << 30); err != errMissing {
		t.Errorf("seccomp flag: %v", err)
	}
	if err := seccompAction(0x12340000); err != errMissing {
		t.Errorf("seccomp action: %v", err)
	}
	if err := mountAttr(&unix.MountAttr{Attr_set: 1 << 50}, 99, 0); err != errMissing {
		t.Errorf("mount attribute: %v", err)
	}
	if err := filesystem("verlay"); err != errMissing {
		t.Errorf("filesystem: %v", err)
	}
	if err := present(call(1<<20, 0)); err != unix.ENOSYS {
		t.Errorf("system call: %v", err)
	}
	if err := bpfLoad(1<<20, 0); err != errMissing {
		t.Errorf("bpf: %v", err)
	}
}

func TestFacts(t *testing.T) {
	n := LastCap()
	if s, err := readSmall("/proc/sys/kernel/cap_last_cap"); err == nil && s != fmt.Sprint(n) {
		t.Errorf("LastCap() = %d, the kernel says %s", n, s)
	}
	c, err := OwnCaps()
	if err != nil {
		t.Fatal(err)
	}
	if c.Effective&^c.Permitted != 0 {
		t.Errorf("effective %x is more than permitted %x", c.Effective, c.Permitted)
	}
	t.Logf("%s, cgroups %v, last cap %d, caps %x, apparmor %v, selinux %v, in userns %v",
		KernelRelease(), CgroupLayout(), n, c.Effective, AppArmorEnabled(), SELinuxEnabled(), InUserNamespace())
}

// TestInUserNamespace: a namespace that maps all ids to themselves is one all the same.
func TestInUserNamespace(t *testing.T) {
	const child = "VSRUN_TEST_IN_USERNS"
	if os.Getenv(child) != "" {
		fmt.Println("in userns:", InUserNamespace())
		return
	}
	if os.Geteuid() != 0 || InUserNamespace() {
		t.Skip("needs root of the initial user namespace: makes one that maps all ids")
	}
	for _, size := range []uint32{1, 1<<32 - 1} {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: int(size)}}
		cmd := exec.Command(os.Args[0], "-test.run=^TestInUserNamespace$")
		cmd.Env = append(os.Environ(), child+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "in userns: true") {
			t.Errorf("%d ids: %v: %s", size, err, out)
		}
	}
}

func TestIsFullMap(t *testing.T) {
	for in, want := range map[string]bool{
		"         0          0 4294967295": true, "0 0 4294967295": true,
		"0 1000 1": false, "": false, "0 0 65536": false, "0 0 4294967295\n1 1 1": false,
	} {
		if got := isFullMap(in); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestTry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes namespaces and overlays")
	}
	for _, dir := range []string{t.TempDir(), "/dev/shm"} {
		fs, ro, err := Filesystem(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s (%s, read-only %v): idmap %v, overlay %v, data-only %v, verity %v", dir, fs, ro,
			TryIdmap(dir), TryOverlay(dir), TryOverlayDataOnly(dir), TryVerity(dir))
		l, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l {
			if len(e.Name()) > 12 && e.Name()[:13] == ".vsrun-probe-" {
				t.Errorf("left behind: %s/%s", dir, e.Name())
			}
		}
	}
	if err := TryUserNamespace(); err != nil && UserNamespaceLimits(true) == nil {
		t.Errorf("user namespace: %v", err)
	}
}
