package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// steps makes a socket and calls on calls upon it:
//
//	tcp4 tcp6 udp4 udp6            the socket; the steps that follow are of the last one
//	bind=ADDR connect=ADDR listen accept form unspec
//	                               form: IPV6_ADDRFORM makes IPv4 of it; unspec: connect(2) to AF_UNSPEC; accept goes on with what is accepted
//	connect4=ADDR send4=ADDR       with a struct sockaddr_in, whatever the socket is
//	bind0=ADDR send0=ADDR          the same of the family AF_UNSPEC
//	opt=LEVEL,NAME,HEX             setsockopt(2), the value as bytes
//	join=GROUP,IP join6=GROUP,INDEX  joins a multicast group on an interface
//	send=ADDR send recv            a datagram, or data; recv prints where it is from, and the address it was sent to if the option asks for that
//	fastopen=ADDR                  sendto(2) with MSG_FASTOPEN
//	wait=SECONDS                   for what comes; without, two
//	name                           prints the own address
//	give=PATH take=PATH            the socket over a unix socket
//	serve=NAME hold                answers, or waits, for good
//
// A call that fails is printed, and ends the program; with "try:" before a step it goes on.
func steps(list []string) {
	s := &sock{}
	for _, step := range list {
		step, try := strings.CutPrefix(step, "try:")
		call, err := s.step(step)
		switch {
		case err == nil:
		case try:
			fmt.Println(call, name(err))
		default:
			check(call, err)
		}
	}
	fmt.Println("ok")
}

func (s *sock) step(step string) (call string, err error) {
	verb, value, _ := strings.Cut(step, "=")
	switch verb {
	case "tcp4", "tcp6", "udp4", "udp6":
		family, typ := unix.AF_INET, unix.SOCK_STREAM
		if s.six = verb[3] == '6'; s.six {
			family = unix.AF_INET6
		}
		if s.kind = verb[:3]; s.kind == "udp" {
			typ = unix.SOCK_DGRAM
		}
		s.fd, err = unix.Socket(family, typ, 0)
		if err == nil {
			if s.kind == "tcp" {
				_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}
			_ = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
			_ = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 2})
		}
		return "socket", err
	case "bind":
		return verb, unix.Bind(s.fd, s.addr(value))
	case "connect":
		return verb, unix.Connect(s.fd, s.addr(value))
	case "unspec":
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&unix.RawSockaddr{})), unix.SizeofSockaddrInet4)
		if errno != 0 {
			err = errno
		}
		return verb, err
	case "connect4":
		return verb, unix.Connect(s.fd, (&sock{}).addr(value))
	case "send4":
		return verb, unix.Sendto(s.fd, []byte("x"), unix.MSG_NOSIGNAL, (&sock{}).addr(value))
	case "bind0", "send0":
		a := (&sock{}).addr(value).(*unix.SockaddrInet4)
		sa := unix.RawSockaddrInet4{Port: uint16(a.Port>>8 | a.Port<<8), Addr: a.Addr}
		nr, data := uintptr(unix.SYS_BIND), [6]uintptr{uintptr(s.fd), uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4}
		if verb == "send0" {
			nr, data = unix.SYS_SENDTO, [6]uintptr{uintptr(s.fd), uintptr(unsafe.Pointer(&[]byte{'x'}[0])), 1, 0, uintptr(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4}
		}
		if _, _, errno := unix.Syscall6(nr, data[0], data[1], data[2], data[3], data[4], data[5]); errno != 0 {
			err = errno
		}
		return verb, err
	case "listen":
		return verb, unix.Listen(s.fd, 16)
	case "accept":
		fd, _, err := unix.Accept(s.fd)
		s.fd = fd
		return verb, err
	case "form":
		err = unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_ADDRFORM, unix.AF_INET)
		s.six = s.six && err != nil
		return verb, err
	case "opt":
		f := strings.SplitN(value, ",", 3)
		b, err := hex.DecodeString(f[2])
		check("option "+value, err)
		return "setsockopt", unix.SetsockoptString(s.fd, number(f[0]), number(f[1]), string(b))
	case "join":
		group, at, _ := strings.Cut(value, ",")
		return verb, unix.SetsockoptIPMreq(s.fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: four(group), Interface: four(at)})
	case "join6":
		group, at, _ := strings.Cut(value, ",")
		m := &unix.IPv6Mreq{Interface: uint32(number(at))}
		m.Multiaddr = s.addr("[" + group + "]:0").(*unix.SockaddrInet6).Addr
		return verb, unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, m)
	case "send":
		if value == "" {
			return verb, unix.Send(s.fd, []byte("x"), unix.MSG_NOSIGNAL)
		}
		return verb, unix.Sendto(s.fd, []byte("x"), unix.MSG_NOSIGNAL, s.addr(value))
	case "fastopen":
		return verb, unix.Sendto(s.fd, []byte("x"), unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL, s.addr(value))
	case "recv":
		buf, control := make([]byte, 2048), make([]byte, 256)
		n, cn, _, from, err := unix.Recvmsg(s.fd, buf, control, 0)
		if err == nil {
			fmt.Print(strings.TrimSpace(string(buf[:n])), " from ", ip(show(from, nil)))
			msgs, _ := unix.ParseSocketControlMessage(control[:cn])
			for i := range msgs {
				if to, err := unix.ParseOrigDstAddr(&msgs[i]); err == nil {
					fmt.Print(" to ", show(to, nil))
				}
			}
			fmt.Println()
		}
		return verb, err
	case "wait":
		_ = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(number(value))})
	case "name":
		fmt.Println(s.local())
	case "give":
		sendFD(value, s.fd)
	case "take":
		s.fd = receiveFD(value)
	case "serve":
		s.serve(value)
	case "hold":
		fmt.Println("holding")
		hold()
	default:
		fmt.Fprintln(os.Stderr, "step", step)
		usage()
	}
	return verb, nil
}

func four(text string) [4]byte { return (&sock{}).addr(text + ":0").(*unix.SockaddrInet4).Addr }
