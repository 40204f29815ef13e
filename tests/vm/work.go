package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// programs are what the guest, which has no Go, gets in /work/bin: name to package.
var programs = map[string]string{
	"probe":    "./tests/cmd/probe",
	"mkbundle": "./tests/cmd/mkbundle",
	"report":   "./tests/cmd/report",
	"attacker": "./tests/cve/attacker",
	"sockets":  "./tests/cmd/sockets",
}

// workSize is the size of the disk, sparse: always the same, as a saved machine has seen it.
const workSize = 16 << 30

// steady keeps the kernel from patching its scheduler while the machine runs. CRIU's breakpoints are perf events of a process: with
// the first, and a second after the last of them, the kernel changes an instruction of __schedule (perf_sched_events), and under
// emulation the other processor may trip over that, and panic. An event that does nothing (perf_event_open(2)) is always there.
const steady = `perl -e 'my $a = pack("LLQQQQQLLQ", 1, 64, 9, 0, 0, 0, 0, 0, 0, 0); syscall(298, $a, 0, -1, -1, 0) < 0 and die "perf_event_open: $!\n"; sleep' </dev/null >/dev/null &
`

// workDisk makes the disk that is the guest's /work: the tree's files, the built vsrun, bin with the programs, and tests with
// a test binary for each package. dir is a scratch directory of this boot. heavy adds what only a suite needs.
func (m *machine) workDisk(ctx context.Context, dir, command string) (string, error) {
	bin, err := m.binaries(ctx)
	if err != nil {
		return "", err
	}
	stage := filepath.Join(dir, "work")
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(stage)
	steps := []string{
		`git -C "$ROOT" ls-files -co --exclude-standard -z | (cd "$ROOT" && while IFS= read -r -d '' f; do test -e "$f" && printf '%s\0' "$f"; done) |
			tar -C "$ROOT" --null -T - -cf - | tar -C "$STAGE" -xf -`,
		`install -m 755 "$ROOT/vsrun" "$STAGE/vsrun"`,
		`cp -a "$BIN" "$STAGE/bin"`,
	}
	if m.conformance {
		steps = append(steps, `cp -a "$ROOT/tests/conformance/bin" "$STAGE/tests/conformance/bin"`)
	}
	if debs, _ := filepath.Glob(filepath.Join(m.root, "vsrun_*.deb")); len(debs) > 0 {
		steps = append(steps, `cp -a "$ROOT"/vsrun_*.deb "$STAGE"`)
	}
	for _, f := range strings.Fields(m.files) {
		steps = append(steps, fmt.Sprintf(`mkdir -p "$STAGE/files" && cp -a %q "$STAGE/files/"`, f))
	}
	steps = append(steps,
		fmt.Sprintf(`truncate -s %d "$IMAGE"`, workSize),
		`mke2fs -q -F -t ext4 -O ^has_journal -E lazy_itable_init=1,nodiscard,root_owner=0:0 -L work -d "$STAGE" "$IMAGE"`)
	// A saved machine's clock stood still. Core dumps that go to the journal take half a minute, and /tmp has no devices.
	command = fmt.Sprintf("date -s @%d >/dev/null\nsysctl -q kernel.core_pattern=core\nexport TMPDIR=/var/tmp\n", time.Now().Unix()) + steady + command
	if err := os.WriteFile(filepath.Join(stage, "command"), []byte(command+"\n"), 0o644); err != nil {
		return "", err
	}
	disk := filepath.Join(dir, "work.img")
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.Join(steps, "\n"))
	cmd.Env = append(os.Environ(), "ROOT="+m.root, "STAGE="+stage, "BIN="+bin, "IMAGE="+disk)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making the disk for /work: %w: %s", err, out)
	}
	return disk, nil
}

// binaries builds what is not up to date, in a directory of the cache for this tree, and returns it.
func (m *machine) binaries(ctx context.Context) (string, error) {
	if _, err := os.Stat(filepath.Join(m.root, "vsrun")); err != nil {
		return "", fmt.Errorf("%w: run make first", err)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "work"+strings.ReplaceAll(m.root, "/", "-"), "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := lockFile(filepath.Join(filepath.Dir(dir), "lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	build := func(dir string, args ...string) error {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	for name, pkg := range programs {
		if err := build(m.root, "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), pkg); err != nil {
			return "", err
		}
	}
	if err := harness.BuildFaults(filepath.Join(dir, harness.FaultsName)); err != nil {
		return "", err
	}
	if err := build(m.root, "build", "-o", filepath.Join(dir, "test2json"), "cmd/test2json"); err != nil {
		return "", err
	}
	for _, pkg := range m.tests() {
		name := filepath.Join(dir, testName(pkg))
		if err := build(filepath.Join(m.root, pkg), "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", name, "."); err != nil {
			return "", err
		}
	}
	if m.conformance {
		if err := build(filepath.Join(m.root, "tests/conformance"), "test", "-count=1", "-run", "TestPrograms$", "."); err != nil {
			return "", err
		}
	}
	if m.cri {
		if err := build(filepath.Join(m.root, "tests/engines/cri"), "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "cri"), "."); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// tests are the packages, as directories, whose tests the guest gets as /work/bin/NAME.test.
func (m *machine) tests() []string {
	list := []string{"tests/integration", "tests/cve", "tests/faults", "tests/load", "tests/netcontext",
		"libvserver/cgroup", "libvserver/unify", "libvserver/netcontext/job"}
	if m.conformance {
		list = append(list, "tests/conformance")
	}
	return list
}

func testName(pkg string) string { return filepath.Base(pkg) + ".test" }
