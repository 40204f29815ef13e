package launch

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// atFDCWD is AT_FDCWD as a system call argument.
const atFDCWD = ^uintptr(99)

// arg is an argument of an instruction: a value, or the content of a slot.
type arg struct {
	v    uintptr
	slot bool
}

func val[T ~int | ~int16 | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64 | ~uintptr](v T) arg {
	return arg{v: uintptr(v)}
}

// slot is the number of a result that a later instruction uses.
type slot int32

func (s slot) arg() arg { return arg{v: uintptr(s), slot: true} }

// Program is a compiled plan. It owns every byte that the child will read.
type Program struct {
	//lint:ignore U1000 of the build with faults
	faultState
	code   []insn
	what   []string // per instruction: what an error message says it did, "" for the name of the call alone
	steps  []plan.Step
	chunk  []byte   // the rest of the newest piece of the arena
	chunks [][]byte // all pieces: they never move
	slots  int
	step   int
	times  []unix.Timespec // see trace
}

const chunkSize = 32 << 10

// bytes reserves n zeroed bytes, aligned to 8.
func (p *Program) bytes(n int) []byte {
	n = (n + 7) &^ 7
	if n > len(p.chunk) {
		size := max(chunkSize, n)
		c := make([]byte, size)
		p.chunks = append(p.chunks, c)
		p.chunk = c
	}
	b := p.chunk[:n:n]
	p.chunk = p.chunk[n:]
	return b
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func address32(p *int32) uintptr { return uintptr(unsafe.Pointer(p)) }

// cstring lays out a NUL-terminated string. Strings with a NUL inside were refused by the checks of the config; what
// comes after one would be cut here, as execve(2) does.
func (p *Program) cstring(s string) uintptr {
	b := p.bytes(len(s) + 1)
	copy(b, s)
	return address(b)
}

// vector lays out a NULL-terminated array of strings, with room for one more.
func (p *Program) vector(list []string) []uintptr {
	b := p.bytes(8 * (len(list) + 2))
	v := unsafe.Slice((*uintptr)(unsafe.Pointer(unsafe.SliceData(b))), len(list)+2)
	for i, s := range list {
		v[i] = p.cstring(s)
	}
	return v
}

// place lays out a struct; the pointer stays valid as long as the program.
func place[T any](p *Program) (*T, uintptr) {
	var zero T
	b := p.bytes(int(unsafe.Sizeof(zero)))
	return (*T)(unsafe.Pointer(unsafe.SliceData(b))), address(b)
}

func (p *Program) newSlot() slot {
	s := slot(p.slots)
	p.slots++
	return s
}

// emit appends an instruction and returns its index.
func (p *Program) emit(op uint8, what string, args ...arg) int {
	in := insn{op: op, out: none, step: int32(p.step)}
	for i, a := range args {
		in.arg[i] = a.v
		if a.slot {
			in.slots |= 1 << i
		}
	}
	p.code = append(p.code, in)
	p.what = append(p.what, what)
	return len(p.code) - 1
}

// call appends a system call whose result nobody needs.
func (p *Program) call(nr uintptr, what string, args ...arg) int {
	i := p.emit(opCall, what, args...)
	p.code[i].nr = nr
	return i
}

// result appends a system call and returns the slot of its result.
func (p *Program) result(nr uintptr, what string, args ...arg) slot {
	i := p.call(nr, what, args...)
	s := p.newSlot()
	p.code[i].out = int32(s)
	return s
}

// into makes instruction i store its result in s.
func (p *Program) into(i int, s slot) { p.code[i].out = int32(s) }

// on adds a rule to instruction i: at errno go on at instruction to (0: the next one).
func (p *Program) on(i int, errno uint16, to int) {
	in := &p.code[i]
	in.rule[in.rules] = rule{errno: errno, to: int32(to)}
	in.rules++
}

// ignore lets instruction i fail with these.
func (p *Program) ignore(i int, errnos ...unix.Errno) {
	for _, e := range errnos {
		p.on(i, uint16(e), 0)
	}
}

// here is the index of the next instruction.
func (p *Program) here() int { return len(p.code) }

// jump appends a jump whose target is set by land.
func (p *Program) jump() int { return p.emit(opJump, "") }

// land makes the jump (or if) at i continue at the next instruction.
func (p *Program) land(i int) {
	switch in := &p.code[i]; in.op {
	case opJump:
		in.arg[0] = uintptr(p.here())
	case opIf, opIfNot:
		in.arg[3] = uintptr(p.here())
	case opIfArg:
		in.arg[2] = uintptr(p.here())
	default:
		in.rule[in.rules-1].to = int32(p.here())
	}
}

func (p *Program) fail(errno unix.Errno, what string) { p.emit(opFail, what, val(errno)) }

func (p *Program) close(s slot) { p.call(unix.SYS_CLOSE, "", s.arg()) }

// Describe prints the program, an instruction a line (vsrun explain --syscalls, tests).
func (p *Program) Describe() string {
	var b []byte
	for i := range p.code {
		in := &p.code[i]
		b = fmt.Appendf(b, "%4d step %d %s", i, in.step, callName(in))
		if p.what[i] != "" {
			b = append(b, ' ')
			b = append(b, p.what[i]...)
		}
		if in.out >= 0 {
			b = fmt.Appendf(b, " -> s%d", in.out)
		}
		for _, r := range in.rule[:in.rules] {
			b = fmt.Appendf(b, " [%s: %d]", unix.ErrnoName(unix.Errno(r.errno)), r.to)
		}
		b = append(b, '\n')
	}
	return string(b)
}
