package job

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// On the stack.
const (
	tuple    = -16 // struct bpf_sock_tuple: addresses of the source and of the destination, ports
	sockaddr = -48 // struct sockaddr_in or sockaddr_in6
)

// connect4 is connect(2) of an IPv4 socket (or of an IPv6 one of datagrams, to an IPv4 address).
func connect4(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(true)
	p.add(load(rDst, rCtx, saIP4))
	p.connectIP4(saIP4)
	return p.end()
}

// connectIP4 connects to the address in rDst, which stands at at.
func (p *program) connectIP4(at int16) {
	p.add(asm.JEq.Imm(rDst, 0, "loop4")) // 0.0.0.0 is the host itself
	p.isLoopback(rDst, "loop4")
	p.jump("source4")
	p.nop("loop4")
	p.add(load(rSrc, rStore, cLoopback), asm.JEq.Imm(rSrc, 0, p.refuse()),
		load(asm.R1, rCtx, saType), asm.JNE.Imm(asm.R1, unix.SOCK_DGRAM, "loopback4"))
	p.loopback4(at)
	p.nop("loopback4")
	p.add(load(rDst, rStore, cLoopback), asm.StoreMem(rCtx, at, rDst, asm.Word))
	p.nop("source4")

	// A source that was bound to has been seen by bind4. One that is none of ours now was not set by this context.
	p.add(load8(asm.R1, rCtx, saSocket), load(rSrc, asm.R1, skSrc4), asm.JEq.Imm(rSrc, 0, "choose4"),
		load(asm.R1, rStore, cLoopback), asm.JEq.Reg(asm.R1, rSrc, "allow"))
	p.find4(rSrc, "allow")
	p.jump(p.refuse())

	p.nop("choose4")
	p.choose4()
	if at == saIP4 {
		p.add(asm.LoadImm(asm.R1, 0, asm.DWord), asm.StoreMem(asm.RFP, sockaddr+8, asm.R1, asm.DWord),
			asm.StoreMem(asm.RFP, sockaddr, asm.R1, asm.DWord), asm.StoreImm(asm.RFP, sockaddr, unix.AF_INET, asm.Half),
			asm.StoreMem(asm.RFP, sockaddr+4, rSrc, asm.Word))
		p.bindSource(16)
		return
	}
	p.clearSockaddr6()
	p.add(stack(sockaddr+16, be(0xffff)), asm.StoreMem(asm.RFP, sockaddr+20, rSrc, asm.Word))
	p.bindSource(28)
}

// clearSockaddr6 begins a struct sockaddr_in6.
func (p *program) clearSockaddr6() {
	p.add(asm.Mov.Imm(asm.R1, 0))
	for off := int16(sockaddr); off < sockaddr+32; off += 8 {
		p.add(asm.StoreMem(asm.RFP, off, asm.R1, asm.DWord))
	}
	p.add(asm.StoreImm(asm.RFP, sockaddr, unix.AF_INET6, asm.Half))
}

// bindSource binds the socket to the address on the stack; the port is left to the kernel. It fails where a socket for
// datagrams has sent already, without an address: then the source could not be told.
func (p *program) bindSource(size int32) {
	p.add(asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, sockaddr), asm.Mov.Imm(asm.R3, size),
		asm.FnBind.Call(), asm.JNE.Imm(asm.R0, 0, p.refuse()))
	p.count(cSources)
}

// loopback4 looks where datagrams to 127.0.0.1 go: the loopback address (in rSrc) if somebody of the context has it; else
// the first address, if a socket is bound there, which may have asked for 0.0.0.0. The latter goes on at source4, or falls
// through.
func (p *program) loopback4(at int16) {
	first, none := p.fresh("first"), p.fresh("none")
	p.add(asm.StoreMem(asm.RFP, tuple, rSrc, asm.Word), asm.StoreMem(asm.RFP, tuple+4, rSrc, asm.Word),
		load(asm.R1, rCtx, saPort), asm.StoreImm(asm.RFP, tuple+8, 0, asm.Half), asm.StoreMem(asm.RFP, tuple+10, asm.R1, asm.Half))
	p.lookup(first)
	p.add(asm.JEq.Reg(rDst, rSrc, none)) // it is bound there
	p.nop(first)
	p.add(load(asm.R1, rStore, cN4), asm.JEq.Imm(asm.R1, 0, none), load(asm.R1, rStore, cV4), asm.StoreMem(asm.RFP, tuple+4, asm.R1, asm.Word))
	p.lookup(none)
	p.add(load(asm.R1, rStore, cV4), asm.JNE.Reg(rDst, asm.R1, none))
	p.socket(true, none)
	p.add(load(asm.R1, asm.R0, sFlags), asm.Or.Imm(asm.R1, sPeerLo), asm.StoreMem(asm.R0, sFlags, asm.R1, asm.Word),
		asm.StoreMem(asm.R0, sPeer, rDst, asm.Word), load(asm.R1, rCtx, saPort), asm.StoreMem(asm.R0, sPeerPort, asm.R1, asm.Word),
		asm.StoreMem(rCtx, at, rDst, asm.Word), asm.Mov.Reg(rDst, rSrc))
	p.jump("source4")
	p.nop(none)
}

// lookup looks for an IPv4 socket for the tuple on the stack, and gives the address that it is bound to in rDst.
func (p *program) lookup(none string) {
	p.add(asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, tuple), asm.Mov.Imm(asm.R3, 12),
		asm.Mov.Imm(asm.R4, -1), asm.Mov.Imm(asm.R5, 0), asm.FnSkLookupUdp.Call(), asm.JEq.Imm(asm.R0, 0, none),
		load(rDst, asm.R0, skSrc4), asm.Mov.Reg(asm.R1, asm.R0), asm.FnSkRelease.Call())
}

// connect6 is connect(2) of an IPv6 socket.
func connect6(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(true)
	p.ip6Kind(saIP6, "mapped", "one6", "one6", "other6")

	p.label("one6") // and ::, which is the host itself
	p.add(load(rSrc, rStore, cLoopback), asm.JEq.Imm(rSrc, 0, p.refuse()))
	p.remember(sPeerLo6, sPeerLo6)
	p.mapped()
	p.jump("loop4")

	p.label("other6")
	p.add(load8(asm.R1, rCtx, saSocket))
	for w := range int16(4) {
		p.add(load(asm.R2, asm.R1, skSrc6+4*w), asm.StoreMem(asm.RFP, tuple+4*w, asm.R2, asm.Word))
		if w == 0 {
			p.add(asm.Mov.Reg(asm.R3, asm.R2))
		} else {
			p.add(asm.Or.Reg(asm.R3, asm.R2))
		}
	}
	p.add(asm.JEq.Imm(asm.R3, 0, "choose6"))
	p.find6(asm.RFP, tuple, "allow")
	p.jump(p.refuse())
	p.nop("choose6")
	p.choose6(saIP6)
	p.clearSockaddr6()
	for w := range int16(4) {
		p.add(load(asm.R1, rSrc, 4*w), asm.StoreMem(asm.RFP, sockaddr+8+4*w, asm.R1, asm.Word))
	}
	p.bindSource(28)
	p.jump("allow")

	p.nop("mapped")
	p.connectIP4(saIP6 + 12)
	return p.end()
}

// sendmsg4 is sendto(2) and sendmsg(2) with an IPv4 address, of an unconnected socket for datagrams; or with none, of a
// connected one that gives a source by IP_PKTINFO.
func sendmsg4(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(true)
	p.add(load(rDst, rCtx, saIP4), asm.JNE.Imm(rDst, 0, "given"), load(asm.R1, rCtx, saPort), asm.JEq.Imm(asm.R1, 0, "source4"))
	p.jump("loop4")
	p.nop("given")
	p.isLoopback(rDst, "loop4")
	p.jump("source4")
	p.nop("loop4")
	p.add(load(rSrc, rStore, cLoopback), asm.JEq.Imm(rSrc, 0, p.refuse()))
	p.loopback4(saIP4)
	p.add(load(rDst, rStore, cLoopback), asm.StoreMem(rCtx, saIP4, rDst, asm.Word))
	p.nop("source4")

	p.add(load(rSrc, rCtx, saSrc4), asm.JEq.Imm(rSrc, 0, "choose4"), load(asm.R1, rStore, cLoopback), asm.JEq.Reg(asm.R1, rSrc, "allow"))
	// A socket on 0.0.0.0 has no source of its own. But what comes from the context itself went to the first address, and
	// the answer must come from there.
	p.add(asm.JEq.Reg(asm.R1, rDst, "bound"), load(asm.R1, rStore, cV4), asm.JNE.Reg(asm.R1, rSrc, "bound"),
		load(asm.R1, rStore, cN4), asm.JEq.Imm(asm.R1, 1, "allow"))
	p.socket(false, "bound")
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, sAny4|sAny6), asm.JNE.Imm(asm.R1, 0, "choose4"))
	p.nop("bound")
	p.find4(rSrc, "allow")
	p.jump(p.refuse())
	p.nop("choose4")
	p.choose4()
	p.add(asm.StoreMem(rCtx, saSrc4, rSrc, asm.Word))
	p.count(cSources)
	return p.end()
}

// sendmsg6 is the same for IPv6. The kernel takes no IPv4-mapped address from here, so ::1 can't be reached this way.
func sendmsg6(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(true)
	p.ip6Kind(saIP6, "unreachable6", "any6", "unreachable6", "other6")
	p.label("unreachable6")
	p.jump(p.unreachable())
	p.label("any6")
	p.add(load(asm.R1, rCtx, saPort), asm.JNE.Imm(asm.R1, 0, "unreachable6"))
	p.nop("other6")
	for w := range int16(4) {
		p.add(load(asm.R2, rCtx, saSrc6+4*w), asm.StoreMem(asm.RFP, tuple+4*w, asm.R2, asm.Word))
		if w == 0 {
			p.add(asm.Mov.Reg(rSrc, asm.R2))
		} else {
			p.add(asm.Or.Reg(rSrc, asm.R2))
		}
	}
	p.add(asm.JEq.Imm(rSrc, 0, "choose6"))
	p.socket(false, "bound")
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, sAny6), asm.JEq.Imm(asm.R1, 0, "bound"))
	// Bound to :: it is bound to the first address, be that of IPv4 or IPv6: no source of its own.
	p.add(load(asm.R1, asm.RFP, tuple), load(asm.R2, asm.RFP, tuple+4), asm.Or.Reg(asm.R1, asm.R2), asm.JNE.Imm(asm.R1, 0, "first6"),
		load(asm.R1, asm.RFP, tuple+8), asm.JEq.Imm32(asm.R1, be(0xffff), "choose6"))
	p.nop("first6")
	for w := range int16(4) {
		p.add(load(asm.R1, asm.RFP, tuple+4*w), load(asm.R2, rStore, cV6+4*w), asm.JNE.Reg(asm.R1, asm.R2, "bound"))
	}
	p.jump("choose6")
	p.nop("bound")
	p.find6(asm.RFP, tuple, "allow")
	p.jump(p.refuse())
	p.nop("choose6")
	p.choose6(saIP6)
	for w := range int16(4) {
		p.add(load(asm.R1, rSrc, 4*w), asm.StoreMem(rCtx, saSrc6+4*w, asm.R1, asm.Word))
	}
	p.count(cSources)
	return p.end()
}
