package netcontext

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// caps gives a guest's program capabilities.
func caps(names ...string) (edits []string) {
	for _, set := range []string{"bounding", "effective", "permitted"} {
		for _, n := range names {
			edits = append(edits, "process.capabilities."+set+"+=CAP_"+n)
		}
	}
	return edits
}

// What a guest may try to get at addresses that are not its own. Each is tried by a root that has more capabilities than
// Linux-VServer's guests had; what works is said too.
func TestEscapes(t *testing.T) {
	p := newPlace(t)
	g := p.guest("a", "10.77.0.1/24,10.77.0.3/24,fd77::1/64", caps("NET_RAW", "NET_BIND_SERVICE", "SYS_ADMIN")...)
	// Whoever is reached by mistake answers.
	b := p.guest("b", "10.77.0.2,fd77::2")
	b.serve("serve", "tcp", "127.0.0.1:90", "B-loopback")
	b.serve("serve", "udp", "127.0.0.1:91", "B-loopback")
	b.serve("serve", "tcp", "0.0.0.0:92", "B")
	b.serve("serve", "udp", "0.0.0.0:93", "B")
	b.serve("serve", "udp", "[::]:94", "B")
	defer worldServer(t, "serve", "udp", "10.77.0.100:96", "world")()
	lback := ""
	if f, _ := filepath.Glob("/run/vsrun-net/[0-9]*"); len(f) > 0 {
		for _, name := range f {
			text, _ := os.ReadFile(name)
			if strings.Contains(string(text), "id "+b.id+"\n") {
				_, lback, _ = strings.Cut(string(text), "loopback ")
				lback, _, _ = strings.Cut(lback, "\n")
			}
		}
	}
	if lback == "" {
		t.Fatal("the register does not say b's loopback address")
	}
	const notOurs, denied = "bind EADDRNOTAVAIL", "EPERM"
	for _, tt := range []struct{ name, args, want string }{
		{"another guest's address", "bind tcp 10.77.0.2:80", notOurs},
		{"the host's address", "bind tcp 10.77.0.4:80", notOurs},
		{"an address of nobody", "bind udp 192.0.2.1:80", notOurs},
		{"another guest's address, UDP", "bind udp 10.77.0.2:53", notOurs},
		{"another guest's IPv6 address", "bind tcp [fd77::2]:80", notOurs},
		{"the host's IPv6 address, UDP", "bind udp [fd77::4]:80", notOurs},
		{"IPv4-mapped IPv6", "bind tcp [::ffff:10.77.0.2]:80", notOurs},
		{"IPv4-mapped IPv6, UDP", "bind udp [::ffff:10.77.0.4]:80", notOurs},
		{"IPv4-mapped 0.0.0.0", "bind tcp [::ffff:0.0.0.0]:80", "ok [::ffff:0.0.0.0]:80"},
		{"IPv4-compatible IPv6", "bind tcp [::10.77.0.2]:80", notOurs},
		{"multicast", "bind udp 224.0.0.1:80", notOurs},
		{"broadcast", "bind udp 255.255.255.255:80", notOurs},
		{"another guest's loopback address", "bind tcp " + lback + ":80", "ok 127.0.0.1:80"},
		{"IP_FREEBIND", "bind tcp 10.77.0.2:80 freebind", notOurs},
		{"IP_FREEBIND to an address of nobody", "bind tcp 192.0.2.1:80 freebind", notOurs},
		{"IP_TRANSPARENT", "bind tcp 192.0.2.1:80 transparent", notOurs},
		{"IP_TRANSPARENT, UDP", "bind udp 10.77.0.2:80 transparent", notOurs},
		{"SO_BINDTODEVICE", "bind tcp 10.77.0.4:80 device=v0", "setsockopt EPERM"},
		{"SO_BINDTOIFINDEX", "bind tcp 10.77.0.4:80 ifindex=1", "setsockopt EPERM"},
		{"an own address", "bind tcp 10.77.0.3:80", "ok 10.77.0.3:80"},
		{"an own IPv6 address", "bind udp [fd77::1]:80", "ok [fd77::1]:80"},

		{"source of another", "get tcp 10.77.0.2:92 from=10.77.0.2:0", notOurs},
		{"source of another, IP_FREEBIND", "get udp 10.77.0.2:93 from=10.77.0.4:0 freebind", notOurs},
		{"source by IP_PKTINFO", "get udp 10.77.0.2:93 pktinfo=10.77.0.4", "sendmsg " + denied},
		{"source by IP_PKTINFO, connected", "get udp 10.77.0.2:93 connect pktinfo=10.77.0.4", "sendmsg " + denied},
		{"source by IP_PKTINFO of an IPv6 socket", "get udp [::ffff:10.77.0.2]:93 pktinfo=10.77.0.4", "sendmsg " + denied},
		{"source by IPV6_PKTINFO", "get udp [fd77::2]:94 pktinfo=fd77::4", "sendmsg " + denied},
		{"source by IPV6_PKTINFO, connected", "get udp [fd77::2]:94 connect pktinfo=fd77::4", "sendmsg " + denied},
		{"source by IPV6_PKTINFO and IP_FREEBIND", "get udp [fd77::2]:94 freebind pktinfo=fd77::99", "sendmsg *"},
		{"source by IPV6_PKTINFO, mapped", "get udp [::ffff:10.77.0.2]:93 pktinfo=::ffff:10.77.0.4", "sendmsg *"},
		{"own source by IPV6_PKTINFO", "get udp [fd77::2]:94 pktinfo=fd77::1", "B from [fd77::1], answer from [fd77::2]:94"},
		{"TCP Fast Open", "get tcp 10.77.0.2:92 fastopen", "B from 10.77.0.1 at 10.77.0.2, *"},
		{"TCP Fast Open to the loopback address of another", "get tcp " + lback + ":90 fastopen", "sendto ECONNREFUSED"},
		{"link-local address of the host", "bind tcp [" + linkLocal(t) + "]:80", notOurs},
		{"link-local address of the host with its scope", "bind udp [" + linkLocal(t) + "%v0]:80", notOurs},
		{"source of the host's link-local address", "get udp [fd77::2]:94 from=[" + linkLocal(t) + "%v0]:0", notOurs},
		{"own source by IP_PKTINFO", "get udp 10.77.0.2:93 pktinfo=10.77.0.3", "B from 10.77.0.3, answer from 10.77.0.2:93"},
		{"source by SO_BINDTODEVICE", "get udp 10.77.0.100:96 device=v0", "setsockopt EPERM"},
		{"own source", "get tcp 10.77.0.2:92 from=10.77.0.3:0", "B from 10.77.0.3 at 10.77.0.2, peer 10.77.0.2 local 10.77.0.3"},
		{"a socket that has sent, connected", "get udp 10.77.0.2:93 connect twice", "B from 10.77.0.1, answer from 10.77.0.2:93, peer 10.77.0.2 local 10.77.0.1\nB from 10.77.0.1, answer from 10.77.0.2:93, peer 10.77.0.2 local 10.77.0.1"},
		{"an IPv6 socket to IPv4", "get tcp 10.77.0.2:92 six", "B from 10.77.0.1 at 10.77.0.2, peer [::ffff:10.77.0.2] local [::ffff:10.77.0.1]"},
		{"an IPv6 socket for datagrams to IPv4", "get udp [::ffff:10.77.0.2]:93", "B from 10.77.0.1, answer from [::ffff:10.77.0.2]:93"},
		{"IPv6 datagrams", "get udp [fd77::2]:94", "B from [fd77::1], answer from [fd77::2]:94"},

		{"127.0.0.1 of another", "get tcp 127.0.0.1:90", refused},
		{"loopback address of another", "get tcp " + lback + ":90", refused},
		{"loopback address of another, UDP", "get udp " + lback + ":91 connect", "recvfrom ECONNREFUSED"},
		{"loopback address of another, mapped", "get tcp [::ffff:" + lback + "]:90", refused},
		{"loopback address of another, by device", "get tcp " + lback + ":90 device=lo", "setsockopt EPERM"},
		{"loopback address of another, from an own address", "get tcp " + lback + ":90 from=10.77.0.1:0", refused},

		{"raw IPv4", "socket 2 3 255", "socket " + denied},
		{"raw TCP", "socket 2 3 6", "socket " + denied},
		{"raw ICMP without permission", "socket 2 3 1", "socket " + denied},
		{"raw IPv6", "socket 10 3 255", "socket " + denied},
		{"ping socket without permission", "socket 2 2 1", "socket *"},
		{"packet", "socket 17 3 768", "socket " + denied},
		{"packet of datagrams", "socket 17 2 768", "socket " + denied},
		{"multipath TCP", "bind tcp 10.77.0.2:80 mptcp", "socket EPROTONOSUPPORT"},
		{"SCTP", "socket 2 5 132", "socket *"},
		{"SCTP, one to one", "socket 2 1 132", "socket EPROTONOSUPPORT"},
		{"DCCP", "socket 2 6 33", "socket *"},
		{"UDP-Lite", "socket 2 2 136", "socket EPROTONOSUPPORT"},
		{"SMC", "socket 2 1 256", "socket EPROTONOSUPPORT"},
		{"AF_SMC", "socket 43 1 0", "socket EAFNOSUPPORT"},
		{"AF_VSOCK", "socket 40 1 0", "socket EAFNOSUPPORT"},
		{"AF_XDP", "socket 44 3 0", "socket EAFNOSUPPORT"},
		{"AF_TIPC", "socket 30 1 0", "socket EAFNOSUPPORT"},
		{"AF_BLUETOOTH", "socket 31 3 0", "socket EAFNOSUPPORT"},
		{"AF_UNIX", "socket 1 1 0", "ok"},
		{"netlink", "netlink", "ok"},
		{"io_uring", "uring", "io_uring_setup ENOSYS"},
		{"IP_HDRINCL without permission for ICMP", "bind udp 10.77.0.1:80 hdrincl", "setsockopt ENOPROTOOPT"},
	} {
		got := g.in(strings.Fields(tt.args)...)
		if want, any := strings.CutSuffix(tt.want, "*"); any && strings.HasPrefix(got, want) {
			continue
		}
		if got != tt.want {
			t.Errorf("%s: %s: %q, want %q", tt.name, tt.args, got, tt.want)
		}
	}

	// listen(2) without bind(2) would be on all of the host's addresses.
	for _, how := range []string{"", "freed", "again", "again freed"} {
		ready := g.serve(append([]string{"listen", "tcp"}, strings.Fields(how)...)...)
		i := strings.LastIndexByte(ready, ':')
		if i < 0 {
			t.Errorf("listen without bind %s: %q", how, ready)
			continue
		}
		for _, addr := range []string{"10.77.0.2", "10.77.0.4", "127.0.0.1"} {
			if got := p.host("get", "tcp", addr+ready[i:]); got != refused {
				t.Errorf("listen without bind %s (%s) is reached at %s: %q", how, ready, addr, got)
			}
		}
	}

	// Children, and what runs as another user, are no better off.
	if got := g.exec("/bin/sh", "-c", "(/bin/sh -c '/bin/sockets bind tcp 10.77.0.2:80')"); got != notOurs {
		t.Errorf("a child: %q", got)
	}
	if got := g.p.try("exec", "-u", "1000:1000", g.id, "/bin/sockets", "bind", "tcp", "10.77.0.2:8080").Stdout; got != notOurs+"\n" {
		t.Errorf("another user: %q", got)
	}
	// bpf(2), which could take programs off, is closed.
	if got := g.exec("/bin/sockets", "bpf"); got != "bpf EPERM" {
		t.Errorf("bpf: %q", got)
	}
	g.delete()
	b.delete()
	p.end()
}

// linkLocal is the host's link-local address on v0.
func linkLocal(t *testing.T) string {
	t.Helper()
	i, err := net.InterfaceByName("v0")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := i.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip := a.(*net.IPNet).IP; ip.To4() == nil && ip.IsLinkLocalUnicast() {
			return ip.String()
		}
	}
	t.Fatal("v0 has no link-local address")
	return ""
}

// Into another cgroup: one below keeps the context, one beside can't be reached. With the host's whole tree in hand a
// process can leave; that is no guest any more.
func TestEscapeByCgroup(t *testing.T) {
	p := newPlace(t)
	dir := "/sys/fs/cgroup"
	if harness.CgroupLayout() == "hybrid" {
		dir += "/unified"
	}
	g := p.guest("a", "10.77.0.1", append(caps("SYS_ADMIN"),
		`mounts[destination=/sys/fs/cgroup]={"destination":"/sys/fs/cgroup","type":"cgroup2","source":"cgroup","options":["rw"]}`)...)
	script := `exec 2>&1; cd /sys/fs/cgroup || exit
[ -e cgroup.procs ] || cd unified || exit
mkdir below && echo 0 >below/cgroup.procs && grep -o below /proc/self/cgroup
/bin/sockets bind tcp 10.77.0.4:80
echo 0 >../cgroup.procs 2>/dev/null || echo no way up
cat ../cgroup.procs >/dev/null 2>&1 && echo sees more
/bin/sockets bind tcp 10.77.0.4:80`
	got := g.exec("/bin/sh", "-c", script)
	if !strings.HasSuffix(got, "bind EADDRNOTAVAIL") || strings.Count(got, "bind EADDRNOTAVAIL") != 2 || !strings.Contains(got, "below") {
		t.Errorf("by way of cgroups (%s): %q", dir, got)
	}
	g.delete()
	p.end()
}

// Sockets that come from elsewhere belong to whom they come from: who makes one answers for it.
func TestEscapeByDescriptors(t *testing.T) {
	p := newPlace(t)
	mount := p.shared()
	a := p.guest("a", "10.77.0.1", mount)
	b := p.guest("b", "10.77.0.2", mount)
	// B hands a socket of its own to A: A serves at B's address, as B wants.
	res := make(chan string)
	go func() { res <- b.in("send", "/mnt/s", "tcp", "0.0.0.0:80") }()
	if got := a.serve("receive", "/mnt/s", "A-for-B"); got != "ready 0.0.0.0:80" && got != "ready 10.77.0.2:80" {
		t.Errorf("a socket of another guest's: %q", got)
	}
	if got := <-res; got != "sent" {
		t.Error(got)
	}
	if got := answer(p.world("get", "tcp", "10.77.0.2:80")); got != "A-for-B" {
		t.Errorf("a socket of another guest's: %q", got)
	}
	if got := p.world("get", "tcp", "10.77.0.1:80"); got != refused {
		t.Errorf("at A's own address: %q", got)
	}
	// The host hands one over by --preserve-fds: socket activation. It keeps the address that the host gave it.
	l := filepath.Join(p.dir, "out")
	c := p.call("exec", "-d", "--preserve-fds", "1", a.id, "/bin/sockets", "inherited", "3", "activated")
	f, err := listenFile("10.77.0.4:85")
	if err != nil {
		t.Fatal(err)
	}
	c.Extra, c.Stdout = append(c.Extra, f), l
	r, err := rt.Run(c)
	f.Close()
	if err != nil || r.Code != 0 {
		t.Fatal(err, r.Stderr)
	}
	harness.Poll(3*time.Second, func() bool { b, _ := os.ReadFile(l); return len(b) > 0 })
	if got := answer(p.world("get", "tcp", "10.77.0.4:85")); got != "activated" {
		t.Errorf("a socket of the host's: %q", got)
	}
	a.delete()
	b.delete()
	p.end()
}

// A network namespace that a guest makes for itself is its own affair, and leads nowhere.
func TestOwnNamespace(t *testing.T) {
	p := newPlace(t)
	g := p.guest("a", "10.77.0.1", append(caps("SYS_ADMIN", "NET_ADMIN"), "process.noNewPrivileges=true")...)
	got := g.exec("/bin/busybox", "unshare", "-n", "/bin/sh", "-c", "ifconfig lo up; /bin/sockets bind tcp 127.0.0.1:80; /bin/sockets bind tcp 127.9.9.9:80; /bin/sockets bind tcp 0.0.0.0:80; /bin/sockets get tcp 10.77.0.4:80; /bin/sockets socket 17 3 768")
	want := "ok 127.0.0.1:80\nok 127.9.9.9:80\nok 0.0.0.0:80\nconnect ENETUNREACH\nsocket EPERM"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	g.delete()
	p.end()
}

// Ports, loopback, single address, ping, hidden interfaces: what annotations change.
func TestAnnotations(t *testing.T) {
	p := newPlace(t)
	net := func(name, value string) string { return annotation + "net." + name + `"="` + value + `"` }
	for i, tt := range []struct {
		addresses string
		edits     []string
		do        [][2]string
	}{
		{"10.77.0.1", []string{net("ports", "80, 8000-8010")}, [][2]string{
			{"bind tcp 0.0.0.0:80", "ok 0.0.0.0:80"}, {"bind udp 10.77.0.1:8010", "ok 10.77.0.1:8010"}, {"bind tcp 0.0.0.0:81", "bind EACCES"},
			{"bind tcp [::]:7999", "bind EACCES"}, {"bind tcp 127.0.0.1:8011", "bind EACCES"}}},
		{"10.77.0.1,fd77::1", []string{net("loopback", "none")}, [][2]string{
			{"bind tcp 127.0.0.1:80", "bind EADDRNOTAVAIL"}, {"get tcp 127.0.0.1:80", "connect EPERM"}, {"bind tcp [::1]:80", "bind EADDRNOTAVAIL"},
			{"get tcp [::1]:80", "connect EPERM"}, {"get udp 127.0.0.1:80", "sendmsg EPERM"}, {"bind tcp 0.0.0.0:80", "ok 0.0.0.0:80"}}},
		{"10.77.0.1", []string{net("loopback", "127.55.0.1")}, [][2]string{{"bind tcp 127.0.0.1:80", "ok 127.0.0.1:80"}}},
		{"10.77.0.1,fd77::1", []string{net("single-ip", "true")}, [][2]string{
			{"bind tcp 0.0.0.0:80", "ok 10.77.0.1:80"}, {"bind tcp [::]:80 v6only", "ok [fd77::1]:80"}, {"bind tcp 127.0.0.1:80", "ok 127.0.0.1:80"}}},
		{"10.77.0.1", append(caps("NET_RAW"), net("raw-icmp", "true")), [][2]string{
			{"socket 2 3 1", "ok"}, {"socket 10 3 58", "ok"}, {"socket 2 3 6", "socket EPERM"}, {"socket 2 3 255", "socket EPERM"}, {"socket 17 3 768", "socket EPERM"},
			{"bind udp 10.77.0.1:80 hdrincl", "setsockopt EPERM"}}},
		{"10.77.0.1", []string{net("hide-netif", "true")}, [][2]string{
			{"netlink", "socket EAFNOSUPPORT"}, {"ifconf", "ioctl EPERM"}, {"bind tcp 0.0.0.0:80", "ok 0.0.0.0:80"}}},
		{"10.77.0.1", []string{net("hide-netif", "false")}, [][2]string{{"netlink", "ok"}, {"ifconf", "ok"}}},
		{"fd77::1", nil, [][2]string{
			{"bind tcp 0.0.0.0:80", "bind EADDRNOTAVAIL"}, {"bind tcp [::]:80", "ok [::]:80"}, {"get tcp 10.77.0.2:80", "connect ENETUNREACH"},
			{"get udp 10.77.0.2:80", "sendmsg ENETUNREACH"}, {"bind tcp 127.0.0.1:80", "ok 127.0.0.1:80"}}},
		{"10.77.0.1", nil, [][2]string{
			{"get tcp [fd77::2]:80", "connect ENETUNREACH"}, {"get udp [fd77::2]:80", "sendmsg ENETUNREACH"}, {"bind tcp [::]:80", "ok [::]:80"}, {"bind tcp [::]:80 v6only", "bind EINVAL"}}},
	} {
		g := p.guest(fmt.Sprint("g", i), tt.addresses, tt.edits...)
		for _, do := range tt.do {
			if got := g.in(strings.Fields(do[0])...); got != do[1] {
				t.Errorf("%s %v: %s: %q, want %q", tt.addresses, tt.edits, do[0], got, do[1])
			}
		}
		g.delete()
	}
	p.end()
}

// The limit of sockets, with a context and without.
func TestSocketLimit(t *testing.T) {
	p := newPlace(t)
	for i, addresses := range []string{"10.77.0.1", ""} {
		g := p.guest(fmt.Sprint("g", i), addresses, annotation+`rlimits.nsock"="8"`)
		for range 3 { // what is closed can be had again
			if got := g.in("many", "20"); got != "8 ENOBUFS" {
				t.Errorf("with addresses %q: %q", addresses, got)
			}
		}
		g.delete()
	}
	for _, value := range []string{"inf", ""} {
		var edits []string
		if value != "" {
			edits = append(edits, annotation+`rlimits.nsock"="`+value+`"`)
		}
		g := p.guest("counted"+value, "10.77.0.1", edits...)
		g.serve("serve", "tcp", "0.0.0.0:80", "A")
		g.serve("serve", "udp", "0.0.0.0:80", "A")
		if got := answer(p.world("get", "tcp", "10.77.0.1:80")); got != "A" { // accepted, and not counted
			t.Error(got)
		}
		if got := p.must("net", "show", g.id).Stdout; strings.Contains(got, "\nsockets          2\n") != (value != "") {
			t.Errorf("nsock %q:\n%s", value, got)
		}
		g.delete()
	}
	p.end()
}
