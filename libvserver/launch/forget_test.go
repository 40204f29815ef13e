package launch

import (
	"os"
	"strings"
	"testing"
	"unsafe"
)

func TestOwnStrings(t *testing.T) {
	read := func(s span) string {
		return strings.Clone(unsafe.String((*byte)(pointer(s.from)), s.to-s.from))
	}
	args, env := ownStrings()
	if got, want := read(args), strings.Join(os.Args, "\x00")+"\x00"; got != want {
		t.Errorf("arguments are %q, not %q", got, want)
	}
	want, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(env); got != string(want) {
		t.Errorf("the environment is %q, not %q", got, want)
	}
}
