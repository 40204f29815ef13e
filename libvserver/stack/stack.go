// Package stack gives a goroutine its stack in one piece.
package stack

// Grow has the runtime make the caller's stack 32 KiB at least. A stack that grows by doubling is copied each time, for
// which Go reads its tables about every function on it: called early, with few functions on it yet, this saves a run 0.3
// MB of memory. It touches nothing of the new stack.
func Grow()
