package cli

import (
	"strings"
	"unicode/utf8"
)

const synopsis = `Open Container Initiative runtime

vsrun is a command line client for running applications packaged according to
the Open Container Initiative (OCI) format. It takes the place of runc.

A container is described by a bundle: a directory that holds a specification
file named "config.json" and a root filesystem. To write a specification to
start from:

    # vsrun spec [ -b bundle ]

To run the container:

    # vsrun run [ -b bundle ] <container-id>

where "<container-id>" is your name for it, unique on your host. The default for
"bundle" is the current directory. To see what would be done, and whether this
host can do it:

    # vsrun explain <bundle>
    # vsrun doctor`

func helpCommand() *command {
	return &command{
		name: "help", usage: "Shows a list of commands or help for one command", args: "[command]",
		min: 0, max: 1,
		run: func(c *context) (int, error) {
			if len(c.args) == 0 {
				return 0, c.print(c.appendHelp(nil))
			}
			cmd := find(c.args[0])
			if cmd == nil {
				return 0, noCommand(c.args[0])
			}
			f := newFlags()
			cmd.define(f)
			return 0, c.print(cmd.appendHelp(nil, f))
		},
	}
}

// appendHelp appends the help of the whole program.
func (a *app) appendHelp(b []byte) []byte {
	b = append(b, "NAME:\n   vsrun - "...)
	b = append(b, synopsis...)
	b = append(b, "\n\nUSAGE:\n   vsrun [global options] command [command options] [arguments...]\n\nVERSION:\n   "...)
	b = a.build.appendFacts(append(append(b, a.build.version()...), '\n'))
	b = append(b, "\nCOMMANDS:\n"...)
	var rows [][2]string
	for _, e := range commands() {
		name := e.name
		if name == "help" {
			name += ", h"
		}
		rows = append(rows, [2]string{name, e.build().usage})
	}
	b = appendRows(b, rows)
	b = append(b, "\nGLOBAL OPTIONS:\n"...)
	f := newFlags()
	new(global).define(f)
	return appendFlags(b, f.help())
}

// appendHelp appends the help of one command.
func (cmd *command) appendHelp(b []byte, f *flags) []byte {
	b = append(b, "NAME:\n   vsrun "...)
	b = append(b, cmd.name...)
	b = append(b, " - "...)
	b = append(b, cmd.usage...)
	b = append(b, "\n\nUSAGE:\n   vsrun "...)
	b = append(b, cmd.name...)
	shown := f.help()
	if len(shown) > 0 {
		b = append(b, " [command options]"...)
	}
	if cmd.args != "" {
		b = append(append(b, ' '), cmd.args...)
	}
	b = append(b, '\n')
	if cmd.notes != "" {
		b = append(append(append(b, '\n'), cmd.notes...), '\n')
	}
	if cmd.about != "" {
		b = append(append(append(b, "\nDESCRIPTION:\n   "...), cmd.about...), '\n')
	}
	if len(shown) > 0 {
		b = appendFlags(append(b, "\nOPTIONS:\n"...), shown)
	}
	return b
}

func appendFlags(b []byte, list []flagHelp) []byte {
	rows := make([][2]string, len(list))
	for i, h := range list {
		words := make([]string, len(h.names))
		for j, name := range h.names {
			words[j] = "--" + name
			if len(name) == 1 {
				words[j] = words[j][1:]
			}
			if h.value {
				words[j] += " value"
			}
		}
		rows[i] = [2]string{strings.Join(words, ", "), h.usage}
	}
	return appendRows(b, rows)
}

// appendRows appends two columns.
func appendRows(b []byte, rows [][2]string) []byte {
	width := 0
	for i := range rows {
		width = max(width, utf8.RuneCountInString(rows[i][0]))
	}
	for i := range rows {
		b = append(append(b, "   "...), rows[i][0]...)
		for n := utf8.RuneCountInString(rows[i][0]); n < width+2; n++ {
			b = append(b, ' ')
		}
		b = append(append(b, rows[i][1]...), '\n')
	}
	return b
}
