package libvserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/spec/wire"
)

// Network devices of the host are moved into the container's network namespace (config-linux.md, "Network Devices") with
// their permanent global addresses, and set up. After that they are the namespace's, and never moved back; only a
// creation that fails takes them back.

// netLink is what has to be known of a device.
type netLink struct {
	index int32
	flags uint32 // IFF_*
	name  string
}

// netAddress is an address as it is to be set again: struct ifaddrmsg without its index, and attributes.
type netAddress struct {
	fixed [unix.SizeofIfAddrmsg]byte
	attrs []rtAttr
}

const ifaProto = 11 // IFA_PROTO of linux/if_addr.h, Linux 5.18

// movedDevice is a device that now is in the container.
type movedDevice struct {
	host      netLink
	inside    int32 // its index there
	addresses []netAddress
}

func ifinfomsg(index int32, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// links lists the devices of a namespace, or finds the one of a name.
func (n *netlink) links(name string) ([]netLink, error) {
	var attrs []rtAttr
	flags := uint16(unix.NLM_F_DUMP)
	if name != "" {
		attrs, flags = []rtAttr{{unix.IFLA_IFNAME, rtString(name)}}, 0
	}
	var list []netLink
	err := n.do(unix.RTM_GETLINK, flags, ifinfomsg(0, 0, 0), attrs, func(kind uint16, b []byte) {
		if kind != unix.RTM_NEWLINK || len(b) < unix.SizeofIfInfomsg {
			return
		}
		l := netLink{index: int32(binary.NativeEndian.Uint32(b[4:])), flags: binary.NativeEndian.Uint32(b[8:])}
		for _, a := range rtAttrs(b[unix.SizeofIfInfomsg:]) {
			if a.kind == unix.IFLA_IFNAME {
				l.name = strings.TrimRight(string(a.data), "\x00")
			}
		}
		list = append(list, l)
	})
	return list, err
}

// addresses returns a device's addresses that are permanent and global.
func (n *netlink) addresses(index int32) ([]netAddress, error) {
	// State that the kernel finds out anew, and what it computes.
	const fleeting = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_SECONDARY | unix.IFA_F_PERMANENT
	var list []netAddress
	err := n.do(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg), nil, func(kind uint16, b []byte) {
		if kind != unix.RTM_NEWADDR || len(b) < unix.SizeofIfAddrmsg || int32(binary.NativeEndian.Uint32(b[4:])) != index {
			return
		}
		var a netAddress
		copy(a.fixed[:], b)
		flags := uint32(b[2])
		for _, attr := range rtAttrs(b[unix.SizeofIfAddrmsg:]) {
			switch attr.kind {
			case unix.IFA_FLAGS:
				flags = binary.NativeEndian.Uint32(attr.data)
			case unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY, ifaProto:
				a.attrs = append(a.attrs, rtAttr{attr.kind, slices.Clone(attr.data)})
			}
		}
		if flags&unix.IFA_F_PERMANENT == 0 || b[3] != unix.RT_SCOPE_UNIVERSE {
			return
		}
		a.fixed[2] = 0
		a.attrs = append(a.attrs, rtAttr{unix.IFA_FLAGS, rtUint32(flags &^ fleeting)})
		list = append(list, a)
	})
	return list, err
}

// settle gives a device addresses, and sets it up.
func (n *netlink) settle(index int32, addresses []netAddress, up bool) error {
	for i := range addresses {
		a := &addresses[i]
		binary.NativeEndian.PutUint32(a.fixed[4:], uint32(index))
		if err := n.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, a.fixed[:], a.attrs, nil); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("set address: %w", err)
		}
	}
	if !up {
		return nil
	}
	if err := n.do(unix.RTM_NEWLINK, 0, ifinfomsg(index, unix.IFF_UP, unix.IFF_UP), nil, nil); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}

// send moves a device into another network namespace: IFLA_NET_NS_PID or IFLA_NET_NS_FD say which.
func (n *netlink) send(index int32, kind uint16, which int, name string) error {
	return n.do(unix.RTM_NEWLINK, 0, ifinfomsg(index, 0, 0),
		[]rtAttr{{kind, rtUint32(uint32(which))}, {unix.IFLA_IFNAME, rtString(name)}}, nil)
}

// netPair are connections to the runtime's namespace and to that of the container's process.
type netPair struct {
	host, inside *netlink
	own          int // the runtime's namespace
}

func (n *creation) dialBoth() (p netPair, err error) {
	p.own = -1
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.own, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return p, &os.PathError{Op: "open", Path: "/proc/thread-self/ns/net", Err: err}
	}
	if p.host, err = dialNetlink(); err != nil {
		return p, err
	}
	p.inside, err = dialNetlinkOf(n.process.PIDFD, p.own)
	return p, err
}

func (p *netPair) close() {
	for _, n := range []*netlink{p.host, p.inside} {
		if n != nil {
			n.close()
		}
	}
	if p.own >= 0 {
		unix.Close(p.own)
	}
}

// moveNetDevices moves the devices of linux.netDevices into the container.
func (n *creation) moveNetDevices() error {
	l := n.bundle.Spec.Linux
	if l == nil || len(l.NetDevices) == 0 {
		return nil
	}
	p, err := n.dialBoth()
	if err != nil {
		return fmt.Errorf("linux.netDevices: %w", err)
	}
	defer p.close()
	for _, name := range wire.SortedKeys(l.NetDevices) {
		to := l.NetDevices[name].Name
		if to == "" {
			to = name
		}
		m, err := moveNetDevice(p.host, p.inside, n.process.PID, name, to)
		if m != nil {
			n.devices = append(n.devices, *m)
		}
		if err != nil {
			return fmt.Errorf("linux.netDevices.%s: %w", name, err)
		}
	}
	return nil
}

// moveNetDevice moves one device; a device that is returned has left the host, even if there is an error.
func moveNetDevice(host, inside *netlink, pid int, name, to string) (*movedDevice, error) {
	found, err := host.links(name)
	if err == nil && len(found) != 1 {
		err = unix.ENODEV
	}
	if err != nil {
		return nil, fmt.Errorf("network device %q: %w", name, err)
	}
	if !strings.Contains(to, "%d") {
		// The kernel would find out too late: when the device is there already, and cannot be renamed.
		if there, err := inside.links(to); err == nil && len(there) > 0 {
			return nil, fmt.Errorf("the container has a network device %q already", to)
		}
	}
	m := &movedDevice{host: found[0]}
	if m.addresses, err = host.addresses(m.host.index); err != nil {
		return nil, fmt.Errorf("addresses of network device %q: %w", name, err)
	}
	before, err := inside.links("")
	if err != nil {
		return nil, err
	}
	if err := host.send(m.host.index, unix.IFLA_NET_NS_PID, pid, to); err != nil {
		return nil, fmt.Errorf("move network device %q into the container as %q: %w", name, to, err)
	}
	// Its index may be another there, and its name the kernel's choice.
	after, err := inside.links("")
	if err != nil {
		return m, err
	}
	for _, l := range after {
		if !slices.ContainsFunc(before, func(b netLink) bool { return b.index == l.index }) {
			m.inside = l.index
		}
	}
	if m.inside == 0 {
		return m, fmt.Errorf("network device %q is not to be found in the container", name)
	}
	if err := inside.settle(m.inside, m.addresses, true); err != nil {
		return m, fmt.Errorf("network device %q in the container: %w", name, err)
	}
	return m, nil
}

// returnNetDevices takes back what a creation that has failed had moved; its namespace must be there still.
func (n *creation) returnNetDevices() {
	if len(n.devices) == 0 {
		return
	}
	p, err := n.dialBoth()
	if err != nil {
		log.Warnf("network devices of the failed container: %v", err)
		return
	}
	defer p.close()
	for _, m := range n.devices {
		if m.inside == 0 {
			continue
		}
		err := p.inside.send(m.inside, unix.IFLA_NET_NS_FD, p.own, m.host.name)
		if err == nil {
			var back []netLink
			if back, err = p.host.links(m.host.name); err == nil && len(back) == 1 {
				err = p.host.settle(back[0].index, m.addresses, m.host.flags&unix.IFF_UP != 0)
			}
		}
		if err != nil {
			log.Warnf("take network device %q back from the failed container: %v", m.host.name, err)
		}
	}
}
