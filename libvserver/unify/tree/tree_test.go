package tree

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var digest = strings.Repeat("0123456789abcdef", 4)

func TestValue(t *testing.T) {
	for value, want := range map[string]Tree{
		"1 o- " + digest + " /var/lib/vsrun/store": {LayoutObjects, VerityOff, digest, "/var/lib/vsrun/store"},
		"1 os " + digest + " /a b/c":               {LayoutObjects, VerityOn, digest, "/a b/c"},
		"1 or " + digest + " /s":                   {LayoutObjects, VerityRequire, digest, "/s"},
		"1 l- - /s":                                {LayoutLinks, VerityOff, "-", "/s"},
	} {
		got, err := Parse(value)
		if err != nil {
			t.Fatal(value, err)
		}
		if d := cmp.Diff(&want, got); d != "" {
			t.Error(value, d)
		}
		if got.Value() != value {
			t.Errorf("%q becomes %q", value, got.Value())
		}
	}
	for _, value := range []string{"", "1", "2 o- " + digest + " /s", "1 o " + digest + " /s", "1 x- " + digest + " /s", "1 ox " + digest + " /s",
		"1 o- - /s", "1 o- " + digest[1:] + " /s", "1 o- ../" + digest[3:] + " /s", "1 o- " + digest + " s", "1 o- " + digest, "1 l- " + digest + " /s"} {
		if got, err := Parse(value); !errors.Is(err, ErrBroken) {
			t.Errorf("%q: %v %v", value, got, err)
		}
	}
}

func TestLayers(t *testing.T) {
	o := &Tree{LayoutObjects, VerityRequire, digest, "/s"}
	if o.Lower("/t") != "/s/trees/"+digest || o.Data() != "/s/objects" || o.Verity.Option() != "require" {
		t.Error(o.Lower("/t"), o.Data(), o.Verity.Option())
	}
	l := &Tree{LayoutLinks, VerityOff, "-", "/s"}
	if l.Lower("/t") != "/t" || l.Data() != "" || l.Verity.Option() != "" {
		t.Error(l.Lower("/t"), l.Data(), l.Verity.Option())
	}
}

func TestReadAndOpen(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Setxattr(dir, Attr, []byte("x"), 0); err != nil {
		t.Skip("needs root and a filesystem with trusted attributes: ", err)
	}
	store := filepath.Join(dir, "store")
	a := filepath.Join(dir, "a")
	for _, d := range []string{a, store, filepath.Join(store, Objects), filepath.Join(store, Trees, digest)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if tr, err := Read(a); tr != nil || err != nil {
		t.Error("a plain directory:", tr, err)
	}
	if _, err := Read(dir); !errors.Is(err, ErrBroken) {
		t.Error("a broken attribute:", err)
	}
	want := &Tree{LayoutObjects, VerityOff, digest, store}
	if err := unix.Setxattr(a, Attr, []byte(want.Value()), 0); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []int{unix.O_RDONLY, unix.O_PATH} {
		fd, err := unix.Open(a, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadFd(fd)
		unix.Close(fd)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Error(err, d)
		}
	}
	if _, _, err := want.Open(a); !errors.Is(err, ErrBroken) || !errors.Is(err, unix.ENOENT) {
		t.Error("a store without marker:", err)
	}
	if err := os.WriteFile(filepath.Join(store, Marker), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lower, data, err := want.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(lower)
	unix.Close(data)
	if err := os.Chmod(store, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := want.Open(a); !errors.Is(err, ErrBroken) {
		t.Error("a store that others can write to:", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(store, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (&Tree{LayoutObjects, VerityOff, digest, link}).Open(a); !errors.Is(err, unix.ELOOP) {
		t.Error("a store behind a symlink:", err)
	}
}
