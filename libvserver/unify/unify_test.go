package unify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// mountTree mounts a unified tree as vsrun does, and returns where.
func mountTree(t *testing.T, path string) string {
	t.Helper()
	mountTreeOrSkip(t, filepath.Dir(path))
	tr := unified(t, path)
	at, upper, work := t.TempDir(), t.TempDir(), t.TempDir()
	lower := tr.Lower(path)
	options := "metacopy=on,upperdir=" + upper + ",workdir=" + work
	if data := tr.Data(); data != "" {
		lower += "::" + data
	}
	if v := tr.Verity.Option(); v != "" {
		options += ",verity=" + v
	}
	if err := unix.Mount("overlay", at, "overlay", 0, "lowerdir="+lower+","+options); err != nil {
		t.Fatalf("mount the overlay of %s (lowerdir=%s,%s): %v", path, lower, options, err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(at, 0)) })
	return at
}

func TestRoundTrip(t *testing.T) {
	for _, layout := range []tree.Layout{tree.LayoutObjects, tree.LayoutLinks} {
		t.Run(layout.String(), func(t *testing.T) {
			dir := needPlace(t)
			store := filepath.Join(dir, "store")
			var trees []string
			var was [][]string
			for i := range 4 {
				root := filepath.Join(dir, fmt.Sprint("guest", i))
				must(t, os.Mkdir(root, 0o755))
				sample(t, root, i/2) // two of each
				trees = append(trees, root)
				was = append(was, manifest(t, root))
			}
			if !strings.Contains(strings.Join(was[0], "\n"), " sparse ") {
				t.Error("no sparse file, or a filesystem without holes")
			}
			res, err := Unify(&Options{Trees: trees, Store: store, Layout: layout, Least: 1, Seal: SealNone, NoDefault: true})
			must(t, err)
			for i, tr := range res.Trees {
				if tr.Status != "unified" || tr.Path != trees[i] {
					t.Errorf("%+v", tr)
				}
			}
			if res.Saved < int64(res.Bytes)*6/10 {
				t.Errorf("saved %d of %d", res.Saved, res.Bytes)
			}
			if layout == tree.LayoutObjects {
				a, b, c := unified(t, trees[0]), unified(t, trees[1]), unified(t, trees[2])
				if a.Digest != b.Digest || a.Digest == c.Digest {
					t.Errorf("equal trees have digests %s and %s, another one %s", a.Digest, b.Digest, c.Digest)
				}
				t.Run("mounted", func(t *testing.T) {
					at := mountTree(t, trees[0])
					got := manifest(t, at)
					for i := range got {
						// Of the root, the upper layer decides.
						if i > 0 && got[i] != was[0][i] {
							t.Errorf("in the overlay %s\nas plain tree %s", got[i], was[0][i])
						}
					}
				})
			}
			s, err := OpenStore(store, false)
			must(t, err)
			defer s.Close()
			for range 2 {
				gc, err := s.GC(false, nil)
				must(t, err)
				if gc.Objects != 0 || gc.Trees != 0 {
					t.Errorf("gc removed what is in use: %+v", gc)
				}
			}
			v, err := s.Verify(nil)
			must(t, err)
			if len(v.Damaged)+len(v.Missing) > 0 {
				t.Errorf("%+v", v)
			}
			again, err := Unify(&Options{Trees: trees, Store: store, Layout: layout, Least: 1, Seal: SealNone, NoDefault: true})
			must(t, err)
			if again.New != 0 {
				t.Errorf("a second run found %d new contents", again.New)
			}
			for i := range trees {
				_, err := Ununify(&UnunifyOptions{Trees: trees[i : i+1]})
				must(t, err)
				want := was[i]
				same(t, trees[i], want)
				if tr, err := tree.Read(trees[i]); tr != nil || err != nil {
					t.Error(tr, err)
				}
			}
			gc, err := s.GC(false, nil)
			must(t, err)
			if gc.Objects == 0 {
				t.Error("gc found nothing to remove")
			}
			info, err := s.Info()
			must(t, err)
			if info.Objects+info.Links+info.Trees+info.Guests != 0 {
				t.Errorf("something is left: %+v", info)
			}
			list, err := os.ReadDir(filepath.Join(store, tempDir))
			must(t, err)
			if len(list) > 0 {
				t.Errorf("left in the store: %v", list)
			}
		})
	}
}

// A tree in which nothing is shared is a unified tree all the same, and its store is there for its containers' layers.
func TestNothingShared(t *testing.T) {
	for _, layout := range []tree.Layout{tree.LayoutObjects, tree.LayoutLinks} {
		dir := needPlace(t)
		root, store := filepath.Join(dir, "tree"), filepath.Join(dir, "store")
		must(t, os.MkdirAll(root+"/etc", 0o755))
		_, err := Unify(&Options{Trees: []string{root}, Store: store, Layout: layout, Least: 1, Seal: SealNone, NoDefault: true})
		must(t, err)
		s, err := OpenStore(store, false)
		must(t, err)
		s.Close()
		// A dry run leaves none.
		other := filepath.Join(dir, "other")
		must(t, os.MkdirAll(other+"/etc", 0o755))
		_, err = Unify(&Options{Trees: []string{other}, Store: store + "2", Layout: layout, Least: 1, Seal: SealNone, NoDefault: true, DryRun: true})
		must(t, err)
		if _, err := os.Stat(store + "2"); err == nil {
			t.Errorf("%v: a dry run has left a store", layout)
		}
	}
}

// There is one metadata tree for equal trees, and it takes 1.5 % of one at most: a file in it has no block of its own. What it
// takes is reported.
func TestMetadata(t *testing.T) {
	dir := needPlace(t)
	store := filepath.Join(dir, "store")
	var trees []string
	for g := range 3 {
		root := filepath.Join(dir, fmt.Sprint("guest", g))
		trees = append(trees, root)
		for i := range 400 {
			at := filepath.Join(root, "usr", fmt.Sprint("dir", i/25))
			must(t, os.MkdirAll(at, 0o755))
			b := make([]byte, 20<<10)
			for k := range b {
				b[k] = byte(i*k + i>>8 + k>>8)
			}
			must(t, os.WriteFile(filepath.Join(at, fmt.Sprint("file", i)), b, 0o644))
		}
		must(t, unix.UtimesNano(root, []unix.Timespec{{Sec: 1}, {Sec: 1}}))
	}
	for i := range 400 { // one time for all three
		for _, root := range trees {
			name := filepath.Join(root, "usr", fmt.Sprint("dir", i/25), fmt.Sprint("file", i))
			for _, n := range []string{name, filepath.Dir(name), filepath.Join(root, "usr")} {
				must(t, unix.UtimesNano(n, []unix.Timespec{{Sec: 1}, {Sec: 1}}))
			}
		}
	}
	res, err := Unify(&Options{Trees: trees, Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: SealNone})
	must(t, err)
	s, err := OpenStore(store, false)
	must(t, err)
	defer s.Close()
	info, err := s.Info()
	must(t, err)
	if info.Trees != 1 || info.Guests != 3 {
		t.Errorf("%d metadata trees for %d guests, want one for three", info.Trees, info.Guests)
	}
	one := res.Bytes / 3
	if res.Meta*1000 > one*15 {
		t.Errorf("metadata takes %d bytes of a tree of %d: more than 1.5 %%", res.Meta, one)
	}
	if info.MetaBytes != res.Meta {
		t.Errorf("metadata: the store says %d bytes, unify %d", info.MetaBytes, res.Meta)
	}
	t.Logf("%.2f %% metadata", 100*float64(res.Meta)/float64(one))
}
