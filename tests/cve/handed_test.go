// What a container is handed of the host by way of its standard streams and mounts.

package cve

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What an engine hands on as standard input is mostly its own /dev/null. Root in the container could change that by way of
// /proc/self/fd, for the whole host.
func TestNullDevice(t *testing.T) {
	for _, how := range []string{"run", "exec", "exec without one", "exec with a pipe"} {
		t.Run(how, func(t *testing.T) {
			known := "runc 1.1.15, crun 1.21"
			switch how {
			case "run":
				known = "weakened vsrun"
			case "exec without one": // runc refuses
				known = "crun 1.21"
			}
			p := attack(t, "-", "a mode for the host's /dev/null, by "+how, known, "root.readonly=false", "args:/bin/sleep 1000")
			// A device of the test's own stands for the host's.
			dir := p.path("dev")
			p.check(os.Mkdir(dir, 0o755))
			p.check(unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, ""))
			defer unix.Unmount(dir, unix.MNT_DETACH)
			name := p.path("dev", "null")
			p.check(unix.Mknod(name, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
			p.check(os.Chmod(name, 0o666))
			null, err := os.OpenFile(name, os.O_RDWR, 0)
			p.check(err)
			defer null.Close()

			// As engines call it: in the background, where no runtime has a pipe in between.
			script := []string{"/bin/sh", "-c", "chmod 601 /proc/self/fd/0; stat -L -c %t:%T:%a /proc/self/fd/0 >/tried"}
			id := p.tag + "-b"
			c := p.call("run", "-d", "-b", p.path("b"), id)
			if how == "run" {
				p.config("b", "sh:"+script[2]+"; exec sleep 1000")
			} else {
				id, _ = p.detached("b")
				switch how {
				case "exec without one":
					p.must("exec", id, "/bin/rm", "/dev/null")
				case "exec with a pipe":
					p.must("exec", id, "/bin/sh", "-c", "rm /dev/null; mkfifo /dev/null")
				}
				c = p.call(append([]string{"exec", "-d", id}, script...)...)
			}
			c.Stdin = null
			res := p.do(c)
			if tried := p.path("b", "rootfs", "tried"); !p.waitOutput(tried, "1:3:601\n") {
				if text, _ := os.ReadFile(tried); res.Code == 0 || len(text) > 0 {
					t.Errorf("the attack was not tried: exit code %d: %s%s", res.Code, text, res.Stderr)
				} else {
					p.note("no process then: %.80s", res.Stderr)
				}
			}
			p.remove(id)
			st, err := null.Stat()
			p.check(err)
			if st.Mode().Perm() != 0o666 {
				p.falls("its mode is %o", st.Mode().Perm())
			}
		})
	}
}

// The directory with the container's NOTIFY_SOCKET is the host's: who could write to it would fill the host's /run, or swap the
// socket while the runtime gives it its mode.
func TestNotifyDirectory(t *testing.T) {
	p := attack(t, "-", "the directory of NOTIFY_SOCKET is filled, and its socket swapped", "weakened vsrun",
		`sh:cd ${NOTIFY_SOCKET%/*}; echo AT $PWD; echo x >fill && echo WROTE; ln -sf /victim notify.sock && echo SWAPPED; exec sleep 1000`)
	socket := p.path("sock")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	p.check(err)
	defer l.Close()
	id := p.tag + "-b"
	c := p.call("create", "-b", p.path("b"), id)
	c.Env, c.Stdout = append(slices.Clone(c.Env), "NOTIFY_SOCKET="+socket), p.path("out")
	if res := p.do(c); res.Code != 0 {
		t.Fatalf("create: %s", res.Stderr)
	}
	start := p.call("start", id)
	start.Env = c.Env
	start.Started = func(*os.Process) { // which waits for the container to be ready
		go func() {
			if p.waitOutput(c.Stdout, "AT /run/notify") {
				time.Sleep(100 * time.Millisecond)
			}
			_, _ = rt.Run(p.call("kill", id, "KILL"))
		}()
	}
	p.do(start)
	text, err := os.ReadFile(c.Stdout)
	p.check(err)
	if !strings.Contains(string(text), "AT /run/notify\n") {
		t.Errorf("the attack was not tried: %s", text)
	}
	for _, word := range []string{"WROTE", "SWAPPED"} {
		if strings.Contains(string(text), word) {
			p.falls("%s", word)
		}
	}
	p.remove(id)
}
