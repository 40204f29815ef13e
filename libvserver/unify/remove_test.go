package unify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRemoveTree removes a tree with paths around the length from which on they are allocated, and beyond it.
func TestRemoveTree(t *testing.T) {
	top := t.TempDir()
	fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, n := range []int{1, 253, 254, 255} {
		name := strings.Repeat("x", n)
		if err := mkdirAt(fd, name, 0o700); err != nil {
			t.Fatalf("mkdir of %d bytes: %v", n, err)
		}
		for _, sub := range []string{name + "/a", name + "/a/" + name, name + "/a/" + name + "/b"} {
			if err := mkdirAt(fd, sub, 0o700); err != nil {
				t.Fatalf("mkdir of %d bytes: %v", len(sub), err)
			}
			f, err := createAt(fd, sub+"/file", 0o600)
			if err != nil {
				t.Fatalf("create of %d bytes: %v", len(sub)+5, err)
			}
			closeFd(f)
			var st stat
			if err := statAt(fd, sub+"/file", &st); err != nil || st.kind() != unix.S_IFREG {
				t.Errorf("stat of %d bytes: mode %o, %v", len(sub)+5, st.mode, err)
			}
			if _, err := os.Lstat(filepath.Join(top, sub, "file")); err != nil {
				t.Error(err)
			}
		}
		if err := removeTree(fd, name); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if list, err := os.ReadDir(top); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// TestRemoveAllKeeps: what nobody named is not removed, nor are the directories above it.
func TestRemoveAllKeeps(t *testing.T) {
	top := t.TempDir()
	for _, d := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "a/b/new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	err = removeAll(fd, []string{"", "a", "a/b", "c"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "a/b: directory not empty") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(top, "a/b/new")); err != nil {
		t.Error(err)
	}
}
