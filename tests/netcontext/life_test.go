package netcontext

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// nid is an id for this run alone: the register is the host's, and the tests may run twice at a time.
func nid(i int) string { return strconv.Itoa(nidNumber(i)) }

func nidNumber(i int) int { return 1000 + 4*(os.Getpid()%12000) + i }

// loopback is the loopback address that goes with it.
func loopback(i int) string { return fmt.Sprintf("127.%d.%d.1", nidNumber(i)>>8, nidNumber(i)&255) }

// many are n addresses.
func many(prefix string, n int) string {
	var list []string
	for i := range n {
		list = append(list, prefix+strconv.Itoa(i+1))
	}
	return strings.Join(list, ",")
}

// What is asked for in vain, and that nothing is left of it.
func TestBadInput(t *testing.T) {
	p := newPlace(t)
	first := p.guest("first", "10.77.0.1,fd77::1", annotation+`net.nid"="`+nid(0)+`"`)
	const net = "org.linux-vserver.net."
	for i, tt := range []struct {
		addresses string
		edits     []string
		want      string
	}{
		{"10.77.0.300", nil, `annotations["` + net + `addresses"]: must be IPv4 and IPv6 addresses with or without /prefix, parted by commas (got "10.77.0.300")`},
		{"10.77.0.2,", nil, `(got "")`},
		{"10.77.0.2/33", nil, `(got "10.77.0.2/33")`},
		{"fd77::2/129", nil, `(got "fd77::2/129")`},
		{"fd77:::2", nil, `(got "fd77:::2")`},
		{"::ffff:10.77.0.2", nil, `(got "::ffff:10.77.0.2")`},
		{"10.77.0.2,10.77.0.2/24", nil, `has 10.77.0.2 twice`},
		{"127.0.0.1", nil, `"127.0.0.1" is a loopback address: net.loopback sets that`},
		{"0.0.0.0", nil, `"0.0.0.0" is no address of a host`},
		{"::", nil, `"::" is no address of a context`},
		{"224.0.0.1", nil, `"224.0.0.1" is a multicast address`},
		{"10.77.0.2", []string{`linux.namespaces+={"type":"network"}`}, `makes a new one, which has no addresses`},
		{"10.77.0.2", []string{annotation + `net.ports"="80-79"`}, `must be ports and ranges of ports, as 80,443,8000-8099 (got "80-79")`},
		{"10.77.0.2", []string{annotation + `net.ports"="0"`}, `(got "0")`},
		{"10.77.0.2", []string{annotation + `net.nid"="1"`}, `must be a number from 2 to 49151 (got "1")`},
		{"10.77.0.2", []string{annotation + `net.nid"="` + nid(0) + `"`}, `net.nid"]: ` + nid(0) + ` is the id of container ` + first.id},
		{"10.77.0.2", []string{annotation + `net.loopback"="10.0.0.1"`}, `must be auto, none or an address of 127.0.0.0/8 (got "10.0.0.1")`},
		{"10.77.0.2", []string{annotation + `net.loopback"="127.0.0.1"`}, `must not be 127.0.0.1, which is the host's`},
		{"10.77.0.2", []string{annotation + `net.loopback"="` + loopback(0) + `"`}, `net.loopback"]: ` + loopback(0) + ` belongs to network context ` + nid(0) + `, container ` + first.id},
		{"10.77.0.2", []string{annotation + `net.single-ip"="yes"`}, `must be true or false (got "yes")`},
		{"10.77.0.2,10.77.0.3", []string{annotation + `net.single-ip"="true"`}, `needs one address of a kind at most in net.addresses`},
		{"10.77.0.2", []string{annotation + `net.missing-address"="no"`}, `must be error or warn (got "no")`},
		{"", []string{annotation + `net.nid"="5"`}, `net.nid"]: needs net.addresses`},
		{"10.77.0.2/", nil, `(got "10.77.0.2/")`},
		{"10.77.0.2/-1", nil, `(got "10.77.0.2/-1")`},
		{"010.77.0.2", nil, `(got "010.77.0.2")`},
		{"fe80::1%v0", nil, `(got "fe80::1%v0")`},
		{"10.77.0.2;10.77.0.3", nil, `(got "10.77.0.2;10.77.0.3")`},
		{"eth0", nil, `(got "eth0")`},
		{"255.255.255.255", nil, `"255.255.255.255" is `},
		{many("10.77.1.", 17), nil, `must not have more than 16 addresses of a kind`},
		{"10.77.0.2", []string{annotation + `net.ports"="http"`}, `(got "http")`},
		{"10.77.0.2", []string{annotation + `net.ports"="80,,81"`}, `(got "")`},
		{"10.77.0.2", []string{annotation + `net.ports"="65536"`}, `(got "65536")`},
		{"10.77.0.2", []string{annotation + `net.ports"=""`}, `(got "")`},
		{"10.77.0.2", []string{annotation + `net.nid"="49152"`}, `must be a number from 2 to 49151 (got "49152")`},
		{"10.77.0.2", []string{annotation + `net.raw-icmp"="1"`}, `must be true or false (got "1")`},
		{"10.77.0.2", []string{annotation + `net.hide-netif"=""`}, `must be true or false (got "")`},
		{"10.77.0.2", []string{annotation + `rlimits.nsock"="-1"`}, `(got "-1")`},
		{"10.77.0.2", []string{annotation + `rlimits.nsock"="many"`}, `(got "many")`},
		{"", []string{annotation + `net.ports"="80"`}, `net.ports"]: needs net.addresses`},
		{"", []string{annotation + `net.hide-netif"="true"`}, `net.hide-netif"]: needs net.addresses`},
		{"10.77.9.9", nil, `no interface has 10.77.9.9 (ip address add 10.77.9.9/32 dev DEVICE; or net.missing-address=warn)`},
		{"fd99::1", nil, `no interface has fd99::1`},
		{"10.77.0.2,10.77.0.1", nil, `net.addresses"]: 10.77.0.1 belongs to network context ` + nid(0) + `, container ` + first.id},
		{"10.77.0.2,fd77::1", nil, `fd77::1 belongs to network context ` + nid(0)},
	} {
		g := p.bundle(fmt.Sprint("bad", i), tt.addresses, tt.edits...)
		res := p.try("run", "-b", g.dir, g.id)
		if res.Code != 1 || !strings.Contains(strings.ReplaceAll(res.Stderr, `\"`, `"`), tt.want) || strings.Count(res.Stderr, "\n") != 1 {
			t.Errorf("%s %v: %d %q, want %q", tt.addresses, tt.edits, res.Code, res.Stderr, tt.want)
		}
		if p.try("state", g.id).Code == 0 {
			t.Errorf("%s %v: the container is there", tt.addresses, tt.edits)
		}
	}
	// An address that may be missing works once it is there.
	g := p.guest("later", "10.77.9.9", annotation+`net.missing-address"="warn"`)
	if got := g.in("bind", "tcp", "0.0.0.0:80"); got != "bind EADDRNOTAVAIL" {
		t.Errorf("an address that is not there: %q", got)
	}
	for _, what := range []string{"add", "del"} {
		if out, err := exec.Command("ip", "addr", what, "10.77.9.9/32", "dev", "lo").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if what == "add" {
			if got := g.in("bind", "tcp", "0.0.0.0:80"); got != "ok 0.0.0.0:80" {
				t.Errorf("an address that has come: %q", got)
			}
		}
	}
	g.delete()
	// What has failed has taken nothing away.
	if got := first.in("bind", "tcp", "0.0.0.0:80"); got != "ok 0.0.0.0:80" {
		t.Error(got)
	}
	first.delete()
	p.end()
}

// A context goes on through pause, update and resume; net list and net show tell of it.
func TestLife(t *testing.T) {
	p := newPlace(t)
	g := p.guest("a", "10.77.0.1/24,10.77.0.3,fd77::1", annotation+`rlimits.nsock"="20"`, annotation+`net.nid"="`+nid(1)+`"`)
	g.serve("serve", "tcp", "0.0.0.0:80", "A")
	g.serve("serve", "tcp", "10.77.0.3:81", "A")
	g.serve("serve", "udp", "[::]:53", "A")
	_ = g.in("bind", "tcp", "10.77.0.9:80")
	p.must("pause", g.id)
	p.must("resume", g.id)
	p.must("update", "--pids-limit", "100", g.id)
	if got := g.in("bind", "tcp", "10.77.0.2:80"); got != "bind EADDRNOTAVAIL" {
		t.Error(got)
	}
	if got := answer(p.world("get", "tcp", "10.77.0.3:80")); got != "A" {
		t.Error(got)
	}
	var shown struct {
		NID                    int
		ID, Root, Loopback     string
		Addresses              []string
		Sockets                struct{ Current, Max, Limit, Hits int }
		BindsRewritten, Denied int
		Listeners              []struct {
			Protocol, Address string
			Port              int
			All               bool
		}
	}
	if err := json.Unmarshal([]byte(p.must("net", "show", "-f", "json", g.id).Stdout), &shown); err != nil {
		t.Fatal(err)
	}
	if strconv.Itoa(shown.NID) != nid(1) || shown.ID != g.id || shown.Root != p.root || shown.Loopback != loopback(1) || strings.Join(shown.Addresses, " ") != "10.77.0.1/24 10.77.0.3/32 fd77::1/128" ||
		shown.Sockets.Current != 3 || shown.Sockets.Max < 4 || shown.Sockets.Limit != 20 || shown.Sockets.Hits != 0 || shown.BindsRewritten != 2 || shown.Denied != 2 {
		t.Errorf("%+v", shown)
	}
	if got := fmt.Sprint(shown.Listeners); got != "[{tcp 10.77.0.1 80 true} {tcp 10.77.0.3 81 false} {udp6 10.77.0.1 53 false}]" &&
		got != "[{tcp 10.77.0.3 81 false} {tcp 10.77.0.1 80 true} {udp6 10.77.0.1 53 false}]" {
		t.Error(got)
	}
	if got := p.must("net", "list").Stdout; !strings.Contains(got, "\n") || !strings.Contains(got, nid(1)+"  "+g.id) {
		t.Error(got)
	}
	if got := p.must("stat", "--limits", g.id).Stdout; !strings.Contains(got, "nsock") {
		t.Error(got)
	}
	g.delete()
	if res := p.try("net", "show", g.id); res.Code != 1 || !strings.Contains(res.Stderr, "does not exist") {
		t.Errorf("%d %s", res.Code, res.Stderr)
	}
	p.end()
}

// The context is there before the first of the container's own processes and before its hooks: they find no moment at which
// they could do more.
func TestFromTheFirstProcess(t *testing.T) {
	p := newPlace(t)
	for _, how := range []string{"run", "create"} {
		g := p.bundle(how, "10.77.0.1", "args:/bin/sockets bind tcp 10.77.0.2:80",
			`hooks={"createContainer":[{"path":"`+sockets+`","args":["sockets","bind","tcp","10.77.0.2:80"]}]}`)
		if how == "run" {
			if res := p.try("run", "-b", g.dir, g.id); res.Stdout != "bind EADDRNOTAVAIL\n" && !strings.Contains(res.Stdout+res.Stderr, "EADDRNOTAVAIL") {
				t.Errorf("run: %d %q %q", res.Code, res.Stdout, res.Stderr)
			}
			p.try("delete", "--force", g.id)
			continue
		}
		c := p.call("create", "-b", g.dir, g.id)
		c.Stdout = filepath.Join(p.dir, "out")
		if res, err := rt.Run(c); err != nil || res.Code != 0 {
			t.Fatal(err, res.Stderr)
		}
		p.must("start", g.id)
		harness.Poll(5*time.Second, func() bool { b, _ := os.ReadFile(c.Stdout); return len(b) > 0 })
		if b, _ := os.ReadFile(c.Stdout); !strings.HasSuffix(string(b), "bind EADDRNOTAVAIL\n") {
			t.Errorf("create and start: %q", b)
		}
		g.delete()
	}
	p.end()
}

// A crash leaves the register's entry. It is told, does not stand in the way of others, and gc clears it up.
func TestLeftovers(t *testing.T) {
	p := newPlace(t)
	lose := func(name string) {
		t.Helper()
		g := p.guest(name, "10.77.0.1,10.77.0.2", annotation+`net.nid"="`+nid(2)+`"`)
		// Processes, cgroup and state go, as if by a reboot that forgot /run/vsrun-net.
		entry, err := os.ReadFile("/run/vsrun-net/" + nid(2))
		if err != nil {
			t.Fatal(err)
		}
		g.delete()
		if err := os.WriteFile("/run/vsrun-net/"+nid(2), entry, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lose("a")
	if got := p.must("net", "list").Stdout; !strings.Contains(got, "gone") {
		t.Error(got)
	}
	if got := p.try("doctor").Stdout; !strings.Contains(got, "vsrun net gc") {
		t.Error("doctor says nothing of what is left")
	}
	b := p.guest("b", "10.77.0.2", annotation+`net.nid"="`+nid(2)+`"`)
	if got := b.in("bind", "tcp", "0.0.0.0:80"); got != "ok 0.0.0.0:80" {
		t.Error(got)
	}
	b.delete()
	lose("c")
	if got := p.must("net", "gc").Stdout; !strings.HasPrefix(got, "removed ") || strings.HasPrefix(got, "removed 0 contexts") {
		t.Error(got)
	}
	// The entry is lost, and what stands behind it stays: addresses in the map, links of the network namespace.
	d := p.guest("d", "10.77.0.1,10.77.0.2", annotation+`net.nid"="`+nid(2)+`"`)
	if err := os.Remove("/run/vsrun-net/" + nid(2)); err != nil {
		t.Fatal(err)
	}
	d.delete()
	if got := p.try("doctor").Stdout; !strings.Contains(got, "3 addresses and 3 pins of contexts that are gone") || !strings.Contains(got, "vsrun net gc") {
		t.Errorf("doctor says nothing of what is left behind an entry that is lost:\n%s", got)
	}
	if got := p.must("net", "gc").Stdout; got != "removed 0 contexts, 3 addresses, 3 pins\n" {
		t.Error(got)
	}
	if got := p.try("doctor").Stdout; strings.Contains(got, "vsrun net gc") {
		t.Errorf("doctor tells of what has been removed:\n%s", got)
	}
	// Killed in the middle of its work, vsrun leaves what delete takes away.
	e := p.bundle("e", "10.77.0.1,10.77.0.2", annotation+`net.nid"="`+nid(2)+`"`, `hooks={"createRuntime":[{"path":"/bin/sh","args":["sh","-c","kill -9 $PPID; sleep 1"]}]}`)
	if res := p.try("run", "-d", "-b", e.dir, e.id); res.Code == 0 {
		t.Errorf("a runtime that was killed: %v", res)
	}
	if _, err := os.Stat("/run/vsrun-net/" + nid(2)); err != nil {
		t.Errorf("the test does not show what it should: %v", err)
	}
	e.delete()
	if _, err := os.Stat("/run/vsrun-net/" + nid(2)); err == nil {
		t.Error("delete has left the register's entry")
	}
	if got := p.must("net", "gc").Stdout; got != "removed 0 contexts, 0 addresses, 0 pins\n" {
		t.Errorf("delete has left: %s", got)
	}
	p.end()
}

// Restored, the processes are in a context again, and who listened on all addresses does so.
func TestCheckpoint(t *testing.T) {
	p := newPlace(t)
	if _, err := exec.LookPath("criu"); err != nil {
		t.Skip("needs criu (apt-get install criu)")
	}
	if err := exec.Command("criu", "check").Run(); err != nil {
		t.Skip("needs a kernel with which criu works: criu check: ", err)
	}
	servers := []string{"tcp 0.0.0.0:80 A4", "tcp [::]:81 A6", "tcp [::]:82 Aonly6 v6only", "tcp 127.0.0.1:83 Alo", "tcp [::1]:84 Alo6", "tcp 10.77.0.3:85 Aone",
		"udp 0.0.0.0:53 A4", "udp [::]:54 A6", "udp 127.0.0.1:55 Alo"}
	script := ""
	for i, s := range servers {
		script += fmt.Sprintf("/bin/sockets serve %s >/tmp/out%d 2>&1 & ", s, i)
	}
	g := p.bundle("a", "10.77.0.1,10.77.0.3,fd77::1,fd77::3", "process.terminal=false", "sh:"+script+"while :; do sleep 1; done")
	b := p.guest("b", "10.77.0.2,fd77::2")
	c := p.call("run", "-d", "-b", g.dir, g.id)
	if res, err := rt.Run(c); err != nil || res.Code != 0 {
		t.Fatal(err, res.Stderr)
	}
	t.Cleanup(func() { p.try("delete", "--force", g.id) })
	for i := range servers {
		if !harness.Poll(30*time.Second, func() bool {
			b, _ := os.ReadFile(filepath.Join(g.dir, "rootfs/tmp/out"+strconv.Itoa(i)))
			return strings.HasPrefix(string(b), "ready ")
		}) {
			t.Fatalf("%s: not ready", servers[i])
		}
	}
	check := func(when string) {
		t.Helper()
		for who, get := range map[string]func(...string) string{"world": p.world, "host": p.host, "B": b.in, "A": g.in} {
			for _, addr := range []string{"10.77.0.1", "10.77.0.3", "[fd77::1]", "[fd77::3]", "127.0.0.1", "10.77.0.2", "10.77.0.4", "[fd77::4]"} {
				own := strings.HasSuffix(addr, ".1") || strings.HasSuffix(addr, ".3") || strings.HasSuffix(addr, ":1]") || strings.HasSuffix(addr, ":3]")
				if addr == "127.0.0.1" {
					own = who == "A"
				}
				six := addr[0] == '['
				for _, w := range []struct {
					kind, port, name string
					is               bool
				}{
					{"tcp", "80", "A4", own && !six}, {"tcp", "81", "A6", own}, {"tcp", "82", "Aonly6", own && six}, {"tcp", "83", "Alo", addr == "127.0.0.1" && who == "A"},
					{"tcp", "85", "Aone", addr == "10.77.0.3"}, {"udp", "53", "A4", own && !six}, {"udp", "54", "A6", own}, {"udp", "55", "Alo", addr == "127.0.0.1" && who == "A"},
				} {
					args := []string{"get", w.kind, addr + ":" + w.port}
					// As everywhere, a server for datagrams answers from its host's first address, which only a client that is not
					// connected takes.
					if w.kind == "udp" && !(w.is && strings.Contains(addr, "3")) {
						args = append(args, "connect")
					}
					if got := answer(get(args...)); (got == w.name) != w.is || !w.is && !strings.Contains(got, "ECONNREFUSED") && (w.kind == "tcp" || got != "recvfrom EAGAIN") { // ICMP is rationed
						t.Errorf("%s: %s: %v: %q, want %s: %v", when, who, args, got, w.name, w.is)
					}
				}
			}
		}
		for _, tt := range [][2]string{{"bind tcp 10.77.0.2:90", "bind EADDRNOTAVAIL"}, {"bind tcp 0.0.0.0:90", "ok 0.0.0.0:90"}, {"bind tcp 127.0.0.1:90", "ok 127.0.0.1:90"},
			{"get tcp [::1]:84", "Alo6 from ::1 at ::1, peer ::1 local ::1"}, {"get tcp 127.0.0.1:80", "A4 from 127.0.0.1 at 127.0.0.1, peer 127.0.0.1 local 127.0.0.1"}} {
			got := g.in(strings.Fields(tt[0])...)
			if strings.NewReplacer("[", "", "]", "", "::ffff:127.0.0.1", "::1").Replace(got) != tt[1] {
				t.Errorf("%s: %s: %q, want %q", when, tt[0], got, tt[1])
			}
		}
	}
	check("before")
	// A pre-dump takes nothing away: the guest goes on as it was.
	before := filepath.Join(p.dir, "before")
	if res := p.try("checkpoint", "--pre-dump", "--image-path", before, g.id); res.Code != 0 {
		log, _ := os.ReadFile(filepath.Join(before, "dump.log"))
		t.Fatalf("pre-dump: %s\n%s", res.Stderr, log[max(0, len(log)-2000):])
	}
	for _, tt := range [][2]string{{"bind tcp 10.77.0.2:90", "bind EADDRNOTAVAIL"}, {"get tcp 127.0.0.1:80", "A4 from 127.0.0.1 at 127.0.0.1, peer 127.0.0.1 local 127.0.0.1"}} {
		if got := g.in(strings.Fields(tt[0])...); got != tt[1] {
			t.Errorf("after the pre-dump: %s: %q, want %q", tt[0], got, tt[1])
		}
	}
	if got := answer(p.world("get", "tcp", "10.77.0.3:80")); got != "A4" {
		t.Errorf("after the pre-dump: %q", got)
	}
	images := filepath.Join(p.dir, "images")
	res := p.try("checkpoint", "--image-path", images, "--parent-path", "../before", g.id)
	if res.Code != 0 {
		log, _ := os.ReadFile(filepath.Join(images, "dump.log"))
		t.Fatalf("checkpoint: %s\n%s", res.Stderr, log[max(0, len(log)-2000):])
	}
	if got := p.world("get", "tcp", "10.77.0.1:80"); got != refused {
		t.Errorf("saved, and gone: %q", got)
	}
	sockets := filepath.Join(images, "netcontext.txt")
	good, err := os.ReadFile(sockets)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"1 9 x\n", string(good)} {
		if err := os.WriteFile(sockets, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if text == string(good) {
			break
		}
		if res := p.try("restore", "-d", "-b", g.dir, "--image-path", images, g.id); res.Code != 1 || !strings.Contains(res.Stderr, "netcontext.txt: damaged") {
			t.Errorf("damaged images: %d %s", res.Code, res.Stderr)
		}
	}
	res = p.try("restore", "-d", "-b", g.dir, "--image-path", images, g.id)
	if res.Code != 0 {
		log, _ := os.ReadFile(filepath.Join(images, "restore.log"))
		t.Fatalf("restore: %s\n%s", res.Stderr, log[max(0, len(log)-2000):])
	}
	harness.Poll(time.Second, func() bool { return !strings.Contains(p.must("state", g.id).Stdout, `"status": "running"`) })
	if got := p.must("state", g.id).Stdout; !strings.Contains(got, `"status": "running"`) {
		log, _ := os.ReadFile(filepath.Join(images, "restore.log"))
		t.Fatalf("restored, and ended: %s\n%s", got, log[max(0, len(log)-4000):])
	}
	check("restored")
	if got := p.must("net", "show", g.id).Stdout; strings.Count(got, " all\n") != 3 {
		t.Errorf("net show:\n%s", got)
	}
	g.delete()
	b.delete()
	p.end()
}

// A network namespace that the container joins, as in a pod; a user namespace; both cgroup drivers' layouts.
func TestJoined(t *testing.T) {
	p := newPlace(t)
	host := p.guest("host", "10.77.0.1,10.77.0.3")
	joined := p.guest("joined", "10.77.0.100,fd77::100", `linux.namespaces+={"type":"network","path":"`+world+`"}`)
	mapped := p.guest("mapped", "10.77.0.2", `linux.namespaces+={"type":"user"}`,
		`linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`, `linux.gidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`)
	for _, tt := range []struct {
		g          *guest
		args, want string
	}{
		{joined, "bind tcp 10.77.0.1:8080", "bind EADDRNOTAVAIL"},
		{joined, "bind tcp 0.0.0.0:8080", "ok 0.0.0.0:8080"},
		{joined, "bind tcp [fd77::100]:8080", "ok [fd77::100]:8080"},
		{mapped, "bind tcp 10.77.0.1:8080", "bind EADDRNOTAVAIL"},
		{mapped, "bind tcp 0.0.0.0:8080", "ok 0.0.0.0:8080"},
		{mapped, "socket 17 3 768", "socket EPERM"},
	} {
		if got := tt.g.in(strings.Fields(tt.args)...); got != tt.want {
			t.Errorf("%s: %s: %q, want %q", tt.g.id, tt.args, got, tt.want)
		}
	}
	host.serve("serve", "tcp", "0.0.0.0:8080", "host")
	joined.serve("serve", "tcp", "0.0.0.0:8080", "joined")
	joined.serve("serve", "udp", "[::]:8080", "joined")
	mapped.serve("serve", "tcp", "0.0.0.0:8080", "mapped")
	for addr, want := range map[string]string{"10.77.0.1:8080": "host", "10.77.0.3:8080": "host", "10.77.0.100:8080": "joined", "10.77.0.2:8080": "mapped"} {
		if got := answer(p.host("get", "tcp", addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	for _, addr := range []string{"10.77.0.100:8080", "[fd77::100]:8080"} {
		if got := answer(p.host("get", "udp", addr)); got != "joined" {
			t.Errorf("%s: %q", addr, got)
		}
	}
	if got := joined.in("get", "tcp", "127.0.0.1:8080"); got != "joined from 127.0.0.1 at 127.0.0.1, peer 127.0.0.1 local 127.0.0.1" {
		t.Error(got)
	}
	for _, g := range []*guest{host, joined, mapped} {
		g.delete()
	}
	p.end()
}

// The same on nothing but cgroup2.
func TestPureV2(t *testing.T) {
	p := newPlace(t)
	if harness.CgroupLayout() == "v2" {
		t.Skip("needs a hybrid host: this one is tested on version 2 by all the others")
	}
	g := p.bundle("a", "10.77.0.1", annotation+`rlimits.nsock"="3"`, "sh:/bin/sockets bind tcp 10.77.0.2:80; /bin/sockets bind tcp 0.0.0.0:80; /bin/sockets many 9")
	c := p.call("run", "-b", g.dir, g.id)
	c.PureV2 = true
	res, err := rt.Run(c)
	if want := "bind EADDRNOTAVAIL\nok 0.0.0.0:80\n3 ENOBUFS\n"; err != nil || res.Stdout != want {
		t.Errorf("%v %q %q, want %q", err, res.Stdout, res.Stderr, want)
	}
	p.end()
}

// Bundles that ask for nothing make no call of bpf(2) for it, and start no helper.
func TestNothingAsked(t *testing.T) {
	p := newPlace(t)
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace (apt-get install strace)")
	}
	g := p.bundle("plain", "", "args:/bin/true")
	log := filepath.Join(p.dir, "strace")
	c := p.call("run", "-b", g.dir, g.id)
	c.Prefix = []string{"strace", "-f", "-e", "trace=bpf,flock,openat,execve", "-o", log}
	if res, err := rt.Run(c); err != nil || res.Code != 0 {
		t.Fatal(err, res.Stderr)
	}
	text, _ := os.ReadFile(log)
	if strings.Contains(string(text), "vsrun-net") || strings.Contains(string(text), "BPF_OBJ_GET") {
		t.Errorf("%s", text)
	}
	p.end()
}
