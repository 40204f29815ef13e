package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What network contexts are made of.
var (
	// CgroupBPFSock is the BPF program type that confines bind and connect.
	CgroupBPFSock = &Feature{Name: "BPF socket address programs of cgroup v2", Plural: true, Since: "4.17", Config: "CONFIG_CGROUP_BPF", probe: func() error {
		return bpfLoad(unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, unix.BPF_CGROUP_INET4_BIND)
	}}

	// CgroupBPFGetname is the hook that getsockname(2) and getpeername(2) have; it is the youngest of its type.
	CgroupBPFGetname = &Feature{Name: "the BPF hook of cgroup v2 for getsockname", Since: "5.8", Config: "CONFIG_CGROUP_BPF", probe: func() error {
		return bpfLoad(unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, unix.BPF_CGROUP_INET4_GETSOCKNAME)
	}}

	// CgroupBPFSockRelease is the hook for the end of a socket, with which sockets are counted.
	CgroupBPFSockRelease = &Feature{Name: "the BPF hook of cgroup v2 for closed sockets", Since: "5.9", Config: "CONFIG_CGROUP_BPF", probe: func() error {
		return bpfLoad(unix.BPF_PROG_TYPE_CGROUP_SOCK, unix.BPF_CGROUP_INET_SOCK_RELEASE)
	}}

	// BPFSkLookup is the program type that finds the listener of a connection.
	BPFSkLookup = &Feature{Name: "the BPF hook for the lookup of sockets", Since: "5.9", Config: "CONFIG_BPF_SYSCALL", probe: func() error {
		return bpfLoad(unix.BPF_PROG_TYPE_SK_LOOKUP, unix.BPF_SK_LOOKUP)
	}}

	// BPFSetRetval is the helper by which a program of a cgroup says which error a call ends with; else it is EPERM.
	BPFSetRetval = &Feature{Name: "errors chosen by BPF programs of cgroup v2", Plural: true, Since: "5.18", Config: "CONFIG_CGROUP_BPF", probe: func() error {
		const setRetval = 187 // BPF_FUNC_set_retval
		return bpfLoad(unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, unix.BPF_CGROUP_INET4_BIND, 0x00000000_0000_01b7 /* r1 = 0 */, setRetval<<32|0x85 /* call */)
	}}

	// TCX are links of programs to the input of an interface.
	TCX = &Feature{Name: "BPF links to interfaces (tcx)", Plural: true, Since: "6.6", Config: "CONFIG_NET_XGRESS", probe: func() error {
		// Without a program there is nothing to attach, and the kernel says so only after it knows the attachment.
		attr := struct{ prog, target, attach, flags, _, _, _, _ uint32 }{prog: badFD, target: 1, attach: unix.BPF_TCX_INGRESS}
		_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errno == unix.EBADF {
			return sinceRelease(6, 6)
		}
		return errno
	}}

	// NetnsCookie is the number that tells network namespaces apart, SO_NETNS_COOKIE.
	NetnsCookie = &Feature{Name: "SO_NETNS_COOKIE", Since: "5.14", probe: func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if _, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == unix.ENOPROTOOPT {
			return errMissing
		}
		return err
	}}
)
