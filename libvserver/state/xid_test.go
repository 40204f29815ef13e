package state

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

// testRegistry gives a test a registry of its own, which does not exist yet.
func testRegistry(t *testing.T) string {
	t.Helper()
	old := registry
	registry = t.TempDir() + "/xid"
	t.Cleanup(func() { registry = old })
	t.Setenv("XDG_RUNTIME_DIR", "")
	return registry
}

// withXid makes a container with a context id, recorded.
func withXid(t *testing.T, s *Store, id string, want uint32) (*Dir, *Record) {
	t.Helper()
	d := mustReserve(t, s, id)
	xid, err := d.ReserveXid(want)
	if err != nil {
		t.Fatal(err)
	}
	rec := fullRecord(id)
	rec.Xid = xid
	mustSave(t, d, rec)
	return d, rec
}

func links(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// TestXid: an id is one container's, under whatever root, until it is removed.
func TestXid(t *testing.T) {
	dir := testRegistry(t)
	a, b := testStore(t), testStore(t)
	d, _ := withXid(t, a, "web", 100)
	e := mustReserve(t, b, "web")
	_, err := e.ReserveXid(100)
	want := `annotations["org.linux-vserver.context.xid"]: context id is in use: container web (` + a.Path("web") + `) has 100`
	if !errors.Is(err, ErrXidInUse) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o777 || st.Mode()&os.ModeSticky == 0 {
		t.Error(st.Mode(), err)
	}
	// Another's id can't be given back.
	e.freeXid(100)
	if err := e.Remove(100); err != nil || links(t, dir) != "100" {
		t.Error(err, links(t, dir))
	}
	if err := d.Remove(100); err != nil || links(t, dir) != "" {
		t.Error(err, links(t, dir))
	}
	withXid(t, b, "web", 100)
	for range 20 {
		_, rec := withXid(t, b, "x"+strconv.Itoa(int(unix.Getpid()))+strconv.Itoa(len(links(t, dir))), 0)
		if rec.Xid < spec.MinDynamicXID || rec.Xid > spec.MaxDynamicXID {
			t.Error(rec.Xid)
		}
	}
}

// TestXidLeftOver: what a crash leaves of an id is nobody's.
func TestXidLeftOver(t *testing.T) {
	dir := testRegistry(t)
	s := testStore(t)
	gone, _ := withXid(t, s, "gone", 10)
	if err := os.RemoveAll(gone.Path()); err != nil {
		t.Fatal(err)
	}
	again, _ := withXid(t, s, "again", 11)
	if err := os.RemoveAll(again.Path()); err != nil { // and then made anew, with another id
		t.Fatal(err)
	}
	withXid(t, s, "again", 12)
	cut := mustReserve(t, s, "cut") // a create that was killed before it wrote its record
	if _, err := cut.ReserveXid(13); err != nil {
		t.Fatal(err)
	}
	busy := mustReserve(t, s, "busy") // one that is under way
	if _, err := busy.ReserveXid(14); err != nil {
		t.Fatal(err)
	}
	stopped, _ := withXid(t, s, "stopped", 15)
	stopped.Unlock()
	cut.Unlock()
	for _, target := range []string{"", "/", "x", "/a/..", "/proc/1/no"} {
		if target != "" {
			_ = os.Symlink(target, filepath.Join(dir, strconv.Itoa(20+len(target))))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "40"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for xid, free := range map[uint32]bool{10: true, 11: true, 12: false, 13: true, 14: false, 15: false, 21: true, 25: true, 30: true, 40: true} {
		d := mustReserve(t, s, "new"+strconv.Itoa(int(xid)))
		_, err := d.ReserveXid(xid)
		if (err == nil) != free || err != nil && !errors.Is(err, ErrXidInUse) {
			t.Errorf("%d: %v", xid, err)
		}
		if err == nil {
			if to, _ := os.Readlink(filepath.Join(dir, strconv.Itoa(int(xid)))); to != d.Path() {
				t.Errorf("%d names %q", xid, to)
			}
		}
	}
}

// TestXidsTakenByUser: a user who takes all ids keeps root from none.
func TestXidsTakenByUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who takes from users what they have taken")
	}
	dir := testRegistry(t)
	s := testStore(t)
	_, own := withXid(t, s, "own", 0)
	for xid := spec.MinDynamicXID; xid <= spec.MaxDynamicXID; xid++ {
		link := filepath.Join(dir, strconv.Itoa(xid))
		if xid == int(own.Xid) {
			continue
		}
		if err := os.Symlink("/nowhere", link); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(link, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	_, rec := withXid(t, s, "web", 0)
	if rec.Xid == own.Xid || rec.Xid < spec.MinDynamicXID {
		t.Errorf("%d", rec.Xid)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, strconv.Itoa(int(rec.Xid))), &st); err != nil || st.Uid != 0 {
		t.Errorf("the link is of user %d, %v", st.Uid, err)
	}
}

// TestXidRace: of many who want an id that was left over, one gets it.
func TestXidRace(t *testing.T) {
	dir := testRegistry(t)
	s := testStore(t)
	for round := range 30 {
		if round%2 == 0 {
			_ = os.MkdirAll(dir, 0o777)
			_ = os.Remove(filepath.Join(dir, "77"))
			if err := os.Symlink("/nowhere/none", filepath.Join(dir, "77")); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []*Dir
		for i := range 8 {
			d := mustReserve(t, s, "c"+strconv.Itoa(round)+"-"+strconv.Itoa(i))
			wg.Go(func() {
				_, err := d.ReserveXid(77)
				if err != nil && !errors.Is(err, ErrXidInUse) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					won = append(won, d)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d have it", len(won))
		}
		if err := won[0].Remove(77); err != nil {
			t.Fatal(err)
		}
	}
}

// TestXidPlaces: without the host's registry a user has one of his own, in a directory that is his.
func TestXidPlaces(t *testing.T) {
	testRegistry(t)
	xdg := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", xdg)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	registry = file + "/xid"
	s := testStore(t)
	d, rec := withXid(t, s, "a", 0)
	if got := links(t, xdg+"/vsrun-xid"); got != strconv.Itoa(int(rec.Xid)) {
		t.Error(got)
	}
	if err := d.Remove(rec.Xid); err != nil || links(t, xdg+"/vsrun-xid") != "" {
		t.Error(err)
	}
}
