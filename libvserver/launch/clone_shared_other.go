//go:build !amd64 && !arm64

package launch

import "unsafe"

const canShare = false

func cloneShared(*cloneArgs, uintptr, uintptr, unsafe.Pointer) uintptr {
	panic("not on this architecture")
}
