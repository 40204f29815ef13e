package job

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// On the stack of udpIngress.
const (
	uTuple  = -40 // struct bpf_sock_tuple: at most 36 bytes
	uHeader = -80 // the IP header: at most 40
	uPorts  = -88
	uKey    = -112 // netcontext.OwnerKey

	skbProtocol = 16
	skbData     = 76
	skbEnd      = 80
	etherSize   = 14
	startNet    = 1  // BPF_HDR_START_NET
	next        = -1 // TCX_NEXT

	ownerMain4 = int16(unsafe.Offsetof(netcontext.Owner{}.Main4)) + 12
	ownerMain6 = int16(unsafe.Offsetof(netcontext.Owner{}.Main6))
)

// udpIngress gives a datagram to an address of a context that no socket is bound to, to the context's socket on 0.0.0.0 or ::,
// which is bound to the first address. For connections skLookup does it, with sockets that listen(2) has entered. But a socket
// for datagrams does not listen, and no program that sees its bind(2) may enter it; so it is looked up for the datagram, where
// that comes in. There is one for each interface with addresses of such contexts, and for each network namespace its lo.
//
// It sees all that comes in there. Where packets begin with an Ethernet header (as on lo) a look tells that one is no datagram.
func udpIngress(m *maps, netns uint64, ether bool) asm.Instructions {
	p := &program{m: m}
	be16 := func(v uint32) int32 { return int32(uint32(be(v<<16)) & 0xffff) }
	p.add(asm.Mov.Reg(rCtx, asm.R1), load(asm.R1, rCtx, skbProtocol))
	if ether {
		p.add(load(asm.R2, rCtx, skbData), load(asm.R3, rCtx, skbEnd), asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, etherSize+10), asm.JGT.Reg(asm.R4, asm.R3, "unknown"),
			asm.LoadMem(asm.R3, asm.R2, etherSize+9, asm.Byte), asm.JEq.Imm(asm.R1, be16(0x0800), "known"),
			asm.LoadMem(asm.R3, asm.R2, etherSize+6, asm.Byte), asm.JNE.Imm(asm.R1, be16(0x86dd), "pass"))
		p.nop("known")
		p.add(asm.JNE.Imm(asm.R3, unix.IPPROTO_UDP, "pass"))
		p.nop("unknown")
	}
	p.add(asm.LoadImm(asm.R2, int64(netns), asm.DWord), asm.StoreMem(asm.RFP, uKey, asm.R2, asm.DWord),
		asm.JEq.Imm(asm.R1, be16(0x0800), "ip4"), asm.JNE.Imm(asm.R1, be16(0x86dd), "pass"))

	p.bytes(0, uHeader, 40)
	p.add(asm.LoadMem(asm.R1, asm.RFP, uHeader+6, asm.Byte), asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "pass"))
	for w := range int16(4) {
		p.add(load(asm.R1, asm.RFP, uHeader+24+4*w), asm.StoreMem(asm.RFP, uKey+8+4*w, asm.R1, asm.Word), asm.StoreMem(asm.RFP, uTuple+16+4*w, asm.R1, asm.Word),
			load(asm.R1, asm.RFP, uHeader+8+4*w), asm.StoreMem(asm.RFP, uTuple+4*w, asm.R1, asm.Word))
	}
	p.owner()
	p.bytes(40, uPorts, 4)
	p.add(load(asm.R1, asm.RFP, uPorts), asm.StoreMem(asm.RFP, uTuple+32, asm.R1, asm.Word))
	p.lookupUDP(36, "first6")
	for w := range int16(4) {
		p.add(load(asm.R1, rSrc, skSrc6+4*w), load(asm.R2, asm.RFP, uKey+8+4*w), asm.JNE.Reg(asm.R1, asm.R2, "not_its6"))
	}
	p.jump("pass_release") // it has a socket of its own
	p.nop("not_its6")
	p.release()
	p.nop("first6")
	for w := range int16(4) {
		p.add(load(asm.R1, rDst, ownerMain6+4*w), asm.StoreMem(asm.RFP, uTuple+16+4*w, asm.R1, asm.Word))
	}
	p.lookupUDP(36, "dual")
	p.ifAny(sAny6, "assign", "dual")
	p.nop("dual")
	p.add(load(asm.R1, rDst, ownerMain4), asm.JEq.Imm(asm.R1, 0, "pass"), asm.StoreMem(asm.RFP, uTuple+4, asm.R1, asm.Word), stack(uTuple, 0),
		load(asm.R1, asm.RFP, uPorts), asm.StoreMem(asm.RFP, uTuple+8, asm.R1, asm.Word))
	p.lookupUDP(12, "pass")
	p.ifAny(sAny6, "assign", "pass")

	p.label("ip4")
	p.bytes(0, uHeader, 20)
	p.add(asm.LoadMem(asm.R1, asm.RFP, uHeader+9, asm.Byte), asm.JNE.Imm(asm.R1, unix.IPPROTO_UDP, "pass"),
		// A fragment: only the first has the ports.
		asm.LoadMem(asm.R1, asm.RFP, uHeader+6, asm.Half), asm.And.Imm(asm.R1, be16(0x3fff)), asm.JNE.Imm(asm.R1, 0, "pass"),
		stack(uKey+8, 0), stack(uKey+12, 0), stack(uKey+16, be(0xffff)),
		load(asm.R1, asm.RFP, uHeader+16), asm.StoreMem(asm.RFP, uKey+20, asm.R1, asm.Word), asm.StoreMem(asm.RFP, uTuple+4, asm.R1, asm.Word),
		load(asm.R1, asm.RFP, uHeader+12), asm.StoreMem(asm.RFP, uTuple, asm.R1, asm.Word))
	p.owner()
	// The first address: who asked for 0.0.0.0 is bound to it.
	p.add(load(asm.R1, rDst, ownerMain4), asm.JEq.Imm(asm.R1, 0, "pass"), load(asm.R2, asm.RFP, uKey+20), asm.JEq.Reg(asm.R1, asm.R2, "pass"))
	p.add(asm.LoadMem(asm.R2, asm.RFP, uHeader, asm.Byte), asm.And.Imm(asm.R2, 15), asm.LSh.Imm(asm.R2, 2))
	p.bytesAt(uPorts, 4)
	p.add(load(asm.R1, asm.RFP, uPorts), asm.StoreMem(asm.RFP, uTuple+8, asm.R1, asm.Word))
	p.lookupUDP(12, "first4")
	p.add(load(asm.R1, rSrc, skSrc4), load(asm.R2, asm.RFP, uKey+20), asm.JEq.Reg(asm.R1, asm.R2, "pass_release"))
	p.release()
	p.nop("first4")
	p.add(load(asm.R1, rDst, ownerMain4), asm.StoreMem(asm.RFP, uTuple+4, asm.R1, asm.Word))
	p.lookupUDP(12, "pass")
	p.ifAny(sAny4|sAny6, "assign", "pass")

	p.label("assign")
	p.add(asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Reg(asm.R2, rSrc), asm.Mov.Imm(asm.R3, 0), asm.FnSkAssign.Call())
	p.nop("pass_release")
	p.release()
	p.nop("pass")
	p.add(asm.Mov.Imm(asm.R0, next), asm.Return())
	return p.insns
}

// bytes copies a part of the packet, from its IP header on, to the stack.
func (p *program) bytes(from int32, to int16, size int32) {
	p.add(asm.Mov.Imm(asm.R2, from))
	p.bytesAt(to, size)
}

// bytesAt copies from the offset in register 2.
func (p *program) bytesAt(to int16, size int32) {
	p.add(asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, int32(to)), asm.Mov.Imm(asm.R4, size),
		asm.Mov.Imm(asm.R5, startNet), asm.FnSkbLoadBytesRelative.Call(), asm.JNE.Imm(asm.R0, 0, "pass"))
}

// owner finds whose the address in the key is, in rDst.
func (p *program) owner() {
	p.add(asm.LoadMapPtr(asm.R1, p.m.owners), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, uKey), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"), asm.Mov.Reg(rDst, asm.R0))
}

// lookupUDP looks for the socket of the tuple, in rSrc.
func (p *program) lookupUDP(size int32, none string) {
	p.add(asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, uTuple), asm.Mov.Imm(asm.R3, size),
		asm.Mov.Imm(asm.R4, -1), asm.Mov.Imm(asm.R5, 0), asm.FnSkLookupUdp.Call(), asm.JEq.Imm(asm.R0, 0, none), asm.Mov.Reg(rSrc, asm.R0))
}

func (p *program) release() { p.add(asm.Mov.Reg(asm.R1, rSrc), asm.FnSkRelease.Call()) }

// ifAny jumps to yes, with the socket, where it was bound to 0.0.0.0 or ::; else to no, without.
func (p *program) ifAny(flags int32, yes, no string) {
	other := p.fresh("other")
	p.add(asm.Mov.Reg(asm.R2, rSrc))
	p.socketOf(false, other)
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, flags), asm.JNE.Imm(asm.R1, 0, yes))
	p.nop(other)
	p.release()
	p.jump(no)
}
