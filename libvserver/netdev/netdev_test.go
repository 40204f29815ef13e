package netdev

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// host is the network namespace of a test, in which its thread stays, and the pid of a process in another one.
type host struct {
	*conn
	t    *testing.T
	pid  int
	away *conn
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	runtime.LockOSThread() // for good: the thread goes with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs a network namespace: %v", err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	h := &host{t: t, pid: cmd.Process.Pid}
	var err error
	if h.conn, err = dial(); err != nil {
		t.Fatal(err)
	}
	there, err := os.Open("/proc/" + itoa(h.pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if h.away, err = dialIn(int(there.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.close(); h.away.close() })
	return h
}

// add makes a device that sends nothing anywhere, of a kind that this kernel has.
func (h *host) add(c *conn, name string) link {
	h.t.Helper()
	var err error
	for _, kind := range []string{"dummy", "veth", "ifb"} {
		b := appendText(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_IFNAME, name)
		b = appendAttr(b, unix.IFLA_LINKINFO, appendText(nil, unix.IFLA_INFO_KIND, kind))
		if _, err = c.call(unix.RTM_NEWLINK, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, b); err == nil {
			l, err := c.link(name)
			if err != nil {
				h.t.Fatal(err)
			}
			return l
		}
	}
	h.t.Skipf("needs a kernel with dummy, ifb or veth devices: %v", err)
	return link{}
}

func (h *host) addr(l link, prefix string, scope byte, attrs ...attr) {
	h.t.Helper()
	p := netip.MustParsePrefix(prefix)
	var a address
	a.head[0], a.head[1], a.head[3] = unix.AF_INET, byte(p.Bits()), scope
	ip := p.Addr().AsSlice()
	if p.Addr().Is6() {
		a.head[0] = unix.AF_INET6
	} else {
		a.attrs = append(a.attrs, attr{unix.IFA_LOCAL, ip})
	}
	a.attrs = append(append(a.attrs, attr{unix.IFA_ADDRESS, ip}), attrs...)
	if err := h.addAddress(&a, l.index, l.name, l.name); err != nil {
		h.t.Fatalf("%s: %v", prefix, err)
	}
}

// describe lists the permanent global addresses of a device.
func describe(t *testing.T, c *conn, name string) []string {
	t.Helper()
	l, err := c.link(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	list, err := c.addresses(l.index)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range list {
		ip, _ := find(a.attrs, unix.IFA_LOCAL)
		peer, _ := find(a.attrs, unix.IFA_ADDRESS)
		if ip == nil {
			ip = peer
		}
		x, _ := netip.AddrFromSlice(ip)
		s := x.String() + "/" + itoa(int(a.head[1]))
		if !slices.Equal(ip, peer) {
			y, _ := netip.AddrFromSlice(peer)
			s += " peer " + y.String()
		}
		if b, ok := find(a.attrs, unix.IFA_BROADCAST); ok {
			y, _ := netip.AddrFromSlice(b)
			s += " brd " + y.String()
		}
		if b, ok := find(a.attrs, unix.IFA_LABEL); ok {
			s += " label " + text(b)
		}
		if b, ok := find(a.attrs, unix.IFA_RT_PRIORITY); ok {
			s += " metric " + itoa(int(binary.NativeEndian.Uint32(b)))
		}
		if f := a.flags() & settable; f != 0 {
			s += " flags " + itoa(int(f))
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// attribute reads an attribute of a device.
func attribute(t *testing.T, c *conn, name string, kind uint16) []byte {
	t.Helper()
	got, err := c.call(unix.RTM_GETLINK, 0, appendText(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_IFNAME, name))
	if err != nil || len(got) != 1 {
		t.Fatalf("%s: %v", name, err)
	}
	b, _ := find(attributes(got[0].body[unix.SizeofIfInfomsg:]), kind)
	return b
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// TestMoveKeeps: attributes and the permanent addresses of global scope go along, and nothing else; the device is up.
func TestMoveKeeps(t *testing.T) {
	h := newHost(t)
	l := h.add(h.conn, "h0")
	mac := []byte{0x02, 1, 2, 3, 4, 5}
	if err := h.change(l.index, 0, 0, appendAttr(appendUint32(nil, unix.IFLA_MTU, 1400), unix.IFLA_ADDRESS, mac)); err != nil {
		t.Fatal(err)
	}
	if err := h.change(l.index, 0, 0, appendUint32(nil, unix.IFLA_TXQLEN, 77)); err != nil {
		t.Fatal(err)
	}
	brd := netip.MustParseAddr("10.1.2.255").AsSlice()
	h.addr(l, "10.1.2.3/24", unix.RT_SCOPE_UNIVERSE, attr{unix.IFA_BROADCAST, brd}, attr{unix.IFA_LABEL, []byte("h0:web\x00")})
	h.addr(l, "10.1.2.4/24", unix.RT_SCOPE_UNIVERSE)
	h.addr(l, "10.1.3.1/32", unix.RT_SCOPE_UNIVERSE, attr{unix.IFA_RT_PRIORITY, u32(50)}, attr{unix.IFA_FLAGS, u32(unix.IFA_F_NOPREFIXROUTE)})
	h.addr(l, "10.9.9.9/32", unix.RT_SCOPE_LINK)
	h.addr(l, "2001:db8::1/64", unix.RT_SCOPE_UNIVERSE, attr{unix.IFA_FLAGS, u32(unix.IFA_F_NODAD)})
	cache := slices.Concat(u32(100), u32(100), u32(0), u32(0)) // ifa_prefered, ifa_valid: seconds
	h.addr(l, "2001:db8::2/64", unix.RT_SCOPE_UNIVERSE, attr{unix.IFA_CACHEINFO, cache})
	if err := h.up(l.index); err != nil {
		t.Fatal(err)
	}

	m, err := Move(h.pid, []Device{{Host: "h0", Name: "eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if used, err := h.taken("h0"); used || err != nil {
		t.Errorf("h0 is still on the host: %v, %v", used, err)
	}
	want := []string{
		"10.1.2.3/24 brd 10.1.2.255 label eth0:web",
		"10.1.2.4/24 label eth0",
		"10.1.3.1/32 label eth0 metric 50 flags 512",
		"2001:db8::1/64 flags 2",
	}
	if d := cmp.Diff(want, describe(t, h.away, "eth0")); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
	there, err := h.away.link("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if there.flags&unix.IFF_UP == 0 {
		t.Error("the device is not up")
	}
	if got := attribute(t, h.away, "eth0", unix.IFLA_MTU); !slices.Equal(got, u32(1400)) {
		t.Errorf("mtu %v", got)
	}
	if got := attribute(t, h.away, "eth0", unix.IFLA_TXQLEN); !slices.Equal(got, u32(77)) {
		t.Errorf("txqueuelen %v", got)
	}
	if got := attribute(t, h.away, "eth0", unix.IFLA_ADDRESS); !slices.Equal(got, mac) {
		t.Errorf("hardware address %x", got)
	}
}

// TestReturn: the device is on the host again as it was.
func TestReturn(t *testing.T) {
	h := newHost(t)
	for _, up := range []bool{true, false} {
		l := h.add(h.conn, "h0")
		h.addr(l, "10.1.2.3/24", unix.RT_SCOPE_UNIVERSE)
		h.addr(l, "2001:db8::1/64", unix.RT_SCOPE_UNIVERSE, attr{unix.IFA_FLAGS, u32(unix.IFA_F_NODAD)})
		if up {
			if err := h.up(l.index); err != nil {
				t.Fatal(err)
			}
		}
		before := describe(t, h.conn, "h0")
		m, err := Move(h.pid, []Device{{Host: "h0", Name: "eth%d"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Return(); err != nil {
			t.Fatal(err)
		}
		m.Close()
		if d := cmp.Diff(before, describe(t, h.conn, "h0")); d != "" {
			t.Errorf("addresses (-before +after):\n%s", d)
		}
		l, err = h.link("h0")
		if err != nil {
			t.Fatal(err)
		}
		if now := l.flags&unix.IFF_UP != 0; now != up {
			t.Errorf("up: %v, was %v", now, up)
		}
		if _, err := h.call(unix.RTM_DELLINK, unix.NLM_F_ACK, binary.NativeEndian.AppendUint32(make([]byte, 4), l.index)[:8:8]); err == nil {
			t.Fatal("a short request was taken")
		}
		b := make([]byte, unix.SizeofIfInfomsg)
		binary.NativeEndian.PutUint32(b[4:], l.index)
		if _, err := h.call(unix.RTM_DELLINK, unix.NLM_F_ACK, b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNames: a name that is taken is an error, a template takes the lowest free number, after all plain names.
func TestNames(t *testing.T) {
	h := newHost(t)
	for _, n := range []string{"a", "b", "c", "d"} {
		h.add(h.conn, n)
	}
	h.add(h.away, "eth0")
	h.add(h.away, "d")

	_, err := Move(h.pid, []Device{{At: `linux.netDevices["a"]`, Host: "a", Name: "z"}, {At: `linux.netDevices["b"]`, Host: "b", Name: "eth0"}})
	if err == nil || !strings.Contains(err.Error(), `linux.netDevices["b"]: call it "eth0" in the container: there is a device of that name already`) {
		t.Errorf("a name that is taken: %v", err)
	}
	if used, _ := h.taken("a"); !used {
		t.Error("a is gone though nothing was to be moved")
	}
	m, err := Move(h.pid, []Device{{Host: "a", Name: "eth%d"}, {Host: "b", Name: "eth1"}, {Host: "c", Name: "eth%d"}, {Host: "d", Name: "d%d"}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, n := range []string{"eth1", "eth2", "eth3", "d0", "d"} {
		if used, err := h.away.taken(n); !used || err != nil {
			t.Errorf("%s is not in the container: %v", n, err)
		}
	}
	for _, n := range []string{"a", "b", "c", "d"} {
		if used, _ := h.taken(n); used {
			t.Errorf("%s is still on the host", n)
		}
	}
}

// TestRefused: what can't be moved is an error, and what was moved before it is back.
func TestRefused(t *testing.T) {
	h := newHost(t)
	h.add(h.conn, "a")
	for _, c := range []struct {
		device Device
		want   string
		errno  error
	}{
		{Device{Host: "nosuch", Name: "eth0"}, "look for it on the host: no such device", unix.ENODEV},
		{Device{Host: "lo", Name: "lo1"}, "can't be moved", unix.EINVAL},
	} {
		_, err := Move(h.pid, []Device{{Host: "a", Name: "b"}, c.device})
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.errno) {
			t.Errorf("%s: %v, want %q", c.device.Host, err, c.want)
		}
		if used, _ := h.taken("a"); !used {
			t.Errorf("%s: a is gone", c.device.Host)
		}
		if used, _ := h.away.taken("b"); used {
			t.Errorf("%s: b is in the container", c.device.Host)
		}
	}
	if _, err := Move(unix.Gettid(), []Device{{Host: "a", Name: "b"}}); err != ErrHostNetwork {
		t.Errorf("into the namespace that it is in: %v", err)
	}
}

func TestRelabel(t *testing.T) {
	for _, c := range []struct{ label, from, to, want string }{
		{"eth0", "eth0", "net1", "net1"},
		{"eth0:1", "eth0", "net1", "net1:1"},
		{"eth01", "eth0", "net1", "eth01"},
		{"other", "eth0", "net1", "other"},
		{"eth0:14005678", "eth0", "longername", "longername"},
	} {
		if got := relabel(c.label, c.from, c.to); got != c.want {
			t.Errorf("relabel(%q, %q, %q) = %q, want %q", c.label, c.from, c.to, got, c.want)
		}
	}
}

// TestAttributes: what the kernel never sends is no panic.
func TestAttributes(t *testing.T) {
	whole := appendText(appendUint32(nil, 1, 7), 2, "abc")
	if got := attributes(whole); len(got) != 2 || text(got[1].data) != "abc" {
		t.Errorf("attributes = %v", got)
	}
	for i := range whole {
		for _, a := range attributes(whole[:i]) {
			_ = text(a.data)
		}
	}
	if got := attributes([]byte{3, 0, 0, 0}); len(got) != 0 {
		t.Errorf("an attribute shorter than its header: %v", got)
	}
	if acknowledged([]byte{1}, 0) == nil {
		t.Error("a short acknowledgement was taken for success")
	}
}
