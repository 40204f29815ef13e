// Package integration runs real containers, as root, by the runtime's command
// line. One script in testdata/script is one subject; what needs loops or
// timing is a Go test beside them. RUNTIME=runc (or a path) runs the same
// tests against another runtime, which proves the tests.
//
// It must not import anything of the runtime.
package integration

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

var (
	rt    *harness.Runtime
	probe string // the helper program for inside the containers
	skip  string // why nothing can run here
	// layout is the host's cgroup layout, or the one that the runtime needs.
	layout string
)

func TestMain(m *testing.M) {
	if line := os.Getenv("VSRUN_TEST_SHIM"); line != "" {
		os.Exit(beShim(line, os.Getenv("VSRUN_TEST_PIDFILE")))
	}
	flag.Parse()
	harness.Main(func() (int, error) { return run(m) })
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		skip = "needs root: real containers with namespaces, mounts and cgroups"
		return m.Run(), nil
	}
	if _, err := harness.Busybox(); err != nil {
		return 1, err
	}
	var err error
	if rt, err = harness.FindRuntime(); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "vsrun-probe")
	if err != nil {
		return 1, err
	}
	defer harness.RemoveTree(dir)
	probe = filepath.Join(dir, "probe")
	if err := harness.BuildProgram(probe, "github.com/vsrun/vsrun/tests/cmd/probe"); err != nil {
		return 1, err
	}
	// Where testscript makes its directories: a run of some scripts only would leave them.
	if err := os.Setenv("GOTMPDIR", dir); err != nil {
		return 1, err
	}
	unix.Umask(0o022)
	layout = harness.CgroupLayout()
	if rt.Name != "vsrun" { // which has no excuse
		pureV2, err := rt.Adapt(dir)
		if err != nil {
			return 1, err
		}
		if pureV2 {
			layout = "v2"
		}
	}
	fmt.Printf("note: runtime under test: %s (%s), cgroups %s\n", rt.Path, rt.Name, layout)
	return m.Run(), nil
}

// needRuntime skips a test where no container can run, or one that is about
// what the named runtimes are known to lack.
func needRuntime(t *testing.T, lacking ...string) {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
	// The go command's cache of test results sees what a test looks at, but
	// not what TestMain does.
	_ = os.Getenv("RUNTIME")
	_, _ = os.Stat(rt.Path)
	for _, name := range lacking {
		if rt.Name == name {
			t.Skipf("%s does not do this", name)
		}
	}
}
