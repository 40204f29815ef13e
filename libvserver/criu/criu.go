// Package criu runs CRIU (criu.org), which checkpoints and restores processes. It starts `criu swrk`, whose messages
// vsrun-helper translates (packages proto and job), and hands on what CRIU asks for on the way.
//
//	vsrun ──proto──▶ vsrun-helper criu ──protocol buffers──▶ criu swrk
//	  └───────────────── parent of both, and of restored processes
//
// CRIU is vsrun's child, not the helper's: it makes the first restored process a sibling of its own, inherits
// descriptors by number, and opens others through the /proc/PID/fd of the process that made its socket.
//
// The package knows what CRIU is told, and nothing of containers; libvserver decides that. go-criu and its protocol
// buffers must not come in here: vsrun links this package.
package criu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/helper"
)

// FirstExtra is the number that CRIU has the first of the extra descriptors under: after the standard streams and its
// socket.
const FirstExtra = 4

// Options say how CRIU is started.
type Options struct {
	// Path of the executable.
	Path string
	// Stdio are its standard streams, -1 for /dev/null.
	Stdio [3]int
	// Extra are further descriptors that it gets, from FirstExtra on.
	Extra []int
	// OwnGroup makes it a process group of its own, out of reach of the terminal's Ctrl-C: killed half-way, it would leave
	// a container that hangs.
	OwnGroup bool
}

// Session is a CRIU that waits for what to do. It carries out one dump or restore.
type Session struct {
	// PID is CRIU's process.
	PID     int
	waited  bool
	control int
	job     *helper.Job
	buf     []byte
}

// Start starts CRIU and the helper that talks to it. It forks from the calling thread, whose mount namespace CRIU is in.
func Start(o *Options) (s *Session, err error) {
	var open []int
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	pair := func() (a, b int, err error) {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return -1, -1, os.NewSyscallError("socketpair", err)
		}
		open = append(open, p[1])
		return p[0], p[1], nil
	}
	client, server, err := pair()
	if err != nil {
		return nil, err
	}
	open = append(open, client)
	control, far, err := pair()
	if err != nil {
		return nil, err
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(control)
		return nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	open = append(open, null)

	files := make([]uintptr, 0, FirstExtra+len(o.Extra))
	for _, fd := range o.Stdio {
		if fd < 0 {
			fd = null
		}
		files = append(files, uintptr(fd))
	}
	files = append(files, uintptr(server))
	for _, fd := range o.Extra {
		files = append(files, uintptr(fd))
	}
	pid, err := syscall.ForkExec(o.Path, []string{"criu", "swrk", "3"}, &syscall.ProcAttr{
		Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Setpgid: o.OwnGroup},
	})
	if err != nil {
		unix.Close(control)
		return nil, fmt.Errorf("start %s: %w", o.Path, err)
	}
	s = &Session{PID: pid, control: control}
	if s.job, err = helper.Start("criu", far, client); err != nil {
		for _, fd := range open { // the end that CRIU waits for
			unix.Close(fd)
		}
		open = nil
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// Failure is CRIU's refusal.
type Failure struct {
	Type    string // what it was at, in CRIU's words: DUMP, RESTORE, NOTIFY; "" if it died
	Errno   int
	Message string
}

func (f *Failure) Error() string {
	s := "criu failed"
	if f.Type != "" {
		s += ": type " + f.Type + " errno " + strconv.Itoa(f.Errno)
	}
	if f.Message != "" {
		s += ": " + f.Message
	}
	return s
}

// Notification is something that CRIU has done or is about to do, and waits for leave to go on.
type Notification struct {
	// Script is its name, as criu(8) lists them for --action-script.
	Script string
	// PID is the first process, as the runtime's pid namespace numbers it, where the notification is about it.
	PID int
	// FD came with it, else it is -1. It is closed when the function that is told returns.
	FD int
}

// Version asks for CRIU's version: major*10000 + minor*100 + sublevel.
func (s *Session) Version() (int, error) {
	e, err := s.Do(&proto.Request{Kind: proto.Version}, nil)
	if err != nil {
		return 0, err
	}
	return e.Version, nil
}

// Missing returns those of the features that CRIU, or the kernel, does not have.
func (s *Session) Missing(features ...string) ([]string, error) {
	e, err := s.Do(&proto.Request{Kind: proto.Features, Features: features}, nil)
	if err != nil {
		return nil, err
	}
	return e.Missing, nil
}

// Do has CRIU do something and returns its last word. notify is called for every notification; its error makes CRIU give
// up, and is then the error of Do. A *Failure is CRIU's own.
func (s *Session) Do(q *proto.Request, notify func(*Notification) error) (*proto.Event, error) {
	b := q.Encode()
	if len(b) > proto.MaxMessage {
		return nil, fmt.Errorf("the request to CRIU is longer than %d bytes: too many mounts", proto.MaxMessage)
	}
	if err := s.send(b); err != nil {
		return nil, s.lost(err)
	}
	var refused error
	for {
		e, fd, err := s.receive()
		if err != nil {
			return nil, s.lost(err)
		}
		switch e.Kind {
		case proto.Done:
			closeFD(fd)
			return e, refused
		case proto.Failed:
			closeFD(fd)
			if refused != nil {
				return nil, refused
			}
			return nil, &Failure{Type: e.Type, Errno: e.Errno, Message: strings.TrimSpace(e.Message)}
		case proto.Notify:
			if refused == nil && notify != nil {
				refused = notify(&Notification{Script: e.Script, PID: e.PID, FD: fd})
			}
			closeFD(fd)
			if err := s.send(proto.Reply(refused == nil)); err != nil {
				return nil, s.lost(err)
			}
		}
	}
}

// lost words the end of the helper.
func (s *Session) lost(err error) error {
	if s.job != nil {
		unix.Close(s.control)
		s.control = -1
		e := s.job.Wait()
		s.job = nil
		if e != nil {
			return e
		}
	}
	return fmt.Errorf("talk to %s: %w", helper.Name, err)
}

// Close ends the session and waits for CRIU. The error says how CRIU ended if it did not end well, which after a dump or
// restore that was answered means that something went wrong all the same.
func (s *Session) Close() error {
	if s.control >= 0 {
		unix.Close(s.control)
		s.control = -1
	}
	if s.job != nil {
		if err := s.job.Wait(); err != nil {
			return errors.Join(err, s.wait())
		}
		s.job = nil
	}
	return s.wait()
}

func (s *Session) wait() error {
	if s.waited {
		return nil
	}
	s.waited = true
	var st unix.WaitStatus
	for {
		_, err := unix.Wait4(s.PID, &st, 0, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("wait4", err)
		case st.Signaled():
			return fmt.Errorf("criu was killed by %s", unix.SignalName(st.Signal()))
		case st.ExitStatus() != 0:
			return fmt.Errorf("criu exited with status %d", st.ExitStatus())
		}
		return nil
	}
}

func (s *Session) send(b []byte) error {
	for {
		err := unix.Sendmsg(s.control, b, nil, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

func (s *Session) receive() (*proto.Event, int, error) {
	if s.buf == nil {
		s.buf = make([]byte, proto.MaxMessage)
	}
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(s.control, s.buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			err = errors.New("it is gone")
		}
		if err != nil {
			return nil, -1, err
		}
		fd := -1
		if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) == 1 {
			if fds, err := unix.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
				fd = fds[0]
			}
		}
		// The event's strings share the buffer.
		e, err := proto.DecodeEvent(bytes.Clone(s.buf[:n]))
		if err != nil {
			closeFD(fd)
			return nil, -1, err
		}
		return e, fd, nil
	}
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
