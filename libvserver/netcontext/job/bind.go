package job

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// bind4 is bind(2) of an IPv4 socket. 0.0.0.0 becomes the first address, and the socket is remembered: with single-ip that
// is all it means, else it will listen on all of the context's (see sockOps). 127.0.0.0/8 becomes the loopback address.
func bind4(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(true)
	p.ports()
	p.add(load(rDst, rCtx, saIP4))
	p.bindIP4(saIP4)
	return p.end()
}

// bindIP4 decides on the address in rDst, and writes what takes its place to the context.
func (p *program) bindIP4(at int16) {
	p.add(asm.JEq.Imm(rDst, 0, "any4"))
	p.isLoopback(rDst, "loop4")
	p.find4(rDst, "as_asked")
	p.jump(p.notOurs())

	p.label("any4")
	p.add(load(asm.R1, rStore, cN4), asm.JEq.Imm(asm.R1, 0, p.notOurs()), load(rSrc, rStore, cV4))
	p.rememberAny(sAny4)
	p.jump("write4")

	p.label("loop4")
	p.add(load(rSrc, rStore, cLoopback), asm.JEq.Imm(rSrc, 0, p.notOurs()))
	p.remember(sBound, 0)
	p.nop("write4")
	p.add(asm.StoreMem(rCtx, at, rSrc, asm.Word))
	p.count(cRewritten)
	p.jump("allow")

	// An earlier bind may have failed after it was remembered.
	p.label("as_asked")
	p.remember(sBound, 0)
}

func (p *program) rememberAny(flag int32) {
	single, done := p.fresh("single"), p.fresh("any")
	p.add(load(asm.R1, rStore, cState), asm.And.Imm(asm.R1, netcontext.StateSingle), asm.JNE.Imm(asm.R1, 0, single))
	p.remember(sBound, flag)
	p.jump(done)
	p.nop(single)
	p.remember(sBound, 0)
	p.nop(done)
}

// bind6 is bind(2) of an IPv6 socket. :: becomes the first IPv4 address in mapped form: a socket that is bound to an IPv6
// address can't be given IPv4 connections, one that is bound to a mapped address can be given IPv6 ones. Where the socket
// takes no IPv4, or the context has none, it becomes the first IPv6 address. ::1 becomes the loopback address in mapped form.
func bind6(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(true)
	p.ports()
	p.ip6Kind(saIP6, "mapped", "any6", "one6", "other6")

	p.label("other6")
	p.find6(rCtx, saIP6, "as_asked")
	p.jump(p.notOurs())

	p.label("any6")
	p.add(load(asm.R1, rStore, cN4), asm.JEq.Imm(asm.R1, 0, "only6"), load(rSrc, rStore, cState))
	p.socket(false, "no_option")
	p.add(load(asm.R1, asm.R0, sFlags), asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R2, sV6Only), asm.JNE.Imm(asm.R2, 0, "only6"),
		asm.And.Imm(asm.R1, sV6Dual), asm.JNE.Imm(asm.R1, 0, "any6as4"))
	p.nop("no_option")
	p.add(asm.And.Imm(rSrc, netcontext.StateV6Only), asm.JEq.Imm(rSrc, 0, "any6as4"))
	p.nop("only6")
	p.add(load(asm.R1, rStore, cN6), asm.JEq.Imm(asm.R1, 0, p.notOurs()))
	p.rememberAny(sAny6)
	for w := range int16(4) {
		p.add(load(asm.R1, rStore, cV6+4*w), asm.StoreMem(rCtx, saIP6+4*w, asm.R1, asm.Word))
	}
	p.count(cRewritten)
	p.jump("allow")

	p.label("any6as4")
	p.add(load(rSrc, rStore, cV4))
	p.rememberAny(sAny6)
	p.jump("write_mapped")

	p.label("one6")
	p.add(load(rSrc, rStore, cLoopback), asm.JEq.Imm(rSrc, 0, p.notOurs()))
	p.remember(sBound, sLo6)
	p.nop("write_mapped")
	p.mapped()
	p.jump("write4")

	p.nop("mapped")
	p.bindIP4(saIP6 + 12)
	return p.end()
}

// mapped writes the head of an IPv4-mapped address.
func (p *program) mapped() {
	p.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(rCtx, saIP6, asm.R1, asm.Word), asm.StoreMem(rCtx, saIP6+4, asm.R1, asm.Word),
		asm.Mov.Imm32(asm.R1, be(0xffff)), asm.StoreMem(rCtx, saIP6+8, asm.R1, asm.Word))
}

// ports refuses ports that are none of the allowed. Port 0 asks for any unused one, which clients need too.
func (p *program) ports() {
	p.add(load(asm.R1, rStore, cState), asm.And.Imm(asm.R1, netcontext.StatePorts), asm.JEq.Imm(asm.R1, 0, "port_ok"),
		load(asm.R2, rCtx, saPort), asm.HostTo(asm.BE, asm.R2, asm.Half), asm.JEq.Imm(asm.R2, 0, "port_ok"), load(asm.R1, rStore, cNPorts))
	denied := p.fail(unix.EACCES, cDenied)
	for i := range maxPorts {
		at, next := cPorts+int16(4*i), p.fresh("port")
		p.add(asm.JLE.Imm(asm.R1, int32(i), denied), asm.LoadMem(asm.R3, rStore, at, asm.Half), asm.JLT.Reg(asm.R2, asm.R3, next),
			asm.LoadMem(asm.R3, rStore, at+2, asm.Half), asm.JLE.Reg(asm.R2, asm.R3, "port_ok"))
		p.nop(next)
	}
	p.jump(denied)
	p.nop("port_ok")
}

// Places in struct bpf_sockopt.
const (
	optSocket = 0
	optValue  = 8
	optEnd    = 16
	optLevel  = 24
	optName   = 28
	optLen    = 32
)

// setsockopt takes note of IPV6_V6ONLY, which nothing else tells bind6.
func setsockopt(m *maps) asm.Instructions {
	p := &program{m: m}
	p.add(asm.Mov.Reg(rCtx, asm.R1), load(asm.R1, rCtx, optLevel), asm.JNE.Imm(asm.R1, unix.IPPROTO_IPV6, "keep"),
		load(asm.R1, rCtx, optName), asm.JNE.Imm(asm.R1, unix.IPV6_V6ONLY, "keep"),
		load8(asm.R1, rCtx, optValue), load8(asm.R2, rCtx, optEnd), asm.Mov.Reg(asm.R3, asm.R1), asm.Add.Imm(asm.R3, 4),
		asm.JGT.Reg(asm.R3, asm.R2, "keep"), load(rDst, asm.R1, 0), load8(asm.R2, rCtx, optSocket))
	p.socketOf(true, "keep")
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, ^(sV6Only|sV6Dual)), asm.Mov.Imm(asm.R2, sV6Dual), asm.JEq.Imm(rDst, 0, "dual"),
		asm.Mov.Imm(asm.R2, sV6Only))
	p.nop("dual")
	p.add(asm.Or.Reg(asm.R1, asm.R2), asm.StoreMem(asm.R0, sFlags, asm.R1, asm.Word))
	p.nop("keep")
	// The kernel goes on with the caller's own buffer, and not with the copy that was made for this program.
	p.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(rCtx, optLen, asm.R1, asm.Word))
	return p.end()
}
