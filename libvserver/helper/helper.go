// Package helper starts vsrun-helper: a second executable, embedded in vsrun,
// that holds what must not be linked into vsrun itself because it would slow
// down every start (cgo and libseccomp, the cgroups library and D-Bus). It runs one job a process: request on
// standard input, answer on standard output, error text on standard error.
//
// The package itself stays cheap: nothing runs at init, the embedded file is
// not touched until a job is run, and neither os/exec nor the Go scheduler's
// network poller is used.
package helper

import (
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Name of the executable, embedded and on disk.
const Name = "vsrun-helper"

//go:embed all:bin
var files embed.FS

// ErrMissing says that there is no helper: neither embedded nor installed.
var ErrMissing = errors.New("this build of vsrun holds no vsrun-helper, which seccomp profiles, systemd cgroups and statistics need: build it with make")

// maxAnswer and maxErrorText bound what is read from a helper, in bytes.
const (
	maxAnswer    = 16 << 20
	maxErrorText = 64 << 10
)

// Run has the helper do one job and returns its answer. The helper gets an
// empty environment, / as working directory and no file descriptor but its
// three pipes (it closes what vsrun itself inherited without close-on-exec
// before it does anything else).
//
// The caller must not reap children with wait4(-1) meanwhile.
func Run(job string, request []byte) ([]byte, error) {
	img, err := openImage()
	if err != nil {
		return nil, err
	}
	defer img.close()

	answer, text, status, err := spawn(img.path, []string{Name, job}, request)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", Name, job, err)
	case status.Signaled():
		return nil, fmt.Errorf("%s %s: killed by signal %d (%v)%s", Name, job, int(status.Signal()), status.Signal(), suffix(text))
	case status.ExitStatus() != 0:
		if text == "" {
			text = "exit status " + strconv.Itoa(status.ExitStatus())
		}
		return nil, &JobError{Job: job, Text: text}
	}
	return answer, nil
}

// JobError is a job's own refusal, in the helper's words.
type JobError struct {
	Job  string
	Text string
}

func (e *JobError) Error() string { return e.Text }

// errorText is what a helper has said, without the stacks of Go's own end of a program.
func errorText(b []byte) string {
	text := strings.TrimSpace(string(b))
	if strings.Contains(text, "\ngoroutine ") {
		text, _, _ = strings.Cut(text, "\n")
	}
	return text
}

func suffix(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// spawn runs the program at path and waits for it.
func spawn(path string, argv []string, stdin []byte) (stdout []byte, stderr string, status syscall.WaitStatus, err error) {
	var in, out, errs [2]int
	var open []int
	defer func() {
		for _, fd := range open {
			if fd >= 0 {
				syscall.Close(fd)
			}
		}
	}()
	for _, p := range []*[2]int{&in, &out, &errs} {
		if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
			return nil, "", 0, fmt.Errorf("pipe2: %w", err)
		}
		open = append(open, p[0], p[1])
	}
	done := func(i int) {
		syscall.Close(open[i])
		open[i] = -1
	}
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir:   "/",
		Files: []uintptr{uintptr(in[0]), uintptr(out[1]), uintptr(errs[1])},
	})
	if err != nil {
		return nil, "", 0, fmt.Errorf("start %s: %w", path, err)
	}
	done(0)
	done(3)
	done(5)

	// The helper reads its whole request before it writes, and writes either
	// an answer or a short text: reading one after the other cannot hang.
	werr := writeAll(in[1], stdin)
	done(1)
	stdout, rerr := readAll(out[0], maxAnswer)
	text, _ := readAll(errs[0], maxErrorText)
	done(2)
	done(4)
	for {
		_, err = syscall.Wait4(pid, &status, 0, nil)
		if err != syscall.EINTR {
			break
		}
	}
	stderr = errorText(text)
	switch {
	case err != nil:
		return nil, stderr, 0, fmt.Errorf("wait4: %w", err)
	case !status.Exited() || status.ExitStatus() != 0:
		return nil, stderr, status, nil // says more than a broken pipe does
	case werr != nil:
		return nil, stderr, status, fmt.Errorf("write the request: %w", werr)
	case rerr != nil:
		return nil, stderr, status, fmt.Errorf("read the answer: %w", rerr)
	}
	return stdout, stderr, status, nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := syscall.Write(fd, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func readAll(fd, limit int) ([]byte, error) {
	b := make([]byte, 0, 16<<10)
	for {
		if len(b) == cap(b) {
			if len(b) >= limit {
				return b, fmt.Errorf("longer than %d bytes", limit)
			}
			b = append(b, 0)[:len(b)]
		}
		n, err := syscall.Read(fd, b[len(b):cap(b)])
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return b, err
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
	}
}

// memfdCreate is memfd_create(2) without the flag juggling that differs by kernel.
func memfdCreate(name string, flags uintptr) (int, syscall.Errno) {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return -1, syscall.EINVAL
	}
	fd, _, errno := syscall.Syscall(unix.SYS_MEMFD_CREATE, uintptr(unsafe.Pointer(p)), flags, 0)
	return int(fd), errno
}
