package netcontext

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/host"
)

// AttachRequest is what the helper's jobs net-attach and net-udp are told.
type AttachRequest struct {
	Netns      uint64 // cookie
	Path       string // of the network namespace
	Interfaces []uint32
}

func (q *AttachRequest) append(b []byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, q.Netns)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(q.Interfaces)))
	for _, i := range q.Interfaces {
		b = binary.NativeEndian.AppendUint32(b, i)
	}
	return append(b, q.Path...)
}

// ParseAttachRequest reads a request.
func ParseAttachRequest(b []byte) (*AttachRequest, error) {
	if len(b) < 12 {
		return nil, errors.New("message is cut short")
	}
	q := &AttachRequest{Netns: binary.NativeEndian.Uint64(b)}
	n := binary.NativeEndian.Uint32(b[8:])
	if b = b[12:]; uint64(len(b)) < 4*uint64(n) {
		return nil, errors.New("message is cut short")
	}
	for ; n > 0; n-- {
		q.Interfaces = append(q.Interfaces, binary.NativeEndian.Uint32(b))
		b = b[4:]
	}
	q.Path = string(b)
	return q, nil
}

// UDPPin is where the link of an interface's lookup of sockets for datagrams is pinned.
func UDPPin(cookie uint64, index uint32) string {
	return pinned("udp-" + strconv.FormatUint(cookie, 10) + "-" + strconv.FormatUint(uint64(index), 10))
}

// attachUDP has the lookup of sockets for datagrams attached to lo and the interfaces that have the context's addresses, where
// nobody has yet. A context of one address needs none: who asks for 0.0.0.0 is bound to all there is, and its own datagrams
// to 127.0.0.1 find it.
func (r *register) attachUDP(c *Context) error {
	if len(c.Net.Addresses) == 1 {
		return nil
	}
	if err := host.TCX.Err(); err != nil {
		return at(fmt.Errorf("with more than one address, datagrams to all of them: %w (net.single-ip=true, or one address, does without)", err))
	}
	var q AttachRequest
	if err := inNetns(c.NetnsPath, func() error {
		list, err := interfaces(c)
		q.Interfaces = list
		return err
	}); err != nil {
		return at(err)
	}
	missing := q.Interfaces[:0]
	for _, i := range q.Interfaces {
		if unix.Access(UDPPin(c.Netns, i), unix.F_OK) != nil {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	q = AttachRequest{Netns: c.Netns, Path: c.netnsPath(), Interfaces: missing}
	if _, err := helper.Run("net-udp", q.append(nil)); err != nil {
		return at(fmt.Errorf("network namespace %s: %w", q.Path, err))
	}
	return nil
}

// interfaces are lo and those that have addresses of the context, by index (rtnetlink(7), RTM_GETADDR).
func interfaces(c *Context) ([]uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	defer unix.Close(fd)
	request := struct {
		unix.NlMsghdr
		unix.IfAddrmsg
	}{NlMsghdr: unix.NlMsghdr{Type: unix.RTM_GETADDR, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP}}
	request.Len = uint32(unsafe.Sizeof(request))
	if err := unix.Sendto(fd, (*[unsafe.Sizeof(request)]byte)(unsafe.Pointer(&request))[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("RTM_GETADDR: %w", err)
	}
	list := []uint32{1} // lo
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("RTM_GETADDR: %w", err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			h := (*unix.NlMsghdr)(unsafe.Pointer(&b[0]))
			if h.Len < unix.SizeofNlMsghdr || int(h.Len) > len(b) {
				return nil, errors.New("RTM_GETADDR: bad answer")
			}
			switch h.Type {
			case unix.NLMSG_DONE:
				return list, nil
			case unix.NLMSG_ERROR:
				return nil, errors.New("RTM_GETADDR: refused")
			case unix.RTM_NEWADDR:
				if index, ok := ofContext(c, b[unix.SizeofNlMsghdr:h.Len]); ok {
					list = addIndex(list, index)
				}
			}
			b = b[min(len(b), int(h.Len+3)&^3):]
		}
	}
}

func addIndex(list []uint32, index uint32) []uint32 {
	for _, i := range list {
		if i == index {
			return list
		}
	}
	return append(list, index)
}

// ofContext reads a message of an address, and tells if it is one of the context's.
func ofContext(c *Context, b []byte) (index uint32, yes bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return 0, false
	}
	index = (*unix.IfAddrmsg)(unsafe.Pointer(&b[0])).Index
	for b = b[unix.SizeofIfAddrmsg:]; len(b) >= unix.SizeofRtAttr; {
		a := (*unix.RtAttr)(unsafe.Pointer(&b[0]))
		if a.Len < unix.SizeofRtAttr || int(a.Len) > len(b) {
			return 0, false
		}
		var addr [16]byte
		switch v := b[unix.SizeofRtAttr:a.Len]; {
		case a.Type != unix.IFA_ADDRESS && a.Type != unix.IFA_LOCAL:
		case len(v) == 4:
			addr[10], addr[11] = 0xff, 0xff
			copy(addr[12:], v)
		case len(v) == 16:
			copy(addr[:], v)
		}
		for i := range c.Net.Addresses {
			if c.Net.Addresses[i].Addr == addr {
				return index, true
			}
		}
		b = b[min(len(b), int(a.Len+3)&^3):]
	}
	return 0, false
}
