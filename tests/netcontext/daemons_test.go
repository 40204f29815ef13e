package netcontext

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// daemon is a guest that runs a program of the host's own Debian.
func (p *place) daemon(name, addresses, args string, files map[string]string) *guest {
	p.t.Helper()
	edits := append(caps("DAC_OVERRIDE", "SETUID", "SETGID", "CHOWN", "KILL"), "args:"+args)
	for _, dir := range []string{"/usr", "/lib", "/lib64", "/etc"} {
		if _, err := os.Stat(dir); err == nil {
			edits = append(edits, `mounts+={"destination":"`+dir+`","source":"`+dir+`","options":["rbind","ro"]}`)
		}
	}
	g := p.bundle(name, addresses, edits...)
	for path, text := range files {
		if err := os.WriteFile(filepath.Join(g.dir, "rootfs", path), []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	c := p.call("run", "-d", "-b", g.dir, g.id)
	c.Stdout = filepath.Join(p.dir, name+".out")
	if res, err := rt.Run(c); err != nil || res.Code != 0 {
		p.t.Fatal(err, res.Stderr)
	}
	p.t.Cleanup(func() {
		if out, _ := os.ReadFile(c.Stdout); p.t.Failed() && len(out) > 0 {
			p.t.Logf("%s: %s", name, out)
		}
		p.try("delete", "--force", g.id)
	})
	return g
}

// Two of the real nginx, each with workers on port 80 of 0.0.0.0 and ::, the second started when the first is at work. The
// pages come from everywhere: host, world, and the other guest.
func TestNginx(t *testing.T) {
	p := newPlace(t)
	const nginx = "/usr/sbin/nginx"
	if _, err := os.Stat(nginx); err != nil {
		t.Skip("needs nginx (apt-get install nginx-light)")
	}
	var guests []*guest
	pages := map[string]string{"10.77.0.1:80": "page of 0", "10.77.0.3:80": "page of 0", "[fd77::1]:80": "page of 0"}
	check := func() {
		t.Helper()
		for addr, want := range pages {
			var got string
			harness.Poll(10*time.Second, func() bool {
				got = page(addr)
				return strings.Contains(got, want)
			})
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", addr, got, want)
			}
			for _, g := range guests {
				if got := g.exec("/bin/busybox", "wget", "-q", "-O", "-", "http://"+addr+"/"); got != want {
					t.Errorf("%s, from guest %s: %q, want %q", addr, g.id, got, want)
				}
			}
			c := harness.Call{Path: "/usr/bin/nsenter", Args: []string{"--net=" + world, "busybox", "wget", "-q", "-O", "-", "http://" + addr + "/"}}
			if res, err := rt.Run(c); err != nil || res.Stdout != want {
				t.Errorf("%s, from the world: %q %q %v, want %q", addr, res.Stdout, res.Stderr, err, want)
			}
		}
	}
	for i, addrs := range []string{"10.77.0.1,10.77.0.3,fd77::1", "10.77.0.2,fd77::2"} {
		conf := fmt.Sprintf("user root; worker_processes 2; daemon off; pid /tmp/pid; error_log stderr; events {} http { access_log off; client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e; server { listen 80; listen [::]:80; return 200 \"page of %d\"; } }", i)
		guests = append(guests, p.daemon(fmt.Sprint("n", i), addrs, nginx+" -c /tmp/nginx.conf", map[string]string{"tmp/nginx.conf": conf}))
		if i == 1 {
			pages["10.77.0.2:80"], pages["[fd77::2]:80"] = "page of 1", "page of 1"
		}
		check()
	}
	for _, addr := range []string{"10.77.0.4:80", "[fd77::4]:80", "127.0.0.1:80"} {
		if got := page(addr); !strings.Contains(got, "connection refused") {
			t.Errorf("%s, which is nobody's: %q", addr, got)
		}
	}
	// Workers come and go.
	if got := guests[0].exec(nginx, "-c", "/tmp/nginx.conf", "-s", "reload"); strings.Contains(got, "error") {
		t.Error(got)
	}
	check()
	guests[0].delete()
	if got := page("10.77.0.1:80"); !strings.Contains(got, "connection refused") {
		t.Errorf("a server that is gone: %q", got)
	}
	guests[1].delete()
	p.end()
}

// DNS over UDP and TCP, of the real dnsmasq on port 53 of 0.0.0.0 and ::. The client's socket is connected: the answer has to
// come from the address that was asked.
func TestDNS(t *testing.T) {
	p := newPlace(t)
	const dnsmasq = "/usr/sbin/dnsmasq"
	if _, err := os.Stat(dnsmasq); err != nil {
		t.Skip("needs dnsmasq (apt-get install dnsmasq-base)")
	}
	var guests []*guest
	for i, addrs := range []string{"10.77.0.1,10.77.0.3,fd77::1,fd77::3", "10.77.0.2,fd77::2"} {
		args := fmt.Sprintf("%s -k -C /dev/null -R -h -u root -g root --pid-file= --log-facility=- --address=/name.test/192.0.2.%d", dnsmasq, i+1)
		guests = append(guests, p.daemon(fmt.Sprint("d", i), addrs, args, nil))
	}
	for addr, want := range map[string]string{"10.77.0.1": "192.0.2.1", "10.77.0.3": "192.0.2.1", "[fd77::1]": "192.0.2.1", "[fd77::3]": "192.0.2.1", "10.77.0.2": "192.0.2.2", "[fd77::2]": "192.0.2.2"} {
		for _, network := range []string{"udp", "tcp"} {
			var got string
			harness.Poll(10*time.Second, func() bool {
				got = resolve(network, addr+":53")
				return got == want
			})
			if got != want {
				t.Errorf("%s %s: %q, want %q", network, addr, got, want)
			}
		}
	}
	for i, g := range guests {
		for j, server := range []string{"10.77.0.1", "10.77.0.2", "127.0.0.1"} {
			want := "192.0.2." + strconv.Itoa(j+1)
			if j == 2 {
				want = "192.0.2." + strconv.Itoa(i+1)
			}
			if got := g.exec("/bin/busybox", "nslookup", "name.test", server); !strings.Contains(got, want) {
				t.Errorf("guest %d asks %s: %q, want %s", i, server, got, want)
			}
		}
	}
	if got := resolve("udp", "10.77.0.4:53"); !strings.Contains(got, "refused") {
		t.Errorf("the host's own address: %q", got)
	}
	for _, g := range guests {
		g.delete()
	}
	p.end()
}

// resolve asks a name server for the address of name.test (RFC 1035).
func resolve(network, server string) string {
	c, err := net.DialTimeout(network, server, time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	q := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04name\x04test\x00\x00\x01\x00\x01")
	if network == "tcp" {
		q = append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
	}
	if _, err := c.Write(q); err != nil {
		return err.Error()
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil {
		return err.Error()
	}
	if n < 4 {
		return fmt.Sprintf("%x", buf[:n])
	}
	return net.IP(buf[n-4 : n]).String()
}

// Many contexts at a time (VSRUN_TEST_CONTEXTS=1000): each answers on its own address and has its own loopback, and nothing is left of them.
func TestMany(t *testing.T) {
	p := newPlace(t)
	count := 200
	if n, err := strconv.Atoi(os.Getenv("VSRUN_TEST_CONTEXTS")); err == nil {
		count = n
	}
	var batch strings.Builder
	addr := func(i int) string { return fmt.Sprintf("10.76.%d.%d", i/250, 1+i%250) }
	for i := range count {
		fmt.Fprintf(&batch, "addr add %s/32 dev lo\n", addr(i))
	}
	ip := func(text string) {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	ip(batch.String())
	defer ip(strings.ReplaceAll(batch.String(), "addr add", "addr del"))
	guests := make([]*guest, count)
	for i := range guests {
		n := strconv.Itoa(i)
		guests[i] = p.bundle("m"+n, addr(i), "sh:mkdir -p /tmp/www; echo page of "+n+" >/tmp/www/index.html; exec /bin/busybox httpd -f -p 80 -h /tmp/www")
		p.must("run", "-d", "-b", guests[i].dir, guests[i].id)
		t.Cleanup(func() { p.try("delete", "--force", guests[i].id) })
	}
	if got := strings.Count(p.must("net", "list").Stdout, p.tag+"."); got != count {
		t.Errorf("net list has %d of %d", got, count)
	}
	for i := range guests {
		var got string
		want := "page of " + strconv.Itoa(i) + "\n"
		if !harness.Poll(10*time.Second, func() bool {
			got = page(addr(i) + ":80")
			return strings.Contains(got, want)
		}) {
			t.Fatalf("%s: %q, want %q", addr(i), got, want)
		}
		if i%(count/10) == 0 {
			if got := guests[i].exec("/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1/index.html"); got+"\n" != want {
				t.Errorf("127.0.0.1 of %d: %q", i, got)
			}
			if got := guests[i].in("bind", "tcp", addr((i+1)%count)+":81"); got != "bind EADDRNOTAVAIL" {
				t.Errorf("the next one's address: %q", got)
			}
		}
	}
	for _, g := range guests {
		g.delete()
	}
	p.end()
}
