// Command vm runs tests in a machine of their own: Debian 13 with systemd, pure cgroup2, AppArmor, SELinux's tools, and the
// engines, booted under qemu with this tree's vsrun and test binaries in /work. What it builds is kept in the user's cache
// directory, by the digest of its recipe (the folder image); every boot works on a copy-on-write of it, so several can run
// at once, and nothing that happens inside reaches this host but the files in the guest's /out.
//
//	vm build                         build the machine's disks, if they are not there
//	vm run [FLAG]... COMMAND         boot, run a shell command in /work, bring back output and exit code
//	vm shell                         boot, and give a prompt
//	vm test [FLAG]... [SUITE]...     boot once for each suite and sum up
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

type options struct {
	limit   time.Duration
	out     string
	files   string
	append  string
	runtime string
	memory  int
	cpus    int
	quick   bool
	total   time.Duration
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	var o options
	fs := flag.NewFlagSet("vm "+os.Args[1], flag.ExitOnError)
	fs.DurationVar(&o.limit, "time", 20*time.Minute, "`limit` of one boot; then the machine is ended")
	fs.StringVar(&o.out, "out", "", "a `directory` for what the guest leaves in /out")
	fs.StringVar(&o.files, "files", "", "`paths`, separated by spaces, to put into /work/files")
	fs.StringVar(&o.append, "append", "", "more `words` for the kernel's command line")
	fs.StringVar(&o.runtime, "runtime", os.Getenv("RUNTIME"), "the runtime that suites test: vsrun, runc or crun, by its `name` in the guest")
	fs.IntVar(&o.memory, "memory", defaultMemory, "the machine's memory in `MiB`")
	fs.IntVar(&o.cpus, "cpus", defaultCPUs, "its `number` of processors")
	fs.BoolVar(&o.quick, "quick", false, "of the suites, those that every change must pass")
	fs.DurationVar(&o.total, "total", 0, "`limit` of all suites; those it has no time for are not run, and counted as skipped")
	_ = fs.Parse(os.Args[2:])

	// An interrupt ends the machine, not only this program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := command(ctx, os.Args[1], o, fs.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		code = max(code, 1)
	}
	stop()
	os.Exit(code)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: vm build | vm run [FLAG]... COMMAND | vm shell | vm test [FLAG]... [SUITE]...")
	os.Exit(2)
}

func command(ctx context.Context, verb string, o options, args []string) (int, error) {
	root, err := harness.RepoRoot()
	if err != nil {
		return 1, err
	}
	if os.Geteuid() != 0 {
		return 1, errors.New("needs root: the disks are made from a tree of files with their owners")
	}
	img, err := findImage(ctx, root)
	if err != nil {
		return 1, err
	}
	switch verb {
	case "build":
		fmt.Println(img.dir)
		return 0, nil
	case "run":
		if len(args) == 0 {
			usage()
		}
		m := machine{img: img, root: root, options: o}
		return m.boot(ctx, strings.Join(args, " "), nil)
	case "shell":
		m := machine{img: img, root: root, options: o, shell: true}
		if !isFlagGiven(os.Args, "time") {
			m.limit = 12 * time.Hour
		}
		return m.boot(ctx, "", nil)
	case "test":
		return test(ctx, img, root, o, args)
	}
	usage()
	return 2, nil
}

func isFlagGiven(args []string, name string) bool {
	for _, a := range args {
		if a == "-"+name || a == "--"+name || strings.HasPrefix(a, "-"+name+"=") || strings.HasPrefix(a, "--"+name+"=") {
			return true
		}
	}
	return false
}

// output runs a program and returns what it printed, with its errors in the error.
func output(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), err
}
