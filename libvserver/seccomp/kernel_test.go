package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The tests here load filters into a child: this test binary again, told by
// childEnv what to do.
const childEnv = "VSRUN_TEST_SECCOMP_CHILD"

// childTask is what a child does: load the program from descriptor 3, try the
// calls, write a childAnswer.
type childTask struct {
	Flags    uint32
	Calls    [][4]uintptr // number and three arguments
	Listener string       // where to send the descriptor
	Message  string       // file with what goes with it
}

type childAnswer struct{ Errnos []syscall.Errno }

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		if err := child(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(text string) error {
	var task childTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		return err
	}
	prog := make([]byte, maxInsns*insnSize)
	n, err := unix.Read(3, prog)
	if err != nil {
		return err
	}
	prog = prog[:n]
	answer := childAnswer{Errnos: make([]syscall.Errno, len(task.Calls))}
	loaded := make(chan int)
	sent := make(chan bool)
	done := make(chan error)
	go func() {
		// The filter confines this thread; the others report.
		runtime.LockOSThread()
		fd, err := load(prog, task.Flags)
		loaded <- fd
		<-sent
		if err == nil {
			for i, c := range task.Calls {
				_, _, answer.Errnos[i] = syscall.RawSyscall(c[0], c[1], c[2], c[3])
			}
		}
		done <- err
	}()
	fd := <-loaded
	if task.Listener != "" {
		message, err := os.ReadFile(task.Message)
		if err != nil {
			return err
		}
		if err := SendListener(task.Listener, message, fd); err != nil {
			return err
		}
	}
	sent <- true
	if err := <-done; err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func load(prog []byte, flags uint32) (fd int, err error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog) / insnSize), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))}
	r, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return -1, os.NewSyscallError("seccomp", errno)
	}
	return int(r), nil
}

// start runs a child with a program.
func start(t *testing.T, prog *Program, task childTask) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	task.Flags = prog.Flags
	text, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, prog.Insns, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := new(bytes.Buffer)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childEnv + "=" + string(text)}
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

func errnos(t *testing.T, out *bytes.Buffer) []syscall.Errno {
	t.Helper()
	var a childAnswer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return a.Errnos
}

func TestKernel(t *testing.T) {
	needHelper(t)
	if nativeAudit != x64 {
		t.Skip("the numbers are those of x86-64")
	}
	getcwd := [4]uintptr{unix.SYS_GETCWD} // EFAULT or ERANGE if it gets through
	const through = syscall.ERANGE
	tests := map[string]struct {
		profile specs.LinuxSeccomp
		calls   [][4]uintptr
		want    []syscall.Errno
	}{
		"no rule": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow},
			[][4]uintptr{getcwd, {5000}},
			[]syscall.Errno{through, syscall.ENOSYS},
		},
		"getcwd": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{rule(specs.ActErrno, "getcwd")}},
			[][4]uintptr{getcwd, {unix.SYS_GETPID}},
			[]syscall.Errno{syscall.EPERM, 0},
		},
		"argument": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, Syscalls: []specs.LinuxSyscall{
				with(specs.LinuxSyscall{Action: specs.ActErrno, Names: []string{"socket"}, ErrnoRet: uintp(uint(unix.EADV))}, specs.LinuxSeccompArg{Value: unix.AF_VSOCK, Op: specs.OpEqualTo}),
			}},
			[][4]uintptr{{unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM}, {unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM}},
			[]syscall.Errno{unix.EADV, 0},
		},
		"docker's default": {
			*profileFile(t, "docker-default.json"),
			[][4]uintptr{
				getcwd,
				{unix.SYS_CLONE3},
				{unix.SYS_CLONE, unix.CLONE_NEWUSER},
				{unix.SYS_UNSHARE, 0},
				{unix.SYS_PERSONALITY, 0x400000},
				{unix.SYS_PERSONALITY, 0xffffffff},
				{5000},
				{x32 + unix.SYS_UNSHARE},
				{x32 + 5000},
			},
			[]syscall.Errno{through, syscall.ENOSYS, syscall.EPERM, syscall.EPERM, syscall.EPERM, 0, syscall.ENOSYS, syscall.EPERM, syscall.ENOSYS},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cmd, out := start(t, mustFilter(t, &tc.profile, ""), childTask{Calls: tc.calls})
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if diff := cmp.Diff(tc.want, errnos(t, out)); diff != "" {
				t.Errorf("errors of the calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKernelKill(t *testing.T) {
	needHelper(t)
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{rule(specs.ActKillProcess, "getcwd")}}
	cmd, out := start(t, mustFilter(t, p, ""), childTask{Calls: [][4]uintptr{{unix.SYS_GETCWD}}})
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
		t.Errorf("child ended with %v, want SIGSYS: %s", err, out)
	}
}

// seccompNotif and seccompResp are struct seccomp_notif and seccomp_notif_resp.
type seccompNotif struct {
	ID    uint64
	Pid   uint32
	Flags uint32
	Nr    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

type seccompResp struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

func TestNotify(t *testing.T) {
	needHelper(t)
	// Longer than sun_path, to take the long way round.
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "l"), fmt.Sprintf("/tmp/vsrun-seccomp-test-%d", os.Getpid())} {
		t.Run(fmt.Sprint("path of ", len(path)), func(t *testing.T) { testNotify(t, path) })
	}
}

func testNotify(t *testing.T, path string) {
	l := listen(t, path)
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: path,
		Syscalls: []specs.LinuxSyscall{rule(specs.ActNotify, "getcwd")},
	}
	prog := mustFilter(t, p, "")
	if !prog.Notify || prog.Flags != unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW {
		t.Errorf("Notify %v, flags %#x", prog.Notify, prog.Flags)
	}
	state := []byte(`{"ociVersion":"1.3.0","id":"c","status":"creating","bundle":"/b"}`)
	message := ProcessState("1.3.0", 42, strings.Repeat("\"\\\n\x01é€", 20000), state)
	file := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(file, message, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, out := start(t, prog, childTask{Calls: [][4]uintptr{{unix.SYS_GETCWD}}, Listener: path, Message: file})

	conn, _, err := unix.Accept(l)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(conn)
	got, fds := receive(t, conn)
	var st specs.ContainerProcessState
	if err := json.Unmarshal(got, &st); err != nil {
		t.Fatal(err)
	}
	want := specs.ContainerProcessState{
		Version: "1.3.0", Fds: []string{specs.SeccompFdName}, Pid: 42, Metadata: strings.Repeat("\"\\\n\x01é€", 20000),
		State: specs.State{Version: "1.3.0", ID: "c", Status: specs.StateCreating, Bundle: "/b"},
	}
	if diff := cmp.Diff(want, st); diff != "" {
		t.Errorf("container process state (-want +got):\n%s", diff)
	}
	if len(fds) != 1 {
		t.Fatalf("%d descriptors came, want 1", len(fds))
	}
	defer unix.Close(fds[0])

	var n seccompNotif
	if err := ioctl(fds[0], unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
		t.Fatal(err)
	}
	if n.Nr != unix.SYS_GETCWD {
		t.Errorf("notification of call %d", n.Nr)
	}
	r := seccompResp{ID: n.ID, Error: -int32(unix.EBADE)}
	if err := ioctl(fds[0], unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff([]syscall.Errno{unix.EBADE}, errnos(t, out)); diff != "" {
		t.Errorf("errors of the calls (-want +got):\n%s", diff)
	}
}

func ioctl(fd int, req uintptr, p unsafe.Pointer) error {
	_, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(p))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

func listen(t *testing.T, path string) int {
	t.Helper()
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A child that fails never connects.
	if err := unix.SetsockoptTimeval(l, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}); err != nil {
		t.Fatal(err)
	}
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))
	if err := errors.Join(unix.Bind(l, &unix.SockaddrUnix{Name: short}), unix.Listen(l, 1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(l); os.Remove(path) })
	return l
}

// receive reads to the end of the connection.
func receive(t *testing.T, conn int) (text []byte, fds []int) {
	t.Helper()
	buf, oob := make([]byte, 65536), make([]byte, unix.CmsgSpace(16*4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return text, fds
		}
		text = append(text, buf[:n]...)
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			t.Fatal(err)
		}
		for i := range msgs {
			f, err := unix.ParseUnixRights(&msgs[i])
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, f...)
		}
	}
}

func TestSendListenerErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		path string
		text string
		fd   int
		want error
	}{
		"nobody there":  {filepath.Join(dir, "no"), "{}", 0, syscall.ENOENT},
		"no socket":     {plain, "{}", 0, syscall.ECONNREFUSED},
		"long path":     {filepath.Join(dir, strings.Repeat("x", 200)), "{}", 0, syscall.ENOENT},
		"no message":    {plain, "", 0, syscall.EINVAL},
		"no descriptor": {"", "{}", 9999, syscall.EBADF},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.path == "" {
				tc.path = filepath.Join(dir, "l")
				listen(t, tc.path)
			}
			err := SendListener(tc.path, []byte(tc.text), tc.fd)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), "listenerPath") || !strings.Contains(err.Error(), tc.path) {
				t.Errorf("error %v, want %v with the path and its place", err, tc.want)
			}
		})
	}
}

func TestSupported(t *testing.T) {
	needHelper(t)
	if err := Supported(); err != nil {
		t.Error(err)
	}
}
