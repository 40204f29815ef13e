package netcontext

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// answer is the name that a client's line begins with, or what failed.
func answer(line string) string {
	name, _, ok := strings.Cut(line, " from ")
	if !ok {
		return line
	}
	return name
}

const refused = "connect ECONNREFUSED"

// Two guests with the same servers on 0.0.0.0 and ::, asked at every address and from everywhere: each answers on its own
// addresses, all of them, and nowhere else.
func TestListeners(t *testing.T) {
	p := newPlace(t)
	a := p.guest("a", "10.77.0.1/24, 10.77.0.3/24, fd77::1/64, fd77::3/64")
	b := p.guest("b", "10.77.0.2/24,fd77::2/64")
	for _, g := range []*guest{a, b} {
		n := map[*guest]string{a: "A", b: "B"}[g]
		for _, s := range []struct{ kind, addr, name, option, ready string }{
			{"tcp", "0.0.0.0:80", "4", "", "ready 0.0.0.0:80"},
			{"tcp", "[::]:81", "6", "", "ready [::]:81"},
			{"tcp", "[::]:82", "only6", "v6only", "ready [::]:82"},
			{"tcp", "0.0.0.0:82", "only4", "", "ready 0.0.0.0:82"},
			{"tcp", "127.0.0.1:83", "lo", "", "ready 127.0.0.1:83"},
			{"tcp", "[::1]:84", "lo6", "", "ready [::1]:84"},
			{"udp", "0.0.0.0:53", "4", "", "ready 0.0.0.0:53"},
			{"udp", "[::]:54", "6", "", "ready [::]:54"},
			{"udp", "127.0.0.1:55", "lo", "", "ready 127.0.0.1:55"},
		} {
			args := []string{"serve", s.kind, s.addr, n + s.name}
			if s.option != "" {
				args = append(args, s.option)
			}
			if got := g.serve(args...); got != s.ready {
				t.Errorf("%s %v: %q", n, args, got)
			}
		}
	}
	type client struct {
		name string
		get  func(args ...string) string
	}
	host, outside := client{"host", p.host}, client{"world", p.world}
	inA, inB := client{"A", a.in}, client{"B", b.in}
	everybody := []client{host, outside, inA, inB}
	check := func(c client, kind, addr, want string, options ...string) {
		t.Helper()
		got := c.get(append([]string{"get", kind, addr}, options...)...)
		if answer(got) != want {
			t.Errorf("%s: %s %s %v: %q, want %q", c.name, kind, addr, options, got, want)
		}
	}
	for _, c := range everybody {
		for addr, n := range map[string]string{"10.77.0.1": "A", "10.77.0.3": "A", "10.77.0.2": "B"} {
			check(c, "tcp", addr+":80", n+"4")
			check(c, "tcp", addr+":81", n+"6")
			check(c, "tcp", addr+":82", n+"only4")
			check(c, "tcp", addr+":83", refused)
			check(c, "udp", addr+":53", n+"4")
			check(c, "udp", addr+":54", n+"6")
		}
		for addr, n := range map[string]string{"[fd77::1]": "A", "[fd77::3]": "A", "[fd77::2]": "B"} {
			check(c, "tcp", addr+":80", refused)
			check(c, "tcp", addr+":81", n+"6")
			check(c, "tcp", addr+":82", n+"only6")
			check(c, "udp", addr+":54", n+"6")
		}
		// The host's own addresses are nobody's.
		for _, addr := range []string{"10.77.0.4:80", "10.77.0.4:81", "[fd77::4]:81", "[fd77::4]:82"} {
			check(c, "tcp", addr, refused)
		}
	}
	// Everybody has an own 127.0.0.1. The world's and the host's have no server.
	for _, c := range []client{host, outside} {
		for _, addr := range []string{"127.0.0.1:80", "127.0.0.1:83", "[::1]:81"} {
			check(c, "tcp", addr, refused)
		}
	}
	for _, c := range []client{inA, inB} {
		for _, addr := range []string{"127.0.0.1", "127.1.2.3", "0.0.0.0"} {
			check(c, "tcp", addr+":80", c.name+"4")
			check(c, "tcp", addr+":81", c.name+"6")
			check(c, "tcp", addr+":83", c.name+"lo")
			check(c, "udp", addr+":53", c.name+"4")
			check(c, "udp", addr+":53", c.name+"4", "connect")
			check(c, "udp", addr+":54", c.name+"6", "connect")
			check(c, "udp", addr+":55", c.name+"lo")
		}
		for _, addr := range []string{"[::1]", "[::ffff:127.0.0.1]"} {
			check(c, "tcp", addr+":80", c.name+"4")
			check(c, "tcp", addr+":81", c.name+"6")
			check(c, "tcp", addr+":84", c.name+"lo6")
			check(c, "udp", addr+":53", c.name+"4", "connect")
		}
		check(c, "udp", "[::ffff:127.0.0.1]:53", c.name+"4")
		check(c, "tcp", "[::ffff:10.77.0.2]:80", "B4")
		// Who sends to 127.0.0.1 sees answers from there, whatever is beneath.
		for _, w := range []struct{ want, kind, addr, option string }{
			{c.name + "4 from 127.0.0.1 at 127.0.0.1, peer 127.0.0.1 local 127.0.0.1", "tcp", "127.0.0.1:80", ""},
			{c.name + "6 from [::ffff:127.0.0.1] at [::ffff:127.0.0.1], peer [::1] local [::1]", "tcp", "[::1]:81", ""},
			{c.name + "4 from 127.0.0.1, answer from 127.0.0.1:53", "udp", "127.0.0.1:53", ""},
			{c.name + "4 from 127.0.0.1, answer from 127.0.0.1:53, peer 127.0.0.1 local 127.0.0.1", "udp", "127.0.0.1:53", "connect"},
			{c.name + "lo from 127.0.0.1, answer from 127.0.0.1:55", "udp", "127.0.0.1:55", ""},
		} {
			args := []string{"get", w.kind, w.addr}
			if w.option != "" {
				args = append(args, w.option)
			}
			if got := c.get(args...); got != w.want {
				t.Errorf("%s: %v: %q, want %q", c.name, args, got, w.want)
			}
		}
	}
	// The source of what a guest sends is its own: that of the network, or the destination itself.
	for _, w := range []struct {
		c          client
		addr, want string
	}{
		{inA, "10.77.0.2:80", "B4 from 10.77.0.1 at 10.77.0.2, peer 10.77.0.2 local 10.77.0.1"},
		{inB, "10.77.0.1:80", "A4 from 10.77.0.2 at 10.77.0.1, peer 10.77.0.1 local 10.77.0.2"},
		{inB, "[fd77::1]:81", "A6 from [fd77::2] at [fd77::1], peer [fd77::1] local [fd77::2]"},
		{inA, "10.77.0.3:80", "A4 from 10.77.0.3 at 10.77.0.3, peer 10.77.0.3 local 10.77.0.3"},
	} {
		if got := w.c.get("get", "tcp", w.addr); got != w.want {
			t.Errorf("%s to %s: %q, want %q", w.c.name, w.addr, got, w.want)
		}
	}
	a.delete()
	for _, addr := range []string{"10.77.0.1:80", "10.77.0.3:80", "[fd77::1]:81"} {
		check(host, "tcp", addr, refused)
	}
	check(host, "tcp", "10.77.0.2:80", "B4")
	b.delete()
	p.end()
}

// A listener that is there before the other guest is, and one that comes after; the same port in turn; the port of a guest
// that is gone.
func TestListenerOrder(t *testing.T) {
	p := newPlace(t)
	a := p.guest("a", "10.77.0.1,10.77.0.3")
	if got := p.host("bind", "tcp", "10.77.0.4:80"); got != "ok 10.77.0.4:80" {
		t.Errorf("the host's own address: %q", got)
	}
	a.serve("serve", "tcp", "0.0.0.0:80", "A")
	b := p.guest("b", "10.77.0.2")
	if got := answer(b.in("get", "tcp", "10.77.0.3:80")); got != "A" {
		t.Errorf("a listener from before the guest: %q", got)
	}
	if got := answer(b.in("get", "tcp", "127.0.0.1:80")); got != refused {
		t.Errorf("the other's listener on the own 127.0.0.1: %q", got)
	}
	b.serve("serve", "tcp", "0.0.0.0:80", "B")
	// A second one in the same guest is refused as everywhere.
	if got := a.serve("serve", "tcp", "0.0.0.0:80", "A2"); !strings.Contains(got, "EADDRINUSE") {
		t.Errorf("a port in use: %q", got)
	}
	for addr, want := range map[string]string{"10.77.0.1:80": "A", "10.77.0.3:80": "A", "10.77.0.2:80": "B"} {
		if got := answer(p.world("get", "tcp", addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	// Another container gets the addresses of one that is gone, with none of its listeners.
	a.delete()
	a = p.guest("a2", "10.77.0.3,10.77.0.1")
	if got := p.world("get", "tcp", "10.77.0.1:80"); got != refused {
		t.Errorf("a listener that is gone: %q", got)
	}
	a.serve("serve", "tcp", "0.0.0.0:80", "new")
	for _, addr := range []string{"10.77.0.1:80", "10.77.0.3:80"} {
		if got := answer(p.world("get", "tcp", addr)); got != "new" {
			t.Errorf("%s: %q", addr, got)
		}
	}
	a.delete()
	b.delete()
	p.end()
}

// Two web servers as they come, both on port 80.
func TestHttpd(t *testing.T) {
	p := newPlace(t)
	var guests []*guest
	for i, addrs := range []string{"10.77.0.1/24,fd77::1/64", "10.77.0.2/24,fd77::2/64"} {
		g := p.bundle(fmt.Sprint("w", i), addrs, "sh:mkdir -p /tmp/www; echo page of "+fmt.Sprint(i)+" >/tmp/www/index.html; exec /bin/busybox httpd -f -p 80 -h /tmp/www")
		p.must("run", "-d", "-b", g.dir, g.id)
		t.Cleanup(func() { p.try("delete", "--force", g.id) })
		guests = append(guests, g)
	}
	for addr, want := range map[string]string{"10.77.0.1:80": "page of 0", "10.77.0.2:80": "page of 1", "[fd77::1]:80": "page of 0", "[fd77::2]:80": "page of 1"} {
		var got string
		harness.Poll(5*time.Second, func() bool {
			got = page(addr)
			return strings.Contains(got, want)
		})
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q", addr, got)
		}
	}
	for _, g := range guests {
		g.delete()
	}
	p.end()
}

func page(addr string) string {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(c, "GET /index.html HTTP/1.0\r\n\r\n")
	b, err := io.ReadAll(c)
	return fmt.Sprint(string(b), err)
}
