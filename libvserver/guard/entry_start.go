package guard

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// memProfileRate is how the entry point finds that variable: assembly may not name it.
var memProfileRate = &runtime.MemProfileRate

var _ = memProfileRate

// mount is the descriptor of the mount under the executable, close-on-exec, if the entry point has made one; else 0.
var mount int32

// Mount returns the descriptor that Release closes, -1 for none. A child closes its own copy early: whoever has the last
// one waits.
func Mount() int {
	if mount == 0 {
		return -1
	}
	return int(mount)
}

// Release closes the descriptor of the mount under the executable, which stays mapped and read-only. The kernel waits for
// an RCU grace period then, of 50 to 200 µs; so it is called when there is nothing to do but to wait for a child.
func Release() {
	if mount != 0 {
		unix.Close(int(mount))
		mount = 0
	}
}
