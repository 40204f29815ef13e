package netcontext

import (
	"encoding/json"
	"strings"
	"testing"
)

// A real ping, where it is allowed and where not.
func TestPing(t *testing.T) {
	p := newPlace(t)
	ping := func(g *guest, addr string) string {
		return g.exec("/bin/busybox", "ping", "-c", "1", "-W", "5", addr)
	}
	g := p.guest("a", "10.77.0.1,fd77::1", append(caps("NET_RAW"), annotation+`net.raw-icmp"="true"`)...)
	for _, addr := range []string{"10.77.0.100", "10.77.0.1", "fd77::100"} {
		if got := ping(g, addr); !strings.Contains(got, "1 packets received") {
			t.Errorf("%s: %q", addr, got)
		}
	}
	g.delete()
	for name, edits := range map[string][]string{"without the annotation": caps("NET_RAW"), "without the capability": {annotation + `net.raw-icmp"="true"`}} {
		g := p.guest("no"+strings.ReplaceAll(name, " ", "-"), "10.77.0.1", edits...)
		if got := ping(g, "10.77.0.100"); !strings.Contains(got, "ermi") {
			t.Errorf("%s: %q", name, got)
		}
		g.delete()
	}
	p.end()
}

// What net.hide-netif hides, and what is there without it.
func TestHideInterfaces(t *testing.T) {
	p := newPlace(t)
	for _, hide := range []string{"true", "false"} {
		g := p.guest("hide"+hide, "10.77.0.1", annotation+`net.hide-netif"="`+hide+`"`)
		for _, what := range []string{"ls /sys/class/net", "/bin/busybox ifconfig v0 2>&1", "/bin/busybox ip link show dev v0 2>&1", "/bin/busybox ip -o addr 2>&1", "/bin/busybox ip route 2>&1"} {
			got := g.exec("/bin/sh", "-c", what)
			failed := strings.Contains(got, "ermitted") || strings.Contains(got, "an't") || strings.Contains(got, "not supported")
			if shows := strings.Contains(got, "v0") && !failed; shows == (hide == "true") {
				t.Errorf("hide %s: %s: %q", hide, what, got)
			}
		}
		g.delete()
	}
	p.end()
}

// Sockets that are refused are counted, and so is the most that there ever were.
func TestSocketCounters(t *testing.T) {
	p := newPlace(t)
	g := p.guest("a", "10.77.0.1", annotation+`rlimits.nsock"="8"`)
	for range 3 {
		if got := g.in("many", "20"); got != "8 ENOBUFS" {
			t.Errorf("%q", got)
		}
	}
	_ = g.in("bind", "tcp", "10.77.0.2:80")
	_ = g.in("bind", "tcp", "10.77.0.1:80", "mptcp")
	_ = g.in("bind", "tcp", "0.0.0.0:80")
	var shown struct {
		Sockets                struct{ Current, Max, Limit, Hits int }
		BindsRewritten, Denied int
	}
	if err := json.Unmarshal([]byte(p.must("net", "show", "-f", "json", g.id).Stdout), &shown); err != nil {
		t.Fatal(err)
	}
	if s := shown.Sockets; s.Current != 0 || s.Max != 8 || s.Limit != 8 || s.Hits != 3 || shown.BindsRewritten != 1 || shown.Denied != 2 {
		t.Errorf("%+v", shown)
	}
	g.delete()
	p.end()
}
