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
//	VSRUN_TEST_PART=I/N       one of N parts of the places, for runs side by side
//	VSRUN_TEST_PLACE=ORDER    this one alone, as libvserver/fault has it
//	VSRUN_TEST_CGROUP=v2      with nothing but cgroups of version 2
//	VSRUN_TEST_SEED=N         which ones
package faults

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
	rt    *harness.Runtime // the build with faults
	skip  string
	probe string
	seed  uint64
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
	// A writable place, so that the guard of the binary has work to do.
	path := filepath.Join(dir, "vsrun")
	if err := harness.CopyFile(filepath.Join(os.Getenv(binEnv), "vsrun"), path); err != nil {
		return 1, err
	}
	probe = filepath.Join(os.Getenv(binEnv), "probe")
	if rt, err = harness.NewRuntime(path); err != nil {
		return 1, err
	}
	seed = uint64(harness.EnvInt("VSRUN_TEST_SEED", int(time.Now().UnixNano()>>10)))
	fmt.Printf("note: VSRUN_TEST_SEED=%d, cgroups %s\n", seed, harness.CgroupLayout())
	return m.Run(), nil
}

// outside builds what is tested, and runs the tests inside.
func outside() (int, error) {
	if _, err := harness.Busybox(); err != nil {
		return 1, err
	}
	bin := ""
	if os.Getpid() != 1 { // else this is the new namespaces' first process
		var err error
		if bin, err = os.MkdirTemp("", "vsrun-faults"); err != nil {
			return 1, err
		}
		defer os.RemoveAll(bin)
		if err := harness.BuildFaults(filepath.Join(bin, "vsrun")); err != nil {
			return 1, err
		}
		if err := harness.BuildProgram(filepath.Join(bin, "probe"), "github.com/vsrun/vsrun/tests/cmd/probe"); err != nil {
			return 1, err
		}
		tag = fmt.Sprintf("vsrun-faults%d", os.Getpid())
		defer harness.Purge(tag, bin)
	}
	return harness.Isolate(os.Getenv("VSRUN_TEST_CGROUP") == "v2", binEnv+"="+bin, tagEnv+"="+tag)
}

func needRuntime(t *testing.T) {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
}
