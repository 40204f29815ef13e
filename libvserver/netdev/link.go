package netdev

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// link is a network device.
type link struct {
	index uint32
	name  string
	flags uint32 // IFF_*
}

// link looks for a device by name. It is unix.ENODEV if there is none.
func (c *conn) link(name string) (link, error) {
	got, err := c.call(unix.RTM_GETLINK, 0, appendText(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_IFNAME, name))
	if err != nil {
		return link{}, err
	}
	for _, m := range got {
		if m.kind == unix.RTM_NEWLINK && len(m.body) >= unix.SizeofIfInfomsg {
			n := binary.NativeEndian
			l := link{index: n.Uint32(m.body[4:]), flags: n.Uint32(m.body[8:]), name: name}
			// The name may have been an alternative one.
			if own, ok := find(attributes(m.body[unix.SizeofIfInfomsg:]), unix.IFLA_IFNAME); ok {
				l.name = text(own)
			}
			return l, nil
		}
	}
	return link{}, errors.New("no answer to RTM_GETLINK")
}

// taken tells if a device has that name.
func (c *conn) taken(name string) (bool, error) {
	switch _, err := c.link(name); {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENODEV):
		return false, nil
	default:
		return false, err
	}
}

// freeName is a name that no device has: the template itself, or with a number in the place of its %d, the lowest one.
func (c *conn) freeName(template string) (string, error) {
	if !isTemplate(template) {
		used, err := c.taken(template)
		if err == nil && used {
			err = errors.New("there is a device of that name already")
		}
		return template, err
	}
	for i := 0; ; i++ {
		name := strings.Replace(template, "%d", strconv.Itoa(i), 1)
		if len(name) >= unix.IFNAMSIZ {
			return "", errors.New("no name of that template is free")
		}
		if used, err := c.taken(name); err != nil || !used {
			return name, err
		}
	}
}

func isTemplate(name string) bool { return strings.Contains(name, "%d") }

// change is a RTM_NEWLINK for an existing device.
func (c *conn) change(index, flags, mask uint32, attrs []byte) error {
	n := binary.NativeEndian
	b := make([]byte, unix.SizeofIfInfomsg, unix.SizeofIfInfomsg+len(attrs))
	n.PutUint32(b[4:], index)
	n.PutUint32(b[8:], flags)
	n.PutUint32(b[12:], mask)
	_, err := c.call(unix.RTM_NEWLINK, unix.NLM_F_ACK, append(b, attrs...))
	return err
}

// send moves a device to another network namespace under a name. The kernel keeps its attributes, shuts it down and
// drops its addresses (__dev_change_net_namespace of net/core/dev.c).
func (c *conn) send(index uint32, netns int, name string) error {
	return c.change(index, 0, 0, appendText(appendUint32(nil, unix.IFLA_NET_NS_FD, uint32(netns)), unix.IFLA_IFNAME, name))
}

// up sets a device up.
func (c *conn) up(index uint32) error { return c.change(index, unix.IFF_UP, unix.IFF_UP, nil) }

// address is one of a device's: the struct ifaddrmsg of rtnetlink(7) and its attributes.
type address struct {
	head  [unix.SizeofIfAddrmsg]byte
	attrs []attr
}

// addresses returns the addresses of a device that are permanent and of global scope, of every family.
func (c *conn) addresses(index uint32) ([]address, error) {
	for range 10 {
		got, err := c.call(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
		if err == errInterrupted {
			continue
		}
		if err != nil {
			return nil, err
		}
		var out []address
		for _, m := range got {
			if m.kind == unix.RTM_NEWADDR && len(m.body) >= unix.SizeofIfAddrmsg {
				if a := readAddress(m.body); a.index() == index && a.permanent() && a.head[3] == unix.RT_SCOPE_UNIVERSE {
					out = append(out, a)
				}
			}
		}
		return out, nil
	}
	return nil, errInterrupted
}

func readAddress(b []byte) address {
	a := address{attrs: attributes(b[unix.SizeofIfAddrmsg:])}
	copy(a.head[:], b)
	return a
}

func (a *address) index() uint32 { return binary.NativeEndian.Uint32(a.head[4:]) }

func (a *address) flags() uint32 {
	if b, ok := find(a.attrs, unix.IFA_FLAGS); ok && len(b) >= 4 {
		return binary.NativeEndian.Uint32(b)
	}
	return uint32(a.head[2])
}

func (a *address) permanent() bool { return a.flags()&unix.IFA_F_PERMANENT != 0 }

// settable are the flags of an address that are the administrator's; the others tell how it fares.
const settable = unix.IFA_F_NODAD | unix.IFA_F_OPTIMISTIC | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR |
	unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

// request is the RTM_NEWADDR that gives the address to a device of another index and name.
func (a *address) request(index uint32, from, to string) []byte {
	b := append([]byte(nil), a.head[:]...)
	b[2] = byte(a.flags() & settable)
	binary.NativeEndian.PutUint32(b[4:], index)
	for _, x := range a.attrs {
		switch x.kind {
		case unix.IFA_FLAGS:
			b = appendUint32(b, x.kind, a.flags()&settable)
		case unix.IFA_LABEL:
			b = appendText(b, x.kind, relabel(text(x.data), from, to))
		case unix.IFA_TARGET_NETNSID:
		default:
			b = appendAttr(b, x.kind, x.data)
		}
	}
	return b
}

// relabel gives a label of an IPv4 address, which begins with the name of the device ("eth0", "eth0:1"), the new one.
func relabel(label, from, to string) string {
	tail, ok := strings.CutPrefix(label, from)
	if !ok || tail != "" && tail[0] != ':' {
		return label
	}
	if len(to+tail) >= unix.IFNAMSIZ {
		return to
	}
	return to + tail
}

// addAddress gives a device an address.
func (c *conn) addAddress(a *address, index uint32, from, to string) error {
	_, err := c.call(unix.RTM_NEWADDR, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a.request(index, from, to))
	return err
}
