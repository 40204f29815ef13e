package harness

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// OpenPTY opens a pair of pseudo-terminal ends.
func OpenPTY() (master, slave *os.File, err error) {
	// Non-blocking, so that a read ends when the file is closed.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("/dev/ptmx: %w", err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		unix.Close(fd)
		return nil, nil, fmt.Errorf("/dev/ptmx: %w", err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "ptmx"), slave, nil
}

// Talk is a conversation over a terminal: everything that came is kept, and
// a script of lines says what to wait for and what to send.
type Talk struct {
	tty  *os.File
	mu   sync.Mutex
	seen bytes.Buffer
	done bool
	from int // where the next expect starts to look
}

// NewTalk starts to read from the master end of a terminal.
func NewTalk(tty *os.File) *Talk {
	t := &Talk{tty: tty}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			t.mu.Lock()
			t.seen.Write(buf[:n])
			t.done = err != nil
			t.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return t
}

// Seen returns all that was received so far.
func (t *Talk) Seen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen.String()
}

// Play runs a script, one order a line, each within a minute:
//
//	expect REGEXP   wait until it matches what came after the last match
//	send TEXT       write TEXT, with Go's escapes (\n, \x03)
//	resize ROWS COLS
//	eof             wait until the other side is closed
func (t *Talk) Play(script string) error {
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		var err error
		switch verb {
		case "", "#":
		case "expect":
			err = t.expect(rest)
		case "send":
			var text string
			if text, err = strconv.Unquote(`"` + rest + `"`); err == nil {
				_, err = io.WriteString(t.tty, text)
			}
		case "resize":
			var ws unix.Winsize
			if _, err = fmt.Sscan(rest, &ws.Row, &ws.Col); err == nil {
				err = t.ioctl(func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &ws) })
			}
		case "eof":
			if !Poll(time.Minute, func() bool { t.mu.Lock(); defer t.mu.Unlock(); return t.done }) {
				err = fmt.Errorf("the other side stays open")
			}
		default:
			err = fmt.Errorf("unknown order")
		}
		if err != nil {
			return fmt.Errorf("%s: %w; the terminal showed %q", line, err, t.Seen())
		}
	}
	return nil
}

func (t *Talk) ioctl(f func(fd int) error) error {
	c, err := t.tty.SyscallConn()
	if err != nil {
		return err
	}
	var ierr error
	if err := c.Control(func(fd uintptr) { ierr = f(int(fd)) }); err != nil {
		return err
	}
	return ierr
}

func (t *Talk) expect(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	ok := Poll(time.Minute, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		m := re.FindIndex(t.seen.Bytes()[t.from:])
		if m == nil {
			return false
		}
		t.from += m[1]
		return true
	})
	if !ok {
		return fmt.Errorf("no match within a minute")
	}
	return nil
}

// Received is a file descriptor that came over a socket.
type Received struct {
	File *os.File
	Data string // the bytes it came with
	Err  error
}

// ListenFD listens on a stream socket at path and sends the first file
// descriptor that arrives, as a console socket's or a pidfd socket's owner
// would.
func ListenFD(path string) (<-chan Received, io.Closer, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	ch := make(chan Received, 1)
	go func() {
		r := Received{}
		r.File, r.Data, r.Err = receiveFD(l)
		ch <- r
	}()
	return ch, l, nil
}

func receiveFD(l *net.UnixListener) (*os.File, string, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*8))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, "", err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, "", err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil || len(fds) == 0 {
			continue
		}
		if len(fds) != 1 {
			return nil, "", fmt.Errorf("%d file descriptors came, want one", len(fds))
		}
		unix.CloseOnExec(fds[0])
		_ = unix.SetNonblock(fds[0], true)
		return os.NewFile(uintptr(fds[0]), "received"), string(buf[:n]), nil
	}
	return nil, "", fmt.Errorf("no file descriptor came with %q", buf[:n])
}
