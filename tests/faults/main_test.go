// Package faults stops vsrun wherever it can be stopped, and looks at what is
// left: at every step of every plan and every instruction that it is compiled
// to, at every point of package libvserver/fault, and at every system call of
// the runtime's own; by SIGKILL, by the end of the container's process, and by
// an injected errno. After each, `list` and `state` answer, `delete --force`
// succeeds, nothing is left, and another container goes on.
//
// The places come from the runtime itself, which in its test build lists what
// it passes, and from ptrace(2): what is added is covered from that day on.
// The tests run in namespaces of their own (harness.Isolate).
//
//	VSRUN_TEST_FAULTS=N|all   how many places of each kind are tried for each
//	                          operation and bundle; unless said, one for the
//	                          plain bundle, and some for the others
//	VSRUN_TEST_TIME=D         how long at most: what is new in an operation or a
//	                          bundle is tried first, then what is like it; what
//	                          there was no time for is told at the end
//	VSRUN_TEST_BUNDLES=A,B    these alone; what is like a place of one that comes before them is left to it
//	VSRUN_TEST_PART=I/N       one of N parts of the places, for runs side by side
//	VSRUN_TEST_PLACE=ORDER    this one alone, as libvserver/fault has it
//	VSRUN_TEST_CGROUP=v2      with nothing but cgroups of version 2
//	VSRUN_TEST_SEED=N         which ones
package faults

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vsrun/vsrun/tests/harness"
)

var (
	rt    *harness.Runtime // the build with faults
	skip  string
	probe string
	seed  uint64
)

func TestMain(m *testing.M) {
	harness.Main(func() (int, error) { return run(m) })
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		skip = "needs root: real containers, in namespaces of the test's own"
		return m.Run(), nil
	}
	if !harness.Isolated() {
		return harness.Outside("faults", func(dir string) error { return harness.BuildFaults(filepath.Join(dir, "vsrun")) })
	}
	var err error
	if rt, probe, seed, err = harness.Inside("vsrun"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func needRuntime(t *testing.T) {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
}
