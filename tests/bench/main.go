// Bench compares OCI runtimes side by side: every round runs each of them
// once, so that a busy moment hits them all alike, and the table shows
// medians and how many times the first one's figure each is.
//
//	bench [-n ROUNDS] [-json] [-only ROW] [NAME=PATH]...
//
// Without names: vsrun in the repository's root, then runc and crun from
// PATH. NAME=PATH adds a build, or replaces the one of that name. Beside them
// stands util-linux' unshare with the same namespaces, as the floor.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vsrun/vsrun/tests/harness"
)

func main() {
	rounds := flag.Int("n", 50, "rounds")
	asJSON := flag.Bool("json", false, "print the figures as JSON")
	only := flag.String("only", "", "only the rows whose name holds this")
	flag.Parse()
	if err := run(*rounds, *asJSON, *only, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// inPureV2 is set in the environment of the bench that runs in a mount
// namespace with nothing but cgroup2; its value is the reason.
const inPureV2 = "VSRUN_BENCH_PURE_V2"

// withRun is set in the environment of the bench that has a /run of its own.
const withRun = "VSRUN_BENCH_RUN"

func run(rounds int, asJSON bool, only string, names []string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: it runs real containers")
	}
	if os.Getenv(withRun) == "" && !tmpfsRun() {
		return exchange([]string{"unshare", "-m", "sh", "-c",
			`mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"`, "sh"}, withRun+"=1")
	}
	b := &bench{rounds: rounds}
	if os.Getenv(withRun) != "" {
		b.note("state: on a tmpfs for all alike, as /run is where systemd has booted; here it is a directory of the disk")
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "vsrun-bench"); err != nil {
		return err
	}
	defer b.cleanup()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		b.cleanup()
		os.Exit(130)
	}()
	if err := b.findSubjects(names); err != nil {
		return err
	}
	if err := b.build(); err != nil {
		return err
	}
	refused := b.tryAll()
	if reason := os.Getenv(inPureV2); reason != "" {
		b.note("%s", reason)
	} else if len(refused) > 0 && harness.CgroupLayout() != "v2" {
		b.cleanup()
		return again(fmt.Sprintf("cgroups: a private mount namespace with a pure cgroup2 mount, for all alike, since "+
			"%s on this machine's layout (%s)", strings.Join(refused, "; "), harness.CgroupLayout()))
	}
	for _, r := range refused {
		b.note("left out: %s", r)
	}
	if len(b.subjects) == 0 {
		return errors.New("no runtime can run here")
	}
	rows, err := b.measure(only)
	if err != nil {
		return err
	}
	if asJSON {
		return b.printJSON(os.Stdout, rows)
	}
	b.print(os.Stdout, rows)
	return nil
}

// again starts this program once more in a pure cgroup2 layout.
func again(reason string) error {
	return exchange(harness.PureV2Args(), inPureV2+"="+reason)
}

// exchange starts this program once more, by a command that ends in it.
func exchange(command []string, env string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, append(append(command, self), os.Args[1:]...), append(os.Environ(), env))
}

// tmpfsRun tells if /run is a tmpfs.
func tmpfsRun() bool {
	var st syscall.Statfs_t
	const tmpfsMagic = 0x01021994
	return syscall.Statfs("/run", &st) == nil && st.Type == tmpfsMagic
}

type bench struct {
	rounds   int
	dir      string
	spawn    string // the compiled c/spawn.c
	shim     string // the environment variable that preloads it, when a runtime needs it
	empty    string // an empty Go program
	subjects []*subject
	notes    []string
}

func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (b *bench) root(s *subject) string {
	return filepath.Join("/run", filepath.Base(b.dir)+"-"+s.name)
}

func (b *bench) bundle() string { return filepath.Join(b.dir, "bundle") }

func (b *bench) cleanup() {
	for _, s := range b.subjects {
		entries, _ := os.ReadDir(b.root(s))
		for _, e := range entries {
			cmd := exec.Command(s.path, "--root", b.root(s), "delete", "--force", e.Name())
			cmd.Env = s.env
			_ = cmd.Run()
		}
		_ = os.RemoveAll(b.root(s))
	}
	harness.Purge(filepath.Base(b.dir), b.dir)
	_ = os.RemoveAll(b.dir)
}

// build makes what the measurements need: the spawner, the empty program and
// the one bundle for all.
func (b *bench) build() error {
	b.spawn = filepath.Join(b.dir, "spawn")
	if err := harness.CompileC(b.dir, "spawn.c", spawnC, "-static", "-o", b.spawn); err != nil {
		return err
	}
	main := filepath.Join(b.dir, "empty.go")
	if err := os.WriteFile(main, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return err
	}
	b.empty = filepath.Join(b.dir, "empty")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.empty, main)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the empty Go program: %w: %s", err, out)
	}
	return b.makeBundle()
}

// makeBundle writes the first runtime's own default config.json, without a
// terminal, for /bin/true. The version is one that every peer accepts.
func (b *bench) makeBundle() error {
	if err := harness.MakeRootfs(filepath.Join(b.bundle(), "rootfs"), ""); err != nil {
		return err
	}
	first := b.subjects[0]
	cmd := exec.Command(first.path, "spec", "--bundle", b.bundle())
	cmd.Dir = b.bundle()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s spec: %w: %s", first.name, err, out)
	}
	b.note("bundle: what `%s spec` writes, with ociVersion 1.0.2, no terminal and the args /bin/true; a busybox rootfs", first.name)
	return harness.EditFile(filepath.Join(b.bundle(), "config.json"),
		"ociVersion=1.0.2", "process.terminal=false", "args:/bin/true")
}
