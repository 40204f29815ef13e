package state

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sleeper starts a process and returns its pid and start time.
func sleeper(t *testing.T) (p *os.Process, start uint64) {
	t.Helper()
	cmd := helper(t, "sleep")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _, _ = cmd.Process.Wait() })
	start, err := StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process, start
}

func TestStatus(t *testing.T) {
	s := testStore(t)
	d := mustReserve(t, s, "x")
	p, start := sleeper(t)
	fifo := d.Path() + "/exec.fifo"
	if err := unix.Mkfifo(fifo, 0o622); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, rec *Record, frozen func(*Record) bool, want specs.ContainerState, wantPid int) {
		t.Helper()
		if got, pid := s.Status(rec, frozen); got != want || pid != wantPid {
			t.Errorf("%s: got %s and pid %d, want %s and %d", what, got, pid, want, wantPid)
		}
	}
	yes := func(*Record) bool { return true }
	no := func(*Record) bool { return false }
	rec := func() *Record { return &Record{ID: "x", InitPid: p.Pid, InitStart: start, ExecFifo: "exec.fifo"} }

	early := &Record{ID: "x", Creating: true}
	expect("create has begun", early, nil, specs.StateCreating, 0)
	d.Unlock()
	expect("create was killed", early, nil, specs.StateStopped, 0)
	early = rec()
	early.Creating = true
	expect("create was killed, its child was not", early, yes, specs.StateCreating, p.Pid)

	expect("FIFO there", rec(), no, specs.StateCreated, p.Pid)
	expect("FIFO there, frozen", rec(), yes, Paused, p.Pid)
	reused := rec()
	reused.InitStart++
	expect("pid of another process", reused, yes, specs.StateStopped, 0)
	if err := unix.Unlink(fifo); err != nil {
		t.Fatal(err)
	}
	expect("FIFO gone", rec(), nil, specs.StateRunning, p.Pid)
	expect("frozen", rec(), yes, Paused, p.Pid)

	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	// Until it is waited for it is a zombie, which does not run any more.
	end := time.Now().Add(time.Minute)
	for Alive(p.Pid, start) && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
	if st, err := readStat(p.Pid); err != nil || st.state != 'Z' {
		t.Errorf("no zombie: %c, %v", st.state, err)
	}
	expect("zombie", rec(), yes, specs.StateStopped, 0)
	_, _ = p.Wait()
	expect("gone", rec(), yes, specs.StateStopped, 0)
	expect("no pid", &Record{ID: "x"}, yes, specs.StateStopped, 0)
}

func TestParseStat(t *testing.T) {
	const tail = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 170281 20 21\n"
	for in, want := range map[string]procStat{
		"123 (sh) S" + tail: {'S', true, 170281}, // flags: 6
		"123 (sh) S" + strings.Replace(tail, "6", "11", 1): {'S', false, 170281},
		"123 (a) Z 9 9 9) (b) c) R" + tail:                 {'R', true, 170281},
		"123 (" + string([]byte{10}) + ") X" + tail:        {'X', true, 170281},
	} {
		if got, ok := parseStat([]byte(in)); !ok || got != want {
			t.Errorf("%q: got %v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "123", "123 (sh)", "123 (sh) ", "123 (sh) S 1 2 3", "1 (x) S" + strings.Replace(tail, "170281", "x", 1)} {
		if got, ok := parseStat([]byte(in)); ok {
			t.Errorf("%q: got %v", in, got)
		}
	}
}

func TestProcess(t *testing.T) {
	for _, pidfds := range []bool{true, false} {
		p, start := sleeper(t)
		if _, err := OpenProcess(p.Pid, start+1); !errors.Is(err, ErrGone) {
			t.Errorf("another start time: %v", err)
		}
		h, err := (&Record{InitPid: p.Pid, InitStart: start}).Open()
		if err != nil {
			t.Fatal(err)
		}
		if !pidfds { // as on kernels before 5.3
			h.Close()
		}
		if err := h.Signal(0); err != nil {
			t.Error(err)
		}
		if err := h.Signal(65); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("signal 65: %v", err)
		}
		begin := time.Now()
		if h.Wait(30 * time.Millisecond) {
			t.Error("has ended")
		}
		if took := time.Since(begin); took < 30*time.Millisecond || took > time.Minute {
			t.Errorf("waited %v", took)
		}
		if h.Wait(0) || h.Ending() {
			t.Error("has ended")
		}
		if err := h.Signal(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		if !h.Wait(-1) {
			t.Error("has not ended")
		}
		ws, err := p.Wait()
		if err != nil || ws.Sys().(syscall.WaitStatus).Signal() != unix.SIGTERM {
			t.Errorf("%v, %v", ws, err)
		}
		if err := h.Signal(unix.SIGTERM); !errors.Is(err, ErrGone) || err.Error() != "os: process already finished" {
			t.Errorf("after its end: %v", err)
		}
		if !h.Wait(0) || !h.Ending() {
			t.Error("has not ended")
		}
		h.Close()
		if _, err := OpenProcess(p.Pid, start); !errors.Is(err, ErrGone) {
			t.Errorf("after its end: %v", err)
		}
	}
	for _, pid := range []int{0, -1} {
		if _, err := OpenProcess(pid, 0); !errors.Is(err, ErrGone) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]unix.Signal{
		"9": 9, "KILL": 9, "kill": 9, "SIGKILL": 9, "sigkill": 9, "SigTerm": 15, "0": 0, "64": 64, "RTMIN": 34, "SIGRTMIN+3": 37,
		"rtmax-1": 63, "RTMAX": 64, "CLD": unix.SIGCHLD, "POLL": unix.SIGIO, "IOT": unix.SIGABRT,
	} {
		if got, err := ParseSignal(in); err != nil || got != want {
			t.Errorf("%q: got %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "FOO", "SIG", "SIGSIGKILL", "65", "-1", "RTMIN-1", "RTMIN+31", "RTMIN+", "RTMAX+1", "RTMIN+1x", "9 ", "KILL "} {
		if got, err := ParseSignal(in); err == nil {
			t.Errorf("%q: got %d", in, got)
		}
	}
	if _, err := ParseSignal("FOO"); err.Error() != `unknown signal "FOO"` {
		t.Error(err)
	}
	for n := unix.Signal(1); n < 32; n++ { // every name x/sys has
		if got, err := ParseSignal(unix.SignalName(n)); err != nil || got != n {
			t.Errorf("%s: got %d, %v", unix.SignalName(n), got, err)
		}
	}
}
