package host

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Two use CRIU at the same time: the second finds the options gone, and gives them back all the same.
func TestRememberFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flags")
	all := []string{"nsdelegate", "memory_recursiveprot"}
	check := func(what string, got, want []string) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	first, a := rememberFlags(file, all)
	check("the first", first, all)
	second, b := rememberFlags(file, nil)
	check("one beside it", second, all)
	forgetFlags(a)
	third, c := rememberFlags(file, nil)
	check("one beside that", third, all)
	forgetFlags(b)
	forgetFlags(c)
	// The host's administrator has taken one away meanwhile, and nobody is at it.
	fourth, d := rememberFlags(file, all[:1])
	check("one after all", fourth, all[:1])
	forgetFlags(d)
	// One that was killed has given nothing back, and does not hold its lock any more.
	_, e := rememberFlags(file, all)
	unix.Close(e)
	sixth, f := rememberFlags(file, nil)
	check("after one that was killed", sixth, all)
	forgetFlags(f)
	// One that stands still while it writes holds nobody up.
	_, g := rememberFlags(file, all)
	if err := unix.Flock(g, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	eighth, h := rememberFlags(file, nil)
	check("beside one that writes", eighth, all)
	forgetFlags(h)
	forgetFlags(g)
	if got, fd := rememberFlags(filepath.Join(file, "none"), all); fd != -1 || !cmp.Equal(got, all) {
		t.Errorf("without a file: %v, %d", got, fd)
	}
}
