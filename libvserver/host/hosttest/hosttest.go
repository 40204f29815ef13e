// Package hosttest skips tests that this machine can't run, and says why. Only
// tests may import it.
package hosttest

import (
	"os"
	"testing"

	"github.com/vsrun/vsrun/libvserver/host"
)

// Root skips a test that needs root; why is what for, as "mounts a tmpfs".
func Root(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: " + why)
	}
}

// Need skips a test unless the kernel has all of the features.
func Need(t testing.TB, features ...*host.Feature) {
	t.Helper()
	for _, f := range features {
		if err := f.Err(); err != nil {
			t.Skip(err)
		}
	}
}

// Layout skips a test unless the cgroups are mounted in one of these layouts.
func Layout(t testing.TB, layouts ...host.Layout) {
	t.Helper()
	this := host.CgroupLayout()
	for _, l := range layouts {
		if l == this {
			return
		}
	}
	t.Skipf("needs cgroups %v: this is %v", layouts, this)
}
