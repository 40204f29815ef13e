package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// refused checks that a checkpoint fails without a flag, and that the last line of the error names it.
func (c *counter) refused(flag string) {
	c.t.Helper()
	res := c.try("checkpoint", "--image-path", filepath.Join(c.dir, "refused"), c.tag)
	if res.Code == 0 {
		c.t.Fatalf("a checkpoint without %s is made", flag)
	}
	last := res.Stderr[strings.LastIndex(strings.TrimSpace(res.Stderr), "\n")+1:]
	if rt.Name == "vsrun" && !strings.Contains(last, flag) {
		c.t.Errorf("the last line does not name %s: %q", flag, last)
	}
	if s := c.status(c.tag); s != "running" {
		c.t.Fatalf("the container is %s after a checkpoint that failed", s)
	}
}

// --link-remap: a file that is open under a name that is gone, and exists under another.
func TestCheckpointLinkRemap(t *testing.T) {
	needCriu(t)
	c := newCounter(t, "root.readonly=false", "sh:"+quiet+"exec 3>/tmp/one; ln /tmp/one /tmp/two; rm /tmp/one; echo a >&3; "+
		strings.Replace(count, "sleep", "echo $i >&3; sleep", 1))
	c.run()
	c.refused("--link-remap")
	c.checkpoint("--link-remap")
	c.restore()
	c.goesOn(5)
	c.must("delete", "--force", c.tag)
	c.gapless()
	c.noLeaks()
	// It went on writing into the file, which has no name more than it had.
	two, err := os.ReadFile(filepath.Join(c.bundle(), "rootfs/tmp/two"))
	if err != nil || !strings.HasPrefix(string(two), "a\n1\n2\n") || strings.Count(string(two), "\n") < c.last() {
		t.Errorf("the file: %q, %v; the counter is at %d", two, err, c.last())
	}
	if list, _ := os.ReadDir(filepath.Join(c.bundle(), "rootfs/tmp")); len(list) != 1 {
		t.Errorf("beside the file: %v", list)
	}
}

// --ext-unix-sk: a socket whose other end is the host's.
func TestCheckpointExtUnix(t *testing.T) {
	needCriu(t)
	dir := t.TempDir()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	buf := make([]byte, 64)
	next := func() int {
		t.Helper()
		_ = l.SetReadDeadline(time.Now().Add(patience))
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		v, err := strconv.Atoi(string(buf[:n]))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	c := newCounter(t, "sh:"+quiet+"exec /bin/probe datagrams "+dir+"/s",
		// CRIU looks for the other end in the container's network namespace, and by the host's name.
		"-linux.namespaces[type=network]",
		`mounts+={"destination":"`+dir+`","type":"bind","source":"`+dir+`","options":["bind"]}`)
	c.must("run", "-d", "-b", c.bundle(), c.tag)
	for want := 1; want < 5; want++ {
		if n := next(); n != want {
			t.Fatalf("got %d, want %d", n, want)
		}
	}
	c.refused("--ext-unix-sk")
	c.checkpoint("--ext-unix-sk")
	last := 4
	for _ = l.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); ; {
		n, err := l.Read(buf)
		if err != nil {
			break
		}
		last, _ = strconv.Atoi(string(buf[:n]))
	}
	c.restore("--ext-unix-sk")
	for i := range 5 {
		if n := next(); n != last+1+i {
			t.Fatalf("restored, it sends %d after %d", n, last+i)
		}
	}
	c.must("delete", "--force", c.tag)
	c.noLeaks()
}

// Standard streams on the caller's terminal, with --shell-job and without.
func TestCheckpointShellJob(t *testing.T) {
	needCriu(t)
	needRuntime(t, "runc") // whose init keeps no terminal that is not its own
	c := newCounter(t, "sh:"+strings.Replace(count, "sleep", "echo step $i; sleep", 1))
	onTTY := func(args ...string) *harness.Talk {
		t.Helper()
		master, slave, err := harness.OpenPTY()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { master.Close() })
		call := c.call(args...)
		cmd := exec.Command(rt.Path, call.Args...)
		cmd.Env = append(call.Env, rt.Env...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		err = cmd.Run()
		slave.Close()
		talk := harness.NewTalk(master)
		if err != nil {
			t.Fatalf("%s: %v; seen: %q", strings.Join(args, " "), err, talk.Seen())
		}
		return talk
	}
	play := func(tk *harness.Talk, script string) {
		t.Helper()
		if err := tk.Play(script); err != nil {
			t.Fatalf("%v; seen: %q", err, tk.Seen())
		}
	}
	play(onTTY("run", "-d", "-b", c.bundle(), c.tag), "expect step 3\n")
	for _, flags := range [][]string{nil, {"--shell-job"}} {
		c.images += "1"
		c.checkpoint(flags...)
		at := c.last()
		args := append([]string{"restore", "-d", "-b", c.bundle(), "--image-path", c.images}, flags...)
		play(onTTY(append(args, c.tag)...), fmt.Sprintf("expect step %d\n", at+5))
	}
	c.must("delete", "--force", c.tag)
	c.gapless()
	c.noLeaks()
}

// --auto-dedup: of memory that was dumped again the former images keep nothing.
func TestCheckpointAutoDedup(t *testing.T) {
	needCriu(t, "mem_dirty_track")
	c := newCounter(t, "sh:"+quiet+"exec /bin/probe hold 16 /count")
	c.run()
	blocks := func(n string) (sum int64) {
		list, _ := filepath.Glob(filepath.Join(c.dir, "images", n, "pages-*.img"))
		for _, f := range list {
			var st unix.Stat_t
			if err := unix.Stat(f, &st); err != nil {
				t.Fatal(err)
			}
			sum += st.Blocks * 512
		}
		return sum
	}
	c.images = filepath.Join(c.dir, "images/1")
	c.checkpoint("--pre-dump")
	first := blocks("1")
	c.goesOn(5)
	c.images = filepath.Join(c.dir, "images/2")
	c.checkpoint("--parent-path", "../1", "--auto-dedup")
	if after := blocks("1"); after >= first {
		t.Errorf("the first images had %d bytes, and have %d", first, after)
	}
	c.restore("--auto-dedup")
	c.goesOn(5)
	if after := blocks("2"); after != 0 && rt.Name == "vsrun" {
		t.Errorf("restored, the images have %d bytes", after)
	}
	c.must("delete", "--force", c.tag)
	c.gapless()
	c.noLeaks()
}

// connected is a container that serves TCP, and a connection to it.
type connected struct {
	*counter
	dial func() (net.Conn, error)
	conn net.Conn
	r    *bufio.Reader
	n    int
}

func newConnected(t *testing.T) *connected {
	t.Helper()
	needCriu(t)
	needRuntime(t, "runc") // by CRIU's doing, the network stays locked if its namespace outlives the checkpoint
	const port = "5000"
	ns, dial := newNetwork(t)
	c := &connected{counter: newCounter(t, "sh:"+quiet+"exec /bin/probe echo "+port, "linux.namespaces[type=network].path="+ns)}
	c.dial = func() (net.Conn, error) { return dial("127.0.0.1:" + port) }
	c.must("run", "-d", "-b", c.bundle(), c.tag)
	c.connect()
	return c
}

func (c *connected) connect() {
	c.t.Helper()
	if !harness.Poll(patience, func() (ok bool) {
		var err error
		c.conn, err = c.dial()
		return err == nil
	}) {
		c.t.Fatal("nobody answers")
	}
	c.t.Cleanup(func() { c.conn.Close() })
	c.r, c.n = bufio.NewReader(c.conn), 0
}

// say sends a line and reads the server's answer, which counts them.
func (c *connected) say() {
	c.t.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c.conn, "line\n"); err != nil {
		c.t.Fatal(err)
	}
	c.answer()
}

func (c *connected) answer() {
	c.t.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	c.n++
	want := fmt.Sprintf("%d line\n", c.n)
	if got, err := c.r.ReadString('\n'); got != want {
		c.t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// save makes a checkpoint. It skips the test where it is CRIU that can't do it.
func (c *connected) save(flags ...string) {
	c.t.Helper()
	res := c.try(append(append([]string{"checkpoint", "--image-path", c.images}, flags...), c.tag)...)
	c.lacking(res)
	if res.Code != 0 {
		c.t.Fatalf("checkpoint: %s", res.Stderr)
	}
}

func (c *connected) lacking(res harness.Result) {
	c.t.Helper()
	if res.Code == 0 {
		return
	}
	said := res.Stderr + criuLog(c.images)
	for _, known := range []string{
		"sockets: Can't get 1:16 opt: Operation not supported", // CRIU before 4.2 on Linux 6.16 and later
		"iptables", "ip6tables", // no packet filter to lock the network with
	} {
		if _, line, ok := strings.Cut(said, known); ok {
			c.must("delete", "--force", c.tag)
			line, _, _ = strings.Cut(known+line, "\n")
			c.t.Skip("needs a CRIU that can save TCP connections on this kernel; it says ", line)
		}
	}
}

// TestCheckpointTCP: a connection is not broken by the round trip. The container's network is the test's, which has the
// other end.
func TestCheckpointTCP(t *testing.T) {
	for _, lock := range []string{"", "iptables", "nftables", "skip"} {
		t.Run("lock "+lock, func(t *testing.T) {
			c := newConnected(t)
			c.say()
			if lock == "" {
				res := c.try("checkpoint", "--image-path", c.images, c.tag)
				c.lacking(res)
				if res.Code == 0 || rt.Name == "vsrun" && !strings.Contains(res.Stderr, "--tcp-established") {
					t.Errorf("checkpoint without --tcp-established: %d, %q", res.Code, res.Stderr)
				}
				c.say()
			}
			flags := []string{"--tcp-established"}
			if lock != "" {
				flags = append(flags, "--network-lock", lock)
			}
			c.save(flags...)
			if lock != "skip" { // where the connection would be reset
				// What is sent meanwhile arrives.
				if _, err := fmt.Fprint(c.conn, "line\n"); err != nil {
					t.Fatal(err)
				}
			}
			c.restore(flags...)
			if lock != "skip" {
				c.answer()
			}
			c.say()
			c.must("delete", "--force", c.tag)
			c.noLeaks()
		})
	}
}

// --tcp-close: the connections are gone, the server is not.
func TestRestoreTCPClose(t *testing.T) {
	c := newConnected(t)
	c.say()
	c.save("--tcp-established")
	old := c.conn
	c.restore("--tcp-close")
	_ = old.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprint(old, "line\n"); err == nil {
		if n, err := old.Read(make([]byte, 1)); n > 0 {
			t.Errorf("the old connection still answers (%v)", err)
		}
	}
	c.connect()
	c.say()
	c.must("delete", "--force", c.tag)
	c.noLeaks()
}

// --tcp-skip-in-flight: a connection that nobody has accepted is left out.
func TestCheckpointTCPInFlight(t *testing.T) {
	c := newConnected(t)
	c.say()
	c.save("--tcp-established", "--tcp-skip-in-flight")
	c.restore("--tcp-established")
	c.say()
	c.must("delete", "--force", c.tag)
	c.noLeaks()
}

// A container in namespaces of another, as in a pod: they are joined again, and neither saved nor made.
func TestCheckpointJoined(t *testing.T) {
	needCriu(t)
	needRuntime(t, "runc")
	for _, types := range []string{"network", "network ipc uts", "pid"} {
		t.Run(types, func(t *testing.T) {
			var edits []string
			pod := newPlace(t, "sh:while :; do sleep 1; done") // reaps, and has no threads: the pids stay free
			pod.must("run", "-d", "-b", pod.bundle(), pod.tag)
			defer pod.must("delete", "--force", pod.tag)
			var st struct{ Pid int }
			if err := json.Unmarshal([]byte(pod.must("state", pod.tag).Stdout), &st); err != nil {
				t.Fatal(err)
			}
			ns := func(pid int, typ string) string {
				name := map[string]string{"network": "net"}[typ]
				if name == "" {
					name = typ
				}
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
				if err != nil {
					t.Fatal(err)
				}
				return link
			}
			for typ := range strings.FieldsSeq(types) {
				file := map[string]string{"network": "net"}[typ]
				if file == "" {
					file = typ
				}
				edits = append(edits, fmt.Sprintf("linux.namespaces[type=%s].path=/proc/%d/ns/%s", typ, st.Pid, file))
				if typ == "uts" {
					edits = append(edits, "-hostname")
				}
			}
			c := newCounter(t, edits...)
			c.run()
			same := func(when string) {
				t.Helper()
				var own struct{ Pid int }
				if err := json.Unmarshal([]byte(c.must("state", c.tag).Stdout), &own); err != nil {
					t.Fatal(err)
				}
				for typ := range strings.FieldsSeq(types) {
					if a, b := ns(st.Pid, typ), ns(own.Pid, typ); a != b {
						t.Errorf("%s, %s: %s, want the pod's %s", when, typ, b, a)
					}
				}
			}
			same("at first")
			res := c.try("checkpoint", "--image-path", c.images, c.tag)
			if res.Code != 0 {
				t.Fatalf("checkpoint: %s", res.Stderr)
			}
			// Who died in the pod's pid namespace keeps his numbers, and his session's, until the pod's first process reaps him.
			var said string
			if !harness.Poll(patience, func() bool {
				res := c.try("restore", "-d", "-b", c.bundle(), "--image-path", c.images, c.tag)
				said = res.Stderr
				return res.Code == 0 || !strings.Contains(said, "File exists")
			}) || c.status(c.tag) != "running" {
				t.Fatalf("restore: %s", said)
			}
			same("restored")
			c.goesOn(5)
			c.must("delete", "--force", c.tag)
			c.gapless()
			c.noLeaks()
		})
	}
}
