package forward

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test process would take over its own signals: the work is done in a child of it.
func TestMain(m *testing.M) {
	if os.Getenv("FORWARD_CHILD") == "" {
		os.Exit(m.Run())
	}
	if err := Start(unix.SIGWINCH); err != nil {
		panic(err)
	}
	_ = unix.Kill(os.Getpid(), unix.SIGUSR1) // before there is anyone to send it to
	cmd := exec.Command("/bin/sh", "-c", `trap 'echo usr1' USR1; trap 'echo rt' RTMIN+5; trap 'echo winch' WINCH; trap 'echo term; exit 7' TERM; echo ready; while :; do sleep 0.01; done`)
	if _, err := exec.LookPath("bash"); err == nil {
		cmd.Args[0], cmd.Path = "bash", "/bin/bash"
	}
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	buf := make([]byte, 6)
	_, _ = out.Read(buf) // "ready\n"
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		panic(err)
	}
	To(fd)
	time.Sleep(50 * time.Millisecond)
	for _, s := range []unix.Signal{unix.SIGWINCH, 39, unix.SIGTERM} {
		_ = unix.Kill(os.Getpid(), s)
		time.Sleep(50 * time.Millisecond)
	}
	rest := make([]byte, 100)
	for {
		n, err := out.Read(rest)
		os.Stdout.Write(rest[:n])
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	os.Exit(cmd.ProcessState.ExitCode())
}

func TestForward(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "FORWARD_CHILD=1")
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Fatalf("exit code %d (%v), want 7 from the TERM trap; output %q", code, err, out)
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != "usr1 rt term" {
		t.Errorf("traps that ran: %q, want usr1 rt term (and not winch, which is excepted)", got)
	}
}
