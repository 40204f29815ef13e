package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Main is what a TestMain ends with: run's error is told, and is a failure.
func Main(run func() (int, error)) {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// What the first process of tests that run in namespaces of their own tells the last one.
const (
	insideEnv = "VSRUN_TEST_INSIDE" // where Outside has built what is needed
	prefixEnv = "VSRUN_TEST_PREFIX"
)

// Prefix is in every id of tests that run in namespaces of their own, and so in every cgroup's name; Outside has chosen it.
func Prefix() string { return os.Getenv(prefixEnv) }

// Outside runs the tests again, in namespaces of their own (Isolate), and purges what they leave. The program probe is built
// for them, and what build adds to the directory.
func Outside(name string, build func(dir string) error) (int, error) {
	if _, err := Busybox(); err != nil {
		return 1, err
	}
	bin, tag := "", ""
	if os.Getpid() != 1 { // else this is the new namespaces' first process
		var err error
		if bin, err = os.MkdirTemp("", "vsrun-"+name); err != nil {
			return 1, err
		}
		defer os.RemoveAll(bin)
		if err := build(bin); err != nil {
			return 1, err
		}
		if err := BuildProgram(filepath.Join(bin, "probe"), "github.com/vsrun/vsrun/tests/cmd/probe"); err != nil {
			return 1, err
		}
		tag = fmt.Sprintf("vsrun-%s%d", name, os.Getpid())
		defer Purge(tag, bin)
	}
	return Isolate(os.Getenv("VSRUN_TEST_CGROUP") == "v2", insideEnv+"="+bin, prefixEnv+"="+tag)
}

// Inside copies the runtime to a writable place, so that the guard of the binary has work to do, and finds what Outside has
// built. path is the runtime's; from the directory of Outside unless it is absolute. seed is VSRUN_TEST_SEED, or another one each time.
func Inside(path string) (rt *Runtime, probe string, seed uint64, err error) {
	unix.Umask(0o022)
	built := os.Getenv(insideEnv)
	if !filepath.IsAbs(path) {
		path = filepath.Join(built, path)
	}
	dir, err := os.MkdirTemp("", "bin")
	if err != nil {
		return nil, "", 0, err
	}
	to := filepath.Join(dir, "vsrun")
	if err := CopyFile(path, to); err != nil {
		return nil, "", 0, err
	}
	if rt, err = NewRuntime(to); err != nil {
		return nil, "", 0, err
	}
	seed = uint64(EnvInt("VSRUN_TEST_SEED", int(time.Now().UnixNano()>>10)))
	fmt.Printf("note: VSRUN_TEST_SEED=%d, cgroups %s\n", seed, CgroupLayout())
	return rt, filepath.Join(built, "probe"), seed, nil
}
