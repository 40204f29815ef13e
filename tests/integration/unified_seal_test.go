package integration

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What was changed in a sealed tree behind the store's back, by another file in an object's place or on the disk itself, is
// an I/O error in the container, and nothing else is.
func TestSealedContainer(t *testing.T) {
	needRuntime(t, "runc", "crun")
	for fs, mkfs := range map[string][]string{"ext4": {"mkfs.ext4", "-q", "-O", "verity"}, "btrfs": {"mkfs.btrfs", "-q"}} {
		t.Run(fs, func(t *testing.T) {
			image, at := loop(t, mkfs, "rw", fs)
			p := newPlace(t, "root.readonly=false", "root.path="+at+"/tree", "sh:cat /data/good | wc -c; cat /data/other | wc -c; cat /data/disk | wc -c; echo x >> /data/good && cat /data/good | wc -c")
			if err := copyTree(p.bundle()+"/rootfs", at+"/tree"); err != nil {
				t.Fatal(err)
			}
			const size = 64 << 10
			for name, c := range map[string]string{"good": "g", "other": "o", "disk": "d"} {
				b := []byte(strings.Repeat("what "+name+" is made of"+c, size)[:size])
				if err := os.MkdirAll(at+"/tree/data", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at+"/tree/data/"+name, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			unix.Sync()
			if res := p.try("unify", "--store", at+"/store", "--seal", "all", at+"/tree"); strings.Contains(res.Stderr, "has no fs-verity") {
				t.Skip(res.Stderr)
			} else if res.Code != 0 {
				t.Fatal(res.Stderr)
			}
			run := func() (out, errs string) {
				t.Helper()
				res := p.try("run", "-b", p.bundle(), p.tag)
				return strings.Join(strings.Fields(res.Stdout), " "), res.Stderr
			}
			if out, errs := run(); out != "65536 65536 65536 65538" {
				t.Fatalf("untouched: %s %s", out, errs)
			}
			// Another file in an object's place, which anybody who can write to the disk can do.
			for name := range objects(t, at+"/store", size) {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.HasPrefix(b, []byte("what other")) {
					continue
				}
				b[100] ^= 1
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// The disk itself.
			if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
				t.Fatalf("umount: %s", out)
			}
			if n := corrupt(t, image, "what disk is made ofd"); n == 0 {
				t.Fatal("the content is not found on the disk")
			}
			if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
				t.Fatalf("mount: %s", out)
			}
			out, errs := run()
			if out != "65536 0 0 65538" || strings.Count(errs, "Input/output error") != 2 {
				t.Errorf("changed behind the store's back: %s %s", out, errs)
			}
			if res := p.try("store", "--store", at+"/store", "verify"); res.Code == 0 || !strings.Contains(res.Stdout+res.Stderr, "2") {
				t.Errorf("store verify: %d %s %s", res.Code, res.Stdout, res.Stderr)
			}
			p.noLeaks()
		})
	}
}

// corrupt changes a byte wherever some text is in a file, and says how often.
func corrupt(t *testing.T, name, text string) (n int) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(text))
		if i < 0 {
			return n
		}
		at += i
		if _, err := f.WriteAt([]byte{b[at] ^ 1}, int64(at)); err != nil {
			t.Fatal(err)
		}
		at += len(text)
		n++
	}
}
