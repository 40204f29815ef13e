package main

import (
	"fmt"
	"os"
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

// rate prints operations, or bytes, a second, and the nanoseconds of CPU time that each took the client.
func rate(kind, addr string, ms int) {
	pin()
	end := time.Duration(ms) * time.Millisecond
	begin := time.Now()
	n := 0
	switch kind {
	case "tcp": // socket, connect, accept, close
		for time.Since(begin) < end {
			s := open("tcp", addr, nil)
			// No TIME_WAIT: the ports would run out.
			check("setsockopt", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			check("connect", unix.Connect(s.fd, s.addr(addr)))
			_, _ = unix.Read(s.fd, make([]byte, 1)) // the server has accepted and closed
			unix.Close(s.fd)
			n++
		}
	case "pair": // the same with both ends in one process: no switch between them
		l := open("tcp", addr, nil)
		l.bind(addr)
		check("listen", unix.Listen(l.fd, 16))
		to := l.addr(addr)
		for time.Since(begin) < end {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			check("socket", err)
			check("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			check("connect", unix.Connect(fd, to))
			c, _, err := unix.Accept(l.fd)
			check("accept", err)
			unix.Close(fd)
			unix.Close(c)
			n++
		}
	case "udp": // ping-pong
		s := open("udp", addr, nil)
		to := s.addr(addr)
		buf := make([]byte, 64)
		for time.Since(begin) < end {
			check("sendto", unix.Sendto(s.fd, buf, 0, to))
			_, _, err := unix.Recvfrom(s.fd, buf, 0)
			check("recvfrom", err)
			n++
		}
	case "bulk":
		s := open("tcp", addr, nil)
		check("connect", unix.Connect(s.fd, s.addr(addr)))
		buf := make([]byte, 1<<18)
		for time.Since(begin) < end {
			m, err := unix.Write(s.fd, buf)
			check("write", err)
			n += m
		}
	default:
		usage()
	}
	wall := time.Since(begin)
	var u unix.Rusage
	check("getrusage", unix.Getrusage(unix.RUSAGE_SELF, &u))
	cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	fmt.Fprintf(os.Stdout, "%.0f %.3f\n", float64(n)/wall.Seconds(), float64(cpu.Nanoseconds())/float64(n))
}
