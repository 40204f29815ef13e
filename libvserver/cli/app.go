package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
)

// verbs is what the commands ask of libvserver.Runtime.
type verbs interface {
	Create(o *libvserver.CreateOptions) error
	Run(o *libvserver.RunOptions) (status int, err error)
	Start(id string) error
	Report(id string) (*state.Report, error)
	Kill(id string, sig unix.Signal, all bool) error
	Delete(id string, force bool) error
	List() ([]state.Report, error)
	Explain(bundle, configFile string) (*plan.Plan, error)
	Exec(o *libvserver.ExecOptions) (status int, err error)
	liveVerbs
}

// app is one run of the program.
type app struct {
	program string // how it was called
	build   Build
	stdout  io.Writer
	open    func(g *global, b *Build) (verbs, error)
}

// Main runs the program and returns its exit code: 0, that of a container's
// program (128 and the signal, if one ended it), or 1 after an error, 3 if there
// is no such command. The error is the last line on standard error, and in the
// log.
func Main(args []string, build Build) int {
	a := &app{program: "vsrun", build: build, stdout: os.Stdout, open: open}
	if len(args) > 0 {
		a.program, args = args[0], args[1:]
	}
	status, err := a.run(args)
	if err != nil {
		log.Final(err)
		var code *exitError
		if errors.As(err, &code) {
			return code.status
		}
		return 1
	}
	log.Flush()
	return status
}

// exitError is an error with an exit code of its own.
type exitError struct {
	status int
	error
}

func noCommand(name string) error {
	return &exitError{3, errors.New("No help topic for '" + name + "'")}
}

func open(g *global, b *Build) (verbs, error) {
	s, err := g.store()
	if err != nil {
		return nil, err
	}
	return &libvserver.Runtime{
		Store: s, SystemdCgroup: g.systemdCgroup, CgroupDisabled: g.cgroupManager == "disabled",
		Rootless: g.rootless, Version: b.version(),
	}, nil
}

// run finds the command and calls it.
func (a *app) run(line []string) (int, error) {
	var g global
	f := newFlags()
	g.define(f)
	line, err := f.parse(line, true)
	if err != nil {
		a.misused(". "+err.Error(), a.appendHelp)
		return 0, err
	}
	if g.version {
		return 0, a.print(a.build.appendVersion(nil))
	}
	if err := log.Setup(g.log); err != nil {
		return 0, err
	}
	if log.Enabled(log.LevelDebug) {
		log.Debugf("vsrun %s, process %d, called with %q", a.build.version(), os.Getpid(), line)
	}
	if err := g.check(); err != nil {
		return 0, err
	}
	if g.help || len(line) == 0 {
		return 0, a.print(a.appendHelp(nil))
	}
	cmd := find(line[0])
	if cmd == nil {
		return 0, noCommand(line[0])
	}
	return a.call(cmd, &g, line[1:])
}

// call reads a command's flags and arguments and runs it.
func (a *app) call(cmd *command, g *global, line []string) (int, error) {
	f := newFlags()
	cmd.define(f)
	help := func(b []byte) []byte { return cmd.appendHelp(b, f) }
	args, err := f.parse(line, cmd.rest)
	if err == errHelp {
		return 0, a.print(help(nil))
	}
	if err != nil {
		a.misused(": "+err.Error(), help)
		return 0, err
	}
	if err := a.checkCount(cmd, len(args)); err != nil {
		a.misused(".", help)
		return 0, err
	}
	return cmd.run(&context{app: a, global: g, args: args})
}

func (cmd *command) define(f *flags) {
	if cmd.flags != nil {
		cmd.flags(f)
	}
}

// checkCount words a wrong number of arguments as runc does.
func (a *app) checkCount(cmd *command, n int) error {
	var how string
	var want int
	switch {
	case n >= cmd.min && n <= cmd.max:
		return nil
	case cmd.min == cmd.max:
		how, want = "exactly", cmd.min
	case n < cmd.min:
		how, want = "a minimum of", cmd.min
	default:
		how, want = "a maximum of", cmd.max
	}
	return errors.New(a.program + ": " + strconv.Quote(cmd.name) + " requires " + how + " " + strconv.Itoa(want) + " argument(s)")
}

// misused shows the help after a mistake on the command line.
func (a *app) misused(how string, help func([]byte) []byte) {
	_ = a.print(help([]byte("Incorrect Usage" + how + "\n\n")))
}

// print writes to standard output.
func (a *app) print(b []byte) error {
	if _, err := a.stdout.Write(b); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// verbs opens what a command works on.
func (c *context) verbs() (verbs, error) { return c.open(c.global, &c.build) }
