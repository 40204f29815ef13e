package console

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// ConnectSocket connects to the stream socket at path (unix(7)), however long
// the path is. The descriptor is closed on exec.
func ConnectSocket(path string) (fd int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("connect to socket %s: %w", path, err)
		}
	}()
	name := path
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		file, err := open(path)
		if err != nil {
			return -1, err
		}
		defer unix.Close(file)
		name = "/proc/self/fd/" + strconv.Itoa(file)
	}
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	for {
		switch err = unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err {
		case nil:
			return fd, nil
		case unix.EINTR: // a blocking connect of this family can be repeated
		default:
			unix.Close(fd)
			return -1, err
		}
	}
}

func open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// SendFD sends a descriptor over a connected socket, in one message whose
// payload is a name for it (SCM_RIGHTS, unix(7)), as runc's receivers want it.
func SendFD(socket int, name string, fd int) error {
	rights := unix.UnixRights(fd)
	for {
		err := unix.Sendmsg(socket, []byte(name), rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// SendPidfd sends a container's pidfd to the socket at path (--pidfd-socket).
// The payload is runc's, whose word for the first process is "standard".
func SendPidfd(path string, pidfd int) error {
	socket, err := ConnectSocket(path)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := SendFD(socket, "standard", pidfd); err != nil {
		return fmt.Errorf("send the pidfd to socket %s: %w", path, err)
	}
	return nil
}
