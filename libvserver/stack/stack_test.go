package stack

import (
	"runtime/metrics"
	"testing"
)

// On a goroutine that is new Grow takes one stack of 32 KiB, and a second time none.
func TestGrow(t *testing.T) {
	s := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	inUse := func() uint64 { metrics.Read(s); return s[0].Value.Uint64() }
	done := make(chan [3]uint64)
	go func() {
		a := inUse()
		Grow()
		b := inUse()
		Grow()
		done <- [3]uint64{a, b, inUse()}
	}()
	if n := <-done; n[1] < n[0]+24<<10 || n[2] != n[1] {
		t.Errorf("stacks in use before, after and after another: %d", n)
	}
}
