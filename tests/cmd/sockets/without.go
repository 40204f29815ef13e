package main

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// without runs a program for which the kernel lacks something, by a seccomp filter.
func without(what string, argv []string) {
	call, arg, value, errno := uint32(unix.SYS_BPF), uint32(16), uint32(unix.BPF_PROG_LOAD), unix.EINVAL
	if what == "cookie" {
		call, arg, value, errno = unix.SYS_GETSOCKOPT, 32, unix.SO_NETNS_COOKIE, unix.ENOPROTOOPT
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: arg},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	check("prctl", unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0))
	check("exec "+argv[0], unix.Exec(argv[0], argv, os.Environ()))
}
