package forward

import (
	"bufio"
	"context"
	"fmt"
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
	cmd := exec.Command("/bin/sh", "-c", `trap 'echo usr1' USR1; trap 'echo rt' RTMIN+5; trap 'echo winch' WINCH; trap 'echo abrt' ABRT; trap 'echo term; exit 7' TERM; echo ready; while :; do sleep 0.01; done`)
	if _, err := exec.LookPath("bash"); err == nil {
		cmd.Args[0], cmd.Path = "bash", "/bin/bash"
	}
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	lines := bufio.NewReader(out)
	// await passes on what the traps say, up to the word: the shell runs those of signals that come together in its own order.
	await := func(word string) {
		for {
			line, err := lines.ReadString('\n')
			os.Stdout.WriteString(line)
			if err != nil || line == word+"\n" {
				return
			}
		}
	}
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		panic(fmt.Sprint(line, err))
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		panic(err)
	}
	To(fd)
	await("usr1")
	_ = unix.Kill(os.Getpid(), unix.SIGWINCH)
	_ = unix.Kill(os.Getpid(), 39)
	await("rt")
	_ = unix.Kill(os.Getpid(), unix.SIGABRT) // a service manager's watchdog
	await("abrt")
	_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	await("term")
	await("")
	_ = cmd.Wait()
	os.Exit(cmd.ProcessState.ExitCode())
}

func TestForward(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for a signal that is never forwarded
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), "FORWARD_CHILD=1")
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Fatalf("exit code %d (%v), want 7 from the TERM trap; output %q", code, err, out)
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != "usr1 rt abrt term" {
		t.Errorf("traps that ran: %q, want usr1 rt abrt term (and not winch, which is excepted)", got)
	}
}
