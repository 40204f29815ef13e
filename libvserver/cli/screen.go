package cli

import (
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

const (
	clearScreen = "\x1b[H\x1b[2J"
	// The alternate screen, and the cursor out of the way; and back.
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// screen is a terminal that shows one thing alone and hands over each key as it is pressed.
type screen struct {
	out     *os.File
	keys    chan string // what one read gave; closed at the end of the input
	signals chan os.Signal
	saved   *unix.Termios // modes of standard input to go back to, nil if it is no terminal
}

// openScreen takes a terminal over until close.
func openScreen(out *os.File) (*screen, error) {
	s := &screen{out: out, keys: make(chan string), signals: make(chan os.Signal, 8)}
	// Ends of all kinds come here first, so that the terminal is left as it was found.
	signal.Notify(s.signals, unix.SIGWINCH, unix.SIGCONT, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	if t, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		s.saved = t
		if err := s.raw(); err != nil {
			return nil, err
		}
		go s.read()
	}
	_, err := out.WriteString(enterScreen)
	return s, err
}

// raw has keys come one by one and unseen. Signals of the keyboard stay.
func (s *screen) raw() error {
	t := *s.saved
	t.Lflag &^= unix.ECHO | unix.ICANON
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(0, unix.TCSETS, &t); err != nil {
		return fmt.Errorf("set the modes of the terminal: %w", err)
	}
	return nil
}

func (s *screen) read() {
	defer close(s.keys)
	var buf [64]byte
	for {
		n, err := unix.Read(0, buf[:])
		switch {
		case err == unix.EINTR:
		case err != nil || n <= 0:
			return
		default:
			s.keys <- string(buf[:n])
		}
	}
}

// resumed puts everything back after a stop by job control.
func (s *screen) resumed() error {
	if s.saved != nil {
		if err := s.raw(); err != nil {
			return err
		}
	}
	_, err := s.out.WriteString(enterScreen)
	return err
}

// size returns rows and columns; a terminal that does not know is taken for the classic one.
func (s *screen) size() (rows, columns int) {
	ws, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Row == 0 || ws.Col == 0 {
		return 24, 80
	}
	return int(ws.Row), int(ws.Col)
}

// close gives the terminal back.
func (s *screen) close() {
	_, _ = s.out.WriteString(leaveScreen)
	if s.saved != nil {
		_ = unix.IoctlSetTermios(0, unix.TCSETS, s.saved)
	}
	signal.Stop(s.signals)
}
