package netcontext

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// option is a step of the sockets program that sets a socket option to a number.
func option(level, name int, value uint32) string {
	return fmt.Sprintf("opt=%d,%d,%s", level, name, hex.EncodeToString(binary.NativeEndian.AppendUint32(nil, value)))
}

func options(level, name int, value string) string {
	return fmt.Sprintf("opt=%d,%d,%s", level, name, hex.EncodeToString([]byte(value)))
}

// Ways out that take several calls on one socket. None leads to another's address.
func TestEscapeBySteps(t *testing.T) {
	p := newPlace(t)
	g := p.guest("a", "10.77.0.1,10.77.0.3,fd77::1")
	b := p.guest("b", "10.77.0.2,fd77::2", annotation+`net.nid"="`+nid(3)+`"`)
	b.serve("serve", "tcp", "0.0.0.0:92", "B")
	b.serve("serve", "udp", "0.0.0.0:93", "B")
	b.serve("serve", "udp", "[::]:94", "B")
	b.serve("serve", "tcp", "127.0.0.1:95", "Blo")
	hold := b.start("do", "tcp4", "bind=0.0.0.0:90", "listen", "hold")
	harness.Poll(5*time.Second, func() bool { return hold() != "" })
	defer worldServer(t, "serve", "udp", "0.0.0.0:96", "W")()
	defer worldServer(t, "serve", "udp", "[::]:97", "W")()
	v0, err := net.InterfaceByName("v0")
	if err != nil {
		t.Fatal(err)
	}
	index := uint32(v0.Index)
	foreign := string([]byte{10, 77, 0, 4})
	lo := net.ParseIP(loopback(3)).To4()
	for _, tt := range []struct{ name, steps, want string }{
		{"disconnected, bound to another's address", "tcp4 connect=10.77.0.2:92 unspec bind=10.77.0.4:80", "bind EADDRNOTAVAIL"},
		{"disconnected, bound before", "tcp4 bind=10.77.0.3:0 connect=10.77.0.2:92 unspec bind=10.77.0.2:80", "bind E*"},
		{"disconnected, connected again", "tcp4 connect=10.77.0.2:92 unspec connect=10.77.0.2:92 recv", "B from 10.77.0.1 at 10.77.0.2 from *"},
		{"datagrams, disconnected", "udp4 connect=10.77.0.2:93 unspec send=10.77.0.2:93 recv", "B from 10.77.0.1 from 10.77.0.2"},
		{"datagrams, disconnected and connected again", "udp4 connect=10.77.0.2:93 unspec connect=10.77.0.2:93 send recv", "B from 10.77.0.1 from 10.77.0.2"},
		{"datagrams, disconnected and bound", "udp4 connect=10.77.0.2:93 unspec try:bind=10.77.0.4:80 send=10.77.0.2:93 recv", "bind E*\nB from 10.77.0.1 from 10.77.0.2"},
		{"bound with AF_UNSPEC", "tcp4 bind0=0.0.0.0:80 name", "bind0 E*"},
		{"bound with AF_UNSPEC to another's address", "tcp4 bind0=10.77.0.4:80 name", "bind0 E*"},
		{"sent with AF_UNSPEC", "udp4 send0=10.77.0.2:93 recv", "B from 10.77.0.1 from 10.77.0.2"},
		{"sent with AF_UNSPEC to the other's loopback address", "udp4 send0=" + loopback(3) + ":93 recv", "recv E*"},
		{"an IPv6 socket connected with an IPv4 address", "udp6 connect4=10.77.0.2:93 name send recv", "[::ffff:10.77.0.1]:*\nB from 10.77.0.1 from *"},
		{"an IPv6 socket connected with an IPv4 address, then with another's loopback address", "udp6 connect4=10.77.0.2:93 unspec connect4=" + loopback(3) + ":93 send recv", "recv E*"},
		{"an IPv6 socket that sends to an IPv4 address", "udp6 send4=10.77.0.2:93 recv", "B from 10.77.0.1 from *"},
		{"a stream of IPv6 connected with an IPv4 address", "tcp6 connect4=10.77.0.2:92 name", "connect4 E*"},
		{"disconnected from nothing", "tcp4 unspec bind=10.77.0.4:80", "bind EADDRNOTAVAIL"},

		{"IPV6_ADDRFORM, datagrams", "udp6 connect=[::ffff:10.77.0.2]:93 form name unspec send=10.77.0.2:93 recv connect=10.77.0.2:93 send recv", "10.77.0.1:*\nB from 10.77.0.1 from 10.77.0.2\nB from 10.77.0.1 from 10.77.0.2"},
		{"IPV6_ADDRFORM, then the other's loopback address", "udp6 connect=[::ffff:10.77.0.2]:93 form unspec connect=" + loopback(3) + ":93 send recv", "recv ECONNREFUSED"},
		{"IPV6_ADDRFORM of a stream, then another's address", "tcp6 connect=[::ffff:10.77.0.2]:90 form unspec try:bind=10.77.0.4:80 connect=10.77.0.2:92 name recv", "bind E*\n10.77.0.1:*\nB from 10.77.0.1 at *"},
		{"IPV6_ADDRFORM of a stream, then listen", "tcp6 connect=[::ffff:10.77.0.2]:90 form unspec listen name", "10.77.0.1:*"},
		{"IPV6_ADDRFORM of one that is not connected", "tcp6 form", "form E*"},
		{"IPV6_ADDRFORM back", "udp6 connect=[::ffff:10.77.0.2]:93 form form", "form E*"},

		{"IP_UNICAST_IF", "udp4 " + options(0, 50, string(binary.BigEndian.AppendUint32(nil, index))) + " send=10.77.0.100:96 recv", "W from 10.77.0.1 from 10.77.0.100"},
		{"IP_UNICAST_IF of lo", "udp4 " + options(0, 50, "\x00\x00\x00\x01") + " try:send=" + loopback(3) + ":93 try:recv", "*recv E*"},
		{"IPV6_UNICAST_IF", "udp6 " + options(41, 76, string(binary.BigEndian.AppendUint32(nil, index))) + " send=[fd77::100]:97 recv", "W from [fd77::1] from [fd77::100]"},
		{"IPV6_PKTINFO as an option", "udp6 " + options(41, unix.IPV6_PKTINFO, string(net.ParseIP("fd77::4"))+"\x00\x00\x00\x00") + " send=[fd77::100]:97 recv", "W from [fd77::1] from [fd77::100]"},
		{"IPV6_PKTINFO as an option, with an interface", "udp6 " + options(41, unix.IPV6_PKTINFO, string(net.ParseIP("fd77::4"))+string(binary.NativeEndian.AppendUint32(nil, index))) + " send=[fd77::100]:97 recv", "W from [fd77::1] from [fd77::100]"},
		{"IP_PKTINFO that is received", "udp4 " + option(0, unix.IP_PKTINFO, 1) + " send=10.77.0.2:93 recv", "B from 10.77.0.1 from 10.77.0.2"},
		{"IP_RECVORIGDSTADDR", "udp4 bind=0.0.0.0:0 " + option(0, unix.IP_RECVORIGDSTADDR, 1) + " send=10.77.0.2:93 recv", "B from 10.77.0.1 from 10.77.0.2 to 10.77.0.1:*"},
		{"a source route to the other's loopback address", "tcp4 " + options(0, unix.IP_OPTIONS, "\x01\x83\x07\x04"+string(lo)) + " connect=10.77.0.2:95 recv", "*E*"},
		{"a source route back to itself", "udp4 " + options(0, unix.IP_OPTIONS, "\x01\x83\x07\x04"+string(lo)) + " try:send=" + loopback(3) + ":93 try:recv", "*E*"},

		{"TCP Fast Open", "tcp4 fastopen=10.77.0.2:92 name recv", "10.77.0.1:*\nB from 10.77.0.1 at 10.77.0.2 from *"},
		{"TCP Fast Open, from another's address", "tcp4 try:bind=10.77.0.4:0 fastopen=10.77.0.2:92 recv", "bind EADDRNOTAVAIL\nB from 10.77.0.1 at *"},
		{"TCP Fast Open to the other's loopback address", "tcp4 fastopen=" + loopback(3) + ":95 recv", "fastopen ECONNREFUSED"},
		{"TCP_FASTOPEN_CONNECT", "tcp4 " + option(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1) + " connect=10.77.0.2:92 send name recv", "10.77.0.1:*\nB from 10.77.0.1 at 10.77.0.2 from *"},
		{"TCP_FASTOPEN_CONNECT to the other's loopback address", "tcp4 " + option(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1) + " connect=" + loopback(3) + ":95 try:send recv", "connect ECONNREFUSED"},
		{"TCP Fast Open over IPv6", "tcp6 fastopen=[::ffff:10.77.0.2]:92 recv", "B from 10.77.0.1 at *"},
		{"TCP_REPAIR", "tcp4 " + option(unix.IPPROTO_TCP, unix.TCP_REPAIR, 1), "setsockopt EPERM"},
		{"SMC in the place of TCP", "tcp4 " + "try:" + options(unix.IPPROTO_TCP, unix.TCP_ULP, "smc") + " bind=10.77.0.4:80", "*bind EADDRNOTAVAIL"},
		{"SMC in the place of TCP, to the other's loopback address", "tcp4 " + "try:" + options(unix.IPPROTO_TCP, unix.TCP_ULP, "smc") + " connect=" + loopback(3) + ":95", "*connect E*"},
		{"SO_MARK", "udp4 " + option(unix.SOL_SOCKET, unix.SO_MARK, 1), "setsockopt EPERM"},
		{"SO_BINDTOIFINDEX after bind", "tcp4 bind=10.77.0.1:0 " + option(unix.SOL_SOCKET, 62, index), "setsockopt EPERM"},

		{"multicast from another's address", "udp4 " + options(0, unix.IP_MULTICAST_IF, foreign) + " send=224.7.7.7:98 name", "*"},
		{"multicast from another's address, connected", "udp4 " + options(0, unix.IP_MULTICAST_IF, foreign) + " connect=224.7.7.7:98 name", "10.77.0.1:*"},
		{"multicast of IPv6, connected", "udp6 " + option(41, unix.IPV6_MULTICAST_IF, index) + " connect=[ff15::77]:98 name", "[fd77::1]:*"},
		{"bound to a group", "udp4 join=224.7.7.7,10.77.0.4 bind=224.7.7.7:98", "bind EADDRNOTAVAIL"},
		{"bound to a group of IPv6", "udp6 join6=ff15::77," + fmt.Sprint(index) + " bind=[ff15::77]:98", "bind EADDRNOTAVAIL"},
	} {
		got := g.in(append([]string{"do"}, strings.Fields(tt.steps)...)...)
		if !matches(got, tt.want) && !matches(strings.TrimSuffix(got, "\nok"), tt.want) {
			t.Errorf("%s: %s: %q, want %q", tt.name, tt.steps, got, tt.want)
		}
	}
	// listen(2) without bind(2), of IPv6, and of a socket that was connected, or made one of IPv4.
	for _, steps := range []string{"tcp6 listen", "tcp6 " + option(41, unix.IPV6_V6ONLY, 1) + " listen", "tcp6 try:connect=[fd77::2]:1 unspec listen", "tcp6 connect=[::ffff:10.77.0.2]:90 unspec listen", "tcp4 connect=10.77.0.2:90 unspec listen"} {
		text := g.start(append([]string{"do"}, append(strings.Fields(steps), "name", "hold")...)...)
		harness.Poll(5*time.Second, func() bool { return strings.Contains(text(), "holding") })
		line, _ := strings.CutSuffix(text(), "\nholding")
		i := strings.LastIndexByte(line, ':')
		if i < 0 {
			t.Errorf("%s: %q", steps, text())
			continue
		}
		for _, addr := range []string{"10.77.0.2", "10.77.0.4", "127.0.0.1", "[fd77::2]", "[fd77::4]", "[::1]"} {
			if got := p.host("get", "tcp", addr+line[i:]); got != refused {
				t.Errorf("%s (%s) is reached at %s: %q", steps, line, addr, got)
			}
		}
	}
	// The repair mode takes CAP_NET_ADMIN, with which the host is open. Not so the addresses.
	g.delete()
	g = p.guest("admin", "10.77.0.1", caps("NET_ADMIN")...)
	if got := g.in("do", "tcp4", option(unix.IPPROTO_TCP, unix.TCP_REPAIR, 1), "try:bind=10.77.0.4:80", "bind=10.77.0.1:80", "try:connect=10.77.0.2:92", "name"); !strings.HasPrefix(got, "bind EADDRNOTAVAIL\n10.77.0.1:80\n") {
		t.Errorf("TCP_REPAIR with CAP_NET_ADMIN: %q", got)
	}
	if got := g.exec("/bin/busybox", "ip", "addr", "add", "192.0.2.77/32", "dev", "lo"); got != "" {
		t.Errorf("an address, with CAP_NET_ADMIN: %q", got)
	}
	if got := g.in("bind", "tcp", "192.0.2.77:80"); got != "bind EADDRNOTAVAIL" {
		t.Errorf("bind to an address of its own making: %q", got)
	}
	_ = g.exec("/bin/busybox", "ip", "addr", "del", "192.0.2.77/32", "dev", "lo")
	g.delete()
	// Without, netlink only tells.
	g = p.guest("plain", "10.77.0.1", caps("NET_RAW", "NET_BIND_SERVICE")...)
	for _, what := range []string{"addr add 192.0.2.77/32 dev lo", "addr del 10.77.0.2/24 dev v0", "route add 192.0.2.0/24 dev v0", "route del 10.77.0.0/24 dev v0", "link set v0 down", "link add d0 type dummy", "rule add from 10.77.0.1 table 7"} {
		got := g.exec(append([]string{"/bin/busybox", "ip"}, strings.Fields(what)...)...)
		if !strings.Contains(got, "ermitted") {
			t.Errorf("ip %s: %q", what, got)
		}
	}
	if got := answer(p.world("get", "tcp", "10.77.0.2:92")); got != "B" {
		t.Errorf("B, after that: %q", got)
	}
	g.delete()
	b.delete()
	p.end()
}

// matches compares with a pattern of lines in which * is anything.
func matches(got, want string) bool {
	parts := strings.Split(want, "*")
	if len(parts) == 1 {
		return got == want
	}
	if !strings.HasPrefix(got, parts[0]) || !strings.HasSuffix(got, parts[len(parts)-1]) {
		return false
	}
	for _, part := range parts {
		i := strings.Index(got, part)
		if i < 0 {
			return false
		}
		got = got[i+len(part):]
	}
	return true
}

// start runs the sockets program in the guest and does not wait; the text is what it has said so far.
func (g *guest) start(args ...string) (text func() string) {
	g.p.t.Helper()
	c := g.p.call(append([]string{"exec", "-d", g.id, "/bin/sockets"}, args...)...)
	c.Stdout = filepath.Join(g.p.dir, fmt.Sprint("start", time.Now().UnixNano()))
	if res, err := rt.Run(c); err != nil || res.Code != 0 {
		g.p.t.Fatalf("%v: %v %s", args, err, res.Stderr)
	}
	return func() string {
		b, _ := os.ReadFile(c.Stdout)
		return strings.TrimSpace(string(b))
	}
}

// Groups: a guest may join one, but nothing that is sent to it reaches the guest; what the guest sends to one comes from its
// own address, whatever interface it chooses by another's.
func TestMulticast(t *testing.T) {
	p := newPlace(t)
	g := p.guest("a", "10.77.0.1,10.77.0.3,fd77::1")
	v0, err := net.InterfaceByName("v0")
	if err != nil {
		t.Fatal(err)
	}
	index := fmt.Sprint(v0.Index)
	// The first datagram that each gets is the one that is sent to its own address, last.
	type receiver struct {
		steps, own, want string
		text             func() string
	}
	inside := []*receiver{
		{"udp4 bind=0.0.0.0:98 join=224.7.7.7,10.77.0.4", "10.77.0.1:98", "x from 10.77.0.4", nil},
		{"udp4 bind=10.77.0.3:98 join=224.7.7.7,10.77.0.4", "10.77.0.3:98", "x from 10.77.0.4", nil},
		{"udp4 bind=0.0.0.0:99 join=224.7.7.7,10.77.0.1", "10.77.0.1:99", "x from 10.77.0.4", nil},
		{"udp6 bind=[::]:97 join6=ff15::77," + index, "[fd77::1]:97", "x from [fd77::4]", nil},
		{"udp6 bind=[fd77::1]:96 join6=ff15::77," + index, "[fd77::1]:96", "x from [fd77::4]", nil},
	}
	for _, r := range inside {
		r.text = g.start(append([]string{"do"}, strings.Fields(r.steps+" name wait=60 recv")...)...)
		if !harness.Poll(10*time.Second, func() bool { return r.text() != "" }) {
			t.Fatalf("%s: not ready", r.steps)
		}
	}
	control, err := net.ListenMulticastUDP("udp4", v0, &net.UDPAddr{IP: net.IPv4(224, 7, 7, 7), Port: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	// From the world, and from the host itself, which hears what it sends.
	for _, send := range []string{"udp4 bind=10.77.0.100:0 opt=0,32,0a4d0064 send=224.7.7.7:98 send=224.7.7.7:99 send=224.7.7.7:100", "udp6 bind=[fd77::100]:0 send=[ff15::77]:97 send=[ff15::77]:96"} {
		if got := p.world(append([]string{"do"}, strings.Fields(send)...)...); got != "ok" {
			t.Errorf("%s: %q", send, got)
		}
	}
	host := "udp4 bind=10.77.0.4:0 opt=0,32,0a4d0004 send=224.7.7.7:98 send=224.7.7.7:99"
	if got := p.host(append([]string{"do"}, strings.Fields(host)...)...); got != "ok" {
		t.Errorf("%s: %q", host, got)
	}
	_ = control.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, from, err := control.ReadFromUDP(make([]byte, 9)); err != nil || from.IP.String() != "10.77.0.100" {
		t.Errorf("the host, who has joined, hears %v %v", from, err)
	}
	for _, r := range inside {
		from := "udp4 bind=10.77.0.4:0"
		if r.own[0] == '[' {
			from = "udp6 bind=[fd77::4]:0"
		}
		if got := p.host(append([]string{"do"}, strings.Fields(from+" send="+r.own)...)...); got != "ok" {
			t.Errorf("%s: %q", r.own, got)
		}
		harness.Poll(10*time.Second, func() bool { return strings.Contains(r.text(), "x from") })
		if _, got, _ := strings.Cut(r.text(), "\n"); got != r.want+"\nok" {
			t.Errorf("%s: %q, want %q", r.steps, got, r.want)
		}
	}
	// The other way.
	for _, tt := range []struct{ world, send, want string }{
		{"udp4 bind=0.0.0.0:98 join=224.7.7.7,10.77.0.100 wait=60 recv", "udp4 opt=0,32,0a4d0004 send=224.7.7.7:98", "x from 10.77.0.1"},
		{"udp4 bind=0.0.0.0:98 join=224.7.7.7,10.77.0.100 wait=60 recv", "udp4 opt=0,32,0a4d0004 connect=224.7.7.7:98 send", "x from 10.77.0.1"},
		{"udp4 bind=0.0.0.0:98 join=224.7.7.7,10.77.0.100 wait=60 recv", "udp4 bind=10.77.0.3:0 opt=0,32,0a4d0004 send=224.7.7.7:98", "x from 10.77.0.3"},
	} {
		out := make(chan string)
		go func() {
			out <- p.outside([]string{"nsenter", "--net=" + world}, append([]string{"do"}, strings.Fields(tt.world)...))
		}()
		var got string
		for done := false; !done; { // until the world listens
			_ = g.in(append([]string{"do"}, strings.Fields(tt.send)...)...)
			select {
			case got = <-out:
				done = true
			case <-time.After(50 * time.Millisecond):
			}
		}
		if got != tt.want+"\nok" {
			t.Errorf("%s: %q, want %q", tt.send, got, tt.want)
		}
	}
	g.delete()
	p.end()
}

// The same port with SO_REUSEPORT: two guests have it each for itself; within a guest it is shared as everywhere, on all
// of its addresses.
func TestReusePort(t *testing.T) {
	p := newPlace(t)
	a := p.guest("a", "10.77.0.1,10.77.0.3")
	b := p.guest("b", "10.77.0.2")
	for g, n := range map[*guest]string{a: "A", b: "B"} {
		for _, s := range []string{"tcp 0.0.0.0:80", "udp 0.0.0.0:53", "tcp [::]:81"} {
			if got := g.serve(append(append([]string{"serve"}, strings.Fields(s)...), n, "reuse")...); !strings.HasPrefix(got, "ready") {
				t.Errorf("%s: %s: %q", n, s, got)
			}
		}
	}
	if got := a.in("bind", "tcp", "10.77.0.2:80", "reuse"); got != "bind EADDRNOTAVAIL" {
		t.Errorf("the other's port: %q", got)
	}
	if got := p.host("bind", "tcp", "10.77.0.4:80", "reuse"); got != "ok 10.77.0.4:80" {
		t.Errorf("the host's own address: %q", got)
	}
	for range 20 { // a group would give some to the other
		for addr, want := range map[string]string{"10.77.0.1": "A", "10.77.0.3": "A", "10.77.0.2": "B"} {
			for _, s := range []string{"tcp %s:80", "udp %s:53", "tcp %s:81"} {
				got := answer(p.world(append([]string{"get"}, strings.Fields(fmt.Sprintf(s, addr))...)...))
				if got != want {
					t.Fatalf("%s at %s: %q, want %q", s, addr, got, want)
				}
			}
		}
	}
	for _, s := range []string{"tcp 0.0.0.0:80", "udp 0.0.0.0:53"} {
		if got := a.serve(append(append([]string{"serve"}, strings.Fields(s)...), "A2", "reuse")...); !strings.HasPrefix(got, "ready") {
			t.Errorf("a second one: %s: %q", s, got)
		}
	}
	seen := map[string]int{}
	for range 60 {
		seen["tcp "+answer(p.world("get", "tcp", "10.77.0.1:80"))]++
		seen["udp "+answer(p.world("get", "udp", "10.77.0.1:53"))]++
		seen["other "+answer(p.world("get", "tcp", "10.77.0.3:80"))]++
	}
	for _, kind := range []string{"tcp", "udp", "other"} {
		if seen[kind+" A"] == 0 || seen[kind+" A2"] == 0 || seen[kind+" A"]+seen[kind+" A2"] != 60 {
			t.Errorf("%s: shared as %v", kind, seen)
		}
	}
	a.delete()
	b.delete()
	p.end()
}

// Whichever of the listeners on one port are closed, those that are left answer on all addresses, and new ones with them.
func TestReusePortLeft(t *testing.T) {
	p := newPlace(t)
	a := p.guest("a", "10.77.0.1,10.77.0.3,fd77::1,fd77::3")
	start := func(name string) {
		if got := a.serve("serve", "tcp", "[::]:80", name, "reuse"); !strings.HasPrefix(got, "ready") {
			t.Errorf("%s: %q", name, got)
		}
	}
	const kill = `for p in /proc/[0-9]*; do case "$(tr '\0' ' ' <$p/cmdline)" in "/bin/sockets serve "*" $0 "*) kill -9 ${p#/proc/}; esac; done`
	stop := func(name string) {
		if got := a.exec("/bin/sh", "-c", kill, name); got != "" {
			t.Fatalf("kill: %s", got)
		}
	}
	left := func(what string, want ...string) {
		t.Helper()
		for _, addr := range []string{"10.77.0.1", "10.77.0.3", "[fd77::1]", "[fd77::3]", "127.0.0.1"} {
			get := p.world
			if addr == "127.0.0.1" {
				get = a.in
			}
			var got string
			harness.Poll(5*time.Second, func() bool { // those that were killed are gone
				got = answer(get("get", "tcp", addr+":80"))
				return slices.Contains(want, got)
			})
			for range 6 {
				if got = answer(get("get", "tcp", addr+":80")); !slices.Contains(want, got) {
					t.Errorf("%s: %s: %q, want one of %q", what, addr, got, want)
				}
			}
		}
	}
	start("S1")
	start("S2")
	start("S3")
	stop("S3")
	left("the last closed first", "S1", "S2")
	stop("S1")
	left("and the first", "S2")
	start("S4")
	stop("S2")
	left("another one", "S4")
	stop("S4")
	for _, addr := range []string{"10.77.0.3", "[fd77::3]"} {
		var got string
		harness.Poll(5*time.Second, func() bool {
			got = p.world("get", "tcp", addr+":80")
			return got == refused
		})
		if got != refused {
			t.Errorf("nobody is left: %s: %q", addr, got)
		}
	}
	a.delete()
	p.end()
}

// What one guest has accepted it may hand to another. It stays the first one's: its address, and what may be done with it.
func TestAcceptedHandedOver(t *testing.T) {
	p := newPlace(t)
	mount := p.shared()
	a := p.guest("a", "10.77.0.1", mount)
	b := p.guest("b", "10.77.0.2", mount)
	taken := b.start("do", "take=/mnt/s", "name", "send", "unspec", "try:bind=10.77.0.4:0", "try:bind=10.77.0.2:0", "listen", "name", "hold")
	given := a.start("do", "tcp4", "bind=0.0.0.0:80", "listen", "accept", "give=/mnt/s")
	var got string
	harness.Poll(5*time.Second, func() bool {
		got = p.world("do", "tcp4", "connect=10.77.0.1:80", "recv")
		return !strings.HasPrefix(got, "connect")
	})
	if !strings.HasPrefix(got, "x from") {
		t.Errorf("the client: %q", got)
	}
	harness.Poll(5*time.Second, func() bool { return strings.Contains(taken(), "holding") })
	lines := strings.Split(taken(), "\n")
	if len(lines) != 5 || lines[0] != "10.77.0.1:80" || lines[1] != "bind EADDRNOTAVAIL" || !strings.HasPrefix(lines[2], "bind E") || !strings.HasPrefix(lines[3], "10.77.0.1:") {
		t.Errorf("who took it: %q (who gave it: %q)", lines, given())
	} else {
		port := lines[3][strings.LastIndexByte(lines[3], ':'):]
		for _, addr := range []string{"10.77.0.2", "10.77.0.4"} {
			if got := p.world("do", "tcp4", "connect="+addr+port); got != refused {
				t.Errorf("%s%s: %q", addr, port, got)
			}
		}
	}
	a.delete()
	b.delete()
	p.end()
}

// Out into a namespace of its own and back again: the host's has the same bounds as before.
func TestNamespaceAndBack(t *testing.T) {
	p := newPlace(t)
	g := p.guest("a", "10.77.0.1", append(caps("SYS_ADMIN", "SYS_CHROOT", "NET_ADMIN", "SYS_PTRACE"), "process.noNewPrivileges=true")...)
	const try = "/bin/sockets bind tcp 10.77.0.4:80; /bin/sockets do udp4 send=10.77.0.4:9 name; /bin/sockets socket 2 3 255"
	got := g.exec("/bin/busybox", "unshare", "-n", "/bin/busybox", "nsenter", "--net=/proc/1/ns/net", "/bin/sh", "-c", try)
	if !matches(got, "bind EADDRNOTAVAIL\n*:*\nok\nsocket EPERM") {
		t.Errorf("there and back: %q", got)
	}
	g.delete()
	p.end()
}
