// Package wire defines the messages between the seccomp package (in the hot
// binary) and the compiler in vsrun-helper: the encoding of a checked profile
// and of the answer. It holds plain byte layout only: no system calls, no cgo,
// no knowledge of libseccomp, and nothing that runs at init.
//
// # Request
//
//	magic "VSQ" + Version      4 bytes
//	default action             action
//	architectures              u8 count, then u8 each (Arch)
//	groups                     u32 count, then each:
//	    action                 action
//	    conditions             u8 count, then each: u8 argument index,
//	                           u8 operator (Op), u64 value, u64 second value
//	    names                  u16 count, then each: u8 length, bytes
//
// where action is u8 Kind and u16 data (the errno of Errno, the message of
// Trace, else 0). A group is one entry of linux.seccomp.syscalls, at the same
// index, so that an error can name its place in config.json.
//
// # Answer
//
//	magic "VSA" + Version      4 bytes
//	instructions               u32 length in bytes, struct sock_filter array
//	                           in the machine's byte order
//	unknown                    u32 length in bytes, NUL-terminated names of
//	                           system calls that libseccomp does not know
//
// All numbers are little endian.
package wire

import "errors"

// Version of both messages. It is part of every cache key: raise it whenever a
// message or the meaning of a profile changes.
const Version = 1

const (
	requestMagic = "VSQ"
	answerMagic  = "VSA"
)

// Kind is a seccomp action without its data.
type Kind uint8

// The kinds; SCMP_ACT_KILL is another name of KillThread.
const (
	KillThread Kind = iota + 1
	KillProcess
	Trap
	Errno
	Trace
	Allow
	Log
	Notify
)

// Action is a seccomp action: what SECCOMP_RET_* and SECCOMP_RET_DATA say.
type Action struct {
	Kind Kind
	Data uint16
}

// Op is a comparison of a system call's argument.
type Op uint8

// The comparisons. MaskedEqual is (argument & Value) == Value2.
const (
	NotEqual Op = iota + 1
	Less
	LessEqual
	Equal
	GreaterEqual
	Greater
	MaskedEqual
)

// Arch is a system call ABI. The order is part of the protocol.
type Arch uint8

// The ABIs that runtime-spec names (config-linux.md, seccomp).
const (
	X86 Arch = iota + 1
	X86_64
	X32
	ARM
	AARCH64
	MIPS
	MIPS64
	MIPS64N32
	MIPSEL
	MIPSEL64
	MIPSEL64N32
	PPC
	PPC64
	PPC64LE
	S390
	S390X
	PARISC
	PARISC64
	RISCV64
	LOONGARCH64
	M68K
	SH
	SHEB

	ArchEnd // one past the last
)

// Cond is one condition on an argument.
type Cond struct {
	Index  uint8 // 0 to 5
	Op     Op
	Value  uint64
	Value2 uint64
}

// Group is one entry of linux.seccomp.syscalls.
type Group struct {
	Action Action
	Conds  []Cond
	Names  []string
}

// Profile is a decoded request.
type Profile struct {
	Default Action
	Archs   []Arch
	Groups  []Group
}

// AppendHeader begins a request.
func AppendHeader(b []byte, def Action) []byte {
	b = append(b, requestMagic...)
	b = append(b, Version)
	return AppendAction(b, def)
}

// AppendAction appends an action.
func AppendAction(b []byte, a Action) []byte {
	return append(b, byte(a.Kind), byte(a.Data), byte(a.Data>>8))
}

// AppendUint16 appends v.
func AppendUint16(b []byte, v uint16) []byte {
	return append(b, byte(v), byte(v>>8))
}

// AppendUint32 appends v.
func AppendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

// AppendUint64 appends v.
func AppendUint64(b []byte, v uint64) []byte {
	return AppendUint32(AppendUint32(b, uint32(v)), uint32(v>>32))
}

// Uint32 reads the first four bytes of b.
func Uint32(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// Uint64 reads the first eight bytes of b.
func Uint64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

var (
	errCut     = errors.New("message is cut short")
	errMagic   = errors.New("message is of another kind or version")
	errTrail   = errors.New("message has bytes after its end")
	errUnknown = errors.New("message holds an unknown code")
)

// reader takes a message apart; after the first fault every read gives zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		if r.err == nil {
			r.err = errCut
		}
		r.b = nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	lo := r.u8()
	return uint16(lo) | uint16(r.u8())<<8
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return Uint64(p)
	}
	return 0
}

func (r *reader) magic(m string) {
	p := r.take(4)
	if p != nil && (string(p[:3]) != m || p[3] != Version) {
		r.fail(errMagic)
	}
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		return errTrail
	}
	return r.err
}

func (r *reader) action() Action {
	a := Action{Kind: Kind(r.u8())}
	a.Data = r.u16()
	if r.err == nil && (a.Kind < KillThread || a.Kind > Notify) {
		r.fail(errUnknown)
	}
	return a
}

// Decode reads a request. It never trusts a count beyond the bytes that are there.
func Decode(b []byte) (*Profile, error) {
	r := &reader{b: b}
	r.magic(requestMagic)
	p := &Profile{Default: r.action()}
	for n := r.u8(); n > 0 && r.err == nil; n-- {
		a := Arch(r.u8())
		if a < X86 || a >= ArchEnd {
			r.fail(errUnknown)
		}
		p.Archs = append(p.Archs, a)
	}
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		g := Group{Action: r.action()}
		for m := r.u8(); m > 0 && r.err == nil; m-- {
			c := Cond{Index: r.u8(), Op: Op(r.u8())}
			c.Value = r.u64()
			c.Value2 = r.u64()
			if c.Index > 5 || c.Op < NotEqual || c.Op > MaskedEqual {
				r.fail(errUnknown)
			}
			g.Conds = append(g.Conds, c)
		}
		for m := r.u16(); m > 0 && r.err == nil; m-- {
			g.Names = append(g.Names, string(r.take(int(r.u8()))))
		}
		p.Groups = append(p.Groups, g)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return p, nil
}

// AppendAnswer appends an answer.
func AppendAnswer(b, insns, unknown []byte) []byte {
	b = append(b, answerMagic...)
	b = append(b, Version)
	b = AppendUint32(b, uint32(len(insns)))
	b = append(b, insns...)
	b = AppendUint32(b, uint32(len(unknown)))
	return append(b, unknown...)
}

// DecodeAnswer takes an answer apart; the results share b's memory.
func DecodeAnswer(b []byte) (insns, unknown []byte, err error) {
	r := &reader{b: b}
	r.magic(answerMagic)
	insns = r.take(int(r.u32()))
	unknown = r.take(int(r.u32()))
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	return insns, unknown, nil
}
