package unify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// needPlace returns a directory on a filesystem that can hold a store.
func needPlace(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		t.Skip("needs root: trusted extended attributes, mknod and chown")
	}
	if err := unix.Setxattr(dir, tree.Attr+"x", nil, 0); err != nil {
		t.Skip("needs a filesystem with trusted attributes: ", err)
	}
	_ = unix.Removexattr(dir, tree.Attr+"x")
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// manifest describes everything in a tree, one line a name.
func manifest(t testing.TB, root string) []string {
	t.Helper()
	var lines []string
	first := map[uint64]string{}
	must(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, root)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%q mode %o owner %d:%d mtime %d.%09d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFDIR {
			line += fmt.Sprintf(" size %d rdev %d", st.Size, st.Rdev)
			if st.Nlink > 1 {
				// The store's own names don't count, so the first one here shows none.
				if first[st.Ino] == "" {
					first[st.Ino] = rel
				} else {
					line += fmt.Sprintf(" link=%q;", first[st.Ino])
				}
			}
		}
		buf := make([]byte, 1<<16)
		n, err := unix.Llistxattr(path, buf)
		if err != nil {
			return err
		}
		names := strings.Split(string(buf[:n]), "\x00")
		slices.Sort(names)
		for _, name := range names {
			if name == "" || name == tree.Attr {
				continue
			}
			n, err := unix.Lgetxattr(path, name, buf)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s=%q", name, buf[:n])
		}
		switch kind {
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " to " + to
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			// An overlay tells the blocks of a file that was opened: before, it guesses.
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			if st.Blocks*512 < st.Size/2 {
				line += " sparse"
			}
			sum := sha256.Sum256(b)
			line += " " + hex.EncodeToString(sum[:8])
		}
		lines = append(lines, line)
		return nil
	}))
	return lines
}

// same fails unless a tree is as it was.
func same(t testing.TB, root string, want []string) {
	t.Helper()
	if d := cmp.Diff(want, manifest(t, root)); d != "" {
		t.Fatalf("%s changed (-was +is):\n%s", root, d)
	}
}

// sample makes a tree with everything that a tree can hold. Trees of one seed are equal in content; variant changes some
// owners, modes, times and contents.
func sample(t testing.TB, root string, variant int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	content := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	write := func(name string, b []byte) {
		p := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, b, 0o644))
	}
	for i, n := range []int{1, 15, 16, 100, 4095, 4096, 4097, 65535, 65536, 65537, 131072, 200001, 1 << 20, 3<<20 + 5} {
		write(fmt.Sprintf("usr/lib/f%d", i), content(n))
		write(fmt.Sprintf("usr/lib/same%d", i), bytes.Repeat([]byte{byte(i)}, n))
	}
	// Of one size, different at the beginning, in the middle and at the end.
	big := content(300_000)
	for _, at := range []int{0, 70_000, 150_000, 299_999} {
		b := bytes.Clone(big)
		b[at] ^= byte(0x10 + variant)
		write(fmt.Sprintf("usr/share/big%d", at), b)
	}
	write("usr/share/big", big)
	write("usr/share/big-again", big)
	for i := range 40 {
		write(fmt.Sprintf("usr/share/doc/%d/copyright", i), []byte(fmt.Sprintf("text number %2d", i%7)))
	}
	write("empty", nil)
	write("etc/passwd", []byte("root:x:0:0\n"))
	write("etc/machine-id", []byte(fmt.Sprintf("%032x\n", variant)))
	write("odd/new\nline", []byte("odd name"))
	write("odd/\xff\xfe not utf-8", []byte("odd name"))
	write("odd/ -rf *", []byte("odd name"))
	write("odd/"+strings.Repeat("n", 255), []byte("long name"))
	must(t, os.MkdirAll(filepath.Join(root, "empty-dir"), 0o755))

	at := func(name string) string { return filepath.Join(root, name) }
	write("bin/su", content(5000))
	must(t, os.Chown(at("bin/su"), 0, 42))
	must(t, unix.Chmod(at("bin/su"), 0o4755))
	write("bin/ping", content(6000))
	must(t, unix.Setxattr(at("bin/ping"), "security.capability",
		[]byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	write("srv/owned", content(7000))
	must(t, os.Chown(at("srv/owned"), 1000+variant, 1000))
	must(t, os.Chmod(at("srv/owned"), 0o600))
	must(t, os.Chown(at("srv"), 33, 33))
	must(t, unix.Chmod(at("srv"), 0o2775))
	write("srv/user-attr", content(800))
	must(t, unix.Setxattr(at("srv/user-attr"), "user.note", []byte("a\x00b"), 0))
	must(t, unix.Setxattr(at("srv"), "user.dir", bytes.Repeat([]byte("x"), 900), 0))
	// An ACL: user 5 may read.
	acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x05\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff")
	write("srv/acl", content(900))
	must(t, unix.Setxattr(at("srv/acl"), "system.posix_acl_access", acl, 0))
	must(t, unix.Setxattr(at("empty-dir"), "system.posix_acl_default", acl, 0))

	must(t, os.Symlink("usr/lib", at("lib")))
	must(t, os.Symlink("/nowhere/"+strings.Repeat("long/", 30), at("dangling")))
	must(t, os.Lchown(at("dangling"), 7, 8))
	must(t, os.MkdirAll(at("dev"), 0o755))
	must(t, unix.Mknod(at("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Chmod(at("dev/null"), 0o666))
	must(t, unix.Mknod(at("dev/sda"), unix.S_IFBLK|0o660, int(unix.Mkdev(8, 0))))
	must(t, unix.Mknod(at("dev/fifo"), unix.S_IFIFO|0o600, 0))
	must(t, unix.Mknod(at("dev/socket"), unix.S_IFSOCK|0o755, 0))
	must(t, os.Link(at("usr/lib/f5"), at("usr/share/f5-linked")))
	must(t, os.Link(at("usr/lib/f12"), at("a-linked")))
	must(t, os.Link(at("empty"), at("empty-linked")))
	must(t, unix.Link(at("dangling"), at("dangling-linked")))

	f, err := os.Create(at("sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("in the middle"), 3<<20)
	must(t, err)
	must(t, f.Truncate(8<<20))
	must(t, f.Close())

	when := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	var dirs []string
	must(t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		ts := []unix.Timespec{unix.NsecToTimespec(when.UnixNano()), unix.NsecToTimespec(when.UnixNano() + int64(len(path)-len(root)))}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
	}))
	must(t, unix.Chmod(at("odd"), 0o555))
	slices.Reverse(dirs)
	for i, d := range dirs {
		must(t, os.Chtimes(d, when, when.Add(time.Duration(i))))
	}
}

func unified(t testing.TB, path string) *tree.Tree {
	t.Helper()
	tr, err := tree.Read(path)
	must(t, err)
	if tr == nil {
		t.Fatalf("%s is no unified tree", path)
	}
	return tr
}

// mountTreeOrSkip skips where overlays with data-only layers can't be had.
func mountTreeOrSkip(t testing.TB, dir string) {
	t.Helper()
	if err := host.TryOverlay(dir); err != nil {
		t.Skip("needs a filesystem that overlayfs takes layers from: ", err)
	}
	if err := host.TryOverlayDataOnly(dir); err != nil {
		t.Skip("needs overlayfs with data-only layers (Linux 6.5): ", err)
	}
}

var linkPart = regexp.MustCompile(` link="(\\.|[^"\\])*";`)

// looseLine takes from a manifest's line which name a hard link's first is, and a directory's time.
func looseLine(line string) string {
	line = linkPart.ReplaceAllString(line, "")
	if strings.Contains(line, " mode 4") { // a directory
		if i := strings.Index(line, " mtime "); i >= 0 {
			rest := line[i+len(" mtime "):]
			if j := strings.IndexByte(rest, ' '); j >= 0 {
				return line[:i] + rest[j:]
			}
			return line[:i]
		}
	}
	return line
}
