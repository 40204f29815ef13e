package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestCheckID(t *testing.T) {
	for id, want := range map[string]error{
		"a": nil, "web-1_2+3.4": nil, "...": nil, "..a": nil, strings.Repeat("x", 255): nil,
		"": ErrEmptyID, ".": ErrInvalidID, "..": ErrInvalidID, "../x": ErrInvalidID, "a b": ErrInvalidID, "a/b": ErrInvalidID,
		"ä": ErrInvalidID, "a\x00": ErrInvalidID, "@lock": ErrInvalidID, strings.Repeat("x", 256): ErrInvalidID,
	} {
		if err := CheckID(id); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", id, err, want)
		}
	}
}

// TestBadIDs: no function reaches the file system with an id that is a path.
func TestBadIDs(t *testing.T) {
	s := testStore(t)
	for _, id := range []string{"../x", "", "a b", strings.Repeat("x", 300)} {
		_, err1 := s.Reserve(id)
		_, err2 := s.Load(id)
		_, err3 := s.Lock(id, 0)
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, ErrInvalidID) && !errors.Is(err, ErrEmptyID) {
				t.Errorf("%q: got %v", id, err)
			}
		}
	}
	if _, err := os.Lstat(s.Root()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("root was made: %v", err)
	}
}

func TestOpen(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/xdg")
	s, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && s.Root() != "/run/vsrun" && s.Root() != "/xdg/vsrun" {
		t.Errorf("default root %s", s.Root())
	}
	t.Chdir("/tmp")
	if s, err := Open("a/../b"); err != nil || s.Root() != "/tmp/b" {
		t.Errorf("relative root: %v, %v", s, err)
	}
	xdg := t.TempDir()
	sticky := &Store{root: xdg + "/vsrun", sticky: true}
	mustReserve(t, sticky, "x")
	if st, err := os.Stat(sticky.root); err != nil || st.Mode() != os.ModeDir|os.ModeSticky|0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestLifeOfARecord(t *testing.T) {
	s := testStore(t)
	if _, err := s.Load("web"); !errors.Is(err, ErrNotExist) || err.Error() != "container does not exist: web" {
		t.Errorf("before: %v", err)
	}
	if _, err := s.Lock("web", 0); !errors.Is(err, ErrNotExist) {
		t.Errorf("lock before: %v", err)
	}
	d := mustReserve(t, s, "web")
	if _, err := s.Reserve("web"); !errors.Is(err, ErrExist) || err.Error() != "container with given ID already exists: web" {
		t.Errorf("twice: %v", err)
	}
	rec := fullRecord("web")
	for i := range 3 { // the first is renamed, later ones are swapped in
		rec.InitPid += i
		mustSave(t, d, rec)
		got, err := s.Load("web")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rec, got, cmp.AllowUnexported(Record{}, part{})); diff != "" {
			t.Error(diff)
		}
	}
	if err := d.Save(&Record{ID: "other"}); err == nil {
		t.Error("saved another container's record")
	}
	names, err := d.names()
	if err != nil || len(names) != 1 || names[0] != recordName {
		t.Errorf("files: %q, %v", names, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(s.Path("web")+"/state.json", &st); err != nil || st.Mode&0o777 != 0o600 {
		t.Errorf("mode %o, %v", st.Mode, err)
	}
	if err := os.MkdirAll(s.Path("web")+"/left/behind", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("web"); !errors.Is(err, ErrNotExist) {
		t.Errorf("after: %v", err)
	}
	if l, err := os.ReadDir(s.Root()); err != nil || len(l) != 0 {
		t.Errorf("left in root: %v, %v", l, err)
	}
}

func TestTraced(t *testing.T) {
	s := testStore(t)
	if err := s.SetTraced("web"); err != nil {
		t.Errorf("of no container: %v", err)
	}
	if err := s.SetTraced("../web"); !errors.Is(err, ErrInvalidID) {
		t.Errorf("of no id: %v", err)
	}
	d := mustReserve(t, s, "web")
	mustSave(t, d, fullRecord("web"))
	if s.Traced("web") {
		t.Error("before")
	}
	for range 2 {
		if err := s.SetTraced("web"); err != nil {
			t.Error(err)
		}
	}
	if !s.Traced("web") || s.Traced("other") {
		t.Error("after")
	}
	if err := d.Remove(0); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, s, "web")
	if s.Traced("web") {
		t.Error("of the next container")
	}
}

// TestNoLeakedFiles: what is opened is closed, and closed in children.
func TestNoLeakedFiles(t *testing.T) {
	s := testStore(t)
	count := func() int {
		l, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	before := count()
	for range 5 {
		d := mustReserve(t, s, "x")
		flags, err := unix.FcntlInt(uintptr(d.FD()), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("directory is not close-on-exec: %v", err)
		}
		mustSave(t, d, fullRecord("x"))
		_, _ = s.Load("x")
		_, _ = s.Load("y")
		_, _ = s.Reserve("x")
		_, _ = s.Lock("x", 0)
		_, _, _ = s.List(nil)
		if p, err := OpenProcess(os.Getpid(), 0); err == nil {
			t.Error("opened the wrong process")
			p.Close()
		}
		if err := d.Remove(0); err != nil {
			t.Error(err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d files open before, %d after", before, after)
	}
}

func TestDamaged(t *testing.T) {
	whole := fullRecord("x").encode()
	for name, content := range map[string][]byte{
		"empty":            {},
		"zeroes":           make([]byte, 4096),
		"cut in the head":  whole[:60],
		"cut in config":    whole[:len(whole)-10],
		"no JSON":          []byte("hello"),
		"another type":     []byte("[]"),
		"null":             []byte("null"),
		"wrong field type": []byte(`{"id":"x","init_process_pid":"1"}`),
		"bad time":         []byte(`{"id":"x","created":"yesterday"}`),
		"another id":       []byte(`{"id":"y"}`),
		"no id":            []byte(`{}`),
	} {
		s := testStore(t)
		d := mustReserve(t, s, "x")
		if err := os.WriteFile(s.Path("x")+"/state.json", content, 0o600); err != nil {
			t.Fatal(err)
		}
		checkDamaged(t, name, s, d)
	}
	s := testStore(t)
	checkDamaged(t, "no file", s, mustReserve(t, s, "x"))
	for name, put := range map[string]func(path string) error{
		"a directory":       func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":            func(path string) error { return unix.Mkfifo(path, 0o600) }, // whose reader would wait for a writer
		"a link":            func(path string) error { return os.Symlink("/dev/zero", path) },
		"a link to itself":  func(path string) error { return os.Symlink("state.json", path) },
		"a socket":          func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
		"larger than sense": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) },
	} {
		s := testStore(t)
		d := mustReserve(t, s, "x")
		if err := put(s.Path("x") + "/state.json"); err != nil {
			t.Fatal(err)
		}
		checkDamaged(t, name, s, d)
	}
}

// checkDamaged: a container without a good record can be shown and removed, and
// does not hide others.
func checkDamaged(t *testing.T, name string, s *Store, d *Dir) {
	t.Helper()
	good := mustReserve(t, s, "zgood")
	mustSave(t, good, fullRecord("zgood"))

	for _, load := range []func() (*Record, error){func() (*Record, error) { return s.Load("x") }, d.Load} {
		rec, err := load()
		var de *DamagedError
		if !errors.As(err, &de) || rec == nil || rec.ID != "x" || time.Since(rec.Created) > time.Hour {
			t.Errorf("%s: got %+v, %v", name, rec, err)
			return
		}
		// With the lock held it may yet become one, without it never.
		if st, pid := s.Status(rec, nil); st != specs.StateCreating || pid != 0 {
			t.Errorf("%s: locked: %s, %d", name, st, pid)
		}
	}
	d.Unlock()
	list, warnings, err := s.List(nil)
	if err != nil || len(list) != 2 || list[0].ID != "x" || list[0].Status != specs.StateStopped || list[1].ID != "zgood" {
		t.Errorf("%s: list: %+v, %v", name, list, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "container x") {
		t.Errorf("%s: warnings: %v", name, warnings)
	}
	d, err = s.Lock("x", 0)
	if err != nil {
		t.Fatalf("%s: lock: %v", name, err)
	}
	if err := d.Remove(0); err != nil {
		t.Errorf("%s: remove: %v", name, err)
	}
	if _, err := s.Load("x"); !errors.Is(err, ErrNotExist) {
		t.Errorf("%s: after remove: %v", name, err)
	}
}

// TestStrangers: files and links in the root are no containers.
func TestStrangers(t *testing.T) {
	s := testStore(t)
	d := mustReserve(t, s, "x")
	mustSave(t, d, fullRecord("x"))
	for _, err := range []error{
		os.WriteFile(filepath.Join(s.Root(), "file"), nil, 0o600),
		os.Mkdir(filepath.Join(s.Root(), "a b"), 0o700),
		os.Symlink("x", filepath.Join(s.Root(), "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if ids, err := s.IDs(); err != nil || len(ids) != 1 || ids[0] != "x" {
		t.Errorf("%q, %v", ids, err)
	}
	if _, err := s.Load("file"); !errors.Is(err, ErrNotExist) {
		t.Errorf("file: %v", err)
	}
	if _, err := s.Lock("link", 0); !errors.Is(err, ErrNotExist) {
		t.Errorf("link: %v", err)
	}
}

func TestListOfNothing(t *testing.T) {
	missing := t.TempDir() + "/none"
	if list, _, err := (&Store{root: missing}).List(nil); err != nil || list != nil {
		t.Errorf("default root: %v, %v", list, err)
	}
	if _, _, err := (&Store{root: missing, explicit: true}).List(nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("explicit root: %v", err)
	}
}

func TestUnwritableRoot(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Store{root: file + "/root", explicit: true}
	if _, err := s.Reserve("x"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}
