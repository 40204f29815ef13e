package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// hold fills memory with numbers that say where they are, and fails when one is not what it was.
func hold(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want MIB FILE")
	}
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	mem := make([]uint64, mib<<20/8)
	for i := range mem {
		mem[i] = uint64(i) * 0x9e3779b97f4a7c15
	}
	for step := 1; ; step++ {
		for i := range mem {
			if mem[i] != uint64(i)*0x9e3779b97f4a7c15 {
				return fmt.Errorf("step %d: word %d is %#x", step, i, mem[i])
			}
		}
		f, err := os.OpenFile(args[1], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, step)
		f.Close()
		if err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// datagrams counts on a socket that it is connected to.
func datagrams(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want PATH")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0) // not Go's poller: CRIU takes fewer things for a container's then
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: args[0]}); err != nil {
		return err
	}
	for n := 1; ; n++ {
		if _, err := unix.Write(fd, []byte(strconv.Itoa(n))); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lock runs a program with a lock (flock(2)) on a file that it inherits.
func lock(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want FILE PROGRAM [ARG...]")
	}
	fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_CREAT, 0o666)
	if err != nil {
		return err
	}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return err
	}
	return unix.Exec(args[1], args[1:], os.Environ())
}

// echo serves connections until it is killed.
func echo(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want PORT")
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // CRIU knows TCP alone
	l, err := plain.Listen(context.Background(), "tcp4", "127.0.0.1:"+args[0])
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			s := bufio.NewScanner(c)
			for n := 1; s.Scan(); n++ {
				if _, err := fmt.Fprintln(c, n, s.Text()); err != nil {
					return
				}
			}
		}()
	}
}
