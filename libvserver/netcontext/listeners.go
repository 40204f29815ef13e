package netcontext

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/vsrun/vsrun/libvserver/bpf"
	"github.com/vsrun/vsrun/spec"
)

// Listener is a socket that waits for others.
type Listener struct {
	Protocol string // tcp, tcp6, udp, udp6
	Addr     spec.IPAddress
	Port     uint16
	// Any: it asked for 0.0.0.0 or :: and is given connections to all addresses of the context. It is not known of sockets
	// for datagrams.
	Any bool
}

// Listeners are those on addresses of the context, as /proc/PID/net has them (proc_pid_net(5)). pid is a process in the
// context's network namespace.
func (e *Entry) Listeners(pid int) ([]Listener, error) {
	own := map[[16]byte]bool{}
	for _, a := range e.keys() {
		own[a.Addr] = true
	}
	fd, err := bpf.Get(pinned(MapListeners))
	if err == nil {
		defer func() { _ = os.NewFile(uintptr(fd), MapListeners).Close() }()
	}
	var list []Listener
	for _, proto := range [...]string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/" + proto)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		waiting := "0A" // TCP_LISTEN
		if proto[0] == 'u' {
			waiting = "07" // TCP_CLOSE: not connected
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != waiting {
				continue
			}
			l := Listener{Protocol: proto}
			var ok bool
			if l.Addr, l.Port, ok = procAddr(f[1]); !ok || !own[l.Addr.Addr] {
				continue
			}
			if proto[0] == 't' && fd >= 0 {
				l.Any = e.listensOnAll(fd, &l)
			}
			list = append(list, l)
		}
	}
	return list, nil
}

// listensOnAll tells if a listener is entered for another address than its own, too.
func (e *Entry) listensOnAll(fd int, l *Listener) bool {
	k := ListenerKey{Netns: e.Netns, Port: uint32(l.Port)}
	for _, a := range e.keys() {
		if a.Addr == l.Addr.Addr {
			continue
		}
		k.Addr = a.Addr
		for k.Slot = range ListenerSlots {
			var cookie uint64
			if bpf.Lookup(fd, unsafe.Pointer(&k), unsafe.Pointer(&cookie)) == nil {
				return true
			}
		}
	}
	return false
}

// procAddr reads an address and port of /proc/net: words of the machine's byte order, in hexadecimal.
func procAddr(s string) (a spec.IPAddress, port uint16, ok bool) {
	addr, p, found := strings.Cut(s, ":")
	n, err := strconv.ParseUint(p, 16, 16)
	if !found || err != nil || len(addr) != 8 && len(addr) != 32 {
		return a, 0, false
	}
	to := a.Addr[16-len(addr)/2:]
	for i := 0; i < len(addr); i += 8 {
		w, err := strconv.ParseUint(addr[i:i+8], 16, 32)
		if err != nil {
			return a, 0, false
		}
		binary.NativeEndian.PutUint32(to[i/2:], uint32(w))
	}
	a.Bits = 128
	if len(addr) == 8 {
		a.Addr[10], a.Addr[11], a.Bits = 0xff, 0xff, 32
	}
	return a, uint16(n), true
}
