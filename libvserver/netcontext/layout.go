package netcontext

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ABI names this layout, these maps and these programs: objects that are pinned under another name are another version's.
// A test in package job holds it to the programs.
const ABI = "5"

// The context's state bits.
const (
	StateReady   = 1 << iota // the rest is filled in; before, everything is refused
	StateConfine             // there are addresses to keep to
	StateSingle              // 0.0.0.0 is the one address
	StateRawICMP
	StatePorts  // Ports are all that may be bound to
	StateLimit  // Limit is one
	StateV6Only // IPV6_V6ONLY is what sockets are born with (net.ipv6.bindv6only)
	StateCount  // sockets are counted
)

// The most that a context can have (spec.MaxNetAddresses, spec.MaxNetPorts).
const (
	maxAddresses = 16
	maxPorts     = 16
)

// Storage is what the programs know of a context and count in it: the value of a cgroup storage map, of which there is one
// for each cgroup that the programs are attached to. Addresses are in network byte order.
type Storage struct {
	State, NID  uint32
	Netns       uint64 // cookie of the network namespace that the addresses are in
	N4, N6      uint32
	Loopback    uint32 // 0: none
	NPorts      uint32
	Now, Max    uint64 // sockets
	Limit, Hits uint64 // of sockets, and how many it has refused
	Rewritten   uint64 // binds to another address than asked for: to 0.0.0.0, ::, 127.0.0.1 and ::1
	Denied      uint64 // sockets, binds, connects and sends, but by Limit
	Sources     uint64 // source addresses given to sockets that had none
	_           uint64
	V4          [maxAddresses]Addr4
	V6          [maxAddresses]Addr6
	Ports       [maxPorts][2]uint16 // first and last
}

// Addr4 is an address and its network's mask.
type Addr4 struct{ Addr, Mask [4]byte }

// Addr6 is an address and its network's mask.
type Addr6 struct{ Addr, Mask [16]byte }

// Socket is what the programs keep of a socket that is not what it seems: the value of a socket storage map.
type Socket struct {
	Flags    uint32
	Peer     uint32 // what stands in for a peer 127.0.0.1, as the program has it
	PeerPort uint32
	_        uint32
}

// The flags of a Socket.
const (
	SocketCounted = 1 << iota // and there was no room in MapCounted
	SocketAny4                // bound to 0.0.0.0
	SocketAny6                // bound to ::
	SocketLo6                 // bound to ::1
	SocketPeerLo              // its peer was 127.0.0.1 and is Peer
	SocketPeerLo6             // its peer was ::1
	SocketV6Only              // IPV6_V6ONLY was set
	SocketV6Dual              // IPV6_V6ONLY was cleared
)

// ListenerKey finds the socket that listens on an address it is not bound to itself. Those with SO_REUSEPORT have a slot each,
// so that there is one left until the last is closed; the kernel chooses among them whichever is found.
type ListenerKey struct {
	Netns      uint64
	Port, Slot uint32
	Addr       [16]byte // IPv4 as mapped IPv6
}

// ListenerSlots are those of one address and port. Who comes when there are as many takes the place of the last.
const ListenerSlots = uint32(16)

// Hint is the place of a listener in the one value of MapHints. Where that is zero, MapListeners never had anybody with such
// an address and port, in any network namespace; where the byte HintsSlots after it is zero, nobody but in slot 0.
func (k *ListenerKey) Hint() int {
	h := uint32(0)
	for w := range 4 {
		h ^= binary.NativeEndian.Uint32(k.Addr[4*w:])
	}
	h = (h ^ k.Port*HintPort) * HintMul
	return int(h >> HintShift)
}

// The numbers of Hint, for the programs, which do the same.
const (
	HintPort   = 0x01000193
	HintMul    = 0x9e3779b1
	HintShift  = 16
	HintsSlots = uint32(1) << (32 - HintShift)
	HintsSize  = 2 * HintsSlots
)

// OwnerKey is an address in a network namespace; Owner the context that has it.
type OwnerKey struct {
	Netns uint64
	Addr  [16]byte
}

// Owner is a context's id and the addresses that its sockets on 0.0.0.0 and :: are bound to; zero if it has none.
type Owner struct {
	NID, _       uint32
	Main4, Main6 [16]byte
}

// Sizes, for those who make the maps.
const (
	StorageSize     = uint32(unsafe.Sizeof(Storage{}))
	ListenerKeySize = uint32(unsafe.Sizeof(ListenerKey{}))
	OwnerKeySize    = uint32(unsafe.Sizeof(OwnerKey{}))
	OwnerSize       = uint32(unsafe.Sizeof(Owner{}))
	SocketSize      = uint32(unsafe.Sizeof(Socket{}))
)

// Dir has the pinned objects, in a directory for each ABI. Not below the state root: there are many of those, and an
// address can belong to one context only.
const (
	bpffs = "/sys/fs/bpf"
	Dir   = bpffs + "/vsrun-net"
)

// The names of pinned maps. MapStorage is pinned last: where it is, everything is.
const (
	MapStorage   = "contexts"
	MapSockets   = "sockets"
	MapCounted   = "counted" // the cookies of sockets that were counted
	MapListeners = "listeners"
	MapHints     = "hints" // one value: two bytes for each ListenerKey.Hint
	MapOwners    = "owners"
)

// Program is one that is attached to a context's cgroup.
type Program struct {
	Name     string // in the kernel with the prefix vsrun_
	Attach   uint32 // BPF_CGROUP_*
	Counts   bool   // needed where sockets are counted
	Confines bool   // needed where there are addresses to keep to
	Both     bool   // but only where they are of IPv4 and of IPv6
	Replaced bool   // but only where sockets are not counted: who does that does this, too
}

// Programs are those of a context's cgroup.
var Programs = [...]Program{
	{"sock_create", unix.BPF_CGROUP_INET_SOCK_CREATE, false, true, false, true},
	{"sock_count", unix.BPF_CGROUP_INET_SOCK_CREATE, true, false, false, false},
	{"sock_release", unix.BPF_CGROUP_INET_SOCK_RELEASE, true, false, false, false},
	{"bind4", unix.BPF_CGROUP_INET4_BIND, false, true, false, false},
	{"bind6", unix.BPF_CGROUP_INET6_BIND, false, true, false, false},
	{"connect4", unix.BPF_CGROUP_INET4_CONNECT, false, true, false, false},
	{"connect6", unix.BPF_CGROUP_INET6_CONNECT, false, true, false, false},
	{"sendmsg4", unix.BPF_CGROUP_UDP4_SENDMSG, false, true, false, false},
	{"sendmsg6", unix.BPF_CGROUP_UDP6_SENDMSG, false, true, false, false},
	{"recvmsg4", unix.BPF_CGROUP_UDP4_RECVMSG, false, true, false, false},
	{"recvmsg6", unix.BPF_CGROUP_UDP6_RECVMSG, false, true, false, false},
	{"getpeername4", unix.BPF_CGROUP_INET4_GETPEERNAME, false, true, false, false},
	{"getpeername6", unix.BPF_CGROUP_INET6_GETPEERNAME, false, true, false, false},
	{"getsockname4", unix.BPF_CGROUP_INET4_GETSOCKNAME, false, true, false, false},
	{"getsockname6", unix.BPF_CGROUP_INET6_GETSOCKNAME, false, true, false, false},
	{"sock_ops", unix.BPF_CGROUP_SOCK_OPS, false, true, false, false},
	{"setsockopt", unix.BPF_CGROUP_SETSOCKOPT, false, true, true, false},
}
