package launch

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The instructions of the machine. All but opCall exist because a system call's outcome decides what comes next.
const (
	opCall  = iota // a system call
	opJump         // continue at arg[0]
	opFail         // report errno arg[0]
	opIf           // if the uint32 at address arg[0], masked by arg[1], equals arg[2]: continue at arg[3]
	opIfNot        // the same, if it differs
	opIfArg        // if slot arg[0] equals arg[1]: continue at arg[2]
	opLoad         // slot out = the uint32 at address arg[0], masked by arg[1]
	opSet          // slot out = arg[0] (or the slot it names)
	opStore        // the uint32 at address arg[0] = arg[1]
	opTell         // send message kind arg[0] with value arg[1]
	opAwait        // send message kind arg[0] (0: none) with value arg[1], then read the answer into arg[2] (arg[3] bytes)
	opGate         // wait until gate arg[0] is open, looking arg[1] times before sleeping
	opAlive        // end here if the parent is gone
	opWipe         // zero the bytes from address arg[0] to arg[1]
	opItoa         // write slot arg[1] as a decimal number with a NUL at address arg[0]
	opBound        // drop the capabilities of the mask arg[0] from the bounding set, as far as the kernel knows them
	opReady        // wait for start's connection on listener arg[0]; from here on it is told of failures
)

// none marks an instruction without a result slot or a rule without a jump.
const none = -1

// anyErrno in a rule matches every errno.
const anyErrno = 0xffff

// rule says where to continue when an instruction fails with errno.
type rule struct {
	errno uint16
	to    int32 // index of an instruction; next (pc+1) when 0
}

// insn is one instruction. Arguments whose bit is set in slots are numbers of slots, the others are values.
type insn struct {
	nr    uintptr
	arg   [6]uintptr
	slots uint8
	op    uint8
	rules uint8 // how many of rule are used
	rule  [3]rule
	out   int32
	step  int32
}

// message is what the child sends to its parent (or to start): fixed size, native byte order.
type message struct {
	Kind  uint32
	Insn  uint32
	Errno uint32
	Value uint32
}

const messageSize = int(unsafe.Sizeof(message{}))

// Kinds of message. Stages (Await) use the numbers from kindStage on.
const (
	kindFailed = 1
	kindForked = 2 // the program goes on in a child, whose pid is the value
	kindStage  = 16
)

// machine is all the memory the executor may use.
type machine struct {
	code    []insn
	slot    []uintptr
	reports uintptr // fd for messages; replaced by the connection of start
	msg     message
	answer  [8]byte
	// clock, if not 0, is the address of a shared array with a pair of times (CLOCK_MONOTONIC) for each instruction.
	clock uintptr
	// stack is that of a child that shares memory, pidfd what clone3(2) returns: both in memory that does not move.
	stack []byte
	pidfd int32
	// gate are where a child that shares memory and its parent meet: see pass.
	gate [4]uint32
}

// The gates.
const (
	gateLoaded   = iota // the rest of the program is there
	gateRecorded        // plan.StageRecorded
	gateUpper           // the upper layer of an overlay is made
)

// The states of a gate.
const (
	shut = iota
	open
	asleep // the child waits for a message
)

// execute runs the program. It returns only if the program ends without execve, which compile never makes.
//
//go:nosplit
//go:norace
//go:noinline
func execute(m *machine) {
	pc := 0
	for pc < len(m.code) {
		in := &m.code[pc]
		next := pc + 1
		var errno syscall.Errno
		if m.clock != 0 {
			stamp(m, pc, 0)
		}
		switch in.op {
		case opCall:
			var r uintptr
			r, _, errno = syscall.RawSyscall6(in.nr, value(m, in, 0), value(m, in, 1), value(m, in, 2),
				value(m, in, 3), value(m, in, 4), value(m, in, 5))
			if errno == 0 && in.out >= 0 {
				m.slot[in.out] = r
			}
		case opJump:
			next = int(in.arg[0])
		case opFail:
			errno = syscall.Errno(value(m, in, 0))
		case opIf:
			if *(*uint32)(pointer(in.arg[0]))&uint32(in.arg[1]) == uint32(in.arg[2]) {
				next = int(in.arg[3])
			}
		case opIfNot:
			if *(*uint32)(pointer(in.arg[0]))&uint32(in.arg[1]) != uint32(in.arg[2]) {
				next = int(in.arg[3])
			}
		case opIfArg:
			if m.slot[in.arg[0]] == in.arg[1] {
				next = int(in.arg[2])
			}
		case opLoad:
			m.slot[in.out] = uintptr(*(*uint32)(pointer(in.arg[0])) & uint32(in.arg[1]))
		case opSet:
			m.slot[in.out] = value(m, in, 0)
		case opStore:
			*(*uint32)(pointer(in.arg[0])) = uint32(value(m, in, 1))
		case opGate:
			errno = pass(m, &m.gate[in.arg[0]&3], in.arg[1])
		case opAlive:
			alone(m)
		case opWipe:
			for at := in.arg[0]; at < in.arg[1]; at++ {
				*(*byte)(pointer(at)) = 0
			}
		case opItoa:
			decimal(in.arg[0], value(m, in, 1))
		case opTell:
			errno = tell(m, uint32(in.arg[0]), uint32(pc), 0, uint32(value(m, in, 1)))
		case opAwait:
			errno = await(m, in, pc)
		case opBound:
			errno = bound(value(m, in, 0))
		case opReady:
			errno = ready(m, value(m, in, 0))
		}
		if m.clock != 0 {
			stamp(m, pc, 1)
		}
		if errno != 0 {
			to := handled(in, errno)
			if to < 0 {
				tell(m, kindFailed, uint32(pc), uint32(errno), 0)
				exit()
			}
			if to > 0 {
				next = to
			}
		}
		pc = next
	}
	exit()
}

// stamp notes the time before (end 0) or after (end 1) an instruction.
//
//go:nosplit
//go:norace
//go:noinline
func stamp(m *machine, pc, end int) {
	at := m.clock + uintptr(pc*2+end)*unsafe.Sizeof(unix.Timespec{})
	syscall.RawSyscall6(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, at, 0, 0, 0, 0)
}

// handled looks for a rule for errno: the instruction to go on with, 0 for the next one, -1 if there is none.
//
//go:nosplit
//go:norace
func handled(in *insn, errno syscall.Errno) int {
	for i := 0; i < int(in.rules); i++ {
		if in.rule[i].errno == anyErrno || in.rule[i].errno == uint16(errno) {
			return int(in.rule[i].to)
		}
	}
	return -1
}

// bound drops capabilities from the bounding set. The kernel says EINVAL from the first on that it does not know.
//
//go:nosplit
//go:norace
//go:noinline
func bound(drop uintptr) syscall.Errno {
	for n := uintptr(0); n < 64; n++ {
		if drop>>n&1 == 0 {
			continue
		}
		if _, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0, 0); e == syscall.EINVAL {
			return 0
		} else if e != 0 {
			return e
		}
	}
	return 0
}

// decimal writes a number.
//
//go:nosplit
//go:norace
//go:noinline
func decimal(at, n uintptr) {
	digits := uintptr(1)
	for x := n; x >= 10; x /= 10 {
		digits++
	}
	*(*byte)(pointer(at + digits)) = 0
	for i := digits; i > 0; i-- {
		*(*byte)(pointer(at + i - 1)) = byte('0' + n%10)
		n /= 10
	}
}

//go:nosplit
//go:norace
func value(m *machine, in *insn, i uint) uintptr {
	if in.slots&(1<<i) != 0 {
		return m.slot[in.arg[i]]
	}
	return in.arg[i]
}

// pointer undoes the uintptr in which an instruction holds an address of the arena; the Program keeps the arena alive.
//
//go:nosplit
//go:norace
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

//go:nosplit
//go:norace
//go:noinline
func tell(m *machine, kind, pc, errno, value uint32) syscall.Errno {
	m.msg.Kind, m.msg.Insn, m.msg.Errno, m.msg.Value = kind, pc, errno, value
	_, _, e := syscall.RawSyscall6(unix.SYS_WRITE, m.reports, uintptr(unsafe.Pointer(&m.msg)), uintptr(messageSize), 0, 0, 0)
	return e
}

// await tells the parent that a stage is reached and waits for its answer. No answer means that the parent is gone or
// has given up: the child then goes too, without a word.
//
//go:nosplit
//go:norace
//go:noinline
func await(m *machine, in *insn, pc int) syscall.Errno {
	if in.arg[0] != 0 {
		if e := tell(m, uint32(in.arg[0]), uint32(pc), 0, uint32(value(m, in, 1))); e != 0 {
			exit()
		}
	}
	return answer(m, in.arg[2], in.arg[3])
}

// answer reads what the parent says into n bytes at buf.
//
//go:nosplit
//go:norace
//go:noinline
func answer(m *machine, buf, n uintptr) syscall.Errno {
	if n == 0 {
		buf, n = uintptr(unsafe.Pointer(&m.answer)), unsafe.Sizeof(m.answer)
	}
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_READ, m.reports, buf, n, 0, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 || r == 0 {
			exit()
		}
		return 0
	}
}

// pass waits until the parent opens a gate. That is a fraction of a millisecond away, and to wake a process on a CPU that
// has gone to sleep takes as long (on a virtual machine, where it is an exit to the host, up to a tenth of a millisecond):
// so the child looks for a while, and leaves its CPU to whoever wants it, before it sleeps.
//
//go:nosplit
//go:norace
//go:noinline
func pass(m *machine, gate *uint32, looks uintptr) syscall.Errno {
	for range looks {
		if atomic.LoadUint32(gate) == open {
			return 0
		}
		syscall.RawSyscall6(unix.SYS_SCHED_YIELD, 0, 0, 0, 0, 0, 0)
	}
	if !atomic.CompareAndSwapUint32(gate, shut, asleep) {
		return 0
	}
	return answer(m, 0, 0)
}

// alone ends a child whose parent is gone, which else notices that only where it waits for it.
//
//go:nosplit
//go:norace
//go:noinline
func alone(m *machine) {
	r, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, m.reports, uintptr(unsafe.Pointer(&m.answer)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	if e == 0 && r == 0 {
		exit()
	}
}

// ready waits for `start`: it takes one connection, and one byte on it is the word to go. A connection that is closed
// without it (start was killed) leaves the container created.
//
//go:nosplit
//go:norace
//go:noinline
func ready(m *machine, listener uintptr) syscall.Errno {
	for {
		fd, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, listener, 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		if e == syscall.EINTR || e == syscall.ECONNABORTED {
			continue
		}
		if e != 0 {
			return e
		}
		r, _, e := syscall.RawSyscall6(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&m.answer)), 1, 0, 0, 0)
		if e == 0 && r == 1 {
			syscall.RawSyscall6(unix.SYS_CLOSE, listener, 0, 0, 0, 0, 0)
			m.reports = fd
			return 0
		}
		syscall.RawSyscall6(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
	}
}

//go:nosplit
//go:norace
//go:noinline
func exit() {
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 1, 0, 0, 0, 0, 0)
	}
}
