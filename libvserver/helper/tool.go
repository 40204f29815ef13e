package helper

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// errorFd is the helper's descriptor for a tool's error.
const errorFd = 3

// Tool runs a job that is a command of its own: it has the caller's standard input, output and error, environment and
// working directory, and takes arguments. Its error comes back as a *JobError. It is killed if the caller is.
func Tool(job string, args ...string) error {
	img, err := openImage()
	if err != nil {
		return err
	}
	defer img.close()
	// In the child, the low descriptors are what the helper gets.
	if img.fd >= 0 && img.fd <= errorFd {
		high, err := unix.FcntlInt(uintptr(img.fd), unix.F_DUPFD_CLOEXEC, errorFd+1)
		if err != nil {
			return fmt.Errorf("fcntl F_DUPFD_CLOEXEC: %w", err)
		}
		syscall.Close(img.fd)
		img.fd, img.path = high, "/proc/self/fd/"+strconv.Itoa(high)
	}
	var errs [2]int
	if err := syscall.Pipe2(errs[:], syscall.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe2: %w", err)
	}
	// The signal comes when the thread that made the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(img.path, append([]string{Name, job}, args...), &syscall.ProcAttr{
		Env:   syscall.Environ(),
		Files: []uintptr{0, 1, 2, uintptr(errs[1])},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	syscall.Close(errs[1])
	if err != nil {
		syscall.Close(errs[0])
		return fmt.Errorf("start %s: %w", img.path, err)
	}
	b, _ := readAll(errs[0], maxErrorText)
	syscall.Close(errs[0])
	text := strings.TrimSpace(string(b))
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if err == nil {
			break
		}
		if err != syscall.EINTR {
			return fmt.Errorf("%s %s: wait4: %w", Name, job, err)
		}
	}
	switch {
	case status.Signaled():
		return fmt.Errorf("%s %s: killed by signal %d (%v)%s", Name, job, int(status.Signal()), status.Signal(), suffix(text))
	case status.ExitStatus() != 0:
		if text == "" {
			text = "exit status " + strconv.Itoa(status.ExitStatus())
		}
		return &JobError{Job: job, Text: text}
	}
	return nil
}
