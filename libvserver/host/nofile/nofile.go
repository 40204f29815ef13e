// Package nofile remembers the limit of open files that this process was started with.
//
// Package os raises the soft limit to the hard one when it is initialised. What the runtime starts shall have the caller's,
// so it is read before that: packages are initialised in the order of their import paths as far as their own imports allow
// (go.dev/ref/spec, "Program initialization"), and this one, which imports nothing but syscall, comes before os.
// TestBeforeOS holds it to that.
package nofile

import "syscall"

// Original is RLIMIT_NOFILE as the caller set it.
var Original syscall.Rlimit

func init() {
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &Original); err != nil {
		Original = syscall.Rlimit{}
	}
}

// Raised tells if the soft limit was changed since.
func Raised() bool { return Original.Max != 0 && Original.Cur != Original.Max }
