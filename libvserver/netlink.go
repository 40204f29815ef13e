package libvserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// netlink talks to rtnetlink(7) of one network namespace.
type netlink struct {
	fd  int
	seq uint32
}

// rtAttr is an attribute of a message.
type rtAttr struct {
	kind uint16
	data []byte
}

func dialNetlink() (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket(AF_NETLINK)", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1) // reasons in words, Linux 4.12
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind(AF_NETLINK)", err)
	}
	return &netlink{fd: fd}, nil
}

// dialNetlinkOf dials in the network namespace of the process of a pidfd. own is the runtime's namespace.
func dialNetlinkOf(pidfd, own int) (*netlink, error) {
	runtime.LockOSThread()
	if err := unix.Setns(pidfd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("setns", err)
	}
	nl, err := dialNetlink()
	if e := unix.Setns(own, unix.CLONE_NEWNET); e != nil {
		return nil, os.NewSyscallError("setns", e) // and the thread stays locked
	}
	runtime.UnlockOSThread()
	return nl, err
}

func (n *netlink) close() { unix.Close(n.fd) }

func roundUp(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// do sends a request: a fixed part and attributes. It gives the payload of every answer to each, and returns the kernel's
// error with its reason.
func (n *netlink) do(kind uint16, flags uint16, fixed []byte, attrs []rtAttr, each func(kind uint16, payload []byte)) error {
	n.seq++
	msg := make([]byte, unix.NLMSG_HDRLEN, 256)
	msg = append(msg, fixed...)
	for _, a := range attrs {
		msg = append(msg, make([]byte, roundUp(len(msg))-len(msg))...)
		msg = binary.NativeEndian.AppendUint16(msg, uint16(unix.SizeofRtAttr+len(a.data)))
		msg = binary.NativeEndian.AppendUint16(msg, a.kind)
		msg = append(msg, a.data...)
	}
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], kind)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	binary.NativeEndian.PutUint32(msg[8:], n.seq)
	if err := unix.Sendto(n.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto(AF_NETLINK)", err)
	}
	buf := make([]byte, 64<<10)
	for {
		got, _, err := unix.Recvfrom(n.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom(AF_NETLINK)", err)
		}
		for b := buf[:got]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return errors.New("rtnetlink: a message cut short")
			}
			what, payload := binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size]
			mine := binary.NativeEndian.Uint32(b[8:]) == n.seq
			capped := binary.NativeEndian.Uint16(b[6:])&unix.NLM_F_CAPPED != 0
			b = b[min(roundUp(size), len(b)):]
			switch {
			case !mine:
			case what == unix.NLMSG_ERROR || what == unix.NLMSG_DONE:
				return ackError(payload, what == unix.NLMSG_ERROR, capped)
			case each != nil:
				each(what, payload)
			}
		}
	}
}

// ackError reads struct nlmsgerr and the reason behind it.
func ackError(payload []byte, echoes, capped bool) error {
	if len(payload) < 4 {
		return nil
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(payload)))
	if errno == 0 {
		return nil
	}
	rest := payload[4:]
	if echoes && len(rest) >= unix.NLMSG_HDRLEN {
		skip := unix.NLMSG_HDRLEN
		if !capped {
			skip = roundUp(int(binary.NativeEndian.Uint32(rest)))
		}
		rest = rest[min(skip, len(rest)):]
		for _, a := range rtAttrs(rest) {
			if a.kind == unix.NLMSGERR_ATTR_MSG {
				return fmt.Errorf("%w (%s)", errno, strings.TrimRight(string(a.data), "\x00."))
			}
		}
	}
	return errno
}

// rtAttrs takes attributes apart.
func rtAttrs(b []byte) []rtAttr {
	var list []rtAttr
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		list = append(list, rtAttr{binary.NativeEndian.Uint16(b[2:]) &^ 0xc000, b[unix.SizeofRtAttr:size]})
		b = b[min(roundUp(size), len(b)):]
	}
	return list
}

func rtString(s string) []byte { return append([]byte(s), 0) }

func rtUint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
