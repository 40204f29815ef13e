//go:build cgo

// The Go runtime would open and keep the cgroup's CPU files otherwise.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command vsrun-helper does what would cost vsrun too much to link: compiling
// seccomp profiles with libseccomp, what needs the cgroups library and D-Bus, and talking to CRIU.
// It is started by package helper as
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
//	cgroup-…, systemd-…   see package cgroup/job
//	unify, ununify, store   the commands of these names, with arguments and the user's standard streams: see package
//	          unify/job and helper.Tool; the error goes to descriptor 3
//	net-…     see package netcontext/job
//	criu      standard input is a socket to vsrun, standard output one to CRIU: see package criu/job
//
// It needs cgo and libseccomp.a and is not built without cgo. It must not read
// the environment, the working directory or any file but what a job names.
package main

import (
	"errors"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup/job"
	criu "github.com/vsrun/vsrun/libvserver/criu/job"
	network "github.com/vsrun/vsrun/libvserver/netcontext/job"
	unify "github.com/vsrun/vsrun/libvserver/unify/job"
)

var errUsage = errors.New("usage: vsrun-helper JOB <request >answer (there is no such job)")

func main() {
	if len(os.Args) > 1 && unify.Known(os.Args[1]) {
		tool(os.Args[1], os.Args[2:])
	}
	// Whatever vsrun inherited without close-on-exec is none of our business.
	_ = unix.CloseRange(3, ^uint(0)>>33, 0)
	// One short job: collecting garbage would only take time.
	debug.SetGCPercent(-1)

	if len(os.Args) != 2 {
		fail(2, errUsage)
	}
	answer, err := do(os.Args[1])
	if err == nil && answer != nil {
		_, err = os.Stdout.Write(answer)
	}
	if errors.Is(err, errUsage) {
		fail(2, err)
	}
	if err != nil {
		fail(1, err)
	}
}

// tool runs what package helper calls a tool, and ends.
func tool(name string, args []string) {
	_ = unix.CloseRange(4, ^uint(0)>>33, 0)
	unix.CloseOnExec(3)
	if err := unify.Main(name, args); err != nil {
		_, _ = unix.Write(3, []byte(strings.ReplaceAll(err.Error(), "\n", "; ")))
		os.Exit(1)
	}
	os.Exit(0)
}

func do(name string) ([]byte, error) {
	switch name {
	case "version":
		return versions(), nil
	case "criu":
		return nil, criu.Serve(0, 1)
	}
	if name != "seccomp" && !job.Known(name) && !network.Known(name) {
		return nil, errUsage
	}
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	if name == "seccomp" {
		return compileSeccomp(request)
	}
	if network.Known(name) {
		return network.Run(name, request)
	}
	return job.Run(name, request)
}

func fail(code int, err error) {
	os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(code)
}
