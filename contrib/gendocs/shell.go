package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/vsrun/vsrun/libvserver/cli"
)

// shell is what a completion knows of the command line.
type shell struct {
	globals  []option
	commands []command
}

type command struct {
	name, usage string
	options     []option
	first, more kind // what its first argument is, and those behind
	rest        bool // no flags behind the first argument
}

type option struct {
	names []string
	value bool
	kind  kind
	usage string // its first sentence
}

// kind is what a value is to be chosen from: files, directories, containers, ... or some words.
type kind struct {
	what  what
	words []string
}

type what int

const (
	anything what = iota
	someWords
	someFile
	someDirectory
	someContainer
	someCommand
)

// signalNames are those that are sent to containers.
var signalNames = strings.Fields("HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH")

// inContainer are flags whose value is a path in the container, which can't be completed.
var inContainer = []string{"cwd"}

func newShell(program cli.Doc, list []cli.Doc) *shell {
	s := &shell{globals: options(program.Flags)}
	for _, c := range list {
		k := command{name: c.Name, usage: c.Usage, options: options(c.Flags), rest: c.Rest}
		k.first, k.more = arguments(c)
		s.commands = append(s.commands, k)
	}
	return s
}

func options(list []cli.FlagDoc) []option {
	var all []option
	for _, f := range list {
		o := option{names: f.Names, value: f.Value, usage: brief(f.Usage)}
		if f.Value {
			o.kind = valueOf(f)
		}
		all = append(all, o)
	}
	return all
}

// brief is a usage text up to its first end: one line, for lists of flags.
func brief(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	s, _, _ = strings.Cut(s, " (default")
	s, _, _ = strings.Cut(s, ".  ")
	return strings.TrimSuffix(s, ".")
}

// The forms in which usage texts list the values of a flag.
var (
	oneOf   = regexp.MustCompile(`one of: ([a-z0-9, ]+)`)
	barred  = regexp.MustCompile(`[a-z0-9-]+(\|[a-z0-9-]+)+`)
	quoted  = regexp.MustCompile(`'([a-z0-9-]+)'`)
	pathIn  = regexp.MustCompile(`(?i)\b(path (to|for)|file to|log file|directory)\b`)
	folders = regexp.MustCompile(`(?i)\b(directory for|root of the bundle|files|work files)\b`)
)

// valueOf finds out what a flag's value is chosen from. Its usage text says it.
func valueOf(f cli.FlagDoc) kind {
	usage := f.Usage
	if slices.ContainsFunc(f.Names, func(n string) bool { return slices.Contains(inContainer, n) }) {
		return kind{}
	}
	if m := oneOf.FindStringSubmatch(usage); m != nil {
		list := strings.FieldsFunc(strings.ReplaceAll(m[1], " or ", ","), func(r rune) bool { return r == ',' || r == ' ' })
		return kind{someWords, list}
	}
	if m := barred.FindString(usage); m != "" {
		return kind{someWords, strings.Split(m, "|")}
	}
	if m := quoted.FindAllStringSubmatch(usage, -1); len(m) > 1 {
		var list []string
		for _, w := range m {
			list = append(list, w[1])
		}
		return kind{someWords, list}
	}
	switch {
	case folders.MatchString(usage):
		return kind{what: someDirectory}
	case pathIn.MatchString(usage):
		return kind{what: someFile}
	}
	return kind{}
}

// newNames are the commands whose container is not there yet.
var newNames = []string{"create", "run", "restore"}

// arguments finds out what a command's arguments are.
func arguments(c cli.Doc) (first, more kind) {
	a := c.Args
	switch {
	case strings.HasPrefix(a, "<container-id>") && slices.Contains(newNames, c.Name):
		return kind{}, kind{}
	case strings.HasPrefix(a, "<container-id> [signal]"):
		return kind{what: someContainer}, kind{someWords, signalNames}
	case strings.HasPrefix(a, "[container-id...]"), strings.HasPrefix(a, "<container-id>..."):
		return kind{what: someContainer}, kind{what: someContainer}
	case strings.HasPrefix(a, "<container-id>"):
		return kind{what: someContainer}, kind{}
	case strings.HasPrefix(a, "[bundle]"), strings.HasPrefix(a, "<bundle>"):
		return kind{what: someDirectory}, kind{}
	case strings.HasPrefix(a, "<tree>"):
		return kind{what: someDirectory}, kind{what: someDirectory}
	case barred.FindString(a) == a && a != "":
		return kind{someWords, strings.Split(a, "|")}, kind{}
	case strings.HasPrefix(a, "[command]"):
		return kind{what: someCommand}, kind{}
	case a == "":
		return kind{}, kind{}
	}
	return kind{what: someFile}, kind{what: someFile}
}

// flagWords are all the names of flags, with dashes.
func flagWords(list []option) []string {
	var all []string
	for _, o := range list {
		for _, n := range o.names {
			all = append(all, dashed(n))
		}
	}
	return all
}

// taking are the flags that take a value.
func taking(list []option) []option {
	return slices.DeleteFunc(slices.Clone(list), func(o option) bool { return !o.value })
}

func (s *shell) names() []string {
	var all []string
	for _, c := range s.commands {
		all = append(all, c.name)
	}
	return all
}

const made = "completion for vsrun, made by contrib/gendocs of the definitions of the commands; do not edit.\n"
