//go:build !amd64 && !arm64

package launch

const canShare = false

func cloneShared(*cloneArgs, uintptr, uintptr, *machine) uintptr { panic("not on this architecture") }
