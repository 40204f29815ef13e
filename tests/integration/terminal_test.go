package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// background is a call that runs beside the script.
type background struct {
	neg     bool
	process chan *os.Process
	proc    *os.Process
	done    chan struct{}
	res     harness.Result
	err     error
}

func (w *world) start(ts *testscript.TestScript, name string, neg bool, c harness.Call) {
	if w.bg[name] != nil {
		ts.Fatalf("there is a background call %s already", name)
	}
	b := &background{neg: neg, process: make(chan *os.Process, 1), done: make(chan struct{})}
	c.Started = func(p *os.Process) { b.process <- p }
	go func() {
		defer close(b.done)
		defer closeAll(c.Extra, c.Stdin)
		b.res, b.err = rt.Run(c)
	}()
	select {
	case b.proc = <-b.process:
	case <-b.done:
		ts.Check(b.err)
	}
	w.bg[name] = b
}

func (b *background) stop() {
	if b.proc != nil {
		_ = b.proc.Kill()
	}
	<-b.done
}

func getBackground(ts *testscript.TestScript, name string) *background {
	b := worldOf(ts).bg[name]
	if b == nil {
		ts.Fatalf("no background call %s", name)
	}
	return b
}

// cmdBgwait waits for a background call and judges it: bgwait NAME.
func cmdBgwait(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: bgwait NAME")
	}
	b := getBackground(ts, args[0])
	select {
	case <-b.done:
	case <-time.After(patience):
		ts.Fatalf("%s is still running after %v", args[0], patience)
	}
	delete(worldOf(ts).bg, args[0])
	report(ts, b.res)
	ts.Check(b.err)
	judge(ts, b.neg, b.res)
}

// cmdBgsignal sends a signal to a background call: bgsignal NAME SIGNAL.
func cmdBgsignal(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: bgsignal NAME SIGNAL")
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(args[1], "SIG"))
	if sig == 0 {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(getBackground(ts, args[0]).proc.Signal(sig))
}

// cmdPty calls the runtime with a terminal as its standard input, output and
// error, and as its controlling terminal, and plays a conversation on it:
// [!] pty TALKFILE ARGS...
func cmdPty(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: pty TALKFILE ARGS...")
	}
	master, slave, err := harness.OpenPTY()
	ts.Check(err)
	defer master.Close()
	talk := harness.NewTalk(master)
	argv := slices.Concat(worldOf(ts).prefix, []string{rt.Path, "--root", ts.Getenv("ROOT")}, args[1:])
	if worldOf(ts).pureV2 {
		argv = harness.PureV2Args(argv...)
	}
	path, err := lookPath(argv[0])
	ts.Check(err)
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Dir: ts.MkAbs("."), Env: append(environ(ts), rt.Env...), Files: []*os.File{slave, slave, slave},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	slave.Close()
	ts.Check(err)
	playErr := talk.Play(ts.ReadFile(args[0]))
	done := make(chan *os.ProcessState, 1)
	go func() {
		st, _ := p.Wait()
		done <- st
	}()
	var st *os.ProcessState
	select {
	case st = <-done:
	case <-time.After(patience):
		_ = p.Kill()
		st = <-done
		if playErr == nil {
			playErr = fmt.Errorf("still running after %v", patience)
		}
	}
	res := harness.Result{Code: st.ExitCode(), Stdout: talk.Seen()}
	report(ts, res)
	ts.Check(playErr)
	judge(ts, neg, res)
}

func lookPath(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("%s: not in PATH", name)
}

// socket is a socket on which the script waits for something.
type socket struct {
	closer io.Closer
	fd     <-chan harness.Received // for console and pidfd
	mu     sync.Mutex
	text   strings.Builder // for notify
}

// cmdConsole listens for a terminal: console NAME PATH. cmdTalk then plays on it.
func cmdConsole(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: console NAME PATH")
	}
	ch, closer, err := harness.ListenFD(ts.MkAbs(args[1]))
	ts.Check(err)
	worldOf(ts).sockets[args[0]] = &socket{closer: closer, fd: ch}
}

func received(ts *testscript.TestScript, name string) harness.Received {
	s := worldOf(ts).sockets[name]
	if s == nil {
		ts.Fatalf("no socket %s", name)
	}
	select {
	case r := <-s.fd:
		ts.Check(r.Err)
		return r
	case <-time.After(patience):
		ts.Fatalf("nothing came on %s within %v", name, patience)
	}
	panic("unreachable")
}

// cmdTalk plays a conversation on the terminal that came to a console
// socket: talk NAME TALKFILE. All that was seen becomes stdout.
func cmdTalk(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: talk NAME TALKFILE")
	}
	w := worldOf(ts)
	t := w.talks[args[0]]
	if t == nil {
		r := received(ts, args[0])
		t = harness.NewTalk(r.File)
		w.talks[args[0]] = t
		ts.Defer(func() { r.File.Close() })
	}
	err := t.Play(ts.ReadFile(args[1]))
	_, _ = ts.Stdout().Write([]byte(t.Seen()))
	ts.Check(err)
}

// cmdPidfd checks that the file descriptor which came to a socket made by
// console is a pidfd of a process: pidfd NAME PID.
func cmdPidfd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: pidfd NAME PID")
	}
	r := received(ts, args[0])
	defer r.File.Close()
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(r.File.Fd())))
	ts.Check(err)
	if !regexp.MustCompile(`(?m)^Pid:\s+` + args[1] + `$`).Match(info) {
		ts.Fatalf("not a pidfd of %s: %s", args[1], info)
	}
}

// cmdNotify listens on a datagram socket as a service manager would:
// notify NAME PATH. A path that begins with @ is a name of the abstract namespace.
func cmdNotify(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: notify NAME PATH")
	}
	name := args[1]
	if name[0] != '@' {
		name = ts.MkAbs(name)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	ts.Check(err)
	s := &socket{closer: c}
	worldOf(ts).sockets[args[0]] = s
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.text.Write(append(buf[:n:n], '\n'))
			s.mu.Unlock()
		}
	}()
}

// cmdNotified waits until the messages that came match: notified NAME REGEXP.
func cmdNotified(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: notified NAME REGEXP")
	}
	s := worldOf(ts).sockets[args[0]]
	if s == nil {
		ts.Fatalf("no socket %s", args[0])
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	seen := func() string { s.mu.Lock(); defer s.mu.Unlock(); return s.text.String() }
	if neg {
		if re.MatchString(seen()) {
			ts.Fatalf("came: %q", seen())
		}
		return
	}
	if !harness.Poll(patience, func() bool { return re.MatchString(seen()) }) {
		ts.Fatalf("nothing that matches %q came within %v: %q", args[1], patience, seen())
	}
}
