package console

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// relay starts a relay, with a descriptor of its own.
func relay(t *testing.T, master, in, out, errs *os.File) *Relay {
	t.Helper()
	fd, err := unix.Dup(int(master.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(fd, in, out, errs); err != nil {
		t.Fatal(err)
	}
	r, err := start(fd, in, out, errs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// makeProgramRaw lets a test read each byte that a container's program would get.
func makeProgramRaw(t *testing.T, slave *os.File) {
	t.Helper()
	m := modes(t, slave)
	m.Iflag &^= unix.ICRNL
	m.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, &m); err != nil {
		t.Fatal(err)
	}
}

func TestTerminal(t *testing.T) {
	user, tty, _ := openPTY(t)
	master, slave, _ := openPTY(t)
	makeProgramRaw(t, slave)
	before := modes(t, tty)
	r := relay(t, master, tty, tty, tty)

	during := modes(t, tty)
	if during.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("the caller's terminal is not raw: lflag %#o", during.Lflag)
	}
	write(t, user, "x\r\x03\x04")
	expect(t, slave, "x\r\x03\x04")
	write(t, slave, "one\ntwo")
	expect(t, user, "one\r\ntwo") // the caller's terminal adds \r

	within(t, "close", func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if after := modes(t, tty); after != before {
		t.Errorf("the terminal's modes have changed: %+v, were %+v", after, before)
	}
	if err := r.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// TestNotTerminal: in a pipeline the caller's terminal keeps its modes, and
// output is not touched.
func TestNotTerminal(t *testing.T) {
	_, tty, _ := openPTY(t)
	master, slave, _ := openPTY(t)
	in, _ := pipe(t)
	seen, out := pipe(t)
	before := modes(t, tty)
	r := relay(t, master, in, out, tty)
	if during := modes(t, tty); during != before {
		t.Errorf("modes have changed")
	}
	write(t, slave, "one\ntwo\n")
	expect(t, seen, "one\ntwo\n")
	within(t, "close", func() { r.Close() })
}

func TestWindowSize(t *testing.T) {
	user, tty, _ := openPTY(t)
	master, slave, _ := openPTY(t)
	resize := func(rows, columns uint16) {
		if err := unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(rows, columns uint16) {
		t.Helper()
		var ws *unix.Winsize
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			var err error
			if ws, err = unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ); err != nil {
				t.Fatal(err)
			}
			if ws.Row == rows && ws.Col == columns {
				return
			}
		}
		t.Errorf("size is %d by %d, want %d by %d", ws.Row, ws.Col, rows, columns)
	}
	resize(33, 77)
	in, _ := pipe(t)
	_, out := pipe(t)
	relay(t, master, in, out, tty) // standard error serves
	check(33, 77)
	resize(44, 88)
	if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	check(44, 88)
}

// TestUnknownSize: a size given by the config is not overwritten by none.
func TestUnknownSize(t *testing.T) {
	_, tty, _ := openPTY(t)
	master, slave, _ := openPTY(t)
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 5, Col: 6}); err != nil {
		t.Fatal(err)
	}
	relay(t, master, tty, tty, tty)
	ws, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Row != 5 || ws.Col != 6 {
		t.Errorf("size is %+v, %v", ws, err)
	}
}

// TestContinue: after SIGCONT the terminal is made raw again.
func TestContinue(t *testing.T) {
	_, tty, _ := openPTY(t)
	master, _, _ := openPTY(t)
	cooked := modes(t, tty)
	relay(t, master, tty, tty, tty)
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &cooked); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); modes(t, tty).Lflag&unix.ICANON != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still not raw")
		}
	}
}

// TestReopen: programs may close the terminal and open it again.
func TestReopen(t *testing.T) {
	master, slave, path := openPTY(t)
	in, _ := pipe(t)
	seen, out := pipe(t)
	relay(t, master, in, out, out)
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		write(t, slave, line)
		slave.Close()
		expect(t, seen, line)
		time.Sleep(10 * time.Millisecond) // until the reader has met EIO
		slave = openSlave(t, path)
	}
}

// TestCloseDrains: what was written before Close arrives, though a process that
// lives on has the terminal open and writes.
func TestCloseDrains(t *testing.T) {
	for range 20 {
		master, slave, _ := openPTY(t)
		in, _ := pipe(t)
		seen, out := pipe(t)
		r := relay(t, master, in, out, out)
		want := strings.Repeat("line\n", 700) // less than a pty and a pipe hold
		write(t, slave, want)
		within(t, "close", func() { r.Close() })
		out.Close()
		got, err := io.ReadAll(seen)
		if err != nil || string(got) != want {
			t.Fatalf("got %d bytes, want %d; %v", len(got), len(want), err)
		}
	}
}

func TestCloseEnds(t *testing.T) {
	master, slave, _ := openPTY(t)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	in, _ := pipe(t)
	r := relay(t, master, in, null, null)
	stop := make(chan struct{})
	go func() {
		for chatter := bytes.Repeat([]byte("y\n"), 1024); ; {
			select {
			case <-stop:
				return
			default:
				if _, err := slave.Write(chatter); err != nil {
					return
				}
			}
		}
	}()
	time.Sleep(5 * time.Millisecond)
	within(t, "close", func() { r.Close() })
	close(stop)
	_ = unix.IoctlSetInt(int(master.Fd()), unix.TCFLSH, unix.TCIOFLUSH) // let the writer go
}

// TestInputEnds: the end of a pipe or a file is one to the container's programs,
// to each of them.
func TestInputEnds(t *testing.T) {
	for _, input := range []string{"line\n", "no newline", ""} {
		master, slave, _ := openPTY(t)
		in, feed := pipe(t)
		_, out := pipe(t)
		relay(t, master, in, out, out)
		write(t, feed, input)
		feed.Close()
		for _, want := range []string{input, ""} {
			var got []byte
			within(t, "read to the end", func() {
				var err error
				if got, err = io.ReadAll(slave); err != nil {
					t.Error(err)
				}
			})
			if string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
}

// TestInputEndsLate: a shell that switches to reading single keys after the input
// has come, which makes the kernel forget an end that is pending, still sees it.
func TestInputEndsLate(t *testing.T) {
	master, slave, _ := openPTY(t)
	in, feed := pipe(t)
	_, out := pipe(t)
	relay(t, master, in, out, out)
	write(t, feed, "line\n")
	feed.Close()
	time.Sleep(50 * time.Millisecond)
	makeProgramRaw(t, slave)
	expect(t, slave, "line\n\x04")
}

// TestBothWays: much input and much output at once do not block each other.
func TestBothWays(t *testing.T) {
	const size = 1 << 20
	master, slave, _ := openPTY(t)
	makeProgramRaw(t, slave)
	in, feed := pipe(t)
	seen, out := pipe(t)
	relay(t, master, in, out, out)
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	go func() { _, _ = feed.Write(data) }()
	go func() { _, _ = io.CopyN(slave, slave, size) }() // an echo
	got := make([]byte, size)
	within(t, "read the echo", func() {
		if _, err := io.ReadFull(seen, got); err != nil {
			t.Error(err)
		}
	})
	if !bytes.Equal(got, data) {
		t.Error("the echo differs")
	}
}

// TestOutputBroken: the program does not hang when the caller reads no more, and
// the runtime learns of it.
func TestOutputBroken(t *testing.T) {
	master, slave, _ := openPTY(t)
	in, _ := pipe(t)
	seen, out := pipe(t)
	r := relay(t, master, in, out, out)
	seen.Close()
	within(t, "write much", func() {
		for range 100 {
			if _, err := slave.WriteString(strings.Repeat("much\n", 1000)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var err error
	within(t, "close", func() { err = r.Close() })
	if err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("got %v", err)
	}
}

func TestNoTerminal(t *testing.T) {
	in, out := pipe(t)
	if err := prepare(int(in.Fd()), in, out, out); err == nil {
		t.Error("a pipe was taken for a terminal")
	}
}
