//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Probe runs inside a container under test and tells what it finds there:
//
//	probe                      all facts, as one JSON object
//	probe NAME...              only these facts
//	probe trap                 print "ready", then the name of each signal; TERM ends it with 40, QUIT with 41
//	probe syscall NR [ARG...]  make a system call and print its result
//	probe thread NR            the same on two threads, one after the other
//	probe alloc MIB            allocate and touch memory
//	probe hold MIB FILE        hold memory; count in FILE, a line a step, and look at all of the memory at every step
//	probe lock FILE PROGRAM... run a program with a lock on a file
//	probe echo PORT            send every line back that comes on a TCP connection, with its number
//	probe datagrams PATH       send numbers to a Unix socket, a datagram each
//	probe notify TEXT [stay]   send TEXT to $NOTIFY_SOCKET, and stay
//	probe write FD TEXT        write TEXT to a file descriptor
//	probe fixture DIR [N]      make a tree of files; N is added to owners
//	probe exercise DIR SEED N  do N things to such a tree, and print what comes of each
//	probe pages FILE...        how many pages of each file are in the page cache, of how many
//	probe leavequota FILE      try what takes a file out of its project quota
//	probe xattr NAME PATH...   an extended attribute of files
//	probe keys                 the description of the session keyring, and its label
//
// The two Go debug settings keep Go's runtime from opening cgroup files,
// which would show up among the file descriptors.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	fds := openFDs() // before anything else opens one
	args := os.Args[1:]
	if len(args) > 0 {
		if f, ok := actions[args[0]]; ok {
			if err := f(args[1:]); err != nil {
				fmt.Fprintln(os.Stderr, "probe:", err)
				os.Exit(1)
			}
			return
		}
	}
	all := facts()
	all["fds"] = func() any { return fds }
	out := map[string]any{}
	if len(args) == 0 {
		for name, f := range all {
			out[name] = f()
		}
	}
	for _, name := range args {
		f, ok := all[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "probe: unknown fact or action %q\n", name)
			os.Exit(2)
		}
		out[name] = f()
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

var actions = map[string]func([]string) error{
	"trap":       trap,
	"syscall":    rawSyscall,
	"thread":     threadSyscall,
	"alloc":      alloc,
	"hold":       hold,
	"lock":       lock,
	"echo":       echo,
	"datagrams":  datagrams,
	"notify":     notify,
	"write":      write,
	"xattr":      xattr,
	"keys":       keys,
	"fixture":    fixture,
	"exercise":   exercise,
	"pages":      pages,
	"leavequota": leaveQuota,
}

func trap([]string) error {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch)
	fmt.Println("ready")
	for s := range ch {
		sig := s.(syscall.Signal)
		if sig == syscall.SIGURG || sig == syscall.SIGCHLD {
			continue // Go's own preemption
		}
		fmt.Println("got", unix.SignalName(sig))
		switch sig {
		case syscall.SIGTERM:
			os.Exit(40)
		case syscall.SIGQUIT:
			os.Exit(41)
		}
	}
	return nil
}

func numbers(args []string) ([]uintptr, error) {
	var n []uintptr
	for _, a := range args {
		v, err := strconv.ParseInt(a, 0, 64)
		if err != nil {
			return nil, err
		}
		n = append(n, uintptr(v))
	}
	if len(n) == 0 {
		return nil, fmt.Errorf("no system call number")
	}
	for len(n) < 7 {
		n = append(n, 0)
	}
	return n, nil
}

func call(n []uintptr) {
	r, _, errno := syscall.Syscall6(n[0], n[1], n[2], n[3], n[4], n[5], n[6])
	if errno != 0 {
		fmt.Println("errno", unix.ErrnoName(errno))
		return
	}
	fmt.Println("ret", int(r))
}

func xattr(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want NAME and PATHs")
	}
	for _, p := range args[1:] {
		buf := make([]byte, 256)
		n, err := unix.Getxattr(p, args[0], buf)
		if err != nil {
			return fmt.Errorf("getxattr %s: %w", p, err)
		}
		fmt.Println(p, strings.TrimRight(string(buf[:n]), "\x00"))
	}
	return nil
}

func rawSyscall(args []string) error {
	n, err := numbers(args)
	if err == nil {
		call(n)
	}
	return err
}

func threadSyscall(args []string) error {
	n, err := numbers(args)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	call(n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // a thread of its own: the first one is taken
		call(n)
	}()
	<-done
	return nil
}

func alloc(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want a number of MiB")
	}
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var keep [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		keep = append(keep, b)
	}
	fmt.Println("allocated", len(keep), "MiB")
	return nil
}

func notify(args []string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return fmt.Errorf("NOTIFY_SOCKET is not set")
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	stay := len(args) > 1 && args[len(args)-1] == "stay"
	if stay {
		args = args[:len(args)-1]
	}
	if _, err = c.Write([]byte(strings.Join(args, "\n"))); err != nil {
		return err
	}
	fmt.Println("sent")
	for stay {
		time.Sleep(time.Hour)
	}
	return nil
}

func write(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want FD TEXT")
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(args[1]+"\n"))
	return err
}

func keys([]string) error {
	id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	if err != nil {
		return fmt.Errorf("session keyring: %w", err)
	}
	s, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id)
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	fmt.Println(s)
	label := make([]byte, 256) // of SELinux, where that is
	if n, err := unix.KeyctlBuffer(unix.KEYCTL_GET_SECURITY, id, label, 0); err == nil && n > 1 && n <= len(label) {
		fmt.Println("label", string(label[:n-1]))
	}
	return nil
}
