package libvserver

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// startSocket is the socket in a container's directory on which its process waits for `start`. It is there as long as
// the container is created and not started. A socket rather than a FIFO: the process can tell a `start` that was killed
// half-way from one that means it, and `start` a process that is gone from one that waits; neither holds a descriptor
// of a host directory to open it by.
const startSocket = "start.sock"

// addressAt names a file in an open directory in the 108 bytes that a socket's address has (unix(7)).
func addressAt(dirfd int) *unix.SockaddrUnix {
	return &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dirfd) + "/" + startSocket}
}

func listenStart(dirfd int) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, addressAt(dirfd)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", startSocket, err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", startSocket, err)
	}
	return fd, nil
}

func connectStart(dirfd int) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for {
		err := unix.Connect(fd, addressAt(dirfd))
		switch err {
		case nil:
			return fd, nil
		case unix.EINTR:
			continue
		}
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", startSocket, err)
	}
}
