//go:build amd64 || arm64

package nofile

// getrlimit is prlimit(0, RLIMIT_NOFILE, nil, l).
//
//go:noescape
func getrlimit(l *Limit)
