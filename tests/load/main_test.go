// Package load is vsrun under stress, and on hosts that have run out of
// something: many containers in random order against a model of what must be
// true, thousands of cycles, full disks, exhausted limits, stale state. The
// tests run in namespaces of their own (harness.Isolate), where whatever is
// left shows.
//
//	VSRUN_LOAD_TIME=D     how long the model is put to the test; 8s unless said
//	VSRUN_LOAD_CYCLES=N   how many containers are made and deleted; 200 unless said
//	VSRUN_TEST_CLOCK=1    the clock of the machine may be set
//	VSRUN_TEST_SEED=N     what happens, and in which order
package load

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vsrun/vsrun/tests/harness"
)

var (
	rt    *harness.Runtime
	skip  string
	probe string
	seed  uint64
	tag   = harness.Prefix()
)

func TestMain(m *testing.M) {
	harness.Main(func() (int, error) { return run(m) })
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		skip = "needs root: real containers, in namespaces of the test's own"
		return m.Run(), nil
	}
	found, err := harness.FindRuntime()
	if err != nil {
		return 1, err
	}
	if !harness.Isolated() {
		return harness.Outside("load", func(string) error { return nil })
	}
	if rt, probe, seed, err = harness.Inside(found.Path); err != nil {
		return 1, err
	}
	if rt.Name != "vsrun" {
		skip = "the model is that of vsrun"
	}
	return m.Run(), nil
}

// place is a bundle and a state root.
type place struct {
	t         *testing.T
	dir, root string
	before    []string
}

func newPlace(t *testing.T, edits ...string) *place {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
	p := &place{t: t, dir: t.TempDir()}
	p.root = filepath.Join(p.dir, "root")
	if err := harness.MakeBundle(p.bundle(), probe, append([]string{"args:/bin/sleep 100000"}, edits...)...); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) bundle() string { return filepath.Join(p.dir, "bundle") }

func (p *place) call(args ...string) harness.Call {
	return harness.Call{Path: rt.Path, Args: append([]string{"--root", p.root}, args...),
		Env: []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR")}}
}

func (p *place) try(args ...string) harness.Result {
	p.t.Helper()
	return rt.Try(p.t, p.call(args...))
}

func (p *place) must(args ...string) harness.Result {
	p.t.Helper()
	return rt.Must(p.t, p.call(args...))
}

func (p *place) world() []string { return harness.World(tag, nil, "/run/vsrun-seccomp") }

// warm makes a container and deletes it, so that mount points and caches are
// there, and takes the world as it is.
func (p *place) warm() {
	p.t.Helper()
	p.must("run", "-d", "-b", p.bundle(), tag+".warm")
	p.must("delete", "--force", tag+".warm")
	p.before = p.world()
}

// clean checks that nothing is left.
func (p *place) clean(where string) {
	p.t.Helper()
	for _, d := range harness.Settle(p.before, p.world) {
		p.t.Errorf("%s: %s", where, d)
	}
}
