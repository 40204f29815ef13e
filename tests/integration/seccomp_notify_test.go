package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// processState is config-linux.md, "The Container Process State".
type processState struct {
	OCIVersion string   `json:"ociVersion"`
	FDs        []string `json:"fds"`
	PID        int      `json:"pid"`
	Metadata   string   `json:"metadata"`
	State      struct {
		ID, Status, Bundle string
		Pid                int
	} `json:"state"`
}

// seccompNotif and seccompNotifResp are of linux/seccomp.h.
type seccompNotif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type seccompNotifResp struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// TestSeccompNotify plays the listener: it takes the state and the descriptor over, and answers the system call.
func TestSeccompNotify(t *testing.T) {
	needRuntime(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("system call numbers are those of x86-64")
	}
	if layout == "v2" && harness.CgroupLayout() != "v2" {
		t.Skip("the runtime needs another layout")
	}
	for _, how := range []string{"run", "create and start"} {
		t.Run(how, func(t *testing.T) { notified(t, how == "run") })
	}
}

func notified(t *testing.T, run bool) {
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sock, bundle, root := filepath.Join(dir, "s"), filepath.Join(dir, "b"), filepath.Join(dir, "root")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	id := newTag("notify")
	if err := harness.MakeBundle(bundle, probe, "args:/bin/probe syscall 110",
		`linux.seccomp={"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"listenerPath":"`+sock+`",`+
			`"listenerMetadata":"meta \"data\"","syscalls":[{"names":["getppid"],"action":"SCMP_ACT_NOTIFY"}]}`); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) harness.Result {
		res, err := rt.Run(harness.Call{Args: append([]string{"--root", root}, args...), Stdout: filepath.Join(dir, "out"+args[0])})
		if err != nil || res.Code != 0 {
			t.Errorf("%v: %v, exit code %d: %s", args, err, res.Code, res.Stderr)
		}
		return res
	}
	defer func() { _, _ = rt.Run(harness.Call{Args: []string{"--root", root, "delete", "--force", id}}) }()

	type taken struct {
		text   []byte
		fds    []int
		more   int
		closed bool
	}
	listener := make(chan taken, 2)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var got taken
			got.text, got.fds, got.more, got.closed = takeState(conn.(*net.UnixConn))
			listener <- got
		}
	}()
	output := "outrun"
	done := make(chan struct{})
	go func() {
		defer close(done)
		if run {
			call("run", "-b", bundle, id)
			return
		}
		output = "outcreate"
		call("create", "-b", bundle, id)
		call("start", id)
	}()

	var got taken
	select {
	case got = <-listener:
	case <-time.After(patience):
		t.Fatal("nobody connects to the listener")
	}
	if len(got.fds) != 1 || got.more != 0 {
		t.Fatalf("%d descriptors with the first bytes, %d afterwards", len(got.fds), got.more)
	}
	defer unix.Close(got.fds[0])
	if !got.closed && rt.Name == "vsrun" { // runc waits for the other side
		t.Error("the connection is left open")
	}
	var st processState
	if err := json.Unmarshal(got.text, &st); err != nil {
		t.Fatalf("%v: %s", err, got.text)
	}
	if st.OCIVersion == "" || len(st.FDs) != 1 || st.FDs[0] != "seccompFd" || st.Metadata != `meta "data"` ||
		st.State.ID != id || st.State.Bundle != bundle || st.PID == 0 || st.State.Status == "" {
		t.Errorf("process state: %s", got.text)
	}
	var raw struct{ State json.RawMessage }
	if err := json.Unmarshal(got.text, &raw); err != nil {
		t.Fatal(err)
	}
	if err := harness.CheckState(string(raw.State)); err != nil {
		t.Error(err)
	}
	// The first call is the program's.
	var n seccompNotif
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(got.fds[0]), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); e != 0 {
		t.Fatalf("SECCOMP_IOCTL_NOTIF_RECV: %v", e)
	}
	// The kernel names the thread.
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", st.PID, n.pid)); n.nr != 110 || err != nil {
		t.Errorf("call %d by thread %d, want 110 by one of %d (%v)", n.nr, n.pid, st.PID, err)
	}
	r := seccompNotifResp{id: n.id, val: 424242}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(got.fds[0]), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))); e != 0 {
		t.Fatalf("SECCOMP_IOCTL_NOTIF_SEND: %v", e)
	}
	<-done
	var text []byte
	harness.Poll(patience, func() bool {
		text, _ = os.ReadFile(filepath.Join(dir, output))
		return strings.Contains(string(text), "ret")
	})
	if !strings.Contains(string(text), "ret 424242") {
		t.Errorf("the program printed %q", text)
	}
	select {
	case <-listener:
		t.Error("a second process state was sent")
	default:
	}
}

// takeState reads a connection to its end: the text, the descriptors that came with its first bytes, and how many came
// later. closed is false if there was no end in time.
func takeState(c *net.UnixConn) (text []byte, fds []int, more int, closed bool) {
	defer c.Close()
	wait := patience
	if rt.Name != "vsrun" { // runc does not close it
		wait = 3 * time.Second
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	buf, oob := make([]byte, 64<<10), make([]byte, 1024)
	for first := true; ; first = false {
		n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
		text = append(text, buf[:max(n, 0)]...)
		msgs, _ := unix.ParseSocketControlMessage(oob[:max(oobn, 0)])
		for i := range msgs {
			got, _ := unix.ParseUnixRights(&msgs[i])
			if first {
				fds = append(fds, got...)
			} else {
				more += len(got)
			}
		}
		if err != nil || n == 0 {
			return text, fds, more, err == nil || errors.Is(err, io.EOF)
		}
	}
}
