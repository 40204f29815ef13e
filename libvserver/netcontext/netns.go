package netcontext

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNetns calls do in the network namespace at path, "" for the caller's own.
func inNetns(path string, do func() error) error {
	if path == "" {
		return do()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		done <- func() error {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return &os.PathError{Op: "open", Path: path, Err: err}
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return &os.PathError{Op: "setns", Path: path, Err: err}
			}
			return do()
		}()
	}()
	return <-done
}
