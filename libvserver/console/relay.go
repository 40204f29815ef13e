package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Relay copies between the caller's standard streams and a container's
// terminal.
//
// If standard input is a terminal, it is in raw mode meanwhile, so that what is
// typed (Ctrl-C too) acts in the container. If it is not, as in a pipeline, the
// caller's terminal keeps its modes: Ctrl-C is then a signal to the runtime.
// The size of the container's window follows that of the caller's, which is the
// first terminal of standard error, output and input, else /dev/tty.
//
// The relay listens to SIGWINCH and SIGCONT by itself. In the background it does
// not touch the caller's terminal but for output, so that it can be a shell's
// job without being stopped, or, where SIGTTIN and SIGTTOU are caught, without
// trying for ever.
type Relay struct {
	master *os.File
	out    *os.File
	window int  // the caller's terminal, or -1
	devTTY bool // it had to be opened

	mu    sync.Mutex // for what follows
	raw   int        // the terminal that is in raw mode, or -1
	saved unix.Termios

	signals chan os.Signal
	copied  chan struct{} // closed when the output is no longer copied
	closing sync.Once
	err     error
}

// Prepare sets up the container's terminal, whose master end is master, for a
// relay: modes and window size. It is to be called before the container's
// program runs, which would see them change otherwise, or undo it.
func Prepare(master int) error { return prepare(master, os.Stdin, os.Stdout, os.Stderr) }

func prepare(master int, in, out, errs *os.File) error {
	if err := clearONLCR(master); err != nil {
		return err
	}
	window, devTTY := findWindow(errs, out, in)
	copySize(master, window)
	if devTTY {
		unix.Close(window)
	}
	return nil
}

// Start starts to relay; Close comes after the program has ended. It prepares
// the terminal too. master is the relay's from now on, also if there is an error.
func Start(master int) (*Relay, error) { return start(master, os.Stdin, os.Stdout, os.Stderr) }

func start(master int, in, out, errs *os.File) (*Relay, error) {
	err := prepare(master, in, out, errs)
	if err == nil {
		// So that a read can be ended.
		err = os.NewSyscallError("the container's terminal: fcntl", unix.SetNonblock(master, true))
	}
	if err != nil {
		unix.Close(master)
		return nil, err
	}
	r := &Relay{
		master: os.NewFile(uintptr(master), "the container's terminal"), out: out, raw: -1,
		signals: make(chan os.Signal, 1), copied: make(chan struct{}),
	}
	r.window, r.devTTY = findWindow(errs, out, in)
	if err = r.makeRaw(descriptor(in)); err != nil {
		r.closeFiles()
		return nil, err
	}
	// Unless SIGPIPE is asked for, Go ends the program when it writes to a
	// standard output that is closed.
	signal.Notify(r.signals, unix.SIGWINCH, unix.SIGCONT, unix.SIGPIPE)
	r.resize() // it may have changed before this listened
	go r.follow()
	go r.copyOutput()
	go r.copyInput(in)
	return r, nil
}

// descriptor returns a file's descriptor; File.Fd would make it blocking, for
// whoever shares it too.
func descriptor(f *os.File) (fd int) {
	fd = -1
	control(f, func(p int) { fd = p })
	return fd
}

// control calls f with a file's descriptor, which stays open meanwhile, or not
// at all if it is closed.
func control(file *os.File, f func(fd int)) {
	if c, err := file.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// findWindow finds the terminal whose size the container's is to have; -1 if
// there is none. devTTY says that it was opened for that.
func findWindow(files ...*os.File) (fd int, devTTY bool) {
	for _, f := range files {
		if fd := descriptor(f); isTerminal(fd) {
			return fd, false
		}
	}
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	return fd, err == nil
}

// makeRaw puts standard input in raw mode, if it is a terminal.
func (r *Relay) makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil // a pipe, a file
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw, r.saved = fd, *t
	return r.setModes(rawMode(*t))
}

// setModes sets the modes of standard input, unless it is another job's now.
func (r *Relay) setModes(t unix.Termios) error {
	if r.raw < 0 || !foreground(r.raw) {
		return nil
	}
	return os.NewSyscallError("set the modes of the terminal at standard input", unix.IoctlSetTermios(r.raw, unix.TCSETS, &t))
}

func (r *Relay) resize() {
	control(r.master, func(fd int) { copySize(fd, r.window) })
}

func (r *Relay) remakeRaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.setModes(rawMode(r.saved))
}

// follow adapts to what happens to the caller's terminal.
func (r *Relay) follow() {
	for s := range r.signals {
		if s == unix.SIGCONT {
			r.remakeRaw() // the shell has had the terminal in between
		}
		r.resize()
	}
}

// copyInput copies what comes from the caller until it ends. It may outlive the
// relay, waiting for input.
func (r *Relay) copyInput(in *os.File) {
	buf := make([]byte, 4096)
	last := byte('\n')
	for {
		r.awaitForeground()
		n, err := in.Read(buf)
		if n > 0 {
			last = buf[n-1]
			if _, werr := r.master.Write(buf[:n]); errors.Is(werr, os.ErrClosed) {
				return
			}
		}
		if err == io.EOF {
			r.endInput(last)
		}
		if err != nil {
			return
		}
	}
}

// awaitForeground waits until standard input may be read, if it is a terminal.
// No signal tells a job that runs on in the background of its return.
func (r *Relay) awaitForeground() {
	waited := false
	for {
		r.mu.Lock()
		ok := r.raw < 0 || foreground(r.raw)
		r.mu.Unlock()
		if ok {
			break
		}
		waited = true
		time.Sleep(100 * time.Millisecond)
	}
	if waited {
		r.remakeRaw()
		r.resize()
	}
}

// endInput tells the container's programs that there is no more input, as a
// user at a terminal would: by Ctrl-D. It counts only when what came before has
// been read, and, as the end of a file does, for each program that reads on. A
// program that reads single keys may take it for anything, so those get few.
func (r *Relay) endInput(last byte) {
	peer := -1
	control(r.master, func(fd int) { peer = openPeer(fd) })
	if peer < 0 {
		return
	}
	defer unix.Close(peer)
	const longest = time.Second
	for keys, pause := 0, 10*time.Millisecond; keys < 5; pause = min(2*pause, longest) {
		fds := []unix.PollFd{{Fd: int32(peer), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return
		}
		if n == 0 && err == nil { // all has been read
			t, err := unix.IoctlGetTermios(peer, unix.TCGETS)
			if err != nil || t.Cc[unix.VEOF] == 0 {
				return
			}
			eof := []byte{t.Cc[unix.VEOF]}
			if t.Lflag&unix.ICANON == 0 {
				keys++
			} else if last != '\n' {
				eof = append(eof, eof[0]) // the first one pushes the unfinished line
			}
			last = '\n'
			if _, err := r.master.Write(eof); err != nil {
				return
			}
		}
		time.Sleep(pause)
	}
}

// copyOutput copies what the container's programs write until Close.
//
// Reading gives EIO while no one has the terminal open. That is not the end: a
// program may open it again, as service managers open /dev/console for each
// line. The poller is edge-triggered and wakes on the next byte.
func (r *Relay) copyOutput() {
	defer close(r.copied)
	c, err := r.master.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 32<<10)
	for {
		var n int
		if err := c.Read(func(fd uintptr) bool {
			var err error
			n, err = read(int(fd), buf)
			return err != unix.EIO && err != unix.EAGAIN
		}); err != nil || n <= 0 {
			return // the deadline that Close sets
		}
		r.write(buf[:n])
	}
}

func read(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// write writes to the caller. When that fails, the container's program is not to
// hang because of it: the rest goes nowhere.
func (r *Relay) write(b []byte) {
	if r.err != nil {
		return
	}
	if _, err := r.out.Write(b); err != nil {
		r.err = fmt.Errorf("write the container's output: %w", err)
	}
}

// Close ends the relay: it copies what has been written so far, whether or not
// some process still has the container's terminal open, and restores the
// caller's. The error is that of writing to standard output. Further calls do
// nothing.
func (r *Relay) Close() error {
	if r == nil {
		return nil
	}
	r.closing.Do(func() {
		_ = r.master.SetReadDeadline(time.Unix(1, 0))
		<-r.copied
		r.drain()
		signal.Stop(r.signals)
		close(r.signals)
		r.mu.Lock()
		_ = r.setModes(r.saved)
		r.raw = -1
		r.mu.Unlock()
		r.closeFiles()
	})
	return r.err
}

func (r *Relay) closeFiles() {
	r.master.Close()
	if r.devTTY {
		unix.Close(r.window)
	}
}

// drain copies what is there to be read. The kernel lets a read see all that
// was written before it; what a process that lives on writes now has no end, so
// there is a limit, which is more than a pty holds (64 KiB).
func (r *Relay) drain() {
	control(r.master, func(fd int) {
		buf := make([]byte, 32<<10)
		for total := 0; total < 256<<10; {
			n, err := read(fd, buf)
			if err != nil || n <= 0 {
				return
			}
			r.write(buf[:n])
			total += n
		}
	})
}
