package unify

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// sum is the digest of content given in pieces.
func sum(pieces ...[]byte) digest {
	var h hasher
	for _, p := range pieces {
		h.write(p)
	}
	return h.sum()
}

// The digests are those of `fsverity digest`.
func TestDigest(t *testing.T) {
	if _, err := exec.LookPath("fsverity"); err != nil {
		t.Skip("needs fsverity: ", err)
	}
	dir := t.TempDir()
	for _, size := range []int{1, 100, 4095, 4096, 4097, 8192, 128 * 4096, 128*4096 + 1, 129 * 4096, 3<<20 + 17, 128*128*4096 + 5} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i * 7 >> 3)
		}
		p := filepath.Join(dir, "f")
		must(t, os.WriteFile(p, b, 0o600))
		out, err := exec.Command("fsverity", "digest", p).CombinedOutput()
		if err != nil {
			t.Fatalf("fsverity digest: %v %s", err, out)
		}
		want, _, _ := strings.Cut(strings.TrimPrefix(string(out), "sha256:"), " ")
		half := size / 2 / verityBlock * verityBlock
		d := sum(b[:half], b[half:])
		if d.String() != want {
			t.Errorf("%d bytes: %v, want %s", size, d.String(), want)
		}
	}
}

// What zeros are, however they come, and wherever.
func TestDigestOfHoles(t *testing.T) {
	block := bytes.Repeat([]byte{7}, verityBlock)
	for _, before := range []int{0, 1, 2, 127, 128, 129, 255, 256} {
		for _, zeros := range []int{4096, 5000, 1 << 20, 127 * 4096, 128 * 4096, 129 * 4096, 300 * 4096, 128*128*4096 + 100} {
			for _, after := range []int{0, 1, 130} {
				if zeros%verityBlock != 0 && after > 0 || zeros > 2<<20 && before > 1 {
					continue
				}
				data, end := bytes.Repeat(block, before), bytes.Repeat(block, after)
				var h hasher
				h.write(data)
				h.writeZeros(uint64(zeros))
				h.write(end)
				if want := sum(data, make([]byte, zeros), end); h.sum() != want {
					t.Errorf("%d blocks, %d zeros, %d blocks have another digest as a hole", before, zeros, after)
				}
			}
		}
	}
}

// Files of terabytes that are mostly holes take no time.
func TestHuge(t *testing.T) {
	dir := needPlace(t)
	store := filepath.Join(dir, "store")
	var trees []string
	var was []unix.Stat_t
	for i := range 2 {
		root := filepath.Join(dir, string(rune('a'+i)))
		must(t, os.Mkdir(root, 0o755))
		for name, at := range map[string]int64{"none": -1, "middle": 2 << 40, "odd": 3<<40 + 12345} {
			f, err := os.Create(filepath.Join(root, name))
			must(t, err)
			must(t, f.Truncate(4<<40+7))
			if at >= 0 {
				_, err = f.WriteAt([]byte("data"), at)
				must(t, err)
			}
			must(t, f.Close())
			var st unix.Stat_t
			must(t, unix.Stat(f.Name(), &st))
			was = append(was, st)
		}
		trees = append(trees, root)
		// The second is compared with objects.
		res, err := Unify(&Options{Trees: trees[i:], Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: SealNone})
		must(t, err)
		if want := 3 * (1 - i); res.New != want {
			t.Errorf("%d new contents, want %d", res.New, want)
		}
	}
	s, err := OpenStore(store, false)
	must(t, err)
	defer s.Close()
	must(t, os.Remove(filepath.Join(store, indexName))) // the third one is compared with what has its name
	third := filepath.Join(dir, "c")
	must(t, os.Mkdir(third, 0o755))
	f, err := os.Create(third + "/none")
	must(t, err)
	must(t, errors.Join(f.Truncate(4<<40+7), f.Close()))
	res, err := Unify(&Options{Trees: []string{third}, Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: SealNone})
	must(t, err)
	if res.New != 0 {
		t.Errorf("%d new contents, want none", res.New)
	}
	v, err := s.Verify(nil)
	must(t, err)
	if v.Objects != 3 || len(v.Damaged)+len(v.Missing) > 0 {
		t.Errorf("%+v", v)
	}
	_, err = Ununify(&UnunifyOptions{Trees: append(trees, third)})
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(trees[1]+"/middle", &st))
	b := make([]byte, 4)
	f, err = os.Open(trees[1] + "/odd")
	must(t, err)
	defer f.Close()
	_, err = f.ReadAt(b, 3<<40+12345)
	must(t, err)
	if st.Size != 4<<40+7 || st.Blocks > was[0].Blocks+16 && st.Blocks > 1<<10 || string(b) != "data" {
		t.Errorf("after the way back: %d bytes, %d blocks, %q", st.Size, st.Blocks, b)
	}
}

// On a filesystem with fs-verity, objects are sealed, and the overlay refuses one whose content is another.
func TestSealed(t *testing.T) {
	for name, how := range map[string]Seal{"auto": SealAuto, "all": SealAll} {
		t.Run(name, func(t *testing.T) {
			dir := needPlace(t)
			if err := host.TryVerity(dir); err != nil {
				t.Skip("needs fs-verity: ", err)
			}
			root, store := filepath.Join(dir, "tree"), filepath.Join(dir, "store")
			was := plainTree(t, root)
			_, err := Unify(&Options{Trees: []string{root}, Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: how})
			must(t, err)
			tr := unified(t, root)
			want := tree.VerityOn
			if how == SealAll {
				want = tree.VerityRequire
			}
			if tr.Verity != want {
				t.Errorf("the tree says %c", tr.Verity)
			}
			at := mountTree(t, root)
			got := manifest(t, at)
			for i := range got {
				if i > 0 && got[i] != was[i] {
					t.Errorf("in the overlay %s\nas plain tree %s", got[i], was[i])
				}
			}
			// The object of a large file.
			var link [64]byte
			n, err := unix.Getxattr(tr.Lower(root)+"/usr/lib/f12", redirect, link[:])
			must(t, err)
			object := tr.Data() + string(link[:n])
			if f, err := os.OpenFile(object, os.O_RDWR, 0); !errors.Is(err, unix.EPERM) {
				t.Errorf("open a sealed object for writing: %v", err)
				f.Close()
			}
			s, err := OpenStore(store, false)
			must(t, err)
			defer s.Close()
			v, err := s.Verify(nil)
			must(t, err)
			if v.Sealed == 0 || len(v.Damaged)+len(v.Missing) > 0 || how == SealAll && v.Sealed != v.Objects {
				t.Errorf("%+v", v)
			}
			// As a run leaves it that is killed before it says so.
			off := *tr
			off.Verity = tree.VerityOff
			must(t, unix.Setxattr(root, tree.Attr, []byte(off.Value()), 0))
			again, err := Unify(&Options{Trees: []string{root}, Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: how})
			must(t, err)
			if again.Trees[0].Status != "sealed" || unified(t, root).Verity != want {
				t.Errorf("the next run: %+v", again.Trees[0])
			}
			// Behind the store's back: another content in its place.
			must(t, os.Rename(object, object+".was"))
			must(t, os.WriteFile(object, make([]byte, 1<<20), 0o600))
			fresh := mountTree(t, root)
			if _, err := os.ReadFile(fresh + "/usr/lib/f12"); !errors.Is(err, unix.EIO) {
				t.Errorf("a file whose object was replaced: %v, want %v", err, unix.EIO)
			}
			must(t, os.Rename(object+".was", object))
		})
	}
	t.Run("round trip", func(t *testing.T) {
		dir := needPlace(t)
		if err := host.TryVerity(dir); err != nil {
			t.Skip("needs fs-verity: ", err)
		}
		root := filepath.Join(dir, "tree")
		was := plainTree(t, root)
		_, err := Unify(&Options{Trees: []string{root}, Store: filepath.Join(dir, "store"), Layout: tree.LayoutObjects, Least: 1})
		must(t, err)
		_, err = Ununify(&UnunifyOptions{Trees: []string{root}})
		must(t, err)
		same(t, root, was)
		// It is an ordinary tree again.
		must(t, os.WriteFile(root+"/usr/lib/f12", []byte("new"), 0o644))
	})
}

// Where there is no fs-verity, asking for it is an error, and not asking is not.
func TestSealAllWithout(t *testing.T) {
	dir := needPlace(t)
	if host.TryVerity(dir) == nil {
		t.Skip("needs a filesystem without fs-verity")
	}
	root := filepath.Join(dir, "tree")
	was := plainTree(t, root)
	o := &Options{Trees: []string{root}, Store: filepath.Join(dir, "store"), Layout: tree.LayoutObjects, Least: 1, Seal: SealAll}
	if _, err := Unify(o); err == nil || !strings.Contains(err.Error(), "fs-verity") {
		t.Errorf("error %v, want one about fs-verity", err)
	}
	same(t, root, was)
}
