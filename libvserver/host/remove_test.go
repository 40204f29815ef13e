package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemoveTree(t *testing.T) {
	top := t.TempDir()
	outside := filepath.Join(top, "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "tree")
	for i := range 3 {
		for j := range 200 { // more than one read lists
			sub := filepath.Join(dir, fmt.Sprint(i), strings.Repeat("n", 100)+fmt.Sprint(j))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				t.Fatal(err)
			}
			if j%50 == 0 {
				for _, err := range []error{os.Symlink(outside, sub+"/link"), os.Symlink(top, sub+"/up"), unix.Mkfifo(sub+"/fifo", 0o600), os.WriteFile(sub+"/file", nil, 0)} {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	// Deeper than files can be open, and than a path can name.
	level := strings.Repeat("d", 10)
	deep, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for i := 0; i < 600 && err == nil; i++ {
		if err = unix.Mkdirat(deep, level, 0o755); err == nil {
			var next int
			next, err = unix.Openat(deep, level, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			unix.Close(deep)
			deep = next
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(deep)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()
	if err := RemoveTree(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	if err := RemoveTree(dir); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := RemoveTree(outside); err != nil {
		t.Errorf("a file: %v", err)
	}
}
