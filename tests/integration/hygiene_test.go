package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What a restored container has is what it had: nothing of who restores it (hygiene.txtar has the other ways in).
func TestRestoreHygiene(t *testing.T) {
	needCriu(t)
	c := newCounter(t)
	c.run()
	c.checkpoint()
	host, err := os.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	call := c.call("restore", "-d", "-b", c.bundle(), "--image-path", c.images, c.tag)
	call.Extra = []*os.File{host, host}
	call.Env = append(call.Env, "CALLER_SECRET=of-the-caller")
	call.Prefix = []string{"setpriv", "--inh-caps", "+chown,+sys_admin", "--ambient-caps", "+chown,+sys_admin", "--"}
	if res, err := rt.Run(call); err != nil || res.Code != 0 {
		t.Fatalf("restore: %v %d %s", err, res.Code, res.Stderr)
	}
	c.goesOn(3)
	var st struct{ Pid int }
	if err := json.Unmarshal([]byte(c.must("state", c.tag).Stdout), &st); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(st.Pid)
	entries, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		to, _ := os.Readlink("/proc/" + pid + "/fd/" + e.Name())
		if n, _ := strconv.Atoi(e.Name()); n > 2 && !strings.HasSuffix(to, "/count") {
			t.Errorf("descriptor %s is %s", e.Name(), to)
		}
	}
	for _, f := range []string{"environ", "mountinfo"} {
		text, err := os.ReadFile(filepath.Join("/proc", pid, f))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "of-the-caller") || f == "mountinfo" && strings.Contains(string(text), " /run/vsrun-criu") {
			t.Errorf("%s has something of the host's: %s", f, text)
		}
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"CapInh", "CapAmb"} {
		if !strings.Contains(string(status), set+":\t0000000000000000\n") {
			t.Errorf("%s is not empty: %s", set, status)
		}
	}
	// Neither here nor in the container's network namespace.
	for _, f := range []string{"/proc/net/unix", "/proc/" + pid + "/net/unix"} {
		names, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(names), "@"+c.tag) || strings.HasPrefix(f, "/proc/"+pid) && strings.Contains(string(names), "@") {
			t.Errorf("%s: an abstract socket: %s", f, names)
		}
	}
	c.must("delete", "--force", c.tag)
	c.noLeaks()
}
