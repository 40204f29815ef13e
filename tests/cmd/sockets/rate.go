package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pin keeps both ends of a measurement on one CPU: its rate is then that of the work they do together, and not of where the
// scheduler puts them.
func pin() {
	runtime.LockOSThread()
	var set unix.CPUSet
	check("sched_getaffinity", unix.SchedGetaffinity(0, &set))
	for i := 0; i < 1024; i++ {
		if set.IsSet(i) {
			set.Zero()
			set.Set(i)
			break
		}
	}
	check("sched_setaffinity", unix.SchedSetaffinity(0, &set))
}

// sink is the server of a measurement: it accepts and closes, sends datagrams back, or reads what comes.
func sink(kind, addr string) {
	pin()
	proto := "tcp"
	if kind == "udp" {
		proto = "udp"
	}
	s := open(proto, addr, nil)
	s.bind(addr)
	if kind == "udp" {
		fmt.Println("ready")
		buf := make([]byte, 64)
		for {
			n, from, err := unix.Recvfrom(s.fd, buf, 0)
			check("recvfrom", err)
			check("sendto", unix.Sendto(s.fd, buf[:n], 0, from))
		}
	}
	s.reset()
	check("listen", unix.Listen(s.fd, 1024))
	fmt.Println("ready")
	buf := make([]byte, 1<<18)
	for {
		fd, _, err := unix.Accept(s.fd)
		check("accept", err)
		for kind == "bulk" {
			if n, err := unix.Read(fd, buf); n <= 0 || err != nil {
				break
			}
		}
		unix.Close(fd)
	}
}

// reset has what the listener accepts be reset when it is closed: no TIME_WAIT, or the ports would run out. The client, who has
// not to close first, needs no call for it.
func (s *sock) reset() {
	check("setsockopt", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
}

// rate reads a number of milliseconds a line, works for so long, and prints operations (bulk: bytes) a second and the nanoseconds
// of CPU time that each took this end.
func rate(kind, addr string) {
	pin()
	work := client(kind, addr)
	work() // what is new the first time
	for {
		var ms int
		if _, err := fmt.Scan(&ms); err != nil {
			return
		}
		n, wall, cpu := 0, time.Duration(0), cpuTime()
		for begin := time.Now(); wall < time.Duration(ms)*time.Millisecond; wall = time.Since(begin) {
			n += work()
		}
		cpu = cpuTime() - cpu
		fmt.Printf("%.1f %.3f\n", float64(n)/wall.Seconds(), float64(cpu.Nanoseconds())/float64(n))
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	check("getrusage", unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// client gives what is measured, which tells how much of it it did.
func client(kind, addr string) func() int {
	switch kind {
	case "tcp": // socket, connect, accept, close
		to, buf := (&sock{}).addr(addr), make([]byte, 1)
		return func() int {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			check("socket", err)
			if err := unix.Connect(fd, to); err != unix.ECONNRESET { // which is the server's close, come early
				check("connect", err)
				_, _ = unix.Read(fd, buf) // the server has accepted and closed
			}
			unix.Close(fd)
			return 1
		}
	case "pair": // the same with both ends in one process: no switch between them
		l := open("tcp", addr, nil)
		to := l.addr(addr)
		check("bind", unix.Bind(l.fd, &unix.SockaddrInet4{Port: to.(*unix.SockaddrInet4).Port}))
		l.reset()
		check("listen", unix.Listen(l.fd, 16))
		return func() int {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			check("socket", err)
			check("connect", unix.Connect(fd, to))
			c, _, err := unix.Accept(l.fd)
			check("accept", err)
			unix.Close(c)
			unix.Close(fd)
			return 1
		}
	case "option": // setsockopt(2)
		s := open("tcp", addr, nil)
		return func() int {
			check("setsockopt", unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
			return 1
		}
	case "udp": // ping-pong
		s := open("udp", addr, nil)
		to, buf := s.addr(addr), make([]byte, 64)
		return func() int {
			check("sendto", unix.Sendto(s.fd, buf, 0, to))
			_, _, err := unix.Recvfrom(s.fd, buf, 0)
			check("recvfrom", err)
			return 1
		}
	case "bulk":
		s := open("tcp", addr, nil)
		check("connect", unix.Connect(s.fd, s.addr(addr)))
		buf := make([]byte, 1<<18)
		return func() int {
			n, err := unix.Write(s.fd, buf)
			check("write", err)
			return n
		}
	}
	usage()
	return nil
}
