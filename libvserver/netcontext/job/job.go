// Package job makes, inside vsrun-helper, the BPF programs and maps of network contexts and pins them, with cilium/ebpf as
// the assembler: there is no compiler at build or at run time. It runs once for a boot of the host and an ABI, and once for
// each network namespace that has contexts; launches then only attach what is pinned (package netcontext).
//
// It must not be linked into vsrun itself, and knows nothing of containers.
package job

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// maps are what programs refer to.
type maps struct {
	storage, sockets, counted, listeners, hints, owners int
	setRetval                                           bool // programs can say which errno
}

// What the maps hold at most. A table costs 16 bytes an entry from the start.
const (
	maxListeners = 65536
	maxOwners    = 65536
	maxCounted   = 65536
)

// Known reports whether name is one of the jobs.
func Known(name string) bool { return name == "net-load" || name == "net-netns" }

// Run does a job.
//
//	net-load   makes and pins everything in the directory netcontext.Dir/ABI; no request, no answer
//	net-netns  makes and pins what a network namespace needs; the request is its cookie (uint64)
func Run(name string, request []byte) ([]byte, error) {
	if name == "net-load" {
		return nil, loadAll()
	}
	if len(request) != 8 {
		return nil, errors.New(name + " request: message is cut short")
	}
	return nil, loadNetns(binary.NativeEndian.Uint64(request))
}

func mapSpecs() []*ebpf.MapSpec {
	// A map of sockets' own data is taken only with a description of its types (BTF).
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	value := &btf.Struct{Name: "vsrun_socket", Size: netcontext.SocketSize, Members: []btf.Member{
		{Name: "flags", Type: u32}, {Name: "peer", Type: u32, Offset: 32}, {Name: "port", Type: u32, Offset: 64}, {Name: "unused", Type: u32, Offset: 96}}}
	return []*ebpf.MapSpec{
		{Name: netcontext.MapSockets, Type: ebpf.SkStorage, KeySize: 4, ValueSize: netcontext.SocketSize, Flags: unix.BPF_F_NO_PREALLOC,
			Key: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}, Value: value},
		{Name: netcontext.MapCounted, Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: maxCounted, Flags: unix.BPF_F_NO_PREALLOC},
		{Name: netcontext.MapListeners, Type: ebpf.SockHash, KeySize: netcontext.ListenerKeySize, ValueSize: 8, MaxEntries: maxListeners},
		{Name: netcontext.MapHints, Type: ebpf.Array, KeySize: 4, ValueSize: netcontext.HintsSize, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE},
		{Name: netcontext.MapOwners, Type: ebpf.Hash, KeySize: netcontext.OwnerKeySize, ValueSize: netcontext.OwnerSize, MaxEntries: maxOwners, Flags: unix.BPF_F_NO_PREALLOC},
		{Name: netcontext.MapStorage, Type: ebpf.CGroupStorage, KeySize: 8, ValueSize: netcontext.StorageSize},
	}
}

// instructions are the programs by name.
func instructions(m *maps) map[string]asm.Instructions {
	return map[string]asm.Instructions{
		"sock_create": sockCreate(m), "sock_count": sockCount(m), "sock_release": sockRelease(m), "bind4": bind4(m), "bind6": bind6(m),
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
	m.owners, m.counted, m.hints = made[netcontext.MapOwners].FD(), made[netcontext.MapCounted].FD(), made[netcontext.MapHints].FD()
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

// loadNetns makes and pins the programs of a network namespace, which have its cookie in them.
func loadNetns(cookie uint64) error {
	m := new(maps)
	for name, fd := range map[string]*int{netcontext.MapListeners: &m.listeners, netcontext.MapHints: &m.hints, netcontext.MapOwners: &m.owners, netcontext.MapSockets: &m.sockets} {
		em, err := ebpf.LoadPinnedMap(filepath.Join(netcontext.Dir, netcontext.ABI, name), nil)
		if err != nil {
			return err
		}
		*fd = em.FD()
	}
	for _, p := range []struct {
		name  string
		spec  ebpf.ProgramSpec
		insns asm.Instructions
	}{
		{netcontext.LookupProgram, ebpf.ProgramSpec{Name: "vsrun_lookup", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup}, skLookup(m, cookie)},
		{netcontext.UDPProgram, ebpf.ProgramSpec{Name: "vsrun_udp", Type: ebpf.SchedCLS}, udpIngress(m, cookie, false)},
		{netcontext.EtherProgram, ebpf.ProgramSpec{Name: "vsrun_udp_ether", Type: ebpf.SchedCLS}, udpIngress(m, cookie, true)},
	} {
		p.spec.Instructions, p.spec.License = p.insns, "Apache-2.0"
		prog, err := ebpf.NewProgram(&p.spec)
		if err != nil {
			return fmt.Errorf("BPF program %s: %w", p.name, err)
		}
		pin := netcontext.NetnsPin(p.name, cookie)
		_ = os.Remove(pin) // from one that was killed before it had made them all
		if err := prog.Pin(pin); err != nil {
			return fmt.Errorf("pin %s: %w", pin, err)
		}
	}
	return nil
}
