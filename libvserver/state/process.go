package state

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone is the error of a process that has ended, be it a zombie yet. Its
// text, which engines look for, is "os: process already finished".
var ErrGone = os.ErrProcessDone

// procStat is what proc_pid_stat(5) says of a process.
type procStat struct {
	state  byte   // field 3: R, S, D, T, Z, X, ...
	ending bool   // field 9: PF_EXITING
	start  uint64 // field 22: clock ticks since boot
}

// gone reports whether the process has ended.
func (s procStat) gone() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

// readStat reads /proc/PID/stat. The error is ErrGone if there is no such process.
func readStat(pid int) (procStat, error) {
	var path [32]byte
	p := append(path[:0], "/proc/"...)
	p = strconv.AppendInt(p, int64(pid), 10)
	p = append(p, "/stat"...)
	fd, err := unix.Open(string(p), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == unix.EINTR {
		fd, err = unix.Open(string(p), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		if err == unix.ENOENT || err == unix.ESRCH {
			return procStat{}, ErrGone
		}
		return procStat{}, fmt.Errorf("open %s: %w", p, err)
	}
	var buf [1024]byte
	n, err := unix.Read(fd, buf[:])
	unix.Close(fd)
	if err != nil {
		if err == unix.ESRCH {
			return procStat{}, ErrGone
		}
		return procStat{}, fmt.Errorf("read %s: %w", p, err)
	}
	st, ok := parseStat(buf[:n])
	if !ok {
		return procStat{}, fmt.Errorf("read %s: cannot make sense of %q", p, buf[:n])
	}
	return st, nil
}

// parseStat reads fields 3, 9 and 22. Field 2, the name, may hold anything, so
// counting begins at the last parenthesis.
func parseStat(b []byte) (st procStat, ok bool) {
	i := len(b) - 1
	for i >= 0 && b[i] != ')' {
		i--
	}
	if i < 0 || i+2 >= len(b) {
		return st, false
	}
	b = b[i+2:]
	st.state = b[0]
	for field := 3; len(b) > 0; field++ {
		n := 0
		for n < len(b) && b[n] != ' ' && b[n] != '\n' {
			n++
		}
		switch field {
		case 9:
			const exiting = 0x4 // PF_EXITING of include/linux/sched.h
			v, err := strconv.ParseUint(string(b[:n]), 10, 64)
			if err != nil {
				return st, false
			}
			st.ending = v&exiting != 0
		case 22:
			v, err := strconv.ParseUint(string(b[:n]), 10, 64)
			st.start = v
			return st, err == nil
		}
		b = b[min(n+1, len(b)):]
	}
	return st, false
}

// StartTime returns when a process started, in clock ticks since boot: the
// value for Record.InitStart. The error is ErrGone if there is none.
func StartTime(pid int) (uint64, error) {
	st, err := readStat(pid)
	return st.start, err
}

// Alive reports whether the process pid that started at start still runs.
// Where that can't be found out (no descriptor left, no memory) it is taken to
// run: what has to go on may then fail, but nobody takes it for dead.
func Alive(pid int, start uint64) bool {
	alive, err := alive(pid, start)
	return alive || err != nil
}

func alive(pid int, start uint64) (bool, error) {
	if pid <= 0 {
		return false, nil
	}
	st, err := readStat(pid)
	if err == ErrGone {
		return false, nil
	}
	return err == nil && !st.gone() && st.start == start, err
}

// Process is a hold on one process, which a later process of the same pid can't
// be mistaken for.
type Process struct {
	pid   int
	start uint64
	fd    int // pidfd, or -1 on kernels before 5.3
}

// OpenProcess opens the process pid that started at start. The error is ErrGone
// if it has ended.
func OpenProcess(pid int, start uint64) (*Process, error) {
	if pid <= 0 {
		return nil, ErrGone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
	case unix.ESRCH:
		return nil, ErrGone
	case unix.ENOSYS, unix.EPERM: // EPERM: forbidden by a seccomp filter
		fd = -1
	default:
		return nil, fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	// Now that it is held, see that it is the right one.
	if ok, err := alive(pid, start); !ok {
		if fd >= 0 {
			unix.Close(fd)
		}
		if err == nil {
			err = ErrGone
		}
		return nil, err
	}
	return &Process{pid, start, fd}, nil
}

// Open opens the container's first process. The error is ErrGone if it has ended.
func (r *Record) Open() (*Process, error) { return OpenProcess(r.InitPid, r.InitStart) }

// Pid returns the process id.
func (p *Process) Pid() int { return p.pid }

// FD returns the pidfd, or -1 on kernels before 5.3.
func (p *Process) FD() int { return p.fd }

// Signal sends a signal; 0 sends none and tests if one could be sent. The error
// is ErrGone if the process has ended and been waited for.
func (p *Process) Signal(sig unix.Signal) error {
	var err error
	if p.fd >= 0 {
		err = unix.PidfdSendSignal(p.fd, sig, nil, 0)
	} else if err = unix.ESRCH; Alive(p.pid, p.start) {
		err = unix.Kill(p.pid, sig)
	}
	switch err {
	case nil:
		return nil
	case unix.ESRCH:
		return ErrGone
	default:
		return fmt.Errorf("send signal %d to process %d: %w", int(sig), p.pid, err)
	}
}

// Ending reports whether the process has ended, or is on its way there: it gives up its namespaces, and kills those of its
// pid namespace and waits for them, before Wait sees that it has ended.
func (p *Process) Ending() bool {
	st, err := readStat(p.pid)
	return err == ErrGone || err == nil && (st.start != p.start || st.ending || st.gone())
}

// Wait waits until the process has ended, its parent need not have waited for
// it; for as long as timeout, for ever if that is negative. It reports whether
// the process has ended.
func (p *Process) Wait(timeout time.Duration) bool {
	end := time.Now().Add(timeout)
	fd := p.fd
	for {
		left := -1
		if timeout >= 0 {
			left = int(max(0, time.Until(end)+time.Millisecond-1) / time.Millisecond)
		}
		if fd < 0 {
			if !Alive(p.pid, p.start) {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		} else {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, left)
			if n > 0 {
				return true
			}
			if err != nil && err != unix.EINTR {
				fd = -1 // then it is looked at
			}
		}
		if timeout >= 0 && !time.Now().Before(end) {
			return !Alive(p.pid, p.start)
		}
	}
}

// Close gives the hold up.
func (p *Process) Close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
}
