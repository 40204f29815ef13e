package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BuildProgram builds a static program of this repository, named by its import path, as dst. Where VSRUN_TEST_BIN names a
// directory, as in a test machine without Go, the program of dst's name is taken from there.
func BuildProgram(dst, pkg string) error {
	if dir := os.Getenv("VSRUN_TEST_BIN"); dir != "" {
		return CopyFile(filepath.Join(dir, filepath.Base(dst)), dst)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dst, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return nil
}
