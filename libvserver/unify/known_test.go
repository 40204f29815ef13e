package unify

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// compare finds the contents of a tree as unify does. known is how many were found by comparing with an object.
func compare(t *testing.T, s *Store, root string) (contents []*content, known int64) {
	t.Helper()
	r, _, err := s.begin(nil)
	must(t, err)
	defer func() { must(t, r.finish()) }()
	target, err := openTarget(root)
	must(t, err)
	defer target.close()
	im, err := scan(root, target.fd, nil)
	must(t, err)
	c := &comparer{index: r.index, objects: s.objects, single: true, found: (&job{run: r}).look}
	contents, err = c.run(groups(inodes([]*image{im}, nil, 1), func(a, b *file) int { return int(int64(a.st.size) - int64(b.st.size)) }, nil))
	must(t, err)
	return contents, c.known.Load()
}

// Every content of a copy of a known tree is found by comparing it with its object, whatever has become of names, owners,
// modes and times; what is new is not; and what is only alike neither.
func TestKnown(t *testing.T) {
	dir := needPlace(t)
	a, b, store := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "store")
	plainTree(t, a)
	o := &Options{Trees: []string{a}, Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: SealNone}
	// Three that are alike: of one size, with equal beginnings, middles and ends.
	big := make([]byte, 200_000)
	for i, at := range []int{-1, 50_000, 150_000} {
		c := bytes.Clone(big)
		if at >= 0 {
			c[at] = 1
		}
		must(t, os.WriteFile(filepath.Join(a, "alike"+string(rune('0'+i))), c, 0o644))
	}
	_, err := Unify(o)
	must(t, err)
	s, err := OpenStore(store, false)
	must(t, err)
	defer s.Close()

	must(t, os.Mkdir(b, 0o755))
	sample(t, b, 0)
	must(t, os.Rename(b+"/usr/share", b+"/usr/elsewhere"))
	must(t, os.Chmod(b+"/usr/lib/f12", 0o600))
	for i, at := range []int{-1, 50_000, 150_000, 190_000} {
		c := bytes.Clone(big)
		if at >= 0 {
			c[at] = 1
		}
		must(t, os.WriteFile(filepath.Join(b, "alike"+string(rune('0'+i))), c, 0o644))
	}
	must(t, os.WriteFile(b+"/usr/lib/f3", []byte("something else"), 0o644))
	was := manifest(t, b)
	contents, known := compare(t, s, b)
	fresh := 0
	for _, c := range contents {
		if c.isNew {
			fresh++
		}
	}
	if fresh != 2 || known != int64(len(contents)-fresh) {
		t.Errorf("of %d contents, %d are new and %d were compared with an object, want 2 and the others", len(contents), fresh, known)
	}
	o.Trees = []string{b}
	res, err := Unify(o)
	must(t, err)
	if res.New != 2 {
		t.Errorf("%d new contents, want 2", res.New)
	}
	_, err = Ununify(&UnunifyOptions{Trees: []string{a, b}})
	must(t, err)
	same(t, b, was)
}

// An object that was changed without anybody's noticing is equal to one file, and called what another one is: both survive.
func TestKnownDamaged(t *testing.T) {
	dir := needPlace(t)
	a, b, store := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "store")
	right, wrong := make([]byte, 300_000), make([]byte, 300_000)
	wrong[100_000] = 1
	small := []byte("small")
	for _, root := range []string{a, b} {
		must(t, os.MkdirAll(root, 0o755))
		must(t, os.WriteFile(root+"/right", right, 0o644))
		must(t, os.WriteFile(root+"/small", small, 0o644))
	}
	must(t, os.WriteFile(b+"/wrong", wrong, 0o644))
	was := manifest(t, b)
	o := &Options{Trees: []string{a}, Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: SealNone}
	_, err := Unify(o)
	must(t, err)

	s, err := OpenStore(store, false)
	must(t, err)
	defer s.Close()
	x := s.loadIndex()
	for is, other := range map[string]string{string(right): string(wrong), string(small): "SMALL"} {
		d := sum([]byte(is))
		name := filepath.Join(store, tree.Objects, d.name())
		must(t, os.WriteFile(name, []byte(other), 0o600))
		var st stat
		must(t, statAt(s.objects, d.name(), &st))
		x.add(&st, &content{digest: d, print: x.recs[st.ino].print})
	}
	must(t, s.save(x))

	o.Trees = []string{b}
	res, err := Unify(o)
	must(t, err)
	if res.Healed != 2 {
		t.Errorf("%d objects were replaced, want 2", res.Healed)
	}
	v, err := s.Verify(nil)
	must(t, err)
	if len(v.Damaged)+len(v.Missing) > 0 {
		t.Errorf("%+v", v)
	}
	_, err = Ununify(&UnunifyOptions{Trees: []string{b}})
	must(t, err)
	same(t, b, was)
	if got, err := os.ReadFile(b + "/wrong"); err != nil || !bytes.Equal(got, wrong) {
		t.Error("the file that was equal to the damaged object has changed: ", err)
	}
}

// An index of another version, or of garbage, is as none.
func TestIndexGarbage(t *testing.T) {
	dir := needPlace(t)
	s, err := OpenStore(filepath.Join(dir, "store"), true)
	must(t, err)
	defer s.Close()
	must(t, os.WriteFile(filepath.Join(s.Path, indexName), bytes.Repeat([]byte("garbage"), 1000), 0o600))
	x := s.loadIndex()
	if len(x.recs) != 0 {
		t.Errorf("%d records of garbage", len(x.recs))
	}
	x.add(&stat{ino: 7, size: 8, mtime: unix.Timespec{Sec: 9}}, &content{digest: digest{1}, print: 2})
	must(t, s.save(x))
	x = s.loadIndex()
	if list := x.alike(likeness{8, 2}); len(x.recs) != 1 || len(list) != 1 || list[0].digest != (digest{1}) || list[0].ino != 7 {
		t.Errorf("%+v", x)
	}
}

// In the layout links, what is equal to a file of the store becomes a link to it without being named by its content: many
// or few, small or large, however many are alike in all but content, or in all but attributes.
func TestKnownLinks(t *testing.T) {
	dir := needPlace(t)
	store := filepath.Join(dir, "store")
	// All of one time, mode and owner, and of two sizes.
	contents := map[string][]byte{}
	for i := range 40 {
		large, small := make([]byte, 200_000), make([]byte, 1000)
		large[i*5000], small[i] = 1, 1
		contents["large"+string(rune('A'+i))], contents["small"+string(rune('A'+i))] = large, small
	}
	contents["few"] = bytes.Repeat([]byte{5}, 200_000)
	when := time.Unix(1_000_000_000, 123_456_789)
	date := func(path string) {
		at := when
		if strings.HasPrefix(filepath.Base(path), "few") { // few enough to be read side by side
			at = at.Add(time.Hour)
		}
		must(t, os.Chtimes(path, at, at))
	}
	guest := func(name string, more map[string][]byte) (string, []string) {
		root := filepath.Join(dir, name)
		must(t, os.Mkdir(root, 0o755))
		for _, files := range []map[string][]byte{contents, more} {
			for name, c := range files {
				must(t, os.WriteFile(root+"/"+name, c, 0o644))
			}
		}
		must(t, os.WriteFile(root+"/attribute", contents["smallA"], 0o644))
		must(t, unix.Setxattr(root+"/attribute", "user.x", []byte("y"), 0))
		list, err := os.ReadDir(root)
		must(t, err)
		for _, e := range list {
			date(root + "/" + e.Name())
		}
		return root, manifest(t, root)
	}
	unify := func(roots ...string) *Result {
		t.Helper()
		res, err := Unify(&Options{Trees: roots, Store: store, Layout: tree.LayoutLinks, Least: 1, NoDefault: true})
		must(t, err)
		return res
	}
	e, wasE := guest("e", nil) // whose inode numbers are less than the store's
	a, _ := guest("a", nil)
	b, _ := guest("b", nil)
	all := len(contents) + 1
	if res := unify(a, b); res.New != all || res.Shared != all {
		t.Fatalf("two guests: %+v", res)
	}
	s, err := OpenStore(store, false)
	must(t, err)
	defer s.Close()

	// Alike, but not known: one with a twin, one without, small and large.
	more := map[string][]byte{"more-small": bytes.Repeat([]byte{2}, 1000), "more-small-twin": bytes.Repeat([]byte{2}, 1000), "more-alone": bytes.Repeat([]byte{3}, 1000),
		"more-large": bytes.Repeat([]byte{2}, 200_000), "more-large-twin": bytes.Repeat([]byte{2}, 200_000), "more-large-alone": bytes.Repeat([]byte{3}, 200_000)}
	c, was := guest("c", more)
	res := unify(c)
	if res.New != 2 || res.Shared != all+2 {
		t.Errorf("a known guest with two new contents: %+v", res)
	}
	check := func(root string, was []string) {
		t.Helper()
		pool, err := s.pool()
		must(t, err)
		list, err := os.ReadDir(root)
		must(t, err)
		for _, e := range list {
			var st unix.Stat_t
			must(t, unix.Lstat(root+"/"+e.Name(), &st))
			if alone := e.Name() == "more-alone" || e.Name() == "more-large-alone"; alone == (pool[st.Ino] != nil) {
				t.Errorf("%s: in the store: %v", e.Name(), !alone)
			}
		}
		_, err = Ununify(&UnunifyOptions{Trees: []string{root}})
		must(t, err)
		same(t, root, was)
	}
	check(c, was)

	// Few of what is known, and twins that are not.
	d, _ := guest("d", nil)
	for name := range contents {
		if name != "largeA" && name != "smallA" && name != "few" {
			must(t, os.Remove(d+"/"+name))
		}
	}
	for i, name := range []string{"twin", "twin-too", "few-twin", "few-twin-too", "few-other", "few-other-too"} {
		must(t, os.WriteFile(d+"/"+name, bytes.Repeat([]byte{byte(6 + i/2)}, 200_000), 0o644))
		date(d + "/" + name)
	}
	was = manifest(t, d)
	if res := unify(d); res.New != 3 || res.Shared != 7 {
		t.Errorf("a part of a known guest: %+v", res)
	}
	check(d, was)

	// One that was changed in place.
	must(t, os.WriteFile(a+"/largeB", []byte("changed by one for all"), 0o644))
	if res := unify(e); res.New != 0 || res.Shared != all-1 {
		t.Errorf("a guest of which one file is not in the store any more: %+v", res)
	}
	_, err = Ununify(&UnunifyOptions{Trees: []string{e}})
	must(t, err)
	same(t, e, wasE)
	v, err := s.Verify(nil)
	must(t, err)
	if len(v.Missing) > 0 || len(v.Damaged) != 1 || v.Links == 0 {
		t.Errorf("%+v", v)
	}
}

// A link that was changed without anybody's noticing, its time put back, is equal to one file, and called what two others
// are: all keep what they have.
func TestKnownLinksDamaged(t *testing.T) {
	dir := needPlace(t)
	store := filepath.Join(dir, "store")
	when := time.Unix(1_000_000_000, 0)
	guest := func(name string, files map[string]byte) string {
		root := filepath.Join(dir, name)
		must(t, os.Mkdir(root, 0o755))
		for name, b := range files {
			for size, kind := range map[int]string{1000: "small", 200_000: "large"} {
				must(t, os.WriteFile(root+"/"+kind+name, bytes.Repeat([]byte{b}, size), 0o644))
				must(t, os.Chtimes(root+"/"+kind+name, when, when))
			}
		}
		return root
	}
	unify := func(roots ...string) *Result {
		res, err := Unify(&Options{Trees: roots, Store: store, Layout: tree.LayoutLinks, Least: 1, NoDefault: true})
		must(t, err)
		return res
	}
	a := guest("a", map[string]byte{"": 1, "-twin": 1})
	unify(a)
	for size, name := range map[int]string{1000: "small", 200_000: "large"} {
		must(t, os.WriteFile(a+"/"+name, bytes.Repeat([]byte{2}, size), 0o644))
		must(t, os.Chtimes(a+"/"+name, when, when))
	}
	b := guest("b", map[string]byte{"": 1, "-twin": 1, "-other": 2})
	was := manifest(t, b)
	if res := unify(b); res.Healed != 2 {
		t.Errorf("%d were replaced, want 2: %+v", res.Healed, res)
	}
	_, err := Ununify(&UnunifyOptions{Trees: []string{b}})
	must(t, err)
	same(t, b, was)
}
