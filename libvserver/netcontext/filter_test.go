package netcontext

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/seccomptest"
)

func TestFilter(t *testing.T) {
	if machines() == nil {
		t.Skip("needs an architecture that the filter knows: ", runtime.GOARCH)
	}
	const allow = unix.SECCOMP_RET_ALLOW
	no := func(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }
	for _, with := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
		hide, raw := with[0], with[1]
		prog, err := Filter(hide, raw)
		if err != nil {
			t.Fatal(err)
		}
		hidden := func(e unix.Errno) uint32 {
			if hide {
				return no(e)
			}
			return allow
		}
		header := uint32(allow) // no raw socket, no header
		if raw {
			header = no(unix.EPERM)
		}
		list := machines()
		for i := range list {
			m := &list[i]
			run := func(name string, nr uint32, want uint32, args ...uint64) {
				t.Helper()
				d := seccomptest.Data{Nr: nr, Arch: m.arch}
				copy(d.Args[:], args)
				if got, err := seccomptest.Run(prog, d); err != nil || got != want {
					t.Errorf("arch %#x hide, raw %v: %s: %#x %v, want %#x", m.arch, with, name, got, err, want)
				}
			}
			for family := range uint64(50) {
				want := no(unix.EAFNOSUPPORT)
				switch family {
				case unix.AF_UNSPEC, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_ALG:
					want = allow
				case unix.AF_NETLINK:
					want = hidden(unix.EAFNOSUPPORT)
				case unix.AF_PACKET:
					want = no(unix.EPERM)
				}
				run("socket", m.socket, want, family)
				run("socket with rubbish in the upper half", m.socket, want, family|0xdead<<32)
			}
			for _, family := range []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6} {
				run("socketpair", m.pair, allow, family)
			}
			for _, family := range []uint64{unix.AF_TIPC, unix.AF_PACKET, unix.AF_NETLINK, unix.AF_SMC, 100} {
				run("socketpair", m.pair, no(unix.EAFNOSUPPORT), family)
			}
			run("IP_HDRINCL", m.setsockopt, header, 3, unix.IPPROTO_IP, unix.IP_HDRINCL)
			run("IPV6_HDRINCL", m.setsockopt, header, 3, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL)
			run("IPV6_HDRINCL", m.setsockopt, header, 3, unix.SOL_RAW, unix.IPV6_HDRINCL)
			run("SO_BINDTODEVICE", m.setsockopt, no(unix.EPERM), 3, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
			run("SO_BINDTOIFINDEX", m.setsockopt, no(unix.EPERM), 3, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
			run("IP_TOS", m.setsockopt, allow, 3, unix.IPPROTO_IP, unix.IP_TOS)
			run("SO_REUSEADDR", m.setsockopt, allow, 3, unix.SOL_SOCKET, unix.SO_REUSEADDR)
			run("TCP_CORK", m.setsockopt, allow, 3, unix.IPPROTO_TCP, unix.TCP_CORK)
			for _, r := range []uint64{unix.SIOCGIFNAME, unix.SIOCGIFCONF, unix.SIOCGIFFLAGS, unix.SIOCGIFINDEX, unix.SIOCGIFMAP} {
				run("ioctl of interfaces", m.ioctl, hidden(unix.EPERM), 3, r)
			}
			for _, r := range []uint64{unix.TIOCGWINSZ, 0x541b, 0x8906, 0x8971, 0xffffffff} {
				run("another ioctl", m.ioctl, allow, 3, r)
			}
			run("io_uring_setup", m.uring, no(unix.ENOSYS))
			run("bpf", m.bpf, no(unix.EPERM))
			if m.multiplex != none {
				run("socketcall", m.multiplex, no(unix.ENOSYS), 1)
			}
			run("another call", 1000, allow)
			if m.x32 {
				run("socket by x32", 0x40000000|m.socket, no(unix.ENOSYS), unix.AF_PACKET)
			}
		}
		if got, err := seccomptest.Run(prog, seccomptest.Data{Nr: 1, Arch: 12345}); err != nil || got != no(unix.ENOSYS) {
			t.Errorf("another architecture: %#x %v", got, err)
		}
	}
}
