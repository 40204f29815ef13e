package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Runtime is an OCI runtime's binary.
type Runtime struct {
	Path string   // absolute
	Name string   // vsrun, runc, crun: the first word of --version
	Env  []string // added to the environment of each call
}

// FindRuntime returns the runtime to test: the one that the environment
// variable RUNTIME names (a path, or a name in PATH), else vsrun in the
// root of the repository that holds the working directory.
func FindRuntime() (*Runtime, error) {
	name := os.Getenv("RUNTIME")
	if name == "" {
		root, err := RepoRoot()
		if err != nil {
			return nil, err
		}
		name = filepath.Join(root, "vsrun")
		if _, err := os.Stat(name); err != nil {
			return nil, fmt.Errorf("%s is not built: run make, or name another runtime by RUNTIME=", name)
		}
	}
	return NewRuntime(name)
}

// NewRuntime finds a runtime by path or by name in PATH and asks its name.
func NewRuntime(name string) (*Runtime, error) {
	p, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	if p, err = filepath.Abs(p); err != nil {
		return nil, err
	}
	out, err := exec.Command(p, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", p, err)
	}
	first, _, _ := strings.Cut(string(out), " ")
	return &Runtime{Path: p, Name: first}, nil
}

// RepoRoot returns the directory of the go.mod above the working directory.
func RepoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
}

// Call is one call of a runtime (or of any other program, if Path is set).
type Call struct {
	Args    []string
	Path    string        // instead of the runtime's
	Dir     string        // working directory
	Env     []string      // whole environment; nil: this process's
	Stdin   *os.File      // nil: /dev/null
	Stdout  string        // file, made anew; "": a temporary one
	Extra   []*os.File    // fd 3 and up
	Timeout time.Duration // 0: 2 minutes; past it the process is killed and the call fails
	PureV2  bool          // in a mount namespace of its own, with nothing but cgroup2
	Attr    *syscall.SysProcAttr
	Prefix  []string // a command that runs the rest of its command line, as setpriv(1)
	// Started, if set, is called with the process just started.
	Started func(*os.Process)
}

// Result is how a call ended.
type Result struct {
	Code     int // exit code, or 128 + the signal that ended it
	Stdout   string
	Stderr   string
	Duration time.Duration
	TimedOut bool
}

// pureV2 is a shell's preamble: only cgroup2 at /sys/fs/cgroup, seen by the
// rest of the command line alone. exec keeps the process id.
const pureV2 = `mount --make-rprivate / && umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"`

// PureV2Args returns a command line that runs args in a private mount
// namespace with a pure cgroup2 layout.
func PureV2Args(args ...string) []string {
	return append([]string{"unshare", "-m", "sh", "-c", pureV2, "sh"}, args...)
}

// Run runs a call and returns when the process has exited: unlike
// exec.Cmd with buffers, it does not wait for whoever else holds its output,
// so that a container can outlive `create`.
func (r *Runtime) Run(c Call) (Result, error) {
	path := c.Path
	if path == "" {
		path = r.Path
	}
	argv := slices.Concat(c.Prefix, []string{path}, c.Args)
	if c.PureV2 {
		argv = PureV2Args(argv...)
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles, cmd.SysProcAttr = c.Dir, c.Env, c.Extra, c.Attr
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, r.Env...)
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	var out *os.File
	var err error
	if c.Stdout == "" {
		if out, err = os.CreateTemp("", "stdout"); err != nil {
			return Result{}, err
		}
		defer os.Remove(out.Name())
	} else if out, err = os.Create(c.Stdout); err != nil {
		return Result{}, err
	}
	defer out.Close()
	errf, err := os.CreateTemp("", "stderr")
	if err != nil {
		return Result{}, err
	}
	defer os.Remove(errf.Name())
	defer errf.Close()
	cmd.Stdout, cmd.Stderr = out, errf

	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	if c.Started != nil {
		c.Started(cmd.Process)
	}
	err = cmd.Wait()
	res := Result{Duration: time.Since(begin), TimedOut: ctx.Err() != nil}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !res.TimedOut {
		return Result{}, err
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		res.Code = 128 + int(ws.Signal())
	} else {
		res.Code = cmd.ProcessState.ExitCode()
	}
	o, err := os.ReadFile(out.Name())
	if err != nil {
		return Result{}, err
	}
	e, err := os.ReadFile(errf.Name())
	if err != nil {
		return Result{}, err
	}
	res.Stdout, res.Stderr = string(o), string(e)
	if n := len(c.Args); n >= 2 && c.Args[n-2] == "state" && c.Path == "" && res.Code == 0 && r.Name == "vsrun" {
		if err := CheckState(res.Stdout); err != nil {
			return res, err
		}
	}
	if res.TimedOut {
		return res, fmt.Errorf("%s: still running after %v; stderr: %s",
			strings.Join(argv, " "), timeout, bytes.TrimSpace(e))
	}
	return res, nil
}

// Try is Run for a test, which fails only when the call can't be made, or hangs.
func (r *Runtime) Try(t testing.TB, c Call) Result {
	t.Helper()
	res, err := r.Run(c)
	if err != nil {
		t.Error(err)
	}
	return res
}

// Must is Try for what has to succeed.
func (r *Runtime) Must(t testing.TB, c Call) Result {
	t.Helper()
	res := r.Try(t, c)
	if res.Code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", strings.Join(c.Args, " "), res.Code, res.Stdout, res.Stderr)
	}
	return res
}

// Poll calls f until it returns true or the timeout has passed, and reports
// which of both it was. Where this process got no time to run, on a machine that
// is busy or stood still, a look counts as a tenth of the timeout at most.
func Poll(timeout time.Duration, f func() bool) bool {
	left := timeout
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		begin := time.Now()
		if f() {
			return true
		}
		if left <= 0 {
			return false
		}
		time.Sleep(wait)
		left -= min(time.Since(begin), max(wait, timeout/10))
	}
}

// EnvInt is a number in the environment, def if there is none.
func EnvInt(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}
