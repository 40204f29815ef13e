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
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

var (
	rt    *harness.Runtime
	skip  string
	probe string
	seed  uint64
	// tag is in every id, and so in every cgroup's name; the first process has chosen it.
	tag = os.Getenv(tagEnv)
)

// What the first process tells the last one.
const (
	binEnv = "VSRUN_TEST_INSIDE"
	tagEnv = "VSRUN_TEST_PREFIX"
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		skip = "needs root: real containers, in namespaces of the test's own"
		return m.Run(), nil
	}
	if !harness.Isolated() {
		return outside()
	}
	unix.Umask(0o022)
	dir, err := os.MkdirTemp("", "bin")
	if err != nil {
		return 1, err
	}
	found, err := harness.FindRuntime()
	if err != nil {
		return 1, err
	}
	// A writable place, so that the guard of the binary has work to do.
	path := filepath.Join(dir, "vsrun")
	if err := harness.CopyFile(found.Path, path); err != nil {
		return 1, err
	}
	probe = filepath.Join(os.Getenv(binEnv), "probe")
	if rt, err = harness.NewRuntime(path); err != nil {
		return 1, err
	}
	if rt.Name != "vsrun" {
		skip = "the model is that of vsrun"
	}
	seed = uint64(harness.EnvInt("VSRUN_TEST_SEED", int(time.Now().UnixNano()>>10)))
	fmt.Printf("note: VSRUN_TEST_SEED=%d, cgroups %s\n", seed, harness.CgroupLayout())
	return m.Run(), nil
}

// outside builds what is needed, and runs the tests inside.
func outside() (int, error) {
	if _, err := harness.Busybox(); err != nil {
		return 1, err
	}
	if _, err := harness.FindRuntime(); err != nil {
		return 1, err
	}
	bin := ""
	if os.Getpid() != 1 { // else this is the new namespaces' first process
		var err error
		if bin, err = os.MkdirTemp("", "vsrun-load"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(bin)
		if err := harness.BuildProgram(filepath.Join(bin, "probe"), "github.com/vsrun/vsrun/tests/cmd/probe"); err != nil {
			return 1, err
		}
		tag = fmt.Sprintf("vsrun-load%d", os.Getpid())
		defer harness.Purge(tag, bin)
	}
	return harness.Isolate(os.Getenv("VSRUN_TEST_CGROUP") == "v2", binEnv+"="+bin, tagEnv+"="+tag)
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
	res, err := rt.Run(p.call(args...))
	if err != nil {
		p.t.Error(err)
	}
	return res
}

func (p *place) must(args ...string) harness.Result {
	p.t.Helper()
	res := p.try(args...)
	if res.Code != 0 {
		p.t.Fatalf("%q: exit code %d: %s", args, res.Code, res.Stderr)
	}
	return res
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
