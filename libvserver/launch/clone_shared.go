//go:build amd64 || arm64

package launch

import "unsafe"

const canShare = true

// cloneShared calls clone3(2); the child calls fn, the address of a function that keeps to the rules of execute, on its own
// stack, with arg.
//
//go:noescape
func cloneShared(args *cloneArgs, size uintptr, fn uintptr, arg unsafe.Pointer) (r uintptr)
