package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec/wire"
)

func psCommand() *command {
	format, all := "table", false
	return &command{
		name: "ps", usage: "ps displays the processes running inside a container",
		args: "<container-id> [ps options]",
		about: `The ps command shows the processes of a container, as the host's ps does with the
options that are given (default: -ef); as JSON, their process ids.

With --all it shows the processes of every container, with the container's name
and, as NSPID, the number that the process has in it.`,
		max: math.MaxInt, rest: true,
		flags: func(f *flags) {
			f.string(&format, "format, f", "select one of: table or json")
			f.bool(&all, "all, a", "display the processes of every container")
		},
		run: func(c *context) (int, error) {
			if format != "table" && format != "json" {
				return 0, errors.New("invalid format option")
			}
			if !all && len(c.args) == 0 {
				return 0, c.psMisused()
			}
			if all && len(c.args) > 0 {
				return 0, fmt.Errorf("ps --all takes neither a container nor ps options: %q", c.args)
			}
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			if all {
				return 0, c.psAll(v, format)
			}
			pids, err := v.Pids(c.args[0])
			if err != nil {
				return 0, err
			}
			if format == "json" {
				return 0, c.print(appendPids(nil, pids))
			}
			return 0, c.psTable(pids, c.args[1:])
		},
	}
}

// psMisused words the lack of a container, which only --all may do without.
func (c *context) psMisused() error {
	cmd := psCommand()
	cmd.min = 1
	f := newFlags()
	cmd.define(f)
	c.misused(".", func(b []byte) []byte { return cmd.appendHelp(b, f) })
	return c.checkCount(cmd, 0)
}

// appendPids prints null for none, as runc does.
func appendPids(b []byte, pids []int) []byte {
	w := wire.NewWriter(b, "")
	if len(pids) == 0 {
		w.Null()
		return append(w.Bytes(), '\n')
	}
	w.BeginArray()
	for _, pid := range pids {
		w.Int(int64(pid))
	}
	w.EndArray()
	return append(w.Bytes(), '\n')
}

// psTable runs the host's ps and shows its title and the lines of the processes.
func (c *context) psTable(pids []int, options []string) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	text, err := output("ps", options)
	if err != nil {
		return err
	}
	title, lines, _ := strings.Cut(text, "\n")
	column := slices.Index(strings.Fields(title), "PID")
	if column < 0 {
		return errors.New("couldn't find PID field in ps output")
	}
	b := append([]byte(title), '\n')
	for line := range strings.SplitSeq(lines, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) <= column {
			return fmt.Errorf("unable to parse pid: no column %d in %q", column+1, line)
		}
		pid, err := strconv.Atoi(f[column])
		if err != nil {
			return fmt.Errorf("unable to parse pid: %w", err)
		}
		if slices.Contains(pids, pid) {
			b = append(append(b, line...), '\n')
		}
	}
	return c.print(b)
}

// output runs a program and returns what it prints.
func output(name string, args []string) (string, error) {
	path, err := lookPath(name)
	if err != nil {
		return "", err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := os.StartProcess(path, append([]string{name}, args...), &os.ProcAttr{Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	st, werr := p.Wait()
	switch {
	case werr != nil:
		return "", fmt.Errorf("%s: %w", name, werr)
	case err != nil:
		return "", fmt.Errorf("read the output of %s: %w", name, err)
	case !st.Success():
		return "", fmt.Errorf("%s: %s", st, text)
	}
	return string(text), nil
}

// lookPath finds a program in PATH. Relative directories in it don't count.
func lookPath(name string) (string, error) {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if !strings.HasPrefix(dir, "/") {
			continue
		}
		path := dir + "/" + name
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}
