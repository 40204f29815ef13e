package job

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// TCP states (net/tcp_states.h). An unconnected socket for datagrams is in the second.
const (
	stateClose  = 7
	stateListen = 10
)

// What follows shows addresses to the guest as it knows them: its loopback address as 127.0.0.1.

func peer4(m *maps) asm.Instructions {
	p := &program{m: m}
	// That of a stream is what it is, but for loopback addresses: accept(2) need not wait for more.
	p.add(load(asm.R2, asm.R1, saIP4), asm.And.Imm(asm.R2, be(0xff000000)), asm.JEq.Imm32(asm.R2, be(0x7f000000), "look"),
		load(asm.R2, asm.R1, saType), asm.JEq.Imm(asm.R2, unix.SOCK_STREAM, "allow"))
	p.nop("look")
	p.begin(false)
	p.add(load(rDst, rCtx, saIP4))
	p.peerIP4(saIP4, func() {})
	return p.end()
}

// peerIP4 replaces the IPv4 address of a peer, in rDst. one6 is called where the guest may have used ::1.
func (p *program) peerIP4(at int16, one6 func()) {
	p.add(load(asm.R1, rStore, cLoopback), asm.JEq.Imm(asm.R1, 0, "allow"), asm.JEq.Reg(asm.R1, rDst, "loopback"),
		load(asm.R1, rCtx, saType), asm.JNE.Imm(asm.R1, unix.SOCK_DGRAM, "allow"))
	p.socket(false, "allow")
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, sPeerLo), asm.JEq.Imm(asm.R1, 0, "allow"),
		load(asm.R1, asm.R0, sPeer), asm.JNE.Reg(asm.R1, rDst, "allow"),
		load(asm.R1, asm.R0, sPeerPort), load(asm.R2, rCtx, saPort), asm.JNE.Reg(asm.R1, asm.R2, "allow"))
	p.nop("loopback")
	one6()
	p.add(asm.Mov.Imm32(asm.R1, be(0x7f000001)), asm.StoreMem(rCtx, at, asm.R1, asm.Word))
}

func peer6(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(false)
	p.ip6Kind(saIP6, "mapped", "allow", "allow", "allow")
	p.nop("mapped")
	p.peerIP4(saIP6+12, func() { p.one6(sPeerLo6) })
	return p.end()
}

// one6 writes ::1 if one of the flags is remembered.
func (p *program) one6(flags int32) {
	no := p.fresh("no6")
	p.socket(false, no)
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, flags), asm.JEq.Imm(asm.R1, 0, no))
	p.write6(be(1))
	p.jump("allow")
	p.nop(no)
}

// write6 writes an address of which only the last word is not 0.
func (p *program) write6(last int32) {
	p.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(rCtx, saIP6, asm.R1, asm.Word), asm.StoreMem(rCtx, saIP6+4, asm.R1, asm.Word),
		asm.StoreMem(rCtx, saIP6+8, asm.R1, asm.Word), asm.Mov.Imm32(asm.R1, last), asm.StoreMem(rCtx, saIP6+12, asm.R1, asm.Word))
}

func own4(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(false)
	p.wasAny(sAny4, "zero4")
	p.add(load(rDst, rCtx, saIP4), load(asm.R1, rStore, cLoopback), asm.JEq.Imm(asm.R1, 0, "allow"), asm.JNE.Reg(asm.R1, rDst, "allow"),
		asm.Mov.Imm32(asm.R1, be(0x7f000001)), asm.StoreMem(rCtx, saIP4, asm.R1, asm.Word))
	p.jump("allow")
	p.label("zero4")
	p.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(rCtx, saIP4, asm.R1, asm.Word))
	return p.end()
}

// wasAny jumps where a socket is bound to 0.0.0.0 or ::, and not connected.
func (p *program) wasAny(flag int32, yes string) {
	no := p.fresh("bound")
	p.add(load8(asm.R1, rCtx, saSocket), load(asm.R1, asm.R1, skState), asm.JEq.Imm(asm.R1, stateListen, yes+"_state"),
		asm.JNE.Imm(asm.R1, stateClose, no))
	p.nop(yes + "_state")
	p.socket(false, no)
	p.add(load(asm.R1, asm.R0, sFlags), asm.And.Imm(asm.R1, flag), asm.JNE.Imm(asm.R1, 0, yes))
	p.nop(no)
}

func own6(m *maps) asm.Instructions {
	p := &program{m: m}
	p.begin(false)
	p.wasAny(sAny6, "zero6")
	p.wasAny(sAny4, "zero4")
	p.ip6Kind(saIP6, "mapped", "allow", "allow", "allow")
	p.nop("mapped")
	p.add(load(asm.R1, rStore, cLoopback), asm.JEq.Imm(asm.R1, 0, "allow"), asm.JNE.Reg(asm.R1, rDst, "allow"))
	p.one6(sLo6 | sPeerLo6)
	p.add(asm.Mov.Imm32(asm.R1, be(0x7f000001)), asm.StoreMem(rCtx, saIP6+12, asm.R1, asm.Word))
	p.jump("allow")
	p.label("zero6")
	p.write6(0)
	p.jump("allow")
	p.label("zero4")
	p.add(asm.Mov.Imm(asm.R1, 0), asm.StoreMem(rCtx, saIP6+12, asm.R1, asm.Word))
	return p.end()
}
