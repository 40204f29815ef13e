package plan

import (
	"strconv"

	"github.com/vsrun/vsrun/spec"
)

// NetContext confines the cgroup to addresses of the network namespace, by BPF programs (package netcontext).
type NetContext struct {
	Origin
	Net *spec.Net
}

func (s NetContext) String() string {
	text := "confine the cgroup, by BPF programs, to"
	for i := range s.Net.Addresses {
		a := &s.Net.Addresses[i]
		text += " " + a.String() + "/" + strconv.Itoa(int(a.Bits))
	}
	switch s.Net.Loopback {
	case spec.LoopbackFixed:
		l := spec.IPAddress{Addr: [16]byte{10: 0xff, 11: 0xff}}
		copy(l.Addr[12:], s.Net.LoopbackAddr[:])
		text += ", 127.0.0.1 is " + l.String()
	case spec.LoopbackNone:
		text += ", no loopback address"
	}
	if s.Net.SingleIP {
		text += ", a single address"
	}
	for i, r := range s.Net.Ports {
		if i == 0 {
			text += ", ports"
		}
		text += " " + strconv.Itoa(int(r.First))
		if r.Last != r.First {
			text += "-" + strconv.Itoa(int(r.Last))
		}
	}
	if s.Net.RawICMP {
		text += ", with ICMP"
	}
	return text
}

// CountSockets has the sockets of the cgroup counted, and limited if there is a limit.
type CountSockets struct {
	Origin
	Limit spec.Limit
}

func (s CountSockets) String() string {
	if s.Limit.Infinity {
		return "count the sockets of the cgroup"
	}
	return "limit the cgroup to " + strconv.FormatUint(s.Limit.N, 10) + " sockets"
}

func (b *builder) network() {
	x := &b.b.VServer
	if len(x.Net.Addresses) > 0 {
		b.p.Network = append(b.p.Network, NetContext{Origin(spec.AnnotationPath("net.addresses")), &x.Net})
	}
	if l := x.Rlimits.Nsock.Hard; l.Set {
		b.p.Network = append(b.p.Network, CountSockets{Origin(spec.AnnotationPath("rlimits.nsock")), l})
	}
}
