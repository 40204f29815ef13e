// Package job makes, inside vsrun-helper, the BPF programs and maps of network contexts and pins them, with cilium/ebpf as
// the assembler: there is no compiler at build or at run time. It runs once for a boot of the host and an ABI, and once for
// each network namespace that has contexts; launches then only attach what is pinned (package netcontext).
//
// It must not be linked into vsrun itself, and knows nothing of containers.
package job

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// maps are what programs refer to.
type maps struct {
	storage, sockets, listeners, owners int
	setRetval                           bool // programs can say which errno
}

// What the maps hold at most. The table of listeners costs 16 bytes an entry from the start.
const (
	maxListeners = 65536
	maxOwners    = 65536
)

// Known reports whether name is one of the jobs.
func Known(name string) bool { return name == "net-load" || name == "net-attach" || name == "net-udp" }

// Run does a job.
//
//	net-load    makes and pins everything in the directory netcontext.Dir/ABI; no request, no answer
//	net-attach  attaches the lookup of listeners to a network namespace; see netcontext.AttachRequest
//	net-udp     attaches the lookup of sockets for datagrams to interfaces
func Run(name string, request []byte) ([]byte, error) {
	if name == "net-load" {
		return nil, loadAll()
	}
	q, err := netcontext.ParseAttachRequest(request)
	if err != nil {
		return nil, fmt.Errorf("%s request: %w", name, err)
	}
	if name == "net-udp" {
		return nil, attachInterfaces(q)
	}
	return nil, attachNetns(q.Netns, q.Path)
}

func mapSpecs() []*ebpf.MapSpec {
	// A map of sockets' own data is taken only with a description of its types (BTF).
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	value := &btf.Struct{Name: "vsrun_socket", Size: netcontext.SocketSize, Members: []btf.Member{
		{Name: "flags", Type: u32}, {Name: "peer", Type: u32, Offset: 32}, {Name: "port", Type: u32, Offset: 64}, {Name: "unused", Type: u32, Offset: 96}}}
	return []*ebpf.MapSpec{
		{Name: netcontext.MapSockets, Type: ebpf.SkStorage, KeySize: 4, ValueSize: netcontext.SocketSize, Flags: unix.BPF_F_NO_PREALLOC,
			Key: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}, Value: value},
		{Name: netcontext.MapListeners, Type: ebpf.SockHash, KeySize: netcontext.ListenerKeySize, ValueSize: 8, MaxEntries: maxListeners},
		{Name: netcontext.MapOwners, Type: ebpf.Hash, KeySize: netcontext.OwnerKeySize, ValueSize: netcontext.OwnerSize, MaxEntries: maxOwners, Flags: unix.BPF_F_NO_PREALLOC},
		{Name: netcontext.MapStorage, Type: ebpf.CGroupStorage, KeySize: 8, ValueSize: netcontext.StorageSize},
	}
}

// instructions are the programs by name.
func instructions(m *maps) map[string]asm.Instructions {
	return map[string]asm.Instructions{
		"sock_create": sockCreate(m), "sock_release": sockRelease(m), "bind4": bind4(m), "bind6": bind6(m),
		"connect4": connect4(m), "connect6": connect6(m), "sendmsg4": sendmsg4(m), "sendmsg6": sendmsg6(m),
		"recvmsg4": peer4(m), "recvmsg6": peer6(m), "getpeername4": peer4(m), "getpeername6": peer6(m),
		"getsockname4": own4(m), "getsockname6": own6(m), "sock_ops": sockOps(m), "setsockopt": setsockopt(m),
	}
}

func progType(p *netcontext.Program) ebpf.ProgramType {
	switch p.Attach {
	case unix.BPF_CGROUP_INET_SOCK_CREATE, unix.BPF_CGROUP_INET_SOCK_RELEASE:
		return ebpf.CGroupSock
	case unix.BPF_CGROUP_SOCK_OPS:
		return ebpf.SockOps
	case unix.BPF_CGROUP_SETSOCKOPT:
		return ebpf.CGroupSockopt
	}
	return ebpf.CGroupSockAddr
}

// loadAll makes everything. The callers exclude each other.
func loadAll() error {
	if err := mountBpffs(); err != nil {
		return err
	}
	dir := filepath.Join(netcontext.Dir, netcontext.ABI)
	if err := os.RemoveAll(dir); err != nil { // half of it, from one that was killed
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	m := &maps{setRetval: features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval) == nil}
	made := make(map[string]*ebpf.Map)
	for _, s := range mapSpecs() {
		em, err := ebpf.NewMap(s)
		if err != nil {
			return fmt.Errorf("BPF map %s: %w", s.Name, err)
		}
		made[s.Name] = em
	}
	m.storage, m.sockets, m.listeners = made[netcontext.MapStorage].FD(), made[netcontext.MapSockets].FD(), made[netcontext.MapListeners].FD()
	m.owners = made[netcontext.MapOwners].FD()
	insns := instructions(m)
	for i := range netcontext.Programs {
		p := &netcontext.Programs[i]
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "vsrun_" + p.Name, Type: progType(p), AttachType: ebpf.AttachType(p.Attach), Instructions: insns[p.Name], License: "Apache-2.0"})
		if err != nil {
			return fmt.Errorf("BPF program %s: %w", p.Name, err)
		}
		if err := prog.Pin(filepath.Join(dir, p.Name)); err != nil {
			return fmt.Errorf("pin BPF program %s: %w", p.Name, err)
		}
	}
	for _, s := range mapSpecs() { // the storage is last
		if err := made[s.Name].Pin(filepath.Join(dir, s.Name)); err != nil {
			return fmt.Errorf("pin BPF map %s: %w", s.Name, err)
		}
	}
	return nil
}

// mountBpffs mounts the BPF filesystem at its usual place, where nobody has yet; systemd does at boot.
func mountBpffs() error {
	const at = "/sys/fs/bpf"
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: at, Err: err}
	}
	if st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", at, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
		return &os.PathError{Op: "mount bpf", Path: at, Err: err}
	}
	return nil
}

// attachNetns attaches the lookup of listeners to a network namespace, by a link that is pinned.
func attachNetns(cookie uint64, path string) error {
	dir := filepath.Join(netcontext.Dir, netcontext.ABI)
	listeners, err := ebpf.LoadPinnedMap(filepath.Join(dir, netcontext.MapListeners), nil)
	if err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "vsrun_lookup", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup,
		Instructions: skLookup(&maps{listeners: listeners.FD()}, cookie), License: "Apache-2.0"})
	if err != nil {
		return fmt.Errorf("BPF program sk_lookup: %w", err)
	}
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	l, err := link.AttachNetNs(int(ns.Fd()), prog)
	if err != nil {
		return fmt.Errorf("attach the BPF program sk_lookup to %s: %w", path, err)
	}
	pin := netcontext.LookupPin(cookie)
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin %s: %w", pin, err)
	}
	return nil
}

// attachInterfaces attaches the lookup of sockets for datagrams to interfaces, by links that are pinned.
func attachInterfaces(q *netcontext.AttachRequest) error {
	owners, err := ebpf.LoadPinnedMap(filepath.Join(netcontext.Dir, netcontext.ABI, netcontext.MapOwners), nil)
	if err != nil {
		return err
	}
	sockets, err := ebpf.LoadPinnedMap(filepath.Join(netcontext.Dir, netcontext.ABI, netcontext.MapSockets), nil)
	if err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "vsrun_udp", Type: ebpf.SchedCLS, Instructions: udpIngress(&maps{owners: owners.FD(), sockets: sockets.FD()}, q.Netns), License: "Apache-2.0"})
	if err != nil {
		return fmt.Errorf("BPF program udp: %w", err)
	}
	runtime.LockOSThread()
	ns, err := os.Open(q.Path)
	if err != nil {
		return err
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return &os.PathError{Op: "setns", Path: q.Path, Err: err}
	}
	for _, index := range q.Interfaces {
		l, err := link.AttachTCX(link.TCXOptions{Interface: int(index), Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		if err != nil {
			return fmt.Errorf("attach the BPF program udp to interface %d: %w", index, err)
		}
		if err := l.Pin(netcontext.UDPPin(q.Netns, index)); err != nil {
			return fmt.Errorf("pin %s: %w", netcontext.UDPPin(q.Netns, index), err)
		}
	}
	return nil
}
