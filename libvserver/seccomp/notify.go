package seccomp

import (
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ProcessState makes the container process state that SendListener sends
// (runtime-spec, config-linux.md, "The Container Process State"). pid
// is the process as the runtime sees it; state is the container's state
// document (runtime-spec, runtime.md, "State"), already JSON.
func ProcessState(ociVersion string, pid int, metadata string, state []byte) []byte {
	b := make([]byte, 0, len(state)+len(metadata)+128)
	b = append(b, `{"ociVersion":`...)
	b = appendString(b, ociVersion)
	b = append(b, `,"fds":["`+specs.SeccompFdName+`"],"pid":`...)
	b = strconv.AppendInt(b, int64(pid), 10)
	if metadata != "" {
		b = append(b, `,"metadata":`...)
		b = appendString(b, metadata)
	}
	b = append(b, `,"state":`...)
	b = append(b, state...)
	return append(b, '}')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = append(b, string(r)...) // what is not UTF-8 becomes U+FFFD
		}
	}
	return append(b, '"')
}

// SendListener sends a container process state and the seccomp notification
// descriptor fd (SCM_RIGHTS) to the listener on the AF_UNIX stream socket at
// path (linux.seccomp.listenerPath), then closes the connection. It waits as
// long as the listener lets it.
func SendListener(path string, stateJSON []byte, fd int) error {
	if err := sendListener(path, stateJSON, fd); err != nil {
		return fmt.Errorf("linux.seccomp.listenerPath: send the seccomp descriptor to %s: %w", path, err)
	}
	return nil
}

func sendListener(path string, stateJSON []byte, fd int) error {
	if len(stateJSON) == 0 {
		return unix.EINVAL // descriptors travel with at least one byte
	}
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(sock)
	if err := connect(sock, path); err != nil {
		return err
	}
	// The descriptor goes with the first message only; a stream may take the
	// text in several.
	rights := unix.UnixRights(fd)
	for len(stateJSON) > 0 {
		n, err := unix.SendmsgN(sock, stateJSON, rights, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("sendmsg", err)
		}
		stateJSON, rights = stateJSON[n:], nil
	}
	return nil
}

// connect connects to a path of any length.
func connect(sock int, path string) error {
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("open", err)
		}
		defer unix.Close(fd)
		path = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	for {
		err := unix.Connect(sock, &unix.SockaddrUnix{Name: path})
		if err != unix.EINTR {
			return os.NewSyscallError("connect", err)
		}
	}
}
