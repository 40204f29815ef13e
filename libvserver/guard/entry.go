//go:build amd64 || arm64

package guard

// entry is the executable's entry point, in assembly: it is not for calling.
func entry()

var _ = entry
