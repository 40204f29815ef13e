package launch

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// machineFunctions are what may run between clone3 and execve; see doc.go.
var machineFunctions = []string{"execute", "handled", "value", "pointer", "tell", "await", "answer", "pass", "ready", "exit", "stamp", "decimal", "bound", "alone"}

// TestExecutorIsNosplit: every function of machine.go is one of those, and each is marked so that the compiler refuses a
// stack check and the race detector stays out.
func TestExecutorIsNosplit(t *testing.T) {
	src, err := os.ReadFile("machine.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range machineFunctions {
		known[f] = true
	}
	parts := regexp.MustCompile(`(?m)^func (\w+)\(`).FindAllSubmatchIndex(src, -1)
	for _, p := range parts {
		name := string(src[p[2]:p[3]])
		if !known[name] {
			t.Errorf("%s is not in the list of what may run in the child", name)
		}
		comment := string(src[:p[0]])
		comment = comment[strings.LastIndex(strings.TrimRight(comment, "\n"), "\n\n"):]
		for _, mark := range []string{"//go:nosplit", "//go:norace"} {
			if !strings.Contains(comment, mark) {
				t.Errorf("%s lacks %s", name, mark)
			}
		}
		delete(known, name)
	}
	for f := range known {
		t.Errorf("%s is gone from machine.go", f)
	}
}

// TestExecutorAllocatesNothing reads the machine code of what runs in the child: it may call nothing but itself and the
// system call stub. So it neither allocates nor locks nor grows a stack.
func TestExecutorAllocatesNothing(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skipf("needs to know the call instructions of %s", runtime.GOARCH)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "launch.test")
	if out, err := exec.Command("go", "test", "-c", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	const pkg = "github.com/vsrun/vsrun/libvserver/launch."
	out, err := exec.Command("go", "tool", "objdump", "-s", `libvserver/launch\.(`+strings.Join(machineFunctions, "|")+`)$`, bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`\t(?:CALL|BL|JMP|B)\s+([^\s(]+)\(SB\)`)
	seen := 0
	for line := range strings.Lines(string(out)) {
		m := calls.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seen++
		name, ours := strings.CutPrefix(m[1], pkg)
		switch {
		case ours && contains(machineFunctions, strings.TrimSuffix(name, ".abi0")):
		case strings.HasPrefix(m[1], "internal/runtime/syscall"), strings.HasPrefix(m[1], "syscall.RawSyscall6"):
		case strings.HasPrefix(m[1], "runtime.panic"):
			// Bounds checks that the compiler could not prove away. To fail one is a bug in compile, and ends the child.
		default:
			t.Errorf("the executor calls %s: %s", m[1], strings.TrimSpace(line))
		}
	}
	if seen < 10 {
		t.Errorf("only %d calls found in the executor: does the test still see it?\n%s", seen, out)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// launch carries out steps in a child and waits for its end.
func launch(t *testing.T, share bool, steps ...plan.Step) (exit int, err error) {
	t.Helper()
	p, err := Begin(&plan.Plan{Steps: steps}, &Options{CgroupFD: -1, Listener: -1, Console: -1, Close: [2]int{-1, -1}, Share: share})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Load(); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = p.Next()
		if err == nil {
			if e := p.Continue(""); e != nil {
				t.Error(e)
			}
		}
	}
	var st unix.WaitStatus
	if _, e := unix.Wait4(p.PID, &st, 0, nil); e != nil {
		t.Fatal(e)
	}
	unix.Close(p.PIDFD)
	if err == io.EOF {
		err = nil
	}
	return st.ExitStatus(), err
}

func program(args ...string) []plan.Step {
	find := plan.LookPath{Origin: "process.args[0]", Name: args[0]}
	if !strings.Contains(args[0], "/") {
		find.Dirs = []string{"/nowhere", "/bin"}
	}
	return []plan.Step{
		find,
		plan.Await{Origin: plan.Default, Stage: plan.StageCreated},
		plan.CloseFDs{Origin: plan.Default},
		plan.Exec{Origin: "process.args", Args: args, Env: []string{"A=b"}},
	}
}

func both(t *testing.T, f func(t *testing.T, share bool)) {
	t.Run("copy", func(t *testing.T) { f(t, false) })
	t.Run("share", func(t *testing.T) {
		if !canShare {
			t.Skip("no child shares memory on " + runtime.GOARCH)
		}
		f(t, true)
	})
}

func TestExec(t *testing.T) {
	both(t, func(t *testing.T, share bool) {
		for range 50 {
			code, err := launch(t, share, program("sh", "-c", `test "$A" = b && exit 7`)...)
			if code != 7 || err != nil {
				t.Fatalf("exit %d, %v; want 7", code, err)
			}
		}
	})
}

// TestConcurrent: many children at once while the garbage collector runs; none touches another's memory.
func TestConcurrent(t *testing.T) {
	both(t, func(t *testing.T, share bool) {
		done := make(chan error)
		const n, each = 8, 20
		for range n {
			go func() {
				for range each {
					p, err := Begin(&plan.Plan{Steps: program("sh", "-c", "exit 3")}, &Options{CgroupFD: -1, Listener: -1, Console: -1, Close: [2]int{-1, -1}, Share: share})
					if err != nil {
						done <- err
						return
					}
					runtime.GC()
					if err := p.Load(); err != nil {
						done <- err
						return
					}
					if _, err := p.Next(); err != nil {
						done <- err
						return
					}
					if err := p.Continue(""); err != nil {
						done <- err
						return
					}
					_, err = p.Next()
					var st unix.WaitStatus
					_, _ = unix.Wait4(p.PID, &st, 0, nil)
					p.Close()
					unix.Close(p.PIDFD)
					if err != io.EOF || st.ExitStatus() != 3 {
						done <- errors.Join(err, errors.New("exit status of a child is not 3"))
						return
					}
				}
				done <- nil
			}()
		}
		for range n {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestFailures: a step that fails is named with its place, what it did, and the errno.
func TestFailures(t *testing.T) {
	both(t, func(t *testing.T, share bool) {
		for _, c := range []struct {
			name  string
			steps []plan.Step
			want  string
		}{
			{"not in path", program("no-such-program"), `exec: "no-such-program": executable file not found in $PATH`},
			{"missing", program("/no/such"), `exec: "/no/such": no such file or directory`},
			{"directory", program("/bin"), `exec: "/bin": is a directory: permission denied`},
			{"not executable", program("/etc/passwd"), `exec: "/etc/passwd": permission denied`},
			{"chdir", []plan.Step{plan.Chdir{Origin: "process.cwd", Path: "/no/such"}}, `process.cwd: change to directory "/no/such": chdir: no such file or directory`},
			{"rlimit", []plan.Step{plan.Rlimit{Origin: "process.rlimits[0]", Name: "RLIMIT_X", Resource: 99}}, `process.rlimits[0]: set RLIMIT_X to soft 0, hard 0: prlimit: invalid argument`},
			{"default step", []plan.Step{plan.Chroot{Origin: plan.Default, Path: "/no/such"}}, `chroot into "/no/such": chroot: no such file or directory`},
		} {
			code, err := launch(t, share, c.steps...)
			if err == nil || err.Error() != c.want {
				t.Errorf("%s: got %v, want %s", c.name, err, c.want)
			}
			var step *StepError
			if !errors.As(err, &step) {
				t.Errorf("%s: the error is a %T", c.name, err)
			}
			if code != 1 {
				t.Errorf("%s: exit status %d, want 1", c.name, code)
			}
		}
	})
}

// TestGiveUp: a child whose runtime goes away while it waits ends without a word.
func TestGiveUp(t *testing.T) {
	both(t, func(t *testing.T, share bool) {
		p, err := Begin(&plan.Plan{Steps: program("sh")}, &Options{CgroupFD: -1, Listener: -1, Console: -1, Close: [2]int{-1, -1}, Share: share})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		var st unix.WaitStatus
		if _, err := unix.Wait4(p.PID, &st, 0, nil); err != nil || st.ExitStatus() != 1 {
			t.Errorf("wait4: %v, status %d; want 1", err, st.ExitStatus())
		}
		unix.Close(p.PIDFD)
	})
}

// TestNoDescriptors: the program has 0, 1 and 2 and nothing else, whatever the runtime has open without close-on-exec.
func TestNoDescriptors(t *testing.T) {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0) // deliberately not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	both(t, func(t *testing.T, share bool) {
		// The shell has a descriptor of its own on /proc/self/fd while it expands the pattern.
		code, err := launch(t, share, program("sh", "-c", `n=0; for f in /proc/self/fd/*; do case $f in */0|*/1|*/2) ;; *) test -e $f && n=$((n+1));; esac; done; exit $n`)...)
		if code != 0 || err != nil {
			t.Errorf("%d descriptors too many (%v)", code, err)
		}
	})
}

// TestSignals: the program starts with no signal blocked and none caught, and dies of one as any program does.
func TestSignals(t *testing.T) {
	both(t, func(t *testing.T, share bool) {
		const clean = `n=$(cat /proc/self/status | grep -c -e "^SigBlk:.0*$" -e "^SigCgt:.0*$"); test "$n" = 2 || exit 9; kill -TERM $$; exit 8`
		code, err := launch(t, share, program("sh", "-c", clean)...)
		if code != -1 || err != nil { // -1: killed by a signal
			t.Errorf("exit %d, %v; want death by SIGTERM", code, err)
		}
	})
}

// TestEnvironmentHome: the home directory that the runtime sends ends up in HOME.
func TestEnvironmentHome(t *testing.T) {
	both(t, func(t *testing.T, share bool) {
		steps := []plan.Step{
			plan.Await{Origin: "process.env", Stage: plan.StageHome},
			plan.LookPath{Origin: "process.args[0]", Name: "/bin/sh"},
			plan.Exec{Origin: "process.args", Args: []string{"sh", "-c", `test "$HOME" = /home/u && test "$A" = b`}, Env: []string{"A=b"}, Home: true},
		}
		p, err := Begin(&plan.Plan{Steps: steps}, &Options{CgroupFD: -1, Listener: -1, Console: -1, Close: [2]int{-1, -1}, Share: share})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.Load(); err != nil {
			t.Fatal(err)
		}
		e, err := p.Next()
		if err != nil || e.Stage != plan.StageHome {
			t.Fatalf("first event: %v, %v", e, err)
		}
		if err := p.Continue("/home/u"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Next(); err != io.EOF {
			t.Fatal(err)
		}
		var st unix.WaitStatus
		if _, err := unix.Wait4(p.PID, &st, 0, nil); err != nil || st.ExitStatus() != 0 {
			t.Errorf("exit %d, %v", st.ExitStatus(), err)
		}
		unix.Close(p.PIDFD)
	})
}

// TestStart: the process waits on its socket, survives a start that dies half-way, and tells the real one of a failure.
func TestStart(t *testing.T) {
	both(t, func(t *testing.T, share bool) {
		name := filepath.Join(t.TempDir(), "s")
		l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Bind(l, &unix.SockaddrUnix{Name: name}), unix.Listen(l, 1)); err != nil {
			t.Fatal(err)
		}
		steps := []plan.Step{
			plan.LookPath{Origin: "process.args[0]", Name: "/bin/sh"},
			plan.Await{Origin: plan.Default, Stage: plan.StageCreated},
			plan.CloseFDs{Origin: plan.Default},
			plan.WaitStart{Origin: plan.Default},
			plan.Chdir{Origin: "process.cwd", Path: "/no/such"},
			plan.Exec{Origin: "process.args", Args: []string{"sh"}},
		}
		p, err := Begin(&plan.Plan{Steps: steps}, &Options{CgroupFD: -1, Listener: l, Console: -1, Close: [2]int{-1, -1}, Share: share})
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(l)
		if err := p.Load(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Next(); err != nil {
			t.Fatal(err)
		}
		late := p.Program().Late()
		if err := p.Continue(""); err != nil {
			t.Fatal(err)
		}
		dial := func() int {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.Connect(fd, &unix.SockaddrUnix{Name: name})
			}
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
		unix.Close(dial()) // a start that was killed
		s := Attach(dial(), late)
		if err := s.Release(); err != nil {
			t.Fatal(err)
		}
		_, err = s.Next()
		if want := `process.cwd: change to directory "/no/such": chdir: no such file or directory`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		s.Close()
		p.Close()
		var st unix.WaitStatus
		_, _ = unix.Wait4(p.PID, &st, 0, nil)
		unix.Close(p.PIDFD)
	})
}

// Whoever speaks for the child can't give another process out for it.
func TestForkedIsAChild(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	p := &Process{PIDFD: -1, reports: pair[1]}
	defer p.Close()
	m := message{Kind: kindForked, Value: uint32(os.Getppid())}
	if err := write(pair[0], unsafe.Slice((*byte)(unsafe.Pointer(&m)), messageSize)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Next(); !errors.Is(err, unix.ECHILD) {
		t.Errorf("got %v, want ECHILD", err)
	}
	if p.PID != 0 || p.PIDFD != -1 {
		t.Errorf("taken for the child: %d", p.PID)
	}
}
