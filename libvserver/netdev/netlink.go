package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// conn is a NETLINK_ROUTE socket. It belongs for good to the network namespace that it was made in.
type conn struct {
	fd  int
	seq uint32
	buf []byte
}

// bufferSize is what the kernel's messages are read into, in bytes. A device with many virtual functions has a long one.
const bufferSize = 64 << 10

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket(NETLINK_ROUTE)", err)
	}
	// The kernel's own words for a refusal, since Linux 4.12.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &conn{fd: fd, buf: make([]byte, bufferSize)}, nil
}

// dialIn is dial in another network namespace.
func dialIn(netns int) (c *conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: a thread that has entered a namespace is not given back
		if err = unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
			err = os.NewSyscallError("setns", err)
			return
		}
		c, err = dial()
	}()
	<-done
	return c, err
}

func (c *conn) close() { unix.Close(c.fd) }

// refusal is an error of the kernel with its explanation.
type refusal struct {
	errno unix.Errno
	why   string
}

func (r *refusal) Error() string {
	if r.why == "" {
		return r.errno.Error()
	}
	return r.errno.Error() + " (" + r.why + ")"
}

func (r *refusal) Unwrap() error { return r.errno }

// errInterrupted: what was listed changed meanwhile.
var errInterrupted = errors.New("the list changed while it was read")

// message is an answer without its header.
type message struct {
	kind uint16
	body []byte
}

// call sends a request and returns the answers to it. flags are added to NLM_F_REQUEST.
func (c *conn) call(kind, flags uint16, body []byte) ([]message, error) {
	c.seq++
	req := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	n := binary.NativeEndian
	n.PutUint32(req, uint32(unix.NLMSG_HDRLEN+len(body)))
	n.PutUint16(req[4:], kind)
	n.PutUint16(req[6:], unix.NLM_F_REQUEST|flags)
	n.PutUint32(req[8:], c.seq)
	if err := unix.Sendto(c.fd, append(req, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var got []message
	interrupted := false
	for {
		k, _, rflags, _, err := unix.Recvmsg(c.fd, c.buf, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case rflags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("a netlink message is longer than %d bytes", len(c.buf))
		}
		for b := c.buf[:k]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(n.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return nil, errors.New("a netlink message is cut short")
			}
			kind, flags, seq, data := n.Uint16(b[4:]), n.Uint16(b[6:]), n.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:size]
			b = b[min(align(size), len(b)):]
			if seq != c.seq {
				continue // to a request that was given up
			}
			interrupted = interrupted || flags&unix.NLM_F_DUMP_INTR != 0
			switch kind {
			case unix.NLMSG_ERROR:
				return got, acknowledged(data, flags)
			case unix.NLMSG_DONE:
				if interrupted {
					return nil, errInterrupted
				}
				return got, nil
			}
			got = append(got, message{kind, append([]byte(nil), data...)})
			if flags&unix.NLM_F_MULTI == 0 && !wantsAck(req) {
				return got, nil
			}
		}
	}
}

func wantsAck(req []byte) bool { return binary.NativeEndian.Uint16(req[6:])&unix.NLM_F_ACK != 0 }

// acknowledged reads an error message; number 0 is success.
func acknowledged(data []byte, flags uint16) error {
	if len(data) < 4 {
		return errors.New("a netlink acknowledgement is cut short")
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(data)))
	if errno == 0 {
		return nil
	}
	r := &refusal{errno: errno}
	// NETLINK_CAP_ACK leaves only the header of the request in the answer, before the attributes.
	const echoed = 4 + unix.NLMSG_HDRLEN
	if flags&unix.NLM_F_ACK_TLVS != 0 && flags&unix.NLM_F_CAPPED != 0 && len(data) > echoed {
		if why, ok := find(attributes(data[echoed:]), unix.NLMSGERR_ATTR_MSG); ok {
			r.why = text(why)
		}
	}
	return r
}

// attr is a struct rtattr with its payload.
type attr struct {
	kind uint16
	data []byte
}

// attributes takes a list of attributes apart; what is cut short is left out.
func attributes(b []byte) []attr {
	n := binary.NativeEndian
	var out []attr
	for len(b) >= unix.SizeofRtAttr {
		size := int(n.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		out = append(out, attr{n.Uint16(b[2:]) & nlaTypeMask, b[unix.SizeofRtAttr:size]})
		b = b[min(align(size), len(b)):]
	}
	return out
}

// nlaTypeMask takes NLA_F_NESTED and NLA_F_NET_BYTEORDER away (linux/netlink.h).
const nlaTypeMask = 0x3fff

func find(list []attr, kind uint16) ([]byte, bool) {
	for _, a := range list {
		if a.kind == kind {
			return a.data, true
		}
	}
	return nil, false
}

// appendAttr appends an attribute, padded.
func appendAttr(b []byte, kind uint16, data []byte) []byte {
	size := unix.SizeofRtAttr + len(data)
	b = binary.NativeEndian.AppendUint16(b, uint16(size))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, align(size)-size)...)
}

func appendUint32(b []byte, kind uint16, v uint32) []byte {
	return appendAttr(b, kind, binary.NativeEndian.AppendUint32(nil, v))
}

func appendText(b []byte, kind uint16, s string) []byte {
	return appendAttr(b, kind, append([]byte(s), 0))
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// text is a NUL-terminated string.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
