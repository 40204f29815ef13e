package faults

import (
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// terminals is the far side of --console-socket: it keeps what it is sent
// until hangUp.
type terminals struct {
	path string
	mu   sync.Mutex
	held []*os.File
}

func listenTerminals(t *testing.T, path string) *terminals {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ts := &terminals{path: path}
	t.Cleanup(ts.hangUp)
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go ts.take(c)
		}
	}()
	return ts
}

func (ts *terminals) take(c *net.UnixConn) {
	defer c.Close()
	var b, oob [256]byte
	for {
		n, oobn, _, _, err := c.ReadMsgUnix(b[:], oob[:])
		if err != nil || n == 0 {
			return
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			continue
		}
		for i := range msgs {
			fds, err := unix.ParseUnixRights(&msgs[i])
			if err != nil {
				continue
			}
			ts.mu.Lock()
			for _, fd := range fds {
				ts.held = append(ts.held, os.NewFile(uintptr(fd), "terminal"))
			}
			ts.mu.Unlock()
		}
	}
}

func (ts *terminals) hangUp() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, f := range ts.held {
		f.Close()
	}
	ts.held = nil
}

// notifyName is the abstract socket of a service manager that listens and does nothing.
const notifyName = "vsrun-faults-notify"

func listenNotify(t *testing.T) {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + notifyName, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		var b [4096]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
		}
	}()
}
