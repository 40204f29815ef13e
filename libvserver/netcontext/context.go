// Package netcontext confines containers to addresses of the network namespace that they share with the host: Linux-VServer's
// network contexts, by BPF programs on the container's cgroup.
//
// A launch with a context costs some dozens of bpf(2) calls and no program start: the programs are loaded, verified and pinned
// once for a boot of the host, by the helper (package job), and they are the same for all contexts. What tells contexts
// apart is a cgroup storage map: one value for each cgroup that the programs are attached to, found without a lookup.
//
// # Attachments
//
// The programs are attached by BPF_PROG_ATTACH and not by links. An attachment belongs to the cgroup: it takes effect
// before the first process is in it, holds for what is made below it, nobody has to keep or pin a descriptor for it, and the
// kernel drops it, with the context's storage, when the cgroup is removed. So there is no moment at which a crash could leave
// programs without a container or a container without programs, and nothing to clean up but the entry in the register. A
// pinned link for each of 15 programs would take three times the calls, and outlive both.
//
// The lookups of sockets are attached to a network namespace and its interfaces, by links which are pinned beside the
// programs. They go with the last context of the namespace.
//
// # Register
//
// /run/vsrun-net has a file for each context, of all state roots: its id, its container, its addresses. It is what keeps ids
// unique; that an address belongs to one context only is kept by the map of owners. What a crash leaves there is found by
// its container's missing directory, and taken back when somebody wants the id or the address, or by doctor.
//
// The package is part of the binary that runs every time: no cilium/ebpf, no net.
package netcontext

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/bpf"
	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec"
)

// Config is what a container asks for.
type Config struct {
	Root, ID  string // state root and container
	NetnsPath string // to join; "" for the runtime's own
	Net       *spec.Net
	XID       uint32 // the context id, which becomes the network context's where that is free and none is asked for
	// Counts: its sockets are counted. Limit is that of sockets, if HasLimit.
	Counts   bool
	Limit    uint64
	HasLimit bool
}

// Context is a network context.
type Context struct {
	Config
	Entry
	v6only bool
}

// Confines tells if there are addresses to keep to.
func (c *Config) Confines() bool { return len(c.Net.Addresses) > 0 }

// Check finds out, without changing anything, if there can be such a context here. The warnings are of addresses that are
// not there, where that is allowed.
func (c *Context) Check() (warnings []string, err error) {
	if unix.Access(pinned(MapStorage), unix.F_OK) != nil { // else the kernel has taken it all before
		if err := supported(c.Confines()); err != nil {
			return nil, err
		}
	}
	if !c.Confines() {
		return nil, nil
	}
	err = inNetns(c.NetnsPath, func() error {
		if c.Netns, err = netnsCookie(); err != nil {
			return err
		}
		for i := range c.Net.Addresses {
			a := &c.Net.Addresses[i]
			switch err := c.tryBind(a); {
			case err == unix.EADDRNOTAVAIL && c.Net.MissingOK:
				warnings = append(warnings, spec.AnnotationPath("net.addresses")+": no interface has "+a.String()+": nobody can bind to it before one does")
			case err == unix.EADDRNOTAVAIL:
				return fmt.Errorf("no interface has %s (ip address add %s/%d dev DEVICE; or net.missing-address=warn)", a, a, a.Bits)
			case err != nil:
				return fmt.Errorf("try to bind to %s: %w", a, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, at(err)
	}
	return warnings, nil
}

func at(err error) error { return fmt.Errorf("%s: %w", spec.AnnotationPath("net.addresses"), err) }

// supported tells what the kernel lacks.
func supported(confines bool) error {
	needs := [...]*host.Feature{host.CgroupBPFSockRelease, host.CgroupBPFSock, host.CgroupBPFGetname, host.BPFSkLookup, host.NetnsCookie}
	list := needs[:]
	name := "net.addresses"
	if !confines {
		list, name = needs[:1], "rlimits.nsock"
	}
	for _, f := range list {
		if err := f.Err(); err != nil {
			return fmt.Errorf("%s: %w", spec.AnnotationPath(name), err)
		}
	}
	return nil
}

// tryBind binds a socket of the runtime's own to an address.
func (c *Context) tryBind(a *spec.IPAddress) error {
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: a.Addr}
	if a.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte(a.Addr[12:])}
	} else if a.Addr[0] == 0xfe && a.Addr[1]&0xc0 == 0x80 {
		return nil // link-local ones are tied to an interface
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if family == unix.AF_INET6 {
		v, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return err
		}
		c.v6only = v != 0
	}
	// No port is looked for, which takes longer than all the rest (ip(7), Linux 4.2).
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	return unix.Bind(fd, sa)
}

func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie, os.NewSyscallError("getsockopt(SO_NETNS_COOKIE)", err)
}

// Attach makes the context on a cgroup, which no process may be in yet. fresh: the cgroup was made for it. When it fails,
// Release has to follow.
func (c *Context) Attach(cgroup string, fresh bool) error {
	if cgroup == "" {
		name := "net.addresses"
		if !c.Confines() {
			name = "rlimits.nsock"
		}
		return fmt.Errorf("%s: needs a cgroup of the version 2 hierarchy, which the container has not", spec.AnnotationPath(name))
	}
	c.Cgroup = cgroup
	reg, err := openRegister()
	if err != nil {
		return err
	}
	defer reg.close()
	if err := reg.load(); err != nil {
		return err
	}
	if c.Confines() {
		if err := reg.enter(c); err != nil {
			return err
		}
		if !c.Net.SingleIP {
			if err := attachNetns(c); err != nil {
				return at(err)
			}
		}
	}
	return c.attach(reg.storage, fresh)
}

// attach attaches the programs and tells them of the context. Until it has, they refuse everything.
func (c *Context) attach(storage int, fresh bool) error {
	dir, err := unix.Open(c.Cgroup, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: c.Cgroup, Err: err}
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: c.Cgroup, Err: err}
	}
	if err := eachProgram(c.needs, func(prog int, typ uint32) error {
		if !fresh {
			_ = bpf.DetachCgroup(dir, prog, typ)
		}
		return bpf.AttachCgroup(dir, prog, typ)
	}); err != nil {
		return fmt.Errorf("cgroup %s: %w", c.Cgroup, err)
	}
	s := c.storage()
	if err := bpf.Update(storage, unsafe.Pointer(&st.Ino), unsafe.Pointer(s), 0); err != nil {
		return fmt.Errorf("cgroup %s: storage of the network context: %w", c.Cgroup, err)
	}
	return nil
}

// both tells if there are addresses of both kinds.
func (c *Context) both() bool {
	for i := range c.Net.Addresses {
		if c.Net.Addresses[i].Is4() != c.Net.Addresses[0].Is4() {
			return true
		}
	}
	return false
}

// needs tells if the context needs a program.
func (c *Context) needs(p *Program) bool {
	return p.Counts && c.Counts || p.Confines && c.Confines() && !(p.Both && !c.both()) && !(p.Replaced && c.Counts)
}

// eachProgram opens those of the programs that are wanted.
func eachProgram(wanted func(*Program) bool, do func(prog int, typ uint32) error) error {
	for i := range Programs {
		p := &Programs[i]
		if !wanted(p) {
			continue
		}
		fd, err := bpf.Get(pinned(p.Name))
		if err != nil {
			return err
		}
		err = do(fd, p.Attach)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("BPF program %s: %w", p.Name, err)
		}
	}
	return nil
}

// storage is what the programs are told.
func (c *Context) storage() *Storage {
	s := &Storage{State: StateReady, NID: c.NID, Netns: c.Netns}
	if c.Counts {
		s.State |= StateCount
	}
	if c.HasLimit {
		s.State |= StateLimit
		s.Limit = c.Limit
	}
	if !c.Confines() {
		return s
	}
	s.State |= StateConfine
	for _, f := range [...]struct {
		on  bool
		bit uint32
	}{{c.Net.SingleIP, StateSingle}, {c.Net.RawICMP, StateRawICMP}, {len(c.Net.Ports) > 0, StatePorts}, {c.v6only, StateV6Only}} {
		if f.on {
			s.State |= f.bit
		}
	}
	for i := range c.Net.Addresses {
		a := &c.Net.Addresses[i]
		if a.Is4() {
			s.V4[s.N4] = Addr4{[4]byte(a.Addr[12:]), [4]byte(mask(a.Bits, 4))}
			s.N4++
		} else {
			s.V6[s.N6] = Addr6{a.Addr, [16]byte(mask(a.Bits, 16))}
			s.N6++
		}
	}
	*(*[4]byte)(unsafe.Pointer(&s.Loopback)) = c.Loopback
	for i, r := range c.Net.Ports {
		s.Ports[i] = [2]uint16{r.First, r.Last}
	}
	s.NPorts = uint32(len(c.Net.Ports))
	return s
}

func mask(bits uint8, size int) []byte {
	m := make([]byte, size)
	for i := range m {
		n := min(8, max(0, int(bits)-8*i))
		m[i] = ^byte(0xff >> n)
	}
	return m
}

func pinned(name string) string { return Dir + "/" + ABI + "/" + name }

// load opens the storage map, after it has everything loaded where nobody has yet.
func (r *register) load() error {
	for try := 0; ; try++ {
		var err error
		if r.storage, err = bpf.Get(pinned(MapStorage)); err == nil {
			break
		}
		if try > 0 || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("network contexts: %w", err)
		}
		if _, err := helper.Run("net-load", nil); err != nil {
			return fmt.Errorf("load the BPF programs of network contexts: %w", err)
		}
	}
	var err error
	if r.owners, err = bpf.Get(pinned(MapOwners)); err != nil {
		return fmt.Errorf("network contexts: %w", err)
	}
	return nil
}

// Detach takes the programs from a cgroup that stays.
func Detach(cgroup string) error {
	dir, err := unix.Open(cgroup, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: cgroup, Err: err}
	}
	defer unix.Close(dir)
	return eachProgram(func(*Program) bool { return true }, func(prog int, typ uint32) error {
		if err := bpf.DetachCgroup(dir, prog, typ); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// Read returns what the programs have counted for a cgroup's context.
func Read(cgroup string) (*Storage, error) {
	fd, err := bpf.Get(pinned(MapStorage))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Stat(cgroup, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: cgroup, Err: err}
	}
	s := new(Storage)
	if err := bpf.Lookup(fd, unsafe.Pointer(&st.Ino), unsafe.Pointer(s)); err != nil {
		return nil, fmt.Errorf("storage of the network context on %s: %w", cgroup, err)
	}
	return s, nil
}
