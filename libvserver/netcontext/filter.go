package netcontext

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// machine has the numbers of system calls of one architecture (linux/audit.h, and its unistd.h).
type machine struct {
	arch                                                   uint32
	socket, pair, setsockopt, ioctl, bpf, uring, multiplex uint32
	// x32: numbers from here on are of another set of calls, which nothing uses.
	x32 bool
}

const none = ^uint32(0) // no such call

// machines are those whose programs run here: the own, and the 32 bit one that goes with it.
func machines() []machine {
	switch runtime.GOARCH {
	case "amd64":
		return []machine{
			{unix.AUDIT_ARCH_X86_64, 41, 53, 54, 16, 321, 425, none, true},
			{unix.AUDIT_ARCH_I386, 359, 360, 366, 54, 357, 425, 102, false},
		}
	case "arm64":
		return []machine{
			{unix.AUDIT_ARCH_AARCH64, 198, 199, 208, 29, 280, 425, none, false},
			{unix.AUDIT_ARCH_ARM, 281, 288, 294, 54, 386, 425, 102, false},
		}
	case "riscv64":
		return []machine{{unix.AUDIT_ARCH_RISCV64, 198, 199, 208, 29, 280, 425, none, false}}
	}
	return nil
}

// The instructions of classic BPF (linux/bpf_common.h), and where struct seccomp_data has what.
const (
	ldAbs  = 0x20 // BPF_LD|BPF_W|BPF_ABS
	jeq    = 0x15
	jge    = 0x35
	ret    = 0x06
	dataNr = 0
	dataOf = 4  // arch
	args   = 16 // of 8 bytes, little-endian: the lower halves tell families, levels and options (they are int)
)

type filter []unix.SockFilter

func (f *filter) emit(code uint16, jt, jf uint8, k uint32) {
	*f = append(*f, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (f *filter) errno(e unix.Errno) { f.emit(ret, 0, 0, unix.SECCOMP_RET_ERRNO|uint32(e)) }

func (f *filter) allow() { f.emit(ret, 0, 0, unix.SECCOMP_RET_ALLOW) }

// call begins what is done for one system call. end leads on for all others.
func (f *filter) call(nr uint32, body func()) {
	if nr == none {
		return
	}
	f.emit(ldAbs, 0, 0, dataNr)
	at := len(*f)
	f.emit(jeq, 0, 0, nr)
	body()
	(*f)[at].Jf = uint8(len(*f) - at - 1)
}

// Filter makes the seccomp filter of a network context, an array of struct sock_filter. It closes what the BPF programs of a
// cgroup don't see: sockets that are of neither IPv4 nor IPv6 and reach the network or its other users (AF_PACKET, AF_VSOCK,
// AF_SMC, ...), raw sockets that write IP headers of their own (there are none but with rawICMP), ties to an interface, io_uring,
// which makes sockets without a system call, and bpf(2), with which the programs could be taken off. With hideNetif also
// netlink and the ioctls that list interfaces.
func Filter(hideNetif, rawICMP bool) ([]byte, error) {
	list := machines()
	if list == nil {
		return nil, errors.New("network contexts: no seccomp filter is known for this architecture (" + runtime.GOARCH + ")")
	}
	var f filter
	for i := range list {
		m := &list[i]
		f.emit(ldAbs, 0, 0, dataOf)
		at := len(f)
		f.emit(jeq, 0, 0, m.arch)
		f.machine(m, hideNetif, rawICMP)
		f[at].Jf = uint8(len(f) - at - 1)
	}
	f.errno(unix.ENOSYS) // programs of another architecture
	b := unsafe.Slice((*byte)(unsafe.Pointer(&f[0])), len(f)*int(unsafe.Sizeof(f[0])))
	return b, nil
}

func (f *filter) machine(m *machine, hideNetif, rawICMP bool) {
	if m.x32 {
		f.emit(ldAbs, 0, 0, dataNr)
		f.emit(jge, 0, 1, 0x40000000)
		f.errno(unix.ENOSYS)
	}
	f.call(m.socket, func() {
		f.emit(ldAbs, 0, 0, args)
		families := []uint32{unix.AF_UNSPEC, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_ALG}
		if !hideNetif {
			families = append(families, unix.AF_NETLINK)
		}
		for _, family := range families {
			f.emit(jeq, 0, 1, family)
			f.allow()
		}
		f.emit(jeq, 0, 1, unix.AF_PACKET)
		f.errno(unix.EPERM)
		f.errno(unix.EAFNOSUPPORT)
	})
	f.call(m.pair, func() { // of the rest only TIPC makes pairs, which need not stay such
		f.emit(ldAbs, 0, 0, args)
		for _, family := range []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6} {
			f.emit(jeq, 0, 1, family)
			f.allow()
		}
		f.errno(unix.EAFNOSUPPORT)
	})
	f.call(m.setsockopt, func() {
		// A socket that listens without bind(2) is put where nobody is, and must not be fetched back.
		closed := [][2]uint32{{unix.SOL_SOCKET, unix.SO_BINDTODEVICE}, {unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX}}
		if rawICMP {
			closed = append(closed, [2]uint32{unix.IPPROTO_IP, unix.IP_HDRINCL}, [2]uint32{unix.IPPROTO_IPV6, unix.IPV6_HDRINCL}, [2]uint32{unix.SOL_RAW, unix.IPV6_HDRINCL})
		}
		for _, o := range closed {
			f.emit(ldAbs, 0, 0, args+8)
			f.emit(jeq, 0, 3, o[0])
			f.emit(ldAbs, 0, 0, args+16)
			f.emit(jeq, 0, 1, o[1])
			f.errno(unix.EPERM)
		}
		f.allow()
	})
	if hideNetif {
		f.call(m.ioctl, func() {
			f.emit(ldAbs, 0, 0, args+8)
			f.emit(jge, 0, 2, unix.SIOCGIFNAME)
			f.emit(jge, 1, 0, unix.SIOCGIFMAP+1) // the last that tells of interfaces
			f.errno(unix.EPERM)
			f.allow()
		})
	}
	f.call(m.uring, func() { f.errno(unix.ENOSYS) })
	f.call(m.bpf, func() { f.errno(unix.EPERM) })
	f.call(m.multiplex, func() { f.errno(unix.ENOSYS) })
	f.allow()
}
