//go:build !amd64

package seccomp

const nativeAudit = 0
