package cgroup

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

// deviceProbe prints one word for each thing tried in the cgroup.
const deviceProbe = `
try() { if "$@" 2>/dev/null; then echo "$*: yes"; else echo "$*: no"; fi; }
open_r() { true < $1; }
open_w() { true > $1; }
open_rw() { true <> $1; }
cd $DIR
for n in null kmsg loop; do try open_r $n; try open_w $n; try open_rw $n; done
try mknod made c 1 1
`

func probeDevices(t *testing.T, m *Manager) []string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev", "vsruntest") // /tmp may be mounted with nodev
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, n := range map[string]struct {
		mode uint32
		dev  uint64
	}{"null": {unix.S_IFCHR, unix.Mkdev(1, 3)}, "kmsg": {unix.S_IFCHR, unix.Mkdev(1, 11)}, "loop": {unix.S_IFCHR, unix.Mkdev(1, 5)}} {
		if err := unix.Mknod(dir+"/"+name, n.mode|0o666, int(n.dev)); err != nil {
			t.Skip("needs mknod: ", err)
		}
	}
	j, err := m.JoinFDs()
	if err != nil {
		t.Fatal(err)
	}
	_ = j
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := start(t, m, "exec > "+out.Name()+"; DIR="+dir+deviceProbe)
	if err := cmd.Wait(); err != nil {
		if _, ok := err.(*exec.ExitError); !ok {
			t.Fatal(err)
		}
	}
	return strings.Split(strings.TrimSpace(read(t, out.Name())), "\n")
}

var deviceCases = []struct {
	name  string
	rules []specs.LinuxDeviceCgroup
	nodes []specs.LinuxDevice
	want  []string
}{
	{"defaults", nil, nil, []string{
		"open_r null: yes", "open_w null: yes", "open_rw null: yes",
		"open_r kmsg: no", "open_w kmsg: no", "open_rw kmsg: no",
		"open_r loop: yes", "open_w loop: yes", "open_rw loop: yes", "mknod made c 1 1: yes"}},
	{"all", []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, nil, []string{
		"open_r null: yes", "open_w null: yes", "open_rw null: yes",
		"open_r kmsg: yes", "open_w kmsg: yes", "open_rw kmsg: yes",
		"open_r loop: yes", "open_w loop: yes", "open_rw loop: yes", "mknod made c 1 1: yes"}},
	{"write denied after all", []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"},
		{Type: "c", Major: ptr[int64](1), Minor: ptr[int64](11), Access: "w"}}, nil, []string{
		"open_r null: yes", "open_w null: yes", "open_rw null: yes",
		"open_r kmsg: yes", "open_w kmsg: no", "open_rw kmsg: no",
		"open_r loop: yes", "open_w loop: yes", "open_rw loop: yes", "mknod made c 1 1: yes"}},
	{"node takes a default away", []specs.LinuxDeviceCgroup{{Access: "rwm"},
		{Allow: true, Type: "c", Major: ptr[int64](1), Minor: ptr[int64](11), Access: "r"}},
		[]specs.LinuxDevice{{Path: "/dev/zero"}}, []string{
			"open_r null: yes", "open_w null: yes", "open_rw null: yes",
			"open_r kmsg: yes", "open_w kmsg: no", "open_rw kmsg: no",
			"open_r loop: no", "open_w loop: no", "open_rw loop: no", "mknod made c 1 1: yes"}},
}

func TestDevicesV1(t *testing.T) { needV1(t); testDevices(t) }
func TestDevicesV2(t *testing.T) {
	if onV2(t) {
		testDevices(t)
	}
}

func testDevices(t *testing.T) {
	for i, c := range deviceCases {
		m := mustCreate(t, Options{ID: testID(t) + itoa(i), Resources: &specs.LinuxResources{Devices: c.rules}, Devices: c.nodes})
		if d := cmp.Diff(c.want, probeDevices(t, m)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// The runtime-spec's test suite compares devices.list with the config line by line.
func TestDevicesListOrderV1(t *testing.T) {
	needV1(t)
	m := mustCreate(t, Options{Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Access: "rwm"},
		{Allow: true, Type: "c", Major: ptr[int64](10), Minor: ptr[int64](229), Access: "rwm"},
		{Allow: true, Type: "b", Major: ptr[int64](8), Minor: ptr[int64](20), Access: "rw"},
		{Allow: true, Type: "b", Major: ptr[int64](10), Minor: ptr[int64](200), Access: "r"},
	}}})
	list := strings.Split(read(t, m.Path("devices")+"/devices.list"), "\n")
	if d := cmp.Diff([]string{"c 10:229 rwm", "b 8:20 rw", "b 10:200 r", "c *:* m", "b *:* m"}, list[:5]); d != "" {
		t.Error(d)
	}
}

// A second Set keeps an equal program and replaces another; there is never more than one of ours, and those of others
// stay.
func TestFilterIsReplaced(t *testing.T) {
	if !onV2(t) {
		return
	}
	m := mustCreate(t, Options{})
	d := m.dirOf("")
	id := func() uint32 {
		t.Helper()
		fd, err := attachedFilter(d.fd)
		if err != nil || fd < 0 {
			t.Fatal(fd, err)
		}
		defer unix.Close(fd)
		info, err := infoOf(fd)
		if err != nil {
			t.Fatal(err)
		}
		return info.id
	}
	first := id()
	if err := setDevicesV2(d.path, d.fd, m.rules, false); err != nil {
		t.Fatal(err)
	}
	if id() != first {
		t.Error("an equal program was replaced")
	}
	if err := setDevicesV2(d.path, -1, m.rules[:3], false); err != nil {
		t.Fatal(err)
	}
	if id() == first {
		t.Error("another program was not put in place")
	}
	unsetDevicesV2(d.path)
	if fd, err := attachedFilter(d.fd); err != nil || fd >= 0 {
		t.Error("a filter is left", fd, err)
	}
}

func TestUnsetLeavesOthersCgroup(t *testing.T) {
	if !onV2(t) {
		return
	}
	path := host.CgroupRoot + "/" + testID(t)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	m := mustCreate(t, Options{})
	if m.dirs[0].made != 0 {
		t.Fatal("took an old cgroup for its own")
	}
	if err := m.Destroy(); err != nil {
		t.Fatal(err)
	}
	fd, err := open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if p, err := attachedFilter(fd); err != nil || p >= 0 {
		t.Error("our filter stays on the cgroup of others", p, err)
	}
}
