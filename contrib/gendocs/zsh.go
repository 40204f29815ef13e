package main

import (
	"fmt"
	"strings"
)

const zshHead = `
# the containers that the command line's --root holds
_vsrun_containers() {
	local -a root list
	local i
	for ((i = 2; i < $#vsrun_line; i++)); do
		case $vsrun_line[i] in
		--root) root=(--root $vsrun_line[i+1]) ;;
		--root=*) root=($vsrun_line[i]) ;;
		esac
	done
	list=(${(f)"$(command vsrun $root list --quiet 2>/dev/null)"})
	_describe -t containers container list
}

`

// zsh writes the completion for zsh.
func (s *shell) zsh() string {
	var b strings.Builder
	b.WriteString("#compdef vsrun\n# zsh " + made + zshHead)
	b.WriteString("_vsrun_commands() {\n\tlocal -a list=(\n")
	for _, c := range s.commands {
		fmt.Fprintf(&b, "\t\t%s\n", quote(c.name+":"+c.usage))
	}
	b.WriteString("\t)\n\t_describe -t commands command list\n}\n\n")
	b.WriteString("_vsrun() {\n\tlocal curcontext=$curcontext state line\n\tlocal -A opt_args\n\tlocal -a vsrun_line=($words)\n\t_arguments -C -S \\\n")
	zshFlags(&b, s.globals)
	b.WriteString("\t\t'1:command:_vsrun_commands' \\\n\t\t'*::argument:->arguments' && return\n")
	b.WriteString("\t[[ $state == arguments ]] || return\n\tcurcontext=${curcontext%:*:*}:vsrun-$words[1]:\n\tcase $words[1] in\n")
	for _, c := range s.commands {
		mode := "-S"
		if c.rest {
			mode = "-S -A '-*'"
		}
		fmt.Fprintf(&b, "\t%s)\n\t\t_arguments %s \\\n", c.name, mode)
		zshFlags(&b, c.options)
		fmt.Fprintf(&b, "\t\t\t'1:%s:%s'", argumentName(c), zshOf(c.first))
		if c.more.what != anything {
			fmt.Fprintf(&b, " \\\n\t\t\t'*:argument:%s'", zshOf(c.more))
		} else if c.rest {
			b.WriteString(" \\\n\t\t\t'*::command:_normal'")
		}
		b.WriteString("\n\t\t;;\n")
	}
	b.WriteString("\tesac\n}\n\n_vsrun \"$@\"\n")
	return b.String()
}

func argumentName(c command) string {
	switch c.first.what {
	case someContainer:
		return "container"
	case someDirectory:
		return "bundle"
	case someCommand:
		return "command"
	}
	return "argument"
}

// zshFlags writes specifications of options for _arguments.
func zshFlags(b *strings.Builder, list []option) {
	for _, o := range list {
		about := "[" + strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(o.usage) + "]"
		if o.value {
			about += ":value:" + zshOf(o.kind)
		}
		var names []string
		for _, n := range o.names {
			n = dashed(n)
			if o.value {
				n += map[bool]string{true: "=", false: "+"}[strings.HasPrefix(n, "--")]
			}
			names = append(names, n)
		}
		if len(names) == 1 {
			fmt.Fprintf(b, "\t\t%s \\\n", quote(names[0]+about))
			continue
		}
		fmt.Fprintf(b, "\t\t{%s}%s \\\n", strings.Join(names, ","), quote(about))
	}
}

func zshOf(k kind) string {
	switch k.what {
	case someWords:
		return "(" + strings.Join(k.words, " ") + ")"
	case someFile:
		return "_files"
	case someDirectory:
		return "_files -/"
	case someContainer:
		return "_vsrun_containers"
	case someCommand:
		return "_vsrun_commands"
	}
	return " "
}

// quote makes one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
