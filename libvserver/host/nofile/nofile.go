// Package nofile remembers the limit of open files that this process was started with.
//
// Package syscall raises the soft limit to the hard one when it is initialised. What the runtime starts shall have the
// caller's, so it is read before that: packages are initialised in the order of their import paths as far as their own
// imports allow (go.dev/ref/spec, "Program initialization"), and this one imports nothing. TestBeforeSyscall holds it to that.
package nofile

// Limit is struct rlimit64 of prlimit(2).
type Limit struct{ Cur, Max uint64 }

// Original is RLIMIT_NOFILE as the caller set it; zero on architectures where that is not known.
// The executable's entry point (package guard) may have set it, and lowered the limit for the start of the Go runtime.
var Original Limit

func init() {
	if Original.Max == 0 {
		prlimit(nil, &Original)
	} else {
		prlimit(&Original, nil)
	}
}

// Raised tells if the soft limit was changed since.
func Raised() bool { return Original.Max != 0 && Original.Cur != Original.Max }
