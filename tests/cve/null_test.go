package cve

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What an engine hands on as standard input is mostly its own /dev/null. Root in the container could change that by way of
// /proc/self/fd, for the whole host.
func TestNullDevice(t *testing.T) {
	for _, how := range []string{"run", "exec", "exec without one", "exec with a pipe"} {
		t.Run(how, func(t *testing.T) {
			p := attack(t, "-", "a mode for the host's /dev/null, by "+how, "weakened vsrun", "root.readonly=false", "args:/bin/sleep 1000")
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

			script := []string{"/bin/sh", "-c", "chmod 601 /proc/self/fd/0; stat -L -c %t:%T:%a /proc/self/fd/0"}
			id := p.tag + "-b"
			c := p.call("run", "-b", p.path("b"), id)
			if how == "run" {
				p.config("b", "sh:"+script[2])
			} else {
				id, _ = p.detached("b")
				switch how {
				case "exec without one":
					p.must("exec", id, "/bin/rm", "/dev/null")
				case "exec with a pipe":
					p.must("exec", id, "/bin/sh", "-c", "rm /dev/null; mkfifo /dev/null")
				}
				c = p.call(append([]string{"exec", id}, script...)...)
			}
			c.Stdin = null
			if res := p.do(c); res.Stdout != "1:3:601\n" {
				t.Errorf("the attack was not tried: exit code %d: %s%s", res.Code, res.Stdout, res.Stderr)
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
