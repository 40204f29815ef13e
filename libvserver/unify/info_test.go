package unify

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// The store's figures, of two guests that share one file of two, and of an object that nobody needs any more.
func TestInfo(t *testing.T) {
	dir := needPlace(t)
	store := filepath.Join(dir, "store")
	const size = 1 << 20
	var trees []string
	for i := range 2 {
		root := filepath.Join(dir, string(rune('a'+i)))
		must(t, os.MkdirAll(root, 0o755))
		must(t, os.WriteFile(root+"/same", bytes.Repeat([]byte("x"), size), 0o644))
		must(t, os.WriteFile(root+"/own", bytes.Repeat([]byte{byte('a' + i)}, size), 0o644))
		trees = append(trees, root)
	}
	o := &Options{Trees: trees, Store: store, Layout: tree.LayoutObjects, Least: 1, Seal: SealNone}
	dry := *o
	dry.DryRun = true
	would, err := Unify(&dry)
	must(t, err)
	res, err := Unify(o)
	must(t, err)
	if res.Files != 4 || res.Shared != 3 || res.New != 3 || would.Shared != res.Shared || would.New != res.New || would.Bytes != res.Bytes || would.After != res.After {
		t.Errorf("unify says %+v\na dry run said %+v", res, would)
	}
	s, err := OpenStore(store, false)
	must(t, err)
	defer s.Close()
	info, err := s.Info()
	must(t, err)
	near := func(n uint64, want uint64) bool { return n >= want && n <= want+want/10 }
	if info.Objects != 3 || !near(info.ObjectBytes, 3*size) || info.Trees != 2 || info.Guests != 2 || info.Files != 4 || info.References != 4 ||
		info.Unused != 0 || info.Missing != 0 || !near(info.PlainBytes, 4*size) || info.SavedBytes < size*9/10 || info.SavedBytes > size {
		t.Errorf("%+v", info)
	}
	must(t, os.RemoveAll(trees[1]))
	gc, err := s.GC(false, nil)
	must(t, err)
	if gc.Trees != 1 || gc.Objects != 1 || !near(gc.Bytes, size) {
		t.Errorf("gc says %+v", gc)
	}
	// One that is lost, and one that no tree needs.
	d := sum(bytes.Repeat([]byte("a"), size))
	must(t, os.Remove(filepath.Join(store, tree.Objects, d.name())))
	must(t, os.MkdirAll(filepath.Join(store, tree.Objects, "00"), 0o700))
	must(t, os.WriteFile(filepath.Join(store, tree.Objects, "00", "nobodys"), bytes.Repeat([]byte("z"), size), 0o600))
	info, err = s.Info()
	must(t, err)
	if info.Objects != 2 || info.Trees != 1 || info.Guests != 1 || info.Missing != 1 || info.Unused != 1 || !near(info.UnusedBytes, size) {
		t.Errorf("%+v", info)
	}
	list, err := s.List()
	must(t, err)
	if len(list) != 1 || list[0].Missing != 1 || list[0].Files != 2 || list[0].Guests != 1 {
		t.Errorf("%+v", list)
	}
}
