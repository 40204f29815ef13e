package job

import (
	"encoding/binary"
	"strconv"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// Registers that keep their value over calls.
const (
	rCtx   = asm.R6 // the hook's context
	rStore = asm.R7 // the context's Storage
	rDst   = asm.R8 // an address that was asked for
	rSrc   = asm.R9 // the address that takes its place, or the source
)

// Places in struct bpf_sock_addr (linux/bpf.h).
const (
	saIP4    = 4
	saIP6    = 8
	saPort   = 24
	saType   = 32
	saSrc4   = 40
	saSrc6   = 44
	saSocket = 64
)

// Places in struct bpf_sock.
const (
	skFamily   = 4
	skType     = 8
	skProtocol = 12
	skSrc4     = 24
	skSrc6     = 28
	skState    = 72
)

// Places in netcontext.Socket, and its flags.
const (
	sFlags    = int16(unsafe.Offsetof(netcontext.Socket{}.Flags))
	sPeer     = int16(unsafe.Offsetof(netcontext.Socket{}.Peer))
	sPeerPort = int16(unsafe.Offsetof(netcontext.Socket{}.PeerPort))

	sCounted = netcontext.SocketCounted
	sAny4    = netcontext.SocketAny4
	sAny6    = netcontext.SocketAny6
	sLo6     = netcontext.SocketLo6
	sPeerLo  = netcontext.SocketPeerLo
	sPeerLo6 = netcontext.SocketPeerLo6
	sV6Only  = netcontext.SocketV6Only
	sV6Dual  = netcontext.SocketV6Dual
	sBound   = sAny4 | sAny6 | sLo6
)

// Places in Storage.
const (
	cState     = int16(unsafe.Offsetof(netcontext.Storage{}.State))
	cNetns     = int16(unsafe.Offsetof(netcontext.Storage{}.Netns))
	cN4        = int16(unsafe.Offsetof(netcontext.Storage{}.N4))
	cN6        = int16(unsafe.Offsetof(netcontext.Storage{}.N6))
	cLoopback  = int16(unsafe.Offsetof(netcontext.Storage{}.Loopback))
	cNPorts    = int16(unsafe.Offsetof(netcontext.Storage{}.NPorts))
	cNow       = int16(unsafe.Offsetof(netcontext.Storage{}.Now))
	cMax       = int16(unsafe.Offsetof(netcontext.Storage{}.Max))
	cLimit     = int16(unsafe.Offsetof(netcontext.Storage{}.Limit))
	cHits      = int16(unsafe.Offsetof(netcontext.Storage{}.Hits))
	cRewritten = int16(unsafe.Offsetof(netcontext.Storage{}.Rewritten))
	cDenied    = int16(unsafe.Offsetof(netcontext.Storage{}.Denied))
	cSources   = int16(unsafe.Offsetof(netcontext.Storage{}.Sources))
	cV4        = int16(unsafe.Offsetof(netcontext.Storage{}.V4))
	cV6        = int16(unsafe.Offsetof(netcontext.Storage{}.V6))
	cPorts     = int16(unsafe.Offsetof(netcontext.Storage{}.Ports))

	maxAddresses = len(netcontext.Storage{}.V4)
	maxPorts     = len(netcontext.Storage{}.Ports)
)

// be is a number of network byte order as the machine loads it.
func be(v uint32) int32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return int32(binary.NativeEndian.Uint32(b[:]))
}

// program is one in the making.
type program struct {
	m     *maps
	insns asm.Instructions
	next  string // the label of the next instruction
	n     int    // labels made up so far
	// fails are the ways to refuse that are in use.
	fails []failure
}

type failure struct {
	label string
	errno unix.Errno
	count int16 // of Storage
}

func (p *program) add(list ...asm.Instruction) {
	for _, i := range list {
		if p.next != "" {
			i, p.next = i.WithSymbol(p.next), ""
		}
		p.insns = append(p.insns, i)
	}
}

// label names the next instruction.
func (p *program) label(name string) {
	if p.next != "" {
		panic("two labels at one place: " + p.next + ", " + name)
	}
	p.next = name
}

func (p *program) fresh(name string) string {
	p.n++
	return name + strconv.Itoa(p.n)
}

func load(dst, src asm.Register, off int16) asm.Instruction {
	return asm.LoadMem(dst, src, off, asm.Word)
}
func load8(dst, src asm.Register, off int16) asm.Instruction {
	return asm.LoadMem(dst, src, off, asm.DWord)
}

func (p *program) jump(to string) { p.add(asm.Ja.Label(to)) }

// fail returns the label of a refusal.
func (p *program) fail(errno unix.Errno, count int16) string {
	for _, f := range p.fails {
		if f.errno == errno && f.count == count {
			return f.label
		}
	}
	l := "fail_" + strconv.Itoa(int(errno)) + "_" + strconv.Itoa(int(count))
	p.fails = append(p.fails, failure{l, errno, count})
	return l
}

// The refusals. Which error stands for what is Linux-VServer's choice, where that has one.
func (p *program) refuse() string      { return p.fail(unix.EPERM, cDenied) }
func (p *program) notOurs() string     { return p.fail(unix.EADDRNOTAVAIL, cDenied) }
func (p *program) unreachable() string { return p.fail(unix.ENETUNREACH, cDenied) }

// begin takes hold of the context. A program that decides lets everything pass that is not in the context's network
// namespace: a namespace of the guest's own is its own affair.
func (p *program) begin(decides bool) {
	p.add(asm.Mov.Reg(rCtx, asm.R1))
	p.storage()
	ready := p.refuse
	if !decides {
		ready = func() string { return "allow" }
	}
	p.add(load(asm.R1, rStore, cState), asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, netcontext.StateReady), asm.JEq.Imm(asm.R2, 0, ready()),
		asm.And.Imm(asm.R1, netcontext.StateConfine), asm.JEq.Imm(asm.R1, 0, "allow"))
	if decides {
		p.sameNetns("allow")
	}
}

func (p *program) storage() {
	p.add(asm.LoadMapPtr(asm.R1, p.m.storage), asm.Mov.Imm(asm.R2, 0), asm.FnGetLocalStorage.Call(), asm.Mov.Reg(rStore, asm.R0))
}

// sameNetns jumps where the socket is in another network namespace than the context's addresses.
func (p *program) sameNetns(other string) {
	p.add(asm.Mov.Reg(asm.R1, rCtx), asm.FnGetNetnsCookie.Call(), load8(asm.R1, rStore, cNetns), asm.JNE.Reg(asm.R0, asm.R1, other))
}

// end is where all ways lead to.
func (p *program) end() asm.Instructions {
	p.label("allow")
	p.add(asm.Mov.Imm(asm.R0, 1), asm.Return())
	for i := 0; i < len(p.fails); i++ {
		f := p.fails[i]
		p.label(f.label)
		p.count(f.count)
		if p.m.setRetval {
			p.add(asm.Mov.Imm(asm.R1, -int32(f.errno)), asm.FnSetRetval.Call())
		}
		p.add(asm.Mov.Imm(asm.R0, 0), asm.Return())
	}
	return p.insns
}

// count adds one to a number of the context's. It needs registers 1 and 2.
func (p *program) count(at int16) {
	p.add(asm.Mov.Imm(asm.R1, 1), asm.AddAtomic.Mem(rStore, asm.R1, asm.DWord, at))
}

// store writes an immediate word to the stack.
func stack(off int16, v int32) asm.Instruction { return asm.StoreImm(asm.RFP, off, int64(v), asm.Word) }

// socket finds what is kept of the hook's socket, in register 0; it jumps where there is nothing.
func (p *program) socket(create bool, none string) {
	p.add(load8(asm.R2, rCtx, saSocket))
	p.socketOf(create, none)
}

// socketOf does so for the socket in register 2.
func (p *program) socketOf(create bool, none string) {
	flags := int32(0)
	if create {
		flags = 1 // BPF_SK_STORAGE_GET_F_CREATE
	}
	p.add(asm.LoadMapPtr(asm.R1, p.m.sockets), asm.Mov.Imm(asm.R3, 0), asm.Mov.Imm(asm.R4, flags), asm.FnSkStorageGet.Call(),
		asm.JEq.Imm(asm.R0, 0, none))
}

// remember replaces the flags in mask by those in set.
func (p *program) remember(mask, set int32) {
	done := p.fresh("remembered")
	p.socket(set != 0, done)
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, ^mask), asm.Or.Imm(asm.R1, set),
		asm.StoreMem(asm.R0, sFlags, asm.R1, asm.Word))
	p.nop(done)
}

// nop is a place to jump to.
func (p *program) nop(label string) {
	p.label(label)
	p.add(asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Ja)}) // to the next one
}

// isLoopback jumps where an IPv4 address is one of 127.0.0.0/8.
func (p *program) isLoopback(addr asm.Register, yes string) {
	p.add(asm.Mov.Reg(asm.R1, addr), asm.And.Imm(asm.R1, be(0xff000000)), asm.JEq.Imm32(asm.R1, be(0x7f000000), yes))
}

// isMapped jumps to no where the four words at off are not those of an IPv4-mapped address, but for ::1 and :: to theirs.
func (p *program) ip6Kind(off int16, mapped, any, one, other string) {
	p.add(load(asm.R1, rCtx, off), asm.JNE.Imm(asm.R1, 0, other), load(asm.R1, rCtx, off+4), asm.JNE.Imm(asm.R1, 0, other),
		load(asm.R1, rCtx, off+8), load(rDst, rCtx, off+12), asm.JEq.Imm32(asm.R1, be(0xffff), mapped), asm.JNE.Imm(asm.R1, 0, other),
		asm.JEq.Imm(rDst, 0, any), asm.JEq.Imm32(rDst, be(1), one))
	p.jump(other)
}

// find4 jumps where the IPv4 address is one of the context's.
func (p *program) find4(addr asm.Register, found string) {
	end := p.fresh("not4")
	p.add(load(asm.R1, rStore, cN4))
	for i := range maxAddresses {
		p.add(asm.JLE.Imm(asm.R1, int32(i), end), load(asm.R2, rStore, cV4+int16(8*i)), asm.JEq.Reg(asm.R2, addr, found))
	}
	p.nop(end)
}

// find6 jumps where the four words at off of a register's memory are one of the context's addresses.
func (p *program) find6(base asm.Register, off int16, found string) {
	end := p.fresh("not6")
	words := [...]asm.Register{asm.R1, asm.R2, asm.R3, asm.R4}
	for w, r := range words {
		p.add(load(r, base, off+int16(4*w)))
	}
	p.add(load(asm.R0, rStore, cN6))
	for i := range maxAddresses {
		next := p.fresh("next6")
		p.add(asm.JLE.Imm(asm.R0, int32(i), end))
		for w, r := range words {
			p.add(load(asm.R5, rStore, cV6+int16(32*i+4*w)), asm.JNE.Reg(asm.R5, r, next))
		}
		p.jump(found)
		p.nop(next)
	}
	p.nop(end)
}

// choose4 gives the source for the destination in rDst, in rSrc: the destination itself, if it is the context's own; else
// an address of its network; else the first.
func (p *program) choose4() {
	near, first, done := p.fresh("near4"), p.fresh("first4"), p.fresh("chosen4")
	loop := p.fresh("noloop4")
	p.add(load(rSrc, rStore, cLoopback), asm.JEq.Imm(rSrc, 0, loop), asm.JEq.Reg(rSrc, rDst, done))
	p.nop(loop)
	p.add(load(asm.R1, rStore, cN4), asm.JEq.Imm(asm.R1, 0, p.unreachable()), asm.JEq.Imm(asm.R1, 1, first))
	for i := range maxAddresses {
		p.add(asm.JLE.Imm(asm.R1, int32(i), near), load(rSrc, rStore, cV4+int16(8*i)), asm.JEq.Reg(rSrc, rDst, done))
	}
	p.nop(near)
	for i := range maxAddresses {
		at := cV4 + int16(8*i)
		p.add(asm.JLE.Imm(asm.R1, int32(i), first), load(rSrc, rStore, at), load(asm.R2, rStore, at+4), asm.Mov.Reg(asm.R3, rDst),
			asm.And.Reg(asm.R3, asm.R2), asm.And.Reg(asm.R2, rSrc), asm.JEq.Reg(asm.R2, asm.R3, done))
	}
	p.nop(first)
	p.add(load(rSrc, rStore, cV4))
	p.nop(done)
}

// choose6 does so for the address at off of the hook's context; rSrc points to the source.
func (p *program) choose6(off int16) {
	near, first, done := p.fresh("near6"), p.fresh("first6"), p.fresh("chosen6")
	words := [...]asm.Register{asm.R1, asm.R2, asm.R3, asm.R4}
	p.add(load(asm.R0, rStore, cN6), asm.JEq.Imm(asm.R0, 0, p.unreachable()))
	p.add(asm.JEq.Imm(asm.R0, 1, first))
	for w, r := range words {
		p.add(load(r, rCtx, off+int16(4*w)))
	}
	for pass, end := range [...]string{near, first} {
		for i := range maxAddresses {
			at := cV6 + int16(32*i)
			next := p.fresh("next6")
			p.add(asm.JLE.Imm(asm.R0, int32(i), end), asm.Mov.Reg(rSrc, rStore), asm.Add.Imm(rSrc, int32(at)))
			for w, r := range words {
				p.add(load(asm.R5, rStore, at+int16(4*w)))
				if pass == 1 {
					p.add(load(rDst, rStore, at+16+int16(4*w)), asm.And.Reg(asm.R5, rDst), asm.And.Reg(rDst, r))
					r = rDst
				}
				p.add(asm.JNE.Reg(asm.R5, r, next))
			}
			p.jump(done)
			p.nop(next)
		}
		p.nop(end)
	}
	p.add(asm.Mov.Reg(rSrc, rStore), asm.Add.Imm(rSrc, int32(cV6)))
	p.nop(done)
}
