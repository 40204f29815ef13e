//go:build cgo

// The Go runtime would open and keep the cgroup's CPU files otherwise.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command vsrun-helper does what would cost vsrun too much to link: for now,
// compiling seccomp profiles with libseccomp. It is started by package helper
// as
//
//	vsrun-helper JOB <request >answer
//
// and runs one job. Exit 0: the answer is on standard output. Exit 1: one line
// on standard error says why not. Exit 2: the job is unknown.
//
// Jobs:
//
//	seccomp   request and answer as package wire describes
//	version   no request; answer: "libseccomp X.Y.Z\n"
//
// It needs cgo and libseccomp.a and is not built without cgo. It must not read
// the environment, the working directory or any file but what a job names.
package main

import (
	"errors"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

var errUsage = errors.New("usage: vsrun-helper seccomp|version <request >answer")

func main() {
	// Whatever vsrun inherited without close-on-exec is none of our business.
	_ = unix.CloseRange(3, ^uint(0)>>33, 0)
	// One short job: collecting garbage would only take time.
	debug.SetGCPercent(-1)

	if len(os.Args) != 2 {
		fail(2, errUsage)
	}
	var answer []byte
	var err error
	switch os.Args[1] {
	case "seccomp":
		var request []byte
		if request, err = io.ReadAll(os.Stdin); err == nil {
			answer, err = compileSeccomp(request)
		}
	case "version":
		answer = versions()
	default:
		fail(2, errUsage)
	}
	if err == nil {
		_, err = os.Stdout.Write(answer)
	}
	if err != nil {
		fail(1, err)
	}
}

func fail(code int, err error) {
	os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(code)
}
