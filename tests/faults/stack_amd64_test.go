package faults

import (
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"hash/fnv"
	"regexp"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// pathOf is a number for the path through the code that a stopped thread is on: what has called what. Who began it, down to a
// command of libvserver/cli, counts no more than a flag of it would: a state is saved, a cgroup removed in the same way whatever
// for, if the functions are the same from libvserver on. Create and Run are one there.
func pathOf(tid int, regs *unix.PtraceRegs, helper bool) uint64 {
	calls := callers(tid, regs)
	if !helper {
		if i := slices.IndexFunc(calls, beginsAt); i > 0 {
			calls = calls[:i]
		}
	}
	h := fnv.New64a()
	for _, v := range append(calls, regs.Rip) {
		_, _ = h.Write(binary.NativeEndian.AppendUint64(nil, v))
	}
	return h.Sum64()
}

// callers are the return addresses on the stack, those of the innermost functions first: Go keeps frame pointers.
func callers(tid int, regs *unix.PtraceRegs) (calls []uint64) {
	word := func(addr uint64) uint64 {
		var b [8]byte
		if n, err := unix.PtracePeekData(tid, uintptr(addr), b[:]); err != nil || n != len(b) {
			return 0
		}
		return binary.NativeEndian.Uint64(b[:])
	}
	if ret := word(regs.Rsp); ret>>28 == 0 { // what has made no frame has the address there; else it may be anything
		calls = append(calls, ret)
	}
	frame := regs.Rbp
	for range 40 {
		next, ret := word(frame), word(frame+8)
		if ret == 0 {
			break
		}
		calls = append(calls, ret)
		if next <= frame {
			break
		}
		frame = next
	}
	return calls
}

var beginnings = regexp.MustCompile(`^github\.com/vsrun/vsrun/libvserver(/cli\.\w+Command\.func\d+(\.\d+)*|\.\(\*Runtime\)\.(Create|Run))$`)

// beginsAt tells if a return address is in a function with which a command begins.
func beginsAt(addr uint64) bool {
	fn := symbols().PCToFunc(addr - 1)
	return fn != nil && beginnings.MatchString(fn.Name)
}

// symbols are those of the build with faults.
var symbols = sync.OnceValue(func() *gosym.Table {
	f, err := elf.Open(rt.Path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	lines, err := f.Section(".gopclntab").Data()
	if err != nil {
		panic(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, f.Section(".text").Addr))
	if err != nil {
		panic(err)
	}
	if table.LookupFunc("github.com/vsrun/vsrun/libvserver.(*Runtime).Create") == nil {
		panic("the names of the code have changed, and this test with them: there is no (*Runtime).Create")
	}
	return table
})
