package spec

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Net is the network context (org.linux-vserver.net.*): addresses of the
// host's, or of a joined network namespace, that a container is confined to
// without a namespace of its own.
type Net struct {
	// Addresses are the context's, MaxNetAddresses of each kind at most. None:
	// there is no network context.
	Addresses []IPAddress
	// NID is the id, MinNID to MaxNID; 0 asks for a dynamic one.
	NID uint32
	// Loopback is what 127.0.0.1 means. LoopbackAddr goes with LoopbackFixed.
	Loopback     Loopback
	LoopbackAddr [4]byte
	// SingleIP: 0.0.0.0 and :: mean the one address, and nothing else.
	SingleIP bool
	// Ports are what may be bound to; none: all.
	Ports []PortRange
	// RawICMP allows sockets for ICMP: ping.
	RawICMP bool
	// HideNetif takes away what shows the host's interfaces, as far as it can be.
	HideNetif bool
	// MissingOK: an address that no interface has is a warning.
	MissingOK bool
}

// Loopback is the kind of a context's loopback address.
type Loopback uint8

// The kinds of loopback.
const (
	LoopbackAuto  Loopback = iota // an address that follows from the id
	LoopbackFixed                 // LoopbackAddr
	LoopbackNone                  // no 127.0.0.0/8 at all
)

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// Network context ids, as Linux-VServer divided them; those above MaxNID are
// given out dynamically.
const (
	MinNID        = 2
	MaxNID        = 49151
	MinDynamicNID = MaxNID + 1
	MaxDynamicNID = 65535
)

// What a context can have.
const (
	MaxNetAddresses = 16 // of IPv4, and of IPv6
	MaxNetPorts     = 16 // ranges
)

var netAnnotations = [...]annotation{
	{"net.addresses", setNetAddresses}, {"net.loopback", setNetLoopback}, {"net.single-ip", setNetFlag}, {"net.ports", setNetPorts},
	{"net.raw-icmp", setNetFlag}, {"net.nid", setNID}, {"net.hide-netif", setNetFlag}, {"net.missing-address", setNetMissing},
}

func setNetAddresses(x *Extension, _, value string) string {
	var count [2]int
	for text := range strings.SplitSeq(value, ",") {
		text = strings.Trim(text, " \t")
		a, ok := ParseIP(text)
		if !ok {
			return "must be IPv4 and IPv6 addresses with or without /prefix, parted by commas (got " + quote(text) + ")"
		}
		if why := badNetAddress(&a); why != "" {
			return quote(text) + " " + why
		}
		for i := range x.Net.Addresses {
			if x.Net.Addresses[i].Addr == a.Addr {
				return "has " + a.String() + " twice"
			}
		}
		kind := 0
		if !a.Is4() {
			kind = 1
		}
		if count[kind]++; count[kind] > MaxNetAddresses {
			return "must not have more than " + strconv.Itoa(MaxNetAddresses) + " addresses of a kind"
		}
		x.Net.Addresses = append(x.Net.Addresses, a)
	}
	return ""
}

// badNetAddress says why no context can have an address.
func badNetAddress(a *IPAddress) string {
	b := a.Addr[:]
	if a.Is4() {
		switch b = b[12:]; {
		case b[0] == 0:
			return "is no address of a host"
		case b[0] == 127:
			return "is a loopback address: net.loopback sets that"
		case b[0] >= 224 && b[0] < 240:
			return "is a multicast address"
		case b[0] >= 240:
			return "is no address of a host"
		}
		return ""
	}
	switch {
	case b[0] == 0xff:
		return "is a multicast address"
	case slices.Max(b[:15]) == 0 && b[15] <= 1:
		return "is no address of a context"
	}
	return ""
}

func setNetLoopback(x *Extension, _, value string) string {
	switch value {
	case "auto":
		return ""
	case "none":
		x.Net.Loopback = LoopbackNone
		return ""
	}
	a, ok := ParseIP(value)
	b := [4]byte(a.Addr[12:])
	if !ok || !a.Is4() || b[0] != 127 || strings.Contains(value, "/") {
		return "must be auto, none or an address of 127.0.0.0/8 (got " + quote(value) + ")"
	}
	if b == [4]byte{127, 0, 0, 1} || b == [4]byte{127, 255, 255, 255} || b == [4]byte{127} {
		return "must not be " + value + ", which is the host's"
	}
	x.Net.Loopback, x.Net.LoopbackAddr = LoopbackFixed, b
	return ""
}

func setNetFlag(x *Extension, name, value string) string {
	switch name {
	case "net.single-ip":
		return boolean(value, &x.Net.SingleIP)
	case "net.raw-icmp":
		return boolean(value, &x.Net.RawICMP)
	default:
		return boolean(value, &x.Net.HideNetif)
	}
}

func setNetPorts(x *Extension, _, value string) string {
	for text := range strings.SplitSeq(value, ",") {
		text = strings.Trim(text, " \t")
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		var lo, hi uint64
		if number(first, 1, 65535, &lo) != "" || number(last, 1, 65535, &hi) != "" || lo > hi {
			return "must be ports and ranges of ports, as 80,443,8000-8099 (got " + quote(text) + ")"
		}
		if len(x.Net.Ports) == MaxNetPorts {
			return "must not have more than " + strconv.Itoa(MaxNetPorts) + " ranges"
		}
		x.Net.Ports = append(x.Net.Ports, PortRange{uint16(lo), uint16(hi)})
	}
	return ""
}

func setNID(x *Extension, _, value string) string {
	n := uint64(0)
	msg := number(value, MinNID, MaxNID, &n)
	if msg == "" && value != strconv.FormatUint(n, 10) {
		return "must be a number without leading zeros (got " + quote(value) + ")"
	}
	x.Net.NID = uint32(n)
	return msg
}

func setNetMissing(x *Extension, _, value string) string {
	switch value {
	case "error":
	case "warn":
		x.Net.MissingOK = true
	default:
		return "must be error or warn (got " + quote(value) + ")"
	}
	return ""
}

// checkNet checks that there is what a network context needs.
func (c *checker) checkNet(x *Extension) {
	n := &x.Net
	if len(n.Addresses) == 0 {
		for i := range netAnnotations {
			name := netAnnotations[i].name
			if _, ok := c.spec.Annotations[VServerPrefix+name]; ok {
				c.annotationFault(name, "needs net.addresses")
			}
		}
		return
	}
	const addresses = "net.addresses"
	if c.spec.Linux != nil {
		for i := range c.spec.Linux.Namespaces {
			if ns := &c.spec.Linux.Namespaces[i]; nsBit(ns.Type) == nsNetwork && ns.Path == "" {
				c.annotationFault(addresses, "needs the host's network namespace, or one to join: linux.namespaces["+strconv.Itoa(i)+"] makes a new one, which has no addresses")
			}
		}
		if len(c.spec.Linux.NetDevices) > 0 {
			c.annotationFault(addresses, "excludes linux.netDevices: the context uses the interfaces that are there")
		}
	}
	var count [2]int
	for i := range n.Addresses {
		if n.Addresses[i].Is4() {
			count[0]++
		} else {
			count[1]++
		}
	}
	if n.SingleIP && max(count[0], count[1]) > 1 {
		c.annotationFault("net.single-ip", "needs one address of a kind at most in net.addresses")
	}
	if p := c.spec.Process; p != nil && p.Capabilities != nil {
		for _, s := range p.Capabilities.Bounding {
			switch n, _ := Capability(s); n {
			case unix.CAP_NET_ADMIN, unix.CAP_SYS_MODULE, unix.CAP_BPF:
				c.warn(top("process.capabilities.bounding"), s+" lets the container change the network that its context is a part of")
			}
		}
	}
}
