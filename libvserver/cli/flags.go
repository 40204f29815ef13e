package cli

import (
	"errors"
	"strconv"
	"strings"
)

// flags are the flags of one command, in the shape of package flag: one dash or two, names that have aliases, flags after
// arguments. A command has twenty, is called with two or three, and lives a few milliseconds: so they are a list that is
// searched, and what the help says of them is made when it is asked for.
type flags struct{ all []option }

// option is one flag.
type option struct {
	names  string // "force, f"
	usage  string // "" hides it from the help
	before string // its value before the command line is read, as the help shows it
	to     any    // *bool, *string or a setter
	value  bool   // it takes one
}

// setter reads the values of a flag itself.
type setter interface{ Set(value string) error }

// flagHelp is what the help shows of one flag.
type flagHelp struct {
	names []string
	value bool // it takes one
	usage string
}

// someFlags is room for those of most commands.
const someFlags = 20

func newFlags() *flags { return &flags{make([]option, 0, someFlags)} }

func (f *flags) bool(p *bool, names, usage string) {
	f.all = append(f.all, option{names: names, usage: usage, to: p})
}

// string defines a flag whose default is what *p is.
func (f *flags) string(p *string, names, usage string) {
	f.all = append(f.all, option{names: names, usage: usage, before: *p, to: p, value: true})
}

// count defines a flag that is a number, not negative.
func (f *flags) count(p *int, names, usage string) {
	f.all = append(f.all, option{names: names, usage: usage, before: strconv.Itoa(*p), to: (*count)(p), value: true})
}

// list defines a flag that may be given many times. A value is taken whole,
// commas and all.
func (f *flags) list(p *[]string, names, usage string) { f.value((*list)(p), names, usage) }

// value defines a flag that reads its values itself.
func (f *flags) value(v setter, names, usage string) {
	f.all = append(f.all, option{names: names, usage: usage, to: v, value: true})
}

// switches defines a switch that leaves *p nil if it is not given.
func (f *flags) switches(p **bool, names, usage string) {
	f.all = append(f.all, option{names: names, usage: usage, to: optional{p}})
}

// help is what the help shows.
func (f *flags) help() []flagHelp {
	var shown []flagHelp
	for i := range f.all {
		o := &f.all[i]
		if o.usage == "" {
			continue
		}
		h := flagHelp{strings.Split(o.names, ", "), o.value, o.usage}
		if before := o.before; before != "" {
			if _, ok := o.to.(*string); ok {
				before = strconv.Quote(before)
			}
			h.usage += " (default: " + before + ")"
		}
		shown = append(shown, h)
	}
	return shown
}

// errHelp says that help is asked for.
const errHelp = helpAsked("help requested")

type helpAsked string

func (h helpAsked) Error() string { return string(h) }

// parse reads flags and returns the arguments. Flags may stand after arguments,
// as in runc, unless rest is set; -- ends them. The error is errHelp when
// help is asked for.
func (f *flags) parse(line []string, rest bool) (args []string, err error) {
	for len(line) > 0 {
		word := line[0]
		switch {
		case word == "--":
			return append(args, line[1:]...), nil
		case len(word) < 2 || word[0] != '-':
			if rest {
				return append(args, line...), nil
			}
			args, line = append(args, word), line[1:]
		default:
			if line, err = f.read(word, line[1:]); err != nil {
				return nil, err
			}
		}
	}
	return args, nil
}

// read reads the flag of a word, and its value from there or from the next one; it returns what is left of the line.
func (f *flags) read(word string, line []string) ([]string, error) {
	name := word[1:]
	if name[0] == '-' {
		name = name[1:]
	}
	if name[0] == '-' || name[0] == '=' {
		return nil, errors.New("bad flag syntax: " + word)
	}
	name, value, given := strings.Cut(name, "=")
	o := f.find(name)
	switch {
	case o == nil && (name == "help" || name == "h"):
		return nil, errHelp
	case o == nil:
		return nil, errors.New("flag provided but not defined: -" + name)
	case !o.value:
		if !given {
			value = "true"
		}
		if err := o.set(value); err != nil {
			return nil, errors.New("invalid boolean value " + strconv.Quote(value) + " for -" + name + ": " + err.Error())
		}
		return line, nil
	case !given && len(line) == 0:
		return nil, errors.New("flag needs an argument: -" + name)
	case !given:
		value, line = line[0], line[1:]
	}
	if err := o.set(value); err != nil {
		return nil, errors.New("invalid value " + strconv.Quote(value) + " for flag -" + name + ": " + err.Error())
	}
	return line, nil
}

func (f *flags) find(name string) *option {
	for i := range f.all {
		names := f.all[i].names
		for names != "" {
			var one string
			if one, names, _ = strings.Cut(names, ", "); one == name {
				return &f.all[i]
			}
		}
	}
	return nil
}

func (o *option) set(value string) error {
	switch to := o.to.(type) {
	case *string:
		*to = value
	case *bool:
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("parse error")
		}
		*to = yes
	case setter:
		return to.Set(value)
	}
	return nil
}

// count is a number of things.
type count int

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

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
