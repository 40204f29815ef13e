package helper

import (
	"fmt"
	"strconv"
	"syscall"
)

// Job is a job that goes on until what it serves has ended.
type Job struct {
	name string
	pid  int
	errs int // its standard error
}

// Start starts a job that talks on descriptors of its own instead of taking one request: in and out are its standard
// input and output. Otherwise all is as Run says, and Wait has to follow.
func Start(job string, in, out int) (*Job, error) {
	img, err := openImage()
	if err != nil {
		return nil, err
	}
	defer img.close()
	var errs [2]int
	if err := syscall.Pipe2(errs[:], syscall.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe2: %w", err)
	}
	pid, err := syscall.ForkExec(img.path, []string{Name, job}, &syscall.ProcAttr{
		Dir:   "/",
		Files: []uintptr{uintptr(in), uintptr(out), uintptr(errs[1])},
	})
	syscall.Close(errs[1])
	if err != nil {
		syscall.Close(errs[0])
		return nil, fmt.Errorf("start %s: %w", img.path, err)
	}
	return &Job{job, pid, errs[0]}, nil
}

// Wait waits for the job's end. The error says how it failed.
func (j *Job) Wait() error {
	text, _ := readAll(j.errs, maxErrorText)
	syscall.Close(j.errs)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(j.pid, &status, 0, nil)
		if err == nil {
			break
		}
		if err != syscall.EINTR {
			return fmt.Errorf("%s %s: wait4: %w", Name, j.name, err)
		}
	}
	stderr := errorText(text)
	switch {
	case status.Signaled():
		return fmt.Errorf("%s %s: killed by signal %d (%v)%s", Name, j.name, int(status.Signal()), status.Signal(), suffix(stderr))
	case status.ExitStatus() != 0:
		if stderr == "" {
			stderr = "exit status " + strconv.Itoa(status.ExitStatus())
		}
		return &JobError{Job: j.name, Text: stderr}
	}
	return nil
}
