package console

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal tells if a descriptor is a terminal.
func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// rawMode returns the modes of a terminal that passes every byte of its input
// on as it comes, like cfmakeraw(3). Output processing stays: the container's
// newlines come without carriage returns (see clearONLCR), which this terminal
// is to add.
func rawMode(t unix.Termios) unix.Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag |= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return t
}

// clearONLCR keeps a container's terminal from turning \n into \r\n, which new
// ptys do: what a program writes arrives as it was written, in a file too.
func clearONLCR(master int) error {
	t, err := unix.IoctlGetTermios(master, unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("get the modes of the container's terminal", err)
	}
	t.Oflag &^= unix.ONLCR
	return os.NewSyscallError("set the modes of the container's terminal", unix.IoctlSetTermios(master, unix.TCSETS, t))
}

// foreground tells if this process may change a terminal's modes without being
// stopped by SIGTTOU: it is in the foreground there, or the terminal is not the
// one that controls it.
func foreground(fd int) bool {
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err != nil || pgrp == unix.Getpgrp()
}

// copySize gives a terminal the window size of another. A size that is not
// known (0 by 0, as on a serial line, or from is -1) is not copied.
func copySize(to, from int) {
	ws, err := unix.IoctlGetWinsize(from, unix.TIOCGWINSZ)
	if err == nil && (ws.Row != 0 || ws.Col != 0) {
		_ = unix.IoctlSetWinsize(to, unix.TIOCSWINSZ, ws) // the other side may be gone
	}
}

// openPeer opens the other end of a pty, wherever that is mounted (Linux 4.13).
// It returns -1 if it can't.
func openPeer(master int) int {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1
	}
	return int(fd)
}
