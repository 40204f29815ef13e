package guard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// build makes a program that waits in a child after Ensure, linked with the entry point or without it.
func build(t *testing.T, entry bool) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "zz_guard_test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const src = `package main

import (
	"fmt"
	"os"

	"github.com/vsrun/vsrun/libvserver/guard"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "run" {
		fmt.Println("safe:", guard.Safe())
		return
	}
	if err := guard.Ensure(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	f, err := os.OpenFile("/proc/self/exe", os.O_WRONLY, 0)
	fmt.Println("safe:", guard.Safe(), "args:", os.Args[1:], "open:", err, f != nil, "env:", os.Getenv("GUARD_TEST"))
}
`
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "prog")
	flags := "-s -w"
	if entry {
		flags += " -E github.com/vsrun/vsrun/libvserver/guard.entry"
	}
	cmd := exec.Command("go", "build", "-ldflags", flags, "-o", bin, "./"+dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// TestGuard: what may start a container can't write its own binary, by the entry point and without it; the arguments and
// the environment come through. Other commands are left alone.
func TestGuard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: others can't write the binary or clone its mount")
	}
	for _, entry := range []bool{true, false} {
		bin := build(t, entry)
		run := func(args ...string) string {
			cmd := exec.Command(bin, args...)
			cmd.Env = append(os.Environ(), "GUARD_TEST=kept")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("entry %v: %v\n%s", entry, err, out)
			}
			return string(out)
		}
		got := run("run", "x y", "")
		for _, want := range []string{"safe: true", "args: [run x y ]", "env: kept", "false"} {
			if !strings.Contains(got, want) {
				t.Errorf("entry %v: %q, want %q in it", entry, got, want)
			}
		}
		if !strings.Contains(got, unix.EROFS.Error()) && !strings.Contains(got, unix.ETXTBSY.Error()) {
			t.Errorf("entry %v: %q, want opening the binary for writing refused", entry, got)
		}
		if got := run("state"); !strings.Contains(got, "safe: false") {
			t.Errorf("entry %v: another command is guarded too: %q", entry, got)
		}
	}
}
