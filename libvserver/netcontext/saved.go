package netcontext

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/bpf"
	"github.com/vsrun/vsrun/libvserver/host"
)

// What a checkpoint has to keep of a socket: CRIU binds it to the address that it is bound to, and not to what was asked for.
const savedFlags = SocketAny4 | SocketAny6 | SocketLo6 | SocketPeerLo | SocketPeerLo6

// SaveSockets returns what is to be known of the sockets of processes, for RestoreSockets: a line for each, with the process
// as it numbers itself, the descriptor, and the fields of Socket. The processes must stand still.
func SaveSockets(pids []int) ([]byte, error) {
	var b []byte
	err := eachSocket(pids, func(m int, nspid, fd string, sock int32) error {
		var s Socket
		switch err := bpf.Lookup(m, unsafe.Pointer(&sock), unsafe.Pointer(&s)); {
		case errors.Is(err, unix.ENOENT):
			return nil
		case err != nil:
			return err
		}
		if s.Flags&savedFlags != 0 {
			b = append(append(append(b, nspid...), ' '), fd...)
			for _, v := range [...]uint32{s.Flags & savedFlags, s.Peer, s.PeerPort} {
				b = strconv.AppendUint(append(b, ' '), uint64(v), 10)
			}
			b = append(b, '\n')
		}
		return nil
	})
	return b, err
}

// RestoreSockets tells the programs what SaveSockets has told of sockets, and has listeners answer on all addresses again.
func (c *Context) RestoreSockets(saved []byte, pids []int) error {
	known := map[string]Socket{}
	for line := range strings.Lines(string(saved)) {
		f := strings.Fields(line)
		var v [3]uint32
		ok := len(f) == 2+len(v)
		for i := 0; ok && i < len(v); i++ {
			n, err := strconv.ParseUint(f[2+i], 10, 32)
			v[i], ok = uint32(n), err == nil
		}
		if !ok || v[0]&^savedFlags != 0 {
			return fmt.Errorf("damaged at %q", line)
		}
		known[f[0]+" "+f[1]] = Socket{Flags: v[0], Peer: v[1], PeerPort: v[2]}
	}
	if len(known) == 0 {
		return nil
	}
	listeners, err := bpf.Get(pinned(MapListeners))
	if err != nil {
		return err
	}
	defer unix.Close(listeners)
	return eachSocket(pids, func(m int, nspid, fd string, sock int32) error {
		s, ok := known[nspid+" "+fd]
		if !ok {
			return nil
		}
		var now Socket
		if bpf.Lookup(m, unsafe.Pointer(&sock), unsafe.Pointer(&now)) == nil {
			s.Flags |= now.Flags &^ savedFlags
		}
		if err := bpf.Update(m, unsafe.Pointer(&sock), unsafe.Pointer(&s), 0); err != nil {
			return fmt.Errorf("process %s, descriptor %s: %w", nspid, fd, err)
		}
		if s.Flags&(SocketAny4|SocketAny6) == 0 || c.Net.SingleIP {
			return nil
		}
		if listens, _ := unix.GetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); listens == 0 {
			return nil
		}
		if err := c.listen(listeners, int(sock), s.Flags); err != nil {
			return fmt.Errorf("process %s, descriptor %s: listen on all addresses: %w", nspid, fd, err)
		}
		return nil
	})
}

// listen enters a listener for the context's addresses, as the program sock_ops does at listen(2).
func (c *Context) listen(listeners, sock int, flags uint32) error {
	k := ListenerKey{Netns: c.Netns}
	sa, err := unix.Getsockname(sock)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		k.Port = uint32(sa.Port)
	case *unix.SockaddrInet6:
		k.Port = uint32(sa.Port)
	}
	reuse, err := unix.GetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	if err != nil {
		return os.NewSyscallError("getsockopt(SO_REUSEPORT)", err)
	}
	hints, err := bpf.Get(pinned(MapHints))
	if err != nil {
		return err
	}
	defer unix.Close(hints)
	for _, a := range c.keys() {
		if a.Is4() && flags&SocketV6Only != 0 || !a.Is4() && flags&SocketAny6 == 0 {
			continue
		}
		k.Addr = a.Addr
		if err := bpf.SetByte(hints, int(HintsSize), k.Hint()); err != nil {
			return err
		}
		if reuse != 0 {
			if err := bpf.SetByte(hints, int(HintsSize), int(HintsSlots)+k.Hint()); err != nil {
				return err
			}
		}
		if err := enter(listeners, k, uint64(sock), reuse != 0); err != nil {
			return err
		}
	}
	return nil
}

// enter enters a listener under a key, one of several in the first slot that is free.
func enter(listeners int, k ListenerKey, sock uint64, several bool) error {
	for ; several && k.Slot < ListenerSlots-1; k.Slot++ {
		if err := bpf.Update(listeners, unsafe.Pointer(&k), unsafe.Pointer(&sock), unix.BPF_NOEXIST); !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return bpf.Update(listeners, unsafe.Pointer(&k), unsafe.Pointer(&sock), 0)
}

// eachSocket calls do with the map of sockets and with each socket that processes have open.
func eachSocket(pids []int, do func(m int, nspid, fd string, sock int32) error) error {
	m, err := bpf.Get(pinned(MapSockets))
	if err != nil {
		return err
	}
	defer unix.Close(m)
	for _, pid := range pids {
		err := eachSocketOf(pid, func(nspid, fd string, sock int32) error { return do(m, nspid, fd, sock) })
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) { // it is gone
			return err
		}
	}
	return nil
}

func eachSocketOf(pid int, do func(nspid, fd string, sock int32) error) error {
	dir := "/proc/" + strconv.Itoa(pid)
	nspid := strconv.Itoa(host.PIDInside(pid))
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	list, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return err
	}
	for _, e := range list {
		if target, err := os.Readlink(dir + "/fd/" + e.Name()); err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		sock, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			return fmt.Errorf("pidfd_getfd of process %d, descriptor %d: %w", pid, n, err)
		}
		err = do(nspid, e.Name(), int32(sock))
		unix.Close(sock)
		if err != nil {
			return err
		}
	}
	return nil
}
