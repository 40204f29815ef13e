package cgroup

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/host"
)

// asNobody runs the test again as another user and returns true in there.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Getenv("VSRUN_TEST_NOBODY") != "" {
		return true
	}
	needRoot(t)
	cmd := exec.Command("/proc/self/fd/3", "-test.run", "^"+t.Name()+"$", "-test.v")
	f, err := os.Open("/proc/self/exe") // its directory may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.ExtraFiles = []*os.File{f}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "VSRUN_TEST_NOBODY=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, out.String())
	}
	return false
}

func TestRootlessV1(t *testing.T) {
	if os.Getenv("VSRUN_TEST_NOBODY") == "" {
		needV1(t)
	}
	if asNobody(t) {
		testRootless(t, "has no safe delegation")
	}
}

func TestRootlessV2(t *testing.T) {
	if os.Getenv("VSRUN_TEST_NOBODY") == "" && !onV2(t) {
		return
	}
	if asNobody(t) {
		testRootless(t, "Delegate=")
	}
}

func testRootless(t *testing.T, hint string) {
	limit := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](10)},
		Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}
	noLimit := &specs.LinuxResources{Devices: limit.Devices, CPU: &specs.LinuxCPU{}}

	m, err := New(Options{ID: "vsruntest-rootless", Rootless: true, Resources: noLimit})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Create(); err != nil {
		t.Fatalf("without limits: %v", err)
	}
	if err := m.Set(); err != nil {
		t.Error(err)
	}
	if j, err := m.JoinFDs(); err != nil || j.Cgroup != -1 || len(j.Tasks) != 0 {
		t.Error(j, err)
	}
	if m.Driver() != DriverNone || len(m.State().Dirs) != 0 {
		t.Errorf("%+v", m.State())
	}
	if err := m.Destroy(); err != nil {
		t.Error(err)
	}
	if _, err := m.Pids(true); err != ErrNoCgroup {
		t.Error(err)
	}

	m, err = New(Options{ID: "vsruntest-rootless", Rootless: true, Resources: limit})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Create()
	checkErr(t, "with a limit", err, "linux.resources.pids.limit: ")
	checkErr(t, "with a limit", err, "permission denied")
	checkErr(t, "with a limit", err, hint)

	m, err = New(Options{ID: "vsruntest-rootless", Path: "/vsruntest-rootless", Rootless: true})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Create()
	checkErr(t, "with a path", err, "linux.cgroupsPath: mkdir "+host.CgroupRoot+"/")
	checkErr(t, "with a path", err, hint)
}

func TestDisabled(t *testing.T) {
	m, err := New(Options{ID: "x", Disabled: true, Resources: &specs.LinuxResources{}})
	if err != nil || m.Driver() != DriverNone || m.Create() != nil || m.Set() != nil || m.Destroy() != nil {
		t.Error(m, err)
	}
	_, err = New(Options{ID: "x", Disabled: true, Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr[int64](10)}}})
	checkErr(t, "with a limit", err, "linux.resources.pids.limit")
}
