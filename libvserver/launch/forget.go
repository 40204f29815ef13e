package launch

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Forget zeroes the environment of the runtime's caller in this process's memory. A created container that was started in that
// memory (Process.Shared) waits there for `start`, and may have processes beside it that can read it. It is the last thing to
// do: all that os.Getenv has ever returned is gone.
func Forget() {
	for _, s := range environment() {
		clear(unsafe.Slice((*byte)(pointer(s.from)), s.to-s.from))
	}
}

// forget is Forget for a child that has a copy of this process's memory.
func (c *compiler) forget() {
	for _, s := range environment() {
		c.emit(opWipe, "", val(s.from), val(s.to))
	}
}

// span is the memory from an address on to another.
type span struct{ from, to uintptr }

// environment is where this process's memory has the environment: where the kernel has put it, and the Go runtime's copies,
// which are ordinary memory that nothing but this writes to.
func environment() []span {
	env := syscall.Environ()
	list := make([]span, 0, len(env)+1)
	if _, env := ownStrings(); env.from < env.to {
		list = append(list, env)
	}
	for _, e := range env {
		if p := uintptr(unsafe.Pointer(unsafe.StringData(e))); e != "" {
			list = append(list, span{p, p + uintptr(len(e))})
		}
	}
	return list
}

// ownStrings is where the kernel has put this program's arguments and environment (execve(2)): one after the other, the name of
// the executable (getauxval(3), AT_EXECFN) behind them. Go's arguments lie there, too. Both are empty if that can't be told.
func ownStrings() (args, env span) {
	n := len(os.Args)
	if n == 0 {
		return args, env
	}
	at := func(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }
	start, mid := at(os.Args[0]), at(os.Args[n-1])+uintptr(len(os.Args[n-1]))+1
	aux, _ := unix.Auxv()
	for _, a := range aux {
		if end := a[1]; a[0] == atExecfn && start < mid && mid <= end && end-start < maxStrings {
			return span{start, mid}, span{mid, end}
		}
	}
	return args, env
}

const (
	atExecfn   = 31       // AT_EXECFN, linux/auxvec.h
	maxStrings = 16 << 20 // bytes, more than execve(2) takes: three quarters of the stack's limit, but 6 MiB
)
