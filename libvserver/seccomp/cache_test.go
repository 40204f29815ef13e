package seccomp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

// countHelper counts the compilations of a test. Without a real helper they
// give a program of one instruction.
func countHelper(t testing.TB, fake bool) *int {
	n := new(int)
	runHelper = func(job string, request []byte) ([]byte, error) {
		*n++
		if fake {
			return wire.AppendAnswer(nil, []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}, nil), nil
		}
		return helper.Run(job, request)
	}
	t.Cleanup(func() { runHelper = helper.Run })
	return n
}

func profile(nr int) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: uintp(uint(nr)), Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "read")}}
}

func TestCache(t *testing.T) {
	needHelper(t)
	runs := countHelper(t, false)
	dir := filepath.Join(t.TempDir(), "cache")
	p := profileFile(t, "docker-default.json")
	first := mustFilter(t, p, dir)
	second := mustFilter(t, p, dir)
	if *runs != 1 || first.Cached || !second.Cached || first.CacheErr != nil || second.CacheErr != nil {
		t.Errorf("the helper ran %d times, first %v %v, second %v %v", *runs, first.Cached, first.CacheErr, second.Cached, second.CacheErr)
	}
	second.Cached = false
	if diff := cmp.Diff(first, second, cmp.AllowUnexported(Program{})); diff != "" {
		t.Errorf("program from the cache (-compiled +cached):\n%s", diff)
	}
	// What is not part of the program does not compile it anew.
	p.Flags = []specs.LinuxSeccompFlag{}
	if third := mustFilter(t, p, dir); *runs != 1 || third.Flags != 0 {
		t.Errorf("other flags: the helper ran %d times, flags %#x", *runs, third.Flags)
	}
	// A changed argument does.
	for i := range p.Syscalls {
		if len(p.Syscalls[i].Args) > 0 {
			p.Syscalls[i].Args[0].ValueTwo++
			break
		}
	}
	if mustFilter(t, p, dir); *runs != 2 {
		t.Errorf("other argument: the helper ran %d times", *runs)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v, want mode 0700", st.Mode(), err)
	}
}

// TestCacheDamage changes a file of the cache in many ways; each must be a
// miss that mends it.
func TestCacheDamage(t *testing.T) {
	needHelper(t)
	runs := countHelper(t, true)
	dir := filepath.Join(t.TempDir(), "cache")
	mustFilter(t, profile(1), dir)
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	file := filepath.Join(dir, names[0].Name())
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edits := map[string]func(b []byte) []byte{
		"empty":     func(b []byte) []byte { return nil },
		"short":     func(b []byte) []byte { return b[:len(b)-1] },
		"long":      func(b []byte) []byte { return append(b, 0) },
		"header":    func(b []byte) []byte { return b[:20] },
		"zeros":     func(b []byte) []byte { return make([]byte, len(b)) },
		"half zero": func(b []byte) []byte { clear(b[len(b)/2:]); return b },
		"huge":      func(b []byte) []byte { return append(b, make([]byte, maxEntry)...) },
	}
	for i := range good {
		edits[fmt.Sprint("bit of byte ", i)] = func(b []byte) []byte { b[i] ^= 1 << (i % 8); return b }
	}
	for name, edit := range edits {
		before := *runs
		if err := os.WriteFile(file, edit(append([]byte(nil), good...)), 0o600); err != nil {
			t.Fatal(err)
		}
		prog := mustFilter(t, profile(1), dir)
		if prog.Cached || *runs != before+1 || len(prog.Insns) != 8 {
			t.Errorf("%s: cached %v, %d runs more, program of %d bytes", name, prog.Cached, *runs-before, len(prog.Insns))
		}
		if !mustFilter(t, profile(1), dir).Cached {
			t.Errorf("%s: not mended", name)
		}
	}
	// Something that is no file at all.
	for _, put := range []func() error{
		func() error { return os.Symlink("/etc/passwd", file) },
		func() error { return os.Mkdir(file, 0o700) },
	} {
		os.RemoveAll(file)
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if prog := mustFilter(t, profile(1), dir); prog.Cached || len(prog.Insns) != 8 {
			t.Errorf("%+v", prog)
		}
	}
}

// TestCacheCollision puts the file of one profile in the place of another's, as
// if their names collided.
func TestCacheCollision(t *testing.T) {
	needHelper(t)
	runs := countHelper(t, true)
	dir := filepath.Join(t.TempDir(), "cache")
	mustFilter(t, profile(1), dir)
	a, _ := os.ReadDir(dir)
	mustFilter(t, profile(2), dir)
	both, _ := os.ReadDir(dir)
	if len(a) != 1 || len(both) != 2 {
		t.Fatal(a, both)
	}
	b := both[0].Name()
	if b == a[0].Name() {
		b = both[1].Name()
	}
	if err := os.Rename(filepath.Join(dir, a[0].Name()), filepath.Join(dir, b)); err != nil {
		t.Fatal(err)
	}
	if mustFilter(t, profile(2), dir).Cached || *runs != 3 {
		t.Error("a profile got another one's program")
	}
}

// TestCacheRefused has directories that somebody else could write to: the
// program is compiled, nothing is read or written there, and the caller is told.
func TestCacheRefused(t *testing.T) {
	needHelper(t)
	tests := map[string]struct {
		root bool
		make func(dir string) error
		want string
	}{
		"group":   {false, func(d string) error { return os.Chmod(d, 0o770) }, "mode 0770"},
		"others":  {false, func(d string) error { return os.Chmod(d, 0o707) }, "mode 0707"},
		"sticky":  {false, func(d string) error { return os.Chmod(d, 0o777|os.ModeSticky) }, "mode 01777"},
		"owner":   {true, func(d string) error { return os.Chown(d, 65534, 0) }, "owner 65534"},
		"symlink": {false, func(d string) error { os.Rename(d, d+".real"); return os.Symlink(d+".real", d) }, "not a directory"},
		"file":    {false, func(d string) error { os.RemoveAll(d); return os.WriteFile(d, nil, 0o600) }, "not a directory"},
		"parent":  {false, func(d string) error { return os.RemoveAll(filepath.Dir(d)) }, "no such file"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.root && os.Geteuid() != 0 {
				t.Skip("needs root: chown")
			}
			runs := countHelper(t, true)
			dir := filepath.Join(t.TempDir(), "state", "cache")
			if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			mustFilter(t, profile(1), dir)
			if err := tc.make(dir); err != nil {
				t.Fatal(err)
			}
			for _, nr := range []int{1, 2} {
				prog := mustFilter(t, profile(nr), dir)
				if prog.Cached || prog.CacheErr == nil || len(prog.Insns) == 0 {
					t.Errorf("cached %v, error %v", prog.Cached, prog.CacheErr)
				} else if text := prog.CacheErr.Error(); !strings.Contains(text, tc.want) || !strings.Contains(text, dir) {
					t.Errorf("error %q, want %q in it and the path", text, tc.want)
				}
			}
			if *runs != 3 {
				t.Errorf("the helper ran %d times, want 3", *runs)
			}
			if files, _ := os.ReadDir(dir); len(files) > 1 {
				t.Errorf("something was written: %v", files)
			}
		})
	}
}

func TestCacheBounds(t *testing.T) {
	needHelper(t)
	countHelper(t, true)
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range maxFiles {
		name := filepath.Join(dir, fmt.Sprintf(".new.%d", i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Duration(maxFiles-i) * time.Hour)
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	mustFilter(t, profile(1), dir)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != keepFiles {
		t.Errorf("%d files are left, want %d", len(files), keepFiles)
	}
	if !mustFilter(t, profile(1), dir).Cached {
		t.Error("the newest file was dropped")
	}
	if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf(".new.%d", maxFiles-1))); err != nil {
		t.Error("a new file was dropped before old ones: ", err)
	}
}

func TestCacheRace(t *testing.T) {
	needHelper(t)
	dir := filepath.Join(t.TempDir(), "cache")
	runHelper = func(string, []byte) ([]byte, error) {
		return wire.AppendAnswer(nil, []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}, nil), nil
	}
	t.Cleanup(func() { runHelper = helper.Run })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				prog, err := Filter(profile(i%5), dir)
				if err != nil || len(prog.Insns) != 8 || prog.CacheErr != nil {
					t.Errorf("%+v %v", prog, err)
				}
			}
		})
	}
	wg.Wait()
	if files, err := os.ReadDir(dir); len(files) != 5 {
		t.Errorf("%d files, want 5 %v", len(files), err)
	}
}

func TestSum64(t *testing.T) {
	seen := make(map[uint64]int)
	for n := range 200 {
		for bit := -1; bit < 8*n; bit++ {
			b := make([]byte, n)
			if bit >= 0 {
				b[bit/8] = 1 << (bit % 8)
			}
			h := sum64(b)
			if m, ok := seen[h]; ok {
				t.Fatalf("inputs of %d and %d bytes have one sum", m, n)
			}
			seen[h] = n
		}
	}
}

func BenchmarkHit(b *testing.B) {
	needHelper(b)
	p := profileFile(b, "docker-default.json")
	dir := filepath.Join(b.TempDir(), "cache")
	mustFilter(b, p, dir)
	b.ReportAllocs()
	for b.Loop() {
		if !mustFilter(b, p, dir).Cached {
			b.Fatal("miss")
		}
	}
}

func BenchmarkMiss(b *testing.B) {
	needHelper(b)
	for _, tc := range []struct {
		name    string
		profile *specs.LinuxSeccomp
	}{{"docker", profileFile(b, "docker-default.json")}, {"small", profile(1)}} {
		b.Run(tc.name, func(b *testing.B) {
			for b.Loop() {
				mustFilter(b, tc.profile, "")
			}
		})
	}
}
