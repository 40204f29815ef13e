package netcontext

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/bpf"
	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/host"
)

// What is pinned for a network namespace, by NetnsPin: programs, which have its cookie in them, and the links that attach them.
const (
	LookupProgram = "lookup-prog"
	UDPProgram    = "udp-prog"
	EtherProgram  = "ether-prog" // the same, for interfaces whose packets begin with an Ethernet header
	lookupLink    = "lookup-link"
	udpLink       = "udp-link" // with the interface's index after the cookie
)

// NetnsPin is the path of what is pinned for a network namespace.
func NetnsPin(name string, cookie uint64) string {
	return pinned(name + "-" + strconv.FormatUint(cookie, 10))
}

func udpPin(cookie uint64, index uint32) string {
	return NetnsPin(udpLink, cookie) + "-" + strconv.FormatUint(uint64(index), 10)
}

// attachNetns attaches the lookup of listeners to the context's network namespace and, for a context of more than one
// address, the lookup of sockets for datagrams to lo and the interfaces with these addresses, where nobody has yet. A context
// of one address does without the latter: who asks for 0.0.0.0 is bound to all there is, and its own datagrams to 127.0.0.1
// find it.
func attachNetns(c *Context) error {
	udp := len(c.Net.Addresses) > 1
	lookup := unix.Access(NetnsPin(lookupLink, c.Netns), unix.F_OK) != nil
	if !lookup && !udp {
		return nil
	}
	return inNetns(c.NetnsPath, func() error {
		if lookup {
			ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return &os.PathError{Op: "open", Path: "/proc/thread-self/ns/net", Err: err}
			}
			defer unix.Close(ns)
			if err := attachLink(c.Netns, LookupProgram, NetnsPin(lookupLink, c.Netns), uint32(ns), unix.BPF_SK_LOOKUP); err != nil {
				return err
			}
		}
		if !udp {
			return nil
		}
		list, err := interfaces(c)
		if err != nil {
			return err
		}
		for _, i := range list {
			pin := udpPin(c.Netns, i)
			if unix.Access(pin, unix.F_OK) == nil {
				continue
			}
			program := UDPProgram
			if ether(i) {
				program = EtherProgram
			}
			if err := attachLink(c.Netns, program, pin, i, unix.BPF_TCX_INGRESS); err != nil {
				if host.TCX.Err() != nil {
					err = host.TCX.Err()
				}
				return fmt.Errorf("more than one address, and datagrams to all of them, on interface %d: %w", i, err)
			}
		}
		return nil
	})
}

// attachLink attaches a program of the network namespace, and pins what holds it.
func attachLink(cookie uint64, program, pin string, target, typ uint32) error {
	prog, err := bpf.Get(NetnsPin(program, cookie))
	if errors.Is(err, unix.ENOENT) {
		if _, err := helper.Run("net-netns", binary.NativeEndian.AppendUint64(nil, cookie)); err != nil {
			return fmt.Errorf("load the BPF programs of the network namespace: %w", err)
		}
		prog, err = bpf.Get(NetnsPin(program, cookie))
	}
	if err != nil {
		return err
	}
	defer unix.Close(prog)
	link, err := bpf.Link(prog, target, typ)
	if err != nil {
		return fmt.Errorf("attach %s: %w", program, err)
	}
	defer unix.Close(link)
	return bpf.Pin(link, pin)
}

// dropNetns takes the lookups from a network namespace where no context is left but one that goes, leaving (0 for none). The
// programs of the runtime's own namespace stay loaded for the next context.
func dropNetns(netns uint64, leaving uint32) error {
	if unix.Access(NetnsPin(lookupLink, netns), unix.F_OK) != nil && unix.Access(udpPin(netns, 1), unix.F_OK) != nil &&
		unix.Access(NetnsPin(LookupProgram, netns), unix.F_OK) != nil {
		return nil
	}
	left := false
	if err := eachEntry(func(e *Entry) bool {
		left = e.Netns == netns && e.NID != leaving
		return !left
	}); err != nil || left {
		return err
	}
	pins, err := os.ReadDir(pinned(""))
	if err != nil {
		return err
	}
	own, err := netnsCookie()
	if err != nil {
		return err
	}
	for _, p := range pins {
		pin := pinned(p.Name())
		switch n := len(NetnsPin(udpLink, netns)) + 1; {
		case pin == NetnsPin(lookupLink, netns), len(pin) > n && pin[:n] == NetnsPin(udpLink, netns)+"-":
		case own != netns && (pin == NetnsPin(LookupProgram, netns) || pin == NetnsPin(UDPProgram, netns) || pin == NetnsPin(EtherProgram, netns)):
		default:
			continue
		}
		if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
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

// ether tells that the packets of an interface begin with an Ethernet header (netdevice(7), SIOCGIFHWADDR). One of which
// that is not known is taken for another.
func ether(index uint32) bool {
	if index == 1 {
		return true // lo
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("")
	if err != nil {
		return false
	}
	r.SetUint32(index)
	return unix.IoctlIfreq(fd, unix.SIOCGIFNAME, r) == nil && unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, r) == nil && r.Uint16() == unix.ARPHRD_ETHER
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
