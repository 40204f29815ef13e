//go:build amd64 || arm64

package nofile

// prlimit is prlimit(0, RLIMIT_NOFILE, set, old).
//
//go:noescape
func prlimit(set, old *Limit)
