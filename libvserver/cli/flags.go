package cli

import (
	"errors"
	"flag"
	"io"
	"strconv"
	"strings"
)

// flags are the flags of one command: the parser of package flag, with names
// that have aliases, flags after arguments, and help in runc's shape.
type flags struct {
	set  *flag.FlagSet
	help []flagHelp
}

// flagHelp is what the help shows of one flag.
type flagHelp struct {
	names []string
	value bool // it takes one
	usage string
}

func newFlags(name string) *flags {
	f := &flags{set: flag.NewFlagSet(name, flag.ContinueOnError)}
	f.set.SetOutput(io.Discard) // errors are returned, and printed by the one error exit
	f.set.Usage = func() {}
	return f
}

// define registers a flag under each of its names ("force, f"). One without
// usage is not shown.
func (f *flags) define(names, usage string, value bool, register func(name string)) {
	var list []string
	for name := range strings.SplitSeq(names, ", ") {
		register(name)
		list = append(list, name)
	}
	if usage != "" {
		f.help = append(f.help, flagHelp{list, value, usage})
	}
}

func (f *flags) bool(p *bool, names, usage string) {
	f.define(names, usage, false, func(name string) { f.set.BoolVar(p, name, false, "") })
}

// string defines a flag whose default is what *p is.
func (f *flags) string(p *string, names, usage string) {
	if *p != "" {
		usage += " (default: " + strconv.Quote(*p) + ")"
	}
	f.define(names, usage, true, func(name string) { f.set.StringVar(p, name, *p, "") })
}

// count defines a flag that is a number, not negative.
func (f *flags) count(p *int, names, usage string) {
	f.define(names, usage+" (default: "+strconv.Itoa(*p)+")", true, func(name string) { f.set.Var((*count)(p), name, "") })
}

// list defines a flag that may be given many times. A value is taken whole,
// commas and all.
func (f *flags) list(p *[]string, names, usage string) {
	f.define(names, usage, true, func(name string) { f.set.Var((*list)(p), name, "") })
}

// value defines a flag that reads its values itself.
func (f *flags) value(v flag.Value, names, usage string) {
	f.define(names, usage, true, func(name string) { f.set.Var(v, name, "") })
}

// switches defines a switch that leaves *p nil if it is not given.
func (f *flags) switches(p **bool, names, usage string) {
	f.define(names, usage, false, func(name string) { f.set.Var(optional{p}, name, "") })
}

// parse reads flags and returns the arguments. Flags may stand after arguments,
// as in runc, unless rest is set; -- ends them. The error is flag.ErrHelp when
// help is asked for.
func (f *flags) parse(line []string, rest bool) (args []string, err error) {
	for {
		if err := f.set.Parse(line); err != nil {
			return nil, err
		}
		left := f.set.Args()
		ended := len(left) < len(line) && line[len(line)-len(left)-1] == "--"
		if rest || ended || len(left) == 0 {
			return append(args, left...), nil
		}
		args, line = append(args, left[0]), left[1:]
	}
}

// count is a number of things.
type count int

func (c *count) String() string { return strconv.Itoa(int(*c)) }

func (c *count) Set(s string) error {
	n, err := strconv.ParseUint(s, 0, 31)
	if err != nil {
		return errors.New("not a number from 0 on")
	}
	*c = count(n)
	return nil
}

// list is the values of a flag that is given many times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
