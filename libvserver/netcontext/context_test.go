package netcontext

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec"
)

func TestMask(t *testing.T) {
	for bits, want := range map[uint8]string{0: "00000000", 1: "80000000", 8: "ff000000", 23: "fffffe00", 24: "ffffff00", 32: "ffffffff"} {
		if got := fmt.Sprintf("%x", mask(bits, 4)); got != want {
			t.Errorf("/%d: %s, want %s", bits, got, want)
		}
	}
	if got := fmt.Sprintf("%x", mask(65, 16)); got != "ffffffffffffffff8000000000000000" {
		t.Error(got)
	}
}

func TestProcAddr(t *testing.T) {
	for in, want := range map[string]string{"0100007F:0050": "127.0.0.1 80", "00000000000000000000000001000000:FFFF": "::1 65535",
		"0000000000000000FFFF00000100000A:0035": "10.0.0.1 53", "B80D0120000000000000000001000000:0001": "2001:db8::1 1"} {
		a, port, ok := procAddr(in)
		if got := fmt.Sprint(a.String(), " ", port); !ok || got != want {
			t.Errorf("%s: %s %v, want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{"", ":", "0100007F", "0100007F:", "0100007:0050", "0100007G:0050", "0100007F:10000"} {
		if _, _, ok := procAddr(in); ok {
			t.Errorf("%q is taken", in)
		}
	}
}

func addr(t testing.TB, s string) spec.IPAddress {
	a, ok := spec.ParseIP(s)
	if !ok {
		t.Fatal(s)
	}
	return a
}

func TestStorage(t *testing.T) {
	c := &Context{Config: Config{Net: &spec.Net{Addresses: []spec.IPAddress{addr(t, "10.0.0.1/8"), addr(t, "fd00::1/64")}, RawICMP: true, Ports: []spec.PortRange{{First: 80, Last: 81}}}, HasLimit: true, Limit: 5}}
	c.NID, c.Netns, c.Loopback = 7, 9, [4]byte{127, 0, 7, 1}
	want := &Storage{State: StateReady | StateConfine | StateRawICMP | StatePorts | StateLimit, NID: 7, Netns: 9, N4: 1, N6: 1, NPorts: 1, Limit: 5}
	want.Loopback = c.storage().Loopback
	want.V4[0] = Addr4{[4]byte{10, 0, 0, 1}, [4]byte{255}}
	want.V6[0] = Addr6{addr(t, "fd00::1").Addr, [16]byte{255, 255, 255, 255, 255, 255, 255, 255}}
	want.Ports[0] = [2]uint16{80, 81}
	if *c.storage() != *want {
		t.Errorf("%+v, want %+v", c.storage(), want)
	}
	c.Net = &spec.Net{}
	if got := *c.storage(); got != (Storage{State: StateReady | StateLimit, NID: 7, Netns: 9, Limit: 5}) {
		t.Errorf("%+v", got)
	}
}

// place is a network namespace for the test's thread, with addresses, and a directory for cgroups.
func place(t *testing.T) (cgroups string) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: BPF programs on cgroups")
	}
	if _, err := helper.ID(); err != nil {
		t.Skip("needs vsrun-helper: ", err)
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	cgroups = host.CgroupRoot
	if host.CgroupLayout() == host.CgroupHybrid {
		cgroups += "/unified"
	}
	cgroups = filepath.Join(cgroups, fmt.Sprintf("vsrun-netcontext-test-%d", os.Getpid()))
	if err := os.Mkdir(cgroups, 0o755); err != nil {
		t.Skip("needs a cgroup of version 2: ", err)
	}
	t.Cleanup(func() { _ = os.Remove(cgroups) })
	return cgroups
}

// A thousand contexts: each has its id, its loopback address, its addresses and its counters; what one has nobody else gets;
// and nothing is left.
func TestThousand(t *testing.T) {
	cgroups := place(t)
	root := t.TempDir()
	const count = 1000
	begin := time.Now()
	contexts := make([]*Context, count)
	for i := range contexts {
		c := &Context{Config: Config{Root: root, ID: fmt.Sprint("c", i), NetnsPath: fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()),
			Net: &spec.Net{Addresses: []spec.IPAddress{addr(t, fmt.Sprintf("10.%d.%d.1", i/250, i%250))}, MissingOK: true}}}
		contexts[i] = c
		dir := filepath.Join(cgroups, c.Config.ID)
		for _, d := range []string{dir, filepath.Join(root, c.Config.ID)} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		defer os.Remove(dir)
		defer func() {
			if err := Release(c.NID, root, c.Config.ID); err != nil {
				t.Error(err)
			}
		}()
		if _, err := c.Check(); err != nil {
			t.Fatal(err)
		}
		if err := c.Attach(dir, true); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a context takes %v", time.Since(begin)/count)
	seen := map[uint32]bool{}
	for _, c := range contexts {
		s, err := Read(c.Cgroup)
		if err != nil {
			t.Fatal(err)
		}
		if s.NID != c.NID || seen[c.NID] || s.V4[0].Addr != [4]byte(c.Net.Addresses[0].Addr[12:]) || c.Loopback != [4]byte{127, byte(c.NID >> 8), byte(c.NID), 1} {
			t.Errorf("%s: %d %v, storage %d %v", c.Config.ID, c.NID, c.Loopback, s.NID, s.V4[0])
		}
		seen[c.NID] = true
	}
	twice := &Context{Config: Config{Root: root, ID: "c0x", NetnsPath: contexts[0].NetnsPath, Net: contexts[500].Net}}
	if _, err := twice.Check(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`annotations["org.linux-vserver.net.addresses"]: %s belongs to network context %d, container c500 (state root %s)`, &twice.Net.Addresses[0], contexts[500].NID, root)
	if err := twice.Attach(cgroups, true); err == nil || err.Error() != want {
		t.Errorf("an address that is taken: %v, want %s", err, want)
	}
	if err := Release(twice.NID, root, "c0x"); err != nil {
		t.Error(err)
	}
}

func TestEntry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: " + registerDir)
	}
	r, err := openRegister()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	e := &Entry{NID: 1, Netns: 1 << 63, Root: "/a b\n\"c", ID: "x", Cgroup: "/c d", Loopback: [4]byte{127, 1, 2, 3}, Addresses: []spec.IPAddress{addr(t, "10.0.0.1/8"), addr(t, "fd00::1/64")}}
	if err := writeEntry(e); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(fileOf(1))
	got, err := readEntry(fileOf(1))
	if d := cmp.Diff(e, got); err != nil || d != "" {
		t.Error(err, d)
	}
	for _, text := range []string{"", "nid x\n", "nid 5\n", "nid 5\nid a\n", "nid 5\nroot \"/a\nid a\n", "nid 5\nroot \"/a\"\nid a\naddress 1.2.3\n"} {
		if err := os.WriteFile(fileOf(1), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := readEntry(fileOf(1)); err == nil {
			t.Errorf("%q is taken: %+v", text, e)
		}
	}
}
