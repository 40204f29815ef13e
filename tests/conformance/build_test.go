package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const suite = "github.com/opencontainers/runtime-tools"

// programs builds the suite, once, and returns the directory that its programs
// are to be started in: they look there for the root filesystem's archive and
// for the program that they run in containers.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("bin")
	if err != nil {
		return "", err
	}
	if os.Getenv("VSRUN_TEST_BIN") != "" { // a test machine without Go: they came with the tree
		_, err := os.Stat(filepath.Join(dir, "runtimetest"))
		return dir, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// What runs in a container has no libraries there.
	if err := build(dir, "CGO_ENABLED=0", "-tags=netgo,osusergo", "-o", filepath.Join(dir, "runtimetest"), suite+"/cmd/runtimetest"); err != nil {
		return "", err
	}
	args := []string{"-ldflags=-s -w", "-o", dir + "/"}
	for _, e := range table {
		args = append(args, suite+"/validation/"+e.name)
	}
	if err := build(dir, "CGO_ENABLED=0", args...); err != nil {
		return "", err
	}
	src, err := moduleDir(suite)
	if err != nil {
		return "", err
	}
	name := "rootfs-" + runtime.GOARCH + ".tar.gz"
	data, err := os.ReadFile(filepath.Join(src, name))
	if os.IsNotExist(err) {
		return "", fmt.Errorf("the suite has no root filesystem for %s: put a busybox one into %s", runtime.GOARCH, filepath.Join(dir, name))
	}
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, name), data, 0o644)
})

func build(dir, env string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false"}, args...)...)
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the validation suite: %w\n%s", err, out)
	}
	return nil
}

// moduleDir is where the sources of a module are.
func moduleDir(module string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// TestPrograms builds the suite and no more: a test machine without Go is given what it makes.
func TestPrograms(t *testing.T) {
	if _, err := programs(); err != nil {
		t.Fatal(err)
	}
}

// TestTable holds the table to the suite: each program stands in it, once.
func TestTable(t *testing.T) {
	src, err := moduleDir(suite)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(src, "validation"))
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "util" {
			missing[e.Name()] = true
		}
	}
	for _, e := range table {
		if !missing[e.name] {
			t.Errorf("%s: not in the suite, or twice in the table", e.name)
		}
		delete(missing, e.name)
	}
	for name := range missing {
		t.Errorf("%s: the suite has it, the table does not", name)
	}
}
