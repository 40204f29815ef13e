//go:build !amd64

package faults

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

const canTrace = false

type syscallAt struct{ nr, n int }

func (syscallAt) String() string { return "" }

type injection struct {
	at     syscallAt
	errno  unix.Errno
	helper bool
}

func (injection) String() string { return "" }

type tracedCall struct {
	helper bool
	syscallAt
}

type tracer struct {
	inject        *injection
	helpers       bool
	calls, helped []syscallAt
	awaits        map[syscallAt]bool
	paths         map[tracedCall]uint64
}

func (*tracer) run(harness.Call) (harness.Result, error) {
	return harness.Result{}, errors.New("not on this architecture")
}
