package libvserver

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseProcessStat(t *testing.T) {
	const tail = " 77 5 6 34816 8 0 0 0 0 0 250 50 0 0 20 0 3 0 1000 4096 12 99\n"
	boot := time.Unix(1000, 0)
	for in, command := range map[string]string{
		"5 (sh) S" + tail:               "[sh]",
		"5 (a b) Z 1 2 3) (c) S" + tail: "[a b) Z 1 2 3) (c]",
		"5 (\n) S" + tail:               "[\n]",
	} {
		var p Process
		if !p.parseStat(in, boot) {
			t.Errorf("%q: not read", in)
			continue
		}
		want := Process{PPID: 77, State: 'S', TTY: 34816, CPU: 3 * time.Second, Threads: 3, Start: boot.Add(10 * time.Second),
			RSS: 12 * uint64(os.Getpagesize()), Command: command}
		if p != want {
			t.Errorf("%q: got %+v, want %+v", in, p, want)
		}
	}
	for _, in := range []string{"", "5", "5 (sh", "5 )(", "5 (sh) S 1 2 3"} {
		var p Process
		if p.parseStat(in, boot) {
			t.Errorf("%q was read", in)
		}
	}
}

func TestReadProcess(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read x", "a b")
	cmd.Args[0] = "a\tname"
	if _, err := cmd.StdinPipe(); err != nil { // which stays open, and empty
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _, _ = cmd.Process.Wait() }()
	p := Process{PID: cmd.Process.Pid}
	ok := false
	for range 1000 { // until it has executed
		if ok = p.read(bootTime()); ok && strings.HasPrefix(p.Command, "a\t") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if !ok || p.Command != "a\tname -c read x a b" || p.PPID != os.Getpid() || p.UID != uint32(os.Geteuid()) || p.NSPID == 0 {
		t.Errorf("%+v", p)
	}
	if age := time.Since(p.Start); age < -time.Second || age > time.Minute {
		t.Errorf("started %v ago", age)
	}
	if gone := (&Process{PID: 1 << 30}); gone.read(bootTime()) {
		t.Error("read what is not there")
	}
	pids, err := namespacePids(os.Getpid())
	if err != nil || !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("%v does not hold %d: %v", pids, cmd.Process.Pid, err)
	}
}

func TestKilled(t *testing.T) {
	if killed(os.Getpid()) || killed(1<<30) {
		t.Error("a SIGKILL is told of that is none")
	}
}
