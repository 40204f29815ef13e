package launch

import (
	"errors"
	"io"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// Event is what the child says: it waits at a stage.
type Event struct {
	Stage plan.Stage
	// Value is the number of a descriptor in the child, where the stage has one.
	Value int
	// FD is a descriptor that came with the message (the pty's master), -1 if none.
	FD int
}

// Running stands for a process that was started otherwise and says nothing.
func Running(pid, pidfd int) *Process { return &Process{PID: pid, PIDFD: pidfd, reports: -1} }

// Next waits for the child's next word: a stage, a StepError, or io.EOF when its program runs or it is dead.
func (p *Process) Next() (Event, error) {
	m, fd, err := receive(p.reports)
	if err == nil && m.Kind == kindForked {
		if err = p.forked(int(m.Value)); err == nil {
			err = p.Continue("")
		}
		if err == nil {
			m, fd, err = receive(p.reports)
		}
	}
	if err != nil {
		return Event{FD: -1}, err
	}
	if m.Kind == kindFailed {
		return Event{FD: -1}, p.prog.failure(m)
	}
	return Event{Stage: plan.Stage(m.Kind - kindStage), Value: int(m.Value), FD: fd}, nil
}

// Continue lets the child go on from a stage, with what the stage is there to fetch.
func (p *Process) Continue(answer string) error {
	b := make([]byte, len(answer)+1) // a byte at least: nothing would be the end
	copy(b, answer)
	return os.NewSyscallError("write", write(p.reports, b))
}

// Close ends the conversation; a child that still waits for an answer exits.
func (p *Process) Close() error {
	if p.reports < 0 {
		return nil
	}
	err := unix.Close(p.reports)
	p.reports = -1
	return err
}

func write(fd int, b []byte) error {
	for {
		_, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

func receive(fd int) (message, int, error) {
	var m message
	b := unsafe.Slice((*byte)(unsafe.Pointer(&m)), messageSize)
	var oob [32]byte
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, b, oob[:], unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET:
			return m, -1, io.EOF
		case err != nil:
			return m, -1, os.NewSyscallError("recvmsg", err)
		case n == 0:
			return m, -1, io.EOF
		case n != messageSize:
			return m, -1, errors.New("a message of " + strconv.Itoa(n) + " bytes from the container's process")
		}
		if fault.On {
			faulted(&m)
		}
		got := -1
		if oobn > 0 {
			if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) == 1 {
				if fds, err := unix.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
					got = fds[0]
				}
			}
		}
		return m, got, nil
	}
}

// StepError is a step that failed in the child.
type StepError struct {
	Origin string // the place in config.json
	Step   string // what was to be done
	Call   string // the system call, with its object
	Errno  unix.Errno
	kind   stepKind
	hint   string
}

// stepKind tells the steps apart whose errors have words of their own.
type stepKind byte

const (
	stepOther stepKind = iota
	stepLookPath
	stepExec
)

func (e *StepError) Error() string {
	switch e.kind {
	case stepLookPath:
		switch e.Call {
		case notInPath:
			return "exec: " + e.Step + ": " + notInPath
		case isDirectory:
			return "exec: " + e.Step + ": " + isDirectory + ": " + e.Errno.Error()
		}
		return "exec: " + e.Step + ": " + e.Errno.Error()
	case stepExec:
		return "exec " + e.Step + ": " + e.Errno.Error()
	}
	s := e.Step + ": "
	if e.Origin != "" && e.Origin != string(plan.Default) {
		s = e.Origin + ": " + s
	}
	if e.Call != "" {
		s += e.Call + ": "
	}
	s += e.Errno.Error()
	if e.hint != "" {
		s += " (" + e.hint + ")"
	}
	return s
}

// hint says what an error of a step commonly means.
func hint(s plan.Step, in *insn, errno unix.Errno) string {
	if in.op != opCall {
		return ""
	}
	switch in.nr {
	case unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETGROUPS:
		switch {
		case errno == unix.EINVAL:
			return "an id that the user namespace does not map"
		case errno == unix.EPERM && in.nr == unix.SYS_SETGROUPS:
			return "the user namespace denies setgroups(2), as one does whose gid map was written without privileges"
		}
	case unix.SYS_FSMOUNT:
		if m, ok := s.(plan.Mount); ok && errno == unix.EPERM && (m.Type == "proc" || m.Type == "sysfs") {
			return "parts of the runtime's own " + m.Type + " are covered by mounts, as in a container with masked paths: then no whole one may be made"
		}
	}
	return ""
}

func (e *StepError) Unwrap() error { return e.Errno }

// failure finds the words for a failed instruction.
func (p *Program) failure(m message) error {
	if int(m.Insn) >= len(p.code) {
		return errors.New("the container's process failed at an instruction that is not there")
	}
	return p.describe(int(m.Insn), unix.Errno(m.Errno))
}

func (p *Program) describe(pc int, errno unix.Errno) *StepError {
	in := &p.code[pc]
	e := &StepError{Errno: errno, Call: p.what[pc], Step: "prepare the process", Origin: string(plan.Default)}
	if in.step < 0 {
		return e
	}
	s := p.steps[in.step]
	e.Origin, e.Step, e.hint = s.At(), s.String(), hint(s, in, errno)
	switch s := s.(type) {
	case plan.LookPath:
		e.kind, e.Step = stepLookPath, strconv.Quote(s.Name)
		return e
	case plan.Exec:
		if in.op == opCall && in.nr == unix.SYS_EXECVE {
			e.kind, e.Step = stepExec, strconv.Quote(s.Args[0])
			return e
		}
	case plan.Scheduler:
		e.Call += realTimeHint(s, errno)
	case plan.Mount:
		if in.op == opCall && in.nr == unix.SYS_MOVE_MOUNT && errno == unix.EINVAL {
			// mount(2) says ENOTDIR for it, and Docker explains that to its user.
			e.Errno, e.hint = unix.ENOTDIR, "a directory cannot cover a file, nor a file a directory"
		}
	}
	if name := callName(in); e.Call == "" {
		e.Call = name
	} else if in.op == opCall && len(e.Call) > 0 && !hasPrefix(e.Call, name) {
		e.Call = name + ": " + e.Call
	}
	return e
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

// Late are the instructions that run after `start` has let the process go. The container's state keeps their words, as
// start is another process than the one that compiled them.
func (p *Program) Late() []LateStep {
	var out []LateStep
	late := false
	for pc := range p.code {
		in := &p.code[pc]
		if in.op == opReady {
			late = true
			continue
		}
		if late && (in.op == opCall || in.op == opBound || in.op == opFail || in.op == opAwait) {
			e := p.describe(pc, 0)
			out = append(out, LateStep{Insn: pc, Kind: byte(e.kind), Origin: e.Origin, Step: e.Step, Call: e.Call})
		}
	}
	return out
}

// LateStep describes one such instruction.
type LateStep struct {
	Insn   int
	Kind   byte
	Origin string
	Step   string
	Call   string
}

// Program of a launched process.
func (p *Process) Program() *Program { return p.prog }

// Attach is the side of `start`: a process that was launched by another run of vsrun, reached over its socket.
func Attach(conn int, late []LateStep) *Started { return &Started{conn, late} }

// Started is a process that has been let go by start.
type Started struct {
	conn int
	late []LateStep
}

// Release lets the process go on.
func (s *Started) Release() error { return os.NewSyscallError("write", write(s.conn, []byte{1})) }

// Next is Process.Next for a released process.
func (s *Started) Next() (Event, error) {
	m, fd, err := receive(s.conn)
	if err != nil {
		return Event{FD: -1}, err
	}
	if m.Kind != kindFailed {
		return Event{Stage: plan.Stage(m.Kind - kindStage), Value: int(m.Value), FD: fd}, nil
	}
	for _, l := range s.late {
		if l.Insn == int(m.Insn) {
			return Event{FD: -1}, &StepError{Origin: l.Origin, Step: l.Step, Call: l.Call, Errno: unix.Errno(m.Errno), kind: stepKind(l.Kind)}
		}
	}
	return Event{FD: -1}, &StepError{Step: "start the process", Errno: unix.Errno(m.Errno)}
}

// Continue lets it go on from a stage.
func (s *Started) Continue() error { return os.NewSyscallError("write", write(s.conn, []byte{1})) }

// Close closes the connection.
func (s *Started) Close() error { return unix.Close(s.conn) }
