package job

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// sockCreate is socket(2) for IPv4 and IPv6. Of protocols those pass whose every call the other programs see: TCP and UDP.
// Multipath TCP, SCTP, DCCP and what else there is bind or connect by ways of their own; raw sockets write their own source.
func sockCreate(m *maps) asm.Instructions {
	p := &program{m: m}
	p.add(load(asm.R2, asm.R1, skType), load(asm.R3, asm.R1, skProtocol), asm.JNE.Imm(asm.R2, unix.SOCK_STREAM, "others"), asm.JEq.Imm(asm.R3, unix.IPPROTO_TCP, "allow"))
	p.nop("others")
	p.add(asm.JNE.Imm(asm.R2, unix.SOCK_DGRAM, "rest"), asm.JEq.Imm(asm.R3, unix.IPPROTO_UDP, "allow"))
	p.nop("rest")
	p.begin(true)
	p.protocols("allow")
	return p.end()
}

// protocols refuses all but those that are confined, and jumps where that is one.
func (p *program) protocols(yes string) {
	noProtocol := p.fail(unix.EPROTONOSUPPORT, cDenied)
	p.add(load(asm.R1, rCtx, skType), load(asm.R2, rCtx, skProtocol), asm.JEq.Imm(asm.R1, unix.SOCK_STREAM, "stream"),
		asm.JEq.Imm(asm.R1, unix.SOCK_DGRAM, "datagram"), asm.JNE.Imm(asm.R1, unix.SOCK_RAW, noProtocol))
	p.jump("icmp")
	p.label("stream")
	p.add(asm.JEq.Imm(asm.R2, unix.IPPROTO_TCP, yes))
	p.jump(noProtocol)
	p.label("datagram")
	p.add(asm.JEq.Imm(asm.R2, unix.IPPROTO_UDP, yes), asm.JEq.Imm(asm.R2, unix.IPPROTO_ICMP, "icmp"), asm.JNE.Imm(asm.R2, unix.IPPROTO_ICMPV6, noProtocol))
	p.nop("icmp")
	p.add(load(asm.R1, rStore, cState), asm.And.Imm(asm.R1, netcontext.StateRawICMP), asm.JEq.Imm(asm.R1, 0, p.refuse()),
		asm.JEq.Imm(asm.R2, unix.IPPROTO_ICMP, yes), asm.JNE.Imm(asm.R2, unix.IPPROTO_ICMPV6, p.refuse()))
	p.jump(yes)
}

// sockCount does the same, and counts, for a context or without.
func sockCount(m *maps) asm.Instructions {
	p := &program{m: m}
	p.add(asm.Mov.Reg(rCtx, asm.R1))
	p.storage()
	p.add(load(asm.R1, rStore, cState), asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R2, netcontext.StateReady), asm.JEq.Imm(asm.R2, 0, p.refuse()),
		asm.And.Imm(asm.R1, netcontext.StateConfine), asm.JEq.Imm(asm.R1, 0, "counted"))
	p.sameNetns("counted")
	p.protocols("counted")

	// The socket is counted first and given back if it is one too many: others may be at it at the same time.
	p.nop("counted")
	p.add(asm.Mov.Imm(rSrc, 1), fetchAdd(rStore, rSrc, cNow), asm.Add.Imm(rSrc, 1),
		load(asm.R1, rStore, cState), asm.And.Imm(asm.R1, netcontext.StateLimit), asm.JEq.Imm(asm.R1, 0, "fits"),
		load8(asm.R1, rStore, cLimit), asm.JGT.Reg(rSrc, asm.R1, "too_many"))
	p.nop("fits")
	p.add(load8(asm.R1, rStore, cMax), asm.JLE.Reg(rSrc, asm.R1, "mark"), asm.StoreMem(rStore, cMax, rSrc, asm.DWord))
	p.nop("mark")
	// What is kept of a socket would do for a mark, but takes the kernel ten times as long to make and free.
	p.cookie()
	p.add(asm.LoadMapPtr(asm.R1, p.m.counted), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, cookieAt), asm.Mov.Reg(asm.R3, asm.R2),
		asm.Mov.Imm(asm.R4, 0), asm.FnMapUpdateElem.Call(), asm.JEq.Imm(asm.R0, 0, "allow"), asm.Mov.Reg(asm.R2, rCtx))
	p.socketOf(true, "uncounted") // the map is full
	p.add(load(asm.R1, asm.R0, sFlags), asm.Or.Imm(asm.R1, sCounted), asm.StoreMem(asm.R0, sFlags, asm.R1, asm.Word))
	p.jump("allow")
	p.label("too_many")
	p.less()
	p.jump(p.fail(unix.ENOBUFS, cHits))
	p.label("uncounted") // no memory
	p.less()
	p.jump("allow")
	return p.end()
}

// fetchAdd adds src to memory, and gives in it what was there before. The assembler (cilium/ebpf 0.22) writes the operation
// into the instruction's constant after it has taken that: so it has to stand there before.
func fetchAdd(dst, src asm.Register, off int16) asm.Instruction {
	i := asm.FetchAdd.Mem(dst, src, asm.DWord, off)
	i.Constant = 1 // BPF_FETCH
	return i
}

func (p *program) less() {
	p.add(asm.Mov.Imm(asm.R1, -1), asm.AddAtomic.Mem(rStore, asm.R1, asm.DWord, cNow))
}

// sockRelease is the last close(2) of a socket. Those that accept(2) made were never counted.
func sockRelease(m *maps) asm.Instructions {
	p := &program{m: m}
	p.add(asm.Mov.Reg(rCtx, asm.R1))
	p.storage()
	p.cookie()
	p.add(asm.LoadMapPtr(asm.R1, p.m.counted), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, cookieAt), asm.FnMapDeleteElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "counted"), asm.Mov.Reg(asm.R2, rCtx))
	p.socketOf(false, "allow")
	p.add(load(asm.R1, asm.R0, sFlags), asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R2, sCounted), asm.JEq.Imm(asm.R2, 0, "allow"),
		asm.And.Imm(asm.R1, ^sCounted), asm.StoreMem(asm.R0, sFlags, asm.R1, asm.Word))
	p.nop("counted")
	p.less()
	return p.end()
}

// cookie writes the number of the hook's socket to the stack.
func (p *program) cookie() {
	p.add(asm.Mov.Reg(asm.R1, rCtx), asm.FnGetSocketCookie.Call(), asm.StoreMem(asm.RFP, cookieAt, asm.R0, asm.DWord))
}

// Places in struct bpf_sock_ops, and its op for listen(2).
const (
	soOp      = 0
	soFamily  = 20
	soLocal4  = 28
	soLocal6  = 48
	soPort    = 68
	soSocket  = 184
	listenOp  = 11         // BPF_SOCK_OPS_TCP_LISTEN_CB
	nowhere   = 0x7fffffff // no interface has this index
	bindIndex = 62         // SO_BINDTOIFINDEX
	key       = -32        // on the stack: netcontext.ListenerKey
	reuse     = -40        // on the stack: the socket's SO_REUSEPORT
	cookieAt  = -8
	noExist   = 1 // BPF_NOEXIST
)

// sockOps is called at listen(2). A socket that was bound to 0.0.0.0 or :: is entered for all the addresses that it is not
// bound to, for skLookup. One that never was bound would listen on all of the host's: it is cut off, as listen(2) can't be
// refused here.
func sockOps(m *maps) asm.Instructions {
	p := &program{m: m}
	p.add(load(asm.R2, asm.R1, soOp), asm.JNE.Imm(asm.R2, listenOp, "allow"))
	p.begin(false)
	// In a namespace of the guest's own bind leaves no mark.
	p.sameNetns("allow")
	p.add(load(rDst, rCtx, soFamily), load(asm.R1, rCtx, soLocal4), asm.JEq.Imm(rDst, unix.AF_INET, "local"), load(asm.R1, rCtx, soLocal6))
	for w := int16(1); w < 4; w++ {
		p.add(load(asm.R2, rCtx, soLocal6+4*w), asm.Or.Reg(asm.R1, asm.R2))
	}
	p.nop("local")
	p.add(asm.JEq.Imm(asm.R1, 0, "unbound"))

	p.add(load8(asm.R2, rCtx, soSocket), asm.JEq.Imm(asm.R2, 0, "allow"))
	p.socketOf(false, "allow")
	p.add(load(rSrc, asm.R0, sFlags), asm.Mov.Reg(asm.R1, rSrc), asm.And.Imm(asm.R1, sAny4|sAny6), asm.JEq.Imm(asm.R1, 0, "allow"))

	p.add(load8(asm.R1, rStore, cNetns), asm.StoreMem(asm.RFP, key, asm.R1, asm.DWord),
		load(asm.R1, rCtx, soPort), asm.StoreMem(asm.RFP, key+8, asm.R1, asm.DWord))
	p.reuses()
	p.add(asm.Mov.Reg(rDst, rSrc), asm.And.Imm(rSrc, sAny6), asm.JEq.Imm(rSrc, 0, "four"))
	for i := range maxAddresses {
		p.add(load(asm.R1, rStore, cN6), asm.JLE.Imm(asm.R1, int32(i), "four"))
		if i == 0 { // it is bound to this one, or to the first of IPv4
			p.add(load(asm.R1, rCtx, soLocal6), load(asm.R2, rCtx, soLocal6+4), asm.Or.Reg(asm.R1, asm.R2), asm.JNE.Imm(asm.R1, 0, "bound6"),
				load(asm.R1, rCtx, soLocal6+8), asm.JNE.Imm32(asm.R1, be(0xffff), "bound6"))
		}
		for w := range int16(4) {
			p.add(load(asm.R1, rStore, cV6+int16(32*i)+4*w), asm.StoreMem(asm.RFP, key+16+4*w, asm.R1, asm.Word))
		}
		p.enter()
		if i == 0 {
			p.nop("bound6")
		}
	}
	p.nop("four")
	p.add(asm.And.Imm(rDst, sV6Only), asm.JNE.Imm(rDst, 0, "allow"))
	p.add(stack(key+16, 0), stack(key+20, 0), stack(key+24, be(0xffff)))
	p.add(load(asm.R1, rStore, cLoopback), asm.JEq.Imm(asm.R1, 0, "no_loopback"), asm.StoreMem(asm.RFP, key+28, asm.R1, asm.Word))
	p.enter()
	p.nop("no_loopback")
	for i := 1; i < maxAddresses; i++ { // it is bound to the first
		p.add(load(asm.R1, rStore, cN4), asm.JLE.Imm(asm.R1, int32(i), "allow"),
			load(asm.R1, rStore, cV4+int16(8*i)), asm.StoreMem(asm.RFP, key+28, asm.R1, asm.Word))
		p.enter()
	}
	p.jump("allow")

	p.label("unbound")
	p.add(stack(key, nowhere), asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Imm(asm.R2, unix.SOL_SOCKET), asm.Mov.Imm(asm.R3, bindIndex),
		asm.Mov.Reg(asm.R4, asm.RFP), asm.Add.Imm(asm.R4, key), asm.Mov.Imm(asm.R5, 4), asm.FnSetsockopt.Call())
	p.count(cDenied)
	return p.end()
}

// reuses finds out if there can be other listeners of the same address and port. Before Linux 6.1 nothing tells.
func (p *program) reuses() {
	p.add(stack(reuse, 0), asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Imm(asm.R2, unix.SOL_SOCKET), asm.Mov.Imm(asm.R3, unix.SO_REUSEPORT),
		asm.Mov.Reg(asm.R4, asm.RFP), asm.Add.Imm(asm.R4, reuse), asm.Mov.Imm(asm.R5, 4), asm.FnGetsockopt.Call(), asm.JEq.Imm(asm.R0, 0, "told"),
		stack(reuse, 0))
	p.nop("told")
}

// enter enters the socket under the key on the stack, with SO_REUSEPORT in the first slot that is free. The hint is there
// first. It needs rSrc.
func (p *program) enter() {
	p.add(load(asm.R1, asm.RFP, key+16))
	for w := int16(1); w < 4; w++ {
		p.add(load(asm.R2, asm.RFP, key+16+4*w), asm.Xor.Reg(asm.R1, asm.R2))
	}
	p.add(load(asm.R2, asm.RFP, key+8))
	p.hint()
	next, last, entered := p.fresh("slot"), p.fresh("last"), p.fresh("entered")
	p.add(asm.StoreImm(asm.R1, 0, 1, asm.Byte), asm.Mov.Imm(rSrc, 0), load(asm.R2, asm.RFP, reuse), asm.JEq.Imm(asm.R2, 0, last),
		asm.Add.Imm(asm.R1, int32(netcontext.HintsSlots)), asm.StoreImm(asm.R1, 0, 1, asm.Byte))
	p.nop(next)
	p.put(noExist)
	p.add(asm.JEq.Imm(asm.R0, 0, entered), asm.Add.Imm(rSrc, 1), asm.JLT.Imm(rSrc, int32(netcontext.ListenerSlots)-1, next))
	p.nop(last)
	p.put(0)
	p.nop(entered)
}

// put enters the socket in the slot in rSrc.
func (p *program) put(flags int32) {
	p.add(asm.StoreMem(asm.RFP, key+12, rSrc, asm.Word), asm.Mov.Reg(asm.R1, rCtx), asm.LoadMapPtr(asm.R2, p.m.listeners),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, key), asm.Mov.Imm(asm.R4, flags), asm.FnSockHashUpdate.Call())
}

// hint is netcontext.ListenerKey.Hint: of the words of an address, all in one, in register 1, and the port in register 2 it
// makes the hint's place in memory, in register 1.
func (p *program) hint() {
	mul := uint32(netcontext.HintMul)
	p.add(asm.Mul.Imm32(asm.R2, netcontext.HintPort), asm.Xor.Reg32(asm.R1, asm.R2), asm.Mul.Imm32(asm.R1, int32(mul)), asm.RSh.Imm32(asm.R1, netcontext.HintShift),
		asm.LoadMapValue(asm.R2, p.m.hints, 0), asm.Add.Reg(asm.R1, asm.R2))
}

// Places in struct bpf_sk_lookup.
const (
	slFamily   = 8
	slProtocol = 12
	slLocal4   = 40
	slLocal6   = 44
	slPort     = 60
)

// skLookup finds the listener for a connection to an address that the listener is not bound to. There is one for each
// network namespace: the hook does not tell which it is in. It sees the connections of everybody there, and has nothing to do
// with most: the hint tells.
func skLookup(m *maps, netns uint64) asm.Instructions {
	p := &program{m: m}
	p.add(load(asm.R2, asm.R1, slProtocol), asm.JNE.Imm(asm.R2, unix.IPPROTO_TCP, "allow"), asm.Mov.Reg(rCtx, asm.R1), load(rDst, rCtx, slPort),
		load(rSrc, rCtx, slFamily), asm.JEq.Imm(rSrc, unix.AF_INET6, "six"),
		load(asm.R3, rCtx, slLocal4), asm.Mov.Reg(asm.R1, asm.R3), asm.Xor.Imm(asm.R1, be(0xffff)), asm.Mov.Reg(asm.R2, rDst))
	p.hint()
	p.add(asm.Mov.Reg(rSrc, asm.R1), asm.LoadMem(asm.R1, asm.R1, 0, asm.Byte), asm.JEq.Imm(asm.R1, 0, "allow"),
		stack(key+16, 0), stack(key+20, 0), stack(key+24, be(0xffff)), asm.StoreMem(asm.RFP, key+28, asm.R3, asm.Word))
	p.jump("find")
	p.label("six")
	p.add(asm.Mov.Imm(asm.R1, 0))
	for w := range int16(4) {
		p.add(load(asm.R2, rCtx, slLocal6+4*w), asm.StoreMem(asm.RFP, key+16+4*w, asm.R2, asm.Word), asm.Xor.Reg(asm.R1, asm.R2))
	}
	p.add(asm.Mov.Reg(asm.R2, rDst))
	p.hint()
	p.add(asm.Mov.Reg(rSrc, asm.R1), asm.LoadMem(asm.R1, asm.R1, 0, asm.Byte), asm.JEq.Imm(asm.R1, 0, "allow"))
	p.nop("find")
	p.add(asm.LoadImm(asm.R1, int64(netns), asm.DWord), asm.StoreMem(asm.RFP, key, asm.R1, asm.DWord), asm.StoreMem(asm.RFP, key+8, rDst, asm.DWord))
	p.listener("found")
	// The one in slot 0 is closed, or there never was one.
	p.add(asm.Add.Imm(rSrc, int32(netcontext.HintsSlots)), asm.LoadMem(asm.R1, rSrc, 0, asm.Byte), asm.JEq.Imm(asm.R1, 0, "allow"), asm.Mov.Imm(rSrc, 1))
	p.nop("slot")
	p.add(asm.StoreMem(asm.RFP, key+12, rSrc, asm.Word))
	p.listener("found")
	p.add(asm.Add.Imm(rSrc, 1), asm.JLT.Imm(rSrc, int32(netcontext.ListenerSlots), "slot"))
	p.jump("allow")
	p.nop("found")
	p.add(asm.Mov.Reg(rDst, asm.R0),
		// An IPv6 socket that takes no IPv4 is refused here, and all goes its usual way.
		asm.Mov.Reg(asm.R1, rCtx), asm.Mov.Reg(asm.R2, rDst), asm.Mov.Imm(asm.R3, 0), asm.FnSkAssign.Call(),
		asm.Mov.Reg(asm.R1, rDst), asm.FnSkRelease.Call())
	return p.end()
}

// listener looks for the key on the stack, and jumps with what it has found in register 0.
func (p *program) listener(found string) {
	p.add(asm.LoadMapPtr(asm.R1, p.m.listeners), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, key), asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, found))
}
