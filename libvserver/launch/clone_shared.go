//go:build amd64 || arm64

package launch

const canShare = true

// cloneShared calls clone3(2); the child calls fn, the address of a function of the machine, on its own stack.
//
//go:noescape
func cloneShared(args *cloneArgs, size uintptr, fn uintptr, m *machine) (r uintptr)
