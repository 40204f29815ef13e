package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func prctlOut(option int) int32 {
	var v int32
	if err := unix.Prctl(option, uintptr(unsafe.Pointer(&v)), 0, 0, 0); err != nil {
		return -1
	}
	return v
}

func subreaper() any { return prctlOut(unix.PR_GET_CHILD_SUBREAPER) }

func pdeathsig() int32 { return prctlOut(unix.PR_GET_PDEATHSIG) }
