// Package hooks runs the hooks of config.json (runtime-spec, config.md "POSIX-platform Hooks"): in their order, with the
// container's state on standard input, their own environment and timeout. It knows no container; in which namespaces a
// hook runs is the business of the Starter.
package hooks

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Starter starts a hook's program with the given standard input and, for both outputs, one file. It returns the pid of a
// child of the caller.
type Starter func(path string, args, env []string, in, out int) (pid int, err error)

// Run calls hooks in order with state (JSON) on standard input. It stops at the first that fails; kind is its name in
// config.json ("createRuntime"). A hook fails if it can't be started, exits non-zero, dies or outlives its timeout.
func Run(kind string, list []specs.Hook, state []byte, start Starter) error {
	for i := range list {
		if err := run(&list[i], state, start); err != nil {
			return fmt.Errorf("hooks.%s[%d]: error running hook %s: %w", kind, i, list[i].Path, err)
		}
	}
	return nil
}

// Each calls all hooks, also after one has failed, and gives every failure to warn (poststop).
func Each(kind string, list []specs.Hook, state []byte, start Starter, warn func(error)) {
	for i := range list {
		if err := run(&list[i], state, start); err != nil {
			warn(fmt.Errorf("hooks.%s[%d]: error running hook %s: %w", kind, i, list[i].Path, err))
		}
	}
}

func run(h *specs.Hook, state []byte, start Starter) error {
	// The state is in a file, not in a pipe: a hook that does not read it breaks nothing.
	in, err := memfile("vsrun-hook-state", state)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	out, err := unix.MemfdCreate("vsrun-hook-output", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(out)
	if _, err := unix.FcntlInt(uintptr(out), unix.F_SETFL, unix.O_APPEND); err != nil {
		return fmt.Errorf("fcntl: %w", err)
	}
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	pid, err := start(h.Path, args, h.Env, in, out)
	if err != nil {
		return err
	}
	return wait(pid, h.Timeout, out)
}

// wait waits for a hook, and kills it after its timeout (seconds; nil for none).
func wait(pid int, timeout *int, out int) error {
	timer := -1
	if timeout != nil {
		timer = *timeout
	}
	if timer > 0 {
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			late := !readable(fd, time.Duration(timer)*time.Second)
			if late {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
			if late {
				_, _ = reap(pid)
				return fmt.Errorf("timed out after %d s%s", timer, output(out))
			}
		}
	}
	status, err := reap(pid)
	switch {
	case err != nil:
		return fmt.Errorf("wait4: %w", err)
	case status.Signaled():
		return fmt.Errorf("signal: %s%s", status.Signal(), output(out))
	case status.ExitStatus() != 0:
		return fmt.Errorf("exit status %d%s", status.ExitStatus(), output(out))
	}
	return nil
}

func reap(pid int) (unix.WaitStatus, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err != unix.EINTR {
			return status, err
		}
	}
}

func readable(fd int, d time.Duration) bool {
	end := time.Now().Add(d)
	for {
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		if n > 0 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return false
		}
	}
}

// output is what a hook printed, for the end of an error message.
func output(fd int) string {
	const most = 4096
	buf := make([]byte, most)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil || n <= 0 {
		return ""
	}
	return ", output: " + strconv.Quote(strings.TrimSpace(string(buf[:n])))
}

func memfile(name string, data []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	for off := 0; off < len(data); {
		n, err := unix.Pwrite(fd, data[off:], int64(off))
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("write the hook's state: %w", err)
		}
		off += n
	}
	return fd, nil
}

// InRuntime starts hooks in the runtime's namespaces. Like runc's and crun's they begin in the bundle, which may be gone when the container
// is deleted: then where the runtime was called.
func InRuntime(bundle string) Starter {
	return func(path string, args, env []string, in, out int) (int, error) {
		if unix.Access(bundle, unix.X_OK) != nil {
			bundle = ""
		}
		return inRuntime(bundle, path, args, env, in, out)
	}
}

func inRuntime(dir, path string, args, env []string, in, out int) (int, error) {
	if env == nil {
		env = []string{} // the runtime's own is not inherited
	}
	// What the caller has left open is none of a hook's business. The container's process has its own by now, and the runtime
	// itself keeps them. (Linux 5.11; before that they are inherited.)
	_ = unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC)
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Dir: dir, Env: env, Files: []uintptr{uintptr(in), uintptr(out), uintptr(out)}})
	if err != nil {
		return 0, fmt.Errorf("fork/exec: %w", err)
	}
	return pid, nil
}
