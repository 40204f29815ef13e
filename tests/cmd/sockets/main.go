//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Sockets runs inside a container under test and does to sockets what it is told, by the bare system calls, so that what
// a libc would do besides is not in the way:
//
//	sockets serve tcp|udp ADDR NAME [OPTION]...   answer each connection or datagram with a line, until killed
//	sockets get tcp|udp ADDR [OPTION]...          connect, or send, and print the answer
//	sockets bind tcp|udp ADDR [OPTION]...         bind, and print the address that it has then
//	sockets listen tcp [again|freed]...           listen without bind, print the port and wait; after connect(2) to nothing and
//	                                              back, or taken off its interface
//	sockets socket FAMILY TYPE PROTOCOL           make a socket
//	sockets do STEP...                            see steps.go
//	sockets many N                                make N sockets, and print how many could be had
//	sockets send PATH tcp|udp ADDR                send a bound socket over the unix socket PATH
//	sockets receive PATH NAME                     serve on the socket that comes over the unix socket PATH
//	sockets inherited FD NAME                     serve on the socket that is descriptor FD
//	sockets uring                                 io_uring_setup(2)
//	sockets bpf                                   bpf(2)
//	sockets without bpf|cookie CMD...             run CMD where the kernel takes no BPF programs, or knows no SO_NETNS_COOKIE
//	sockets netlink                               list the interfaces
//	sockets ifconf                                list the interfaces by ioctl
//	sockets rate tcp|pair|option|udp|bulk ADDR    the client of a measurement: reads milliseconds, prints a rate
//	sockets sink tcp|udp|bulk ADDR                its server
//
// Options: from=ADDR (bind first), device=NAME, ifindex=N, freebind, transparent, v6only, reuse, connect (udp: connect(2) first),
// pktinfo=IP (udp: source by IP_PKTINFO or IPV6_PKTINFO), fastopen (tcp: sendto(2) with MSG_FASTOPEN connects), later (tcp: TCP_FASTOPEN_CONNECT), mptcp, twice (send two datagrams), silent (expect no answer). ADDR is IP:PORT or
// [IP6]:PORT. A call that fails is printed as its name and the errno's, and ends the program with 3.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	a := os.Args[2:]
	switch verb := os.Args[1]; {
	case verb == "serve" && len(a) >= 3:
		s := open(a[0], a[1], a[3:])
		s.bind(a[1])
		s.serve(a[2])
	case verb == "get" && len(a) >= 2:
		open(a[0], a[1], a[2:]).get(a[1])
	case verb == "bind" && len(a) >= 2:
		s := open(a[0], a[1], a[2:])
		s.bind(a[1])
		fmt.Println("ok", s.local())
	case verb == "listen":
		s := open("tcp", "0.0.0.0:0", nil)
		for _, o := range a {
			if o == "again" {
				_ = unix.Connect(s.fd, s.addr("127.0.0.1:1"))
				_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&unix.RawSockaddr{})), unix.SizeofSockaddrInet4)
				if errno != 0 {
					check("connect AF_UNSPEC", errno)
				}
			}
		}
		check("listen", unix.Listen(s.fd, 16))
		for _, o := range a {
			if o == "freed" {
				err := unix.SetsockoptString(s.fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "")
				if e := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 0); err == nil || e == nil {
					fmt.Print("freed ")
				}
			}
		}
		fmt.Println("ok", s.local())
		s.accept("unbound")
	case verb == "socket" && len(a) == 3:
		fd, err := unix.Socket(number(a[0]), number(a[1]), number(a[2]))
		check("socket", err)
		unix.Close(fd)
		fmt.Println("ok")
	case verb == "do" && len(a) > 0:
		steps(a)
	case verb == "many" && len(a) == 1:
		n := 0
		for ; n < number(a[0]); n++ {
			if _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
				fmt.Println(n, name(err))
				return
			}
		}
		fmt.Println(n, "ok")
		hold()
	case verb == "send" && len(a) == 3:
		s := open(a[1], a[2], nil)
		s.bind(a[2])
		sendFD(a[0], s.fd)
	case verb == "receive" && len(a) == 2:
		(&sock{fd: receiveFD(a[0])}).serve(a[1])
	case verb == "inherited" && len(a) == 2:
		(&sock{fd: number(a[0])}).serve(a[1])
	case verb == "uring":
		var params [120]byte
		_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
		if errno != 0 {
			check("io_uring_setup", errno)
		}
		fmt.Println("ok")
	case verb == "bpf":
		_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_GET_NEXT_ID, uintptr(unsafe.Pointer(&[4]uint32{})), 16)
		if errno != 0 {
			check("bpf", errno)
		}
		fmt.Println("ok")
	case verb == "without" && len(a) >= 2:
		without(a[0], a[1:])
	case verb == "netlink":
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)
		check("socket", err)
		unix.Close(fd)
		fmt.Println("ok")
	case verb == "ifconf":
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		check("socket", err)
		r, err := unix.NewIfreq("lo")
		check("ifreq", err)
		check("ioctl", unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r))
		fmt.Println("ok")
	case verb == "rate" && len(a) == 2:
		rate(a[0], a[1])
	case verb == "sink" && len(a) == 2:
		sink(a[0], a[1])
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: see the source")
	os.Exit(2)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check("number "+s, err)
	return n
}

func name(err error) string {
	if e, ok := err.(unix.Errno); ok {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

// check ends the program after a call that failed.
func check(call string, err error) {
	if err != nil {
		fmt.Println(call, name(err))
		os.Exit(3)
	}
}

func hold() {
	for {
		time.Sleep(time.Hour)
	}
}

// sock is a socket, and what was asked of it.
type sock struct {
	fd      int
	kind    string
	six     bool
	connect bool
	twice   bool
	silent  bool
	pktinfo netip.Addr
	fast    bool
	from    string
}

func open(kind, addr string, options []string) *sock {
	s := &sock{kind: kind, six: strings.HasPrefix(addr, "[")}
	family, typ, proto := unix.AF_INET, unix.SOCK_STREAM, 0
	if s.six {
		family = unix.AF_INET6
	}
	if kind == "udp" {
		typ = unix.SOCK_DGRAM
	}
	for _, o := range options {
		if o == "mptcp" {
			proto = unix.IPPROTO_MPTCP
		}
		if o == "six" { // an IPv6 socket for IPv4 addresses
			s.six, family = true, unix.AF_INET6
		}
	}
	var err error
	s.fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC, proto)
	check("socket", err)
	set := func(level, opt, v int) {
		check("setsockopt", unix.SetsockoptInt(s.fd, level, opt, v))
	}
	if kind == "tcp" {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "mptcp", "six":
		case "from":
			s.from = value
		case "device":
			check("setsockopt", unix.SetsockoptString(s.fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, value))
		case "ifindex":
			set(unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, number(value))
		case "freebind":
			set(unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		case "transparent":
			set(unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
		case "hdrincl":
			set(unix.IPPROTO_IP, unix.IP_HDRINCL, 1)
		case "v6only":
			set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		case "dual":
			set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		case "reuse":
			set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		case "connect":
			s.connect = true
		case "twice":
			s.twice = true
		case "silent":
			s.silent = true
		case "pktinfo":
			s.pktinfo = netip.MustParseAddr(value)
		case "fastopen":
			s.fast = true
		case "later":
			set(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
		default:
			usage()
		}
	}
	return s
}

func (s *sock) addr(text string) unix.Sockaddr {
	ap, err := netip.ParseAddrPort(text)
	check("address "+text, err)
	if s.six {
		sa := &unix.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}
		if zone := ap.Addr().Zone(); zone != "" {
			r, err := unix.NewIfreq(zone)
			check("interface "+zone, err)
			check("ioctl", unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, r))
			sa.ZoneId = r.Uint32()
		}
		return sa
	}
	return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
}

func show(sa unix.Sockaddr, err error) string {
	if err != nil {
		return name(err)
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	}
	return "?"
}

func ip(text string) string {
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		return text[:i]
	}
	return text
}

func (s *sock) local() string { return show(unix.Getsockname(s.fd)) }
func (s *sock) peer() string  { return show(unix.Getpeername(s.fd)) }

func (s *sock) bind(addr string) { check("bind", unix.Bind(s.fd, s.addr(addr))) }

// serve answers each connection or datagram with the server's name, the client's address and its own.
func (s *sock) serve(who string) {
	typ, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	check("getsockopt", err)
	if typ == unix.SOCK_STREAM {
		check("listen", unix.Listen(s.fd, 128))
		fmt.Println("ready", s.local())
		s.accept(who)
	}
	fmt.Println("ready", s.local())
	buf := make([]byte, 2048)
	for {
		_, from, err := unix.Recvfrom(s.fd, buf, 0)
		check("recvfrom", err)
		if err := unix.Sendto(s.fd, []byte(who+" from "+ip(show(from, nil))), 0, from); err != nil {
			fmt.Println("sendto", name(err))
		}
	}
}

func (s *sock) accept(who string) {
	for {
		fd, from, err := unix.Accept(s.fd)
		check("accept", err)
		c := &sock{fd: fd}
		_, _ = unix.Write(fd, []byte(who+" from "+ip(show(from, nil))+" at "+ip(c.local())+"\n"))
		unix.Close(fd)
	}
}

// get prints the answer of a server, and the addresses that the client sees.
func (s *sock) get(addr string) {
	if s.from != "" {
		s.bind(s.from)
	}
	_ = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3})
	_ = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 3})
	to := s.addr(addr)
	buf := make([]byte, 2048)
	if s.kind == "tcp" {
		if s.fast {
			check("sendto", unix.Sendto(s.fd, []byte("x"), unix.MSG_FASTOPEN, to))
		} else {
			check("connect", unix.Connect(s.fd, to))
		}
		seen := ", peer " + ip(s.peer()) + " local " + ip(s.local())
		n, err := unix.Read(s.fd, buf)
		check("read", err)
		fmt.Println(strings.TrimSpace(string(buf[:n])) + seen)
		return
	}
	for i := 0; i < 1 || s.twice && i < 2; i++ {
		seen := ""
		var control []byte
		if s.pktinfo.Is4() {
			control = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: s.pktinfo.As4()})
		} else if s.pktinfo.IsValid() {
			control = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: s.pktinfo.As16()})
		}
		dst := to
		if s.connect {
			check("connect", unix.Connect(s.fd, to))
			seen = ", peer " + ip(s.peer()) + " local " + ip(s.local())
			dst = nil
		}
		check("sendmsg", unix.Sendmsg(s.fd, []byte("x"), control, dst, 0))
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		check("recvfrom", err)
		fmt.Println(string(buf[:n]) + ", answer from " + show(from, nil) + seen)
	}
}

func sendFD(path string, fd int) {
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	check("socket", err)
	for range 100 {
		if err = unix.Connect(c, &unix.SockaddrUnix{Name: path}); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	check("connect", err)
	check("sendmsg", unix.Sendmsg(c, []byte("x"), unix.UnixRights(fd), nil, 0))
	fmt.Println("sent")
}

func receiveFD(path string) int {
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	check("socket", err)
	check("bind", unix.Bind(l, &unix.SockaddrUnix{Name: path}))
	check("listen", unix.Listen(l, 1))
	c, _, err := unix.Accept(l)
	check("accept", err)
	control := make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(c, make([]byte, 1), control, 0)
	check("recvmsg", err)
	msgs, err := unix.ParseSocketControlMessage(control[:n])
	check("control message", err)
	fds, err := unix.ParseUnixRights(&msgs[0])
	check("rights", err)
	return fds[0]
}
