package main

import (
	"fmt"
	"strings"
)

const bashHead = `
# the containers that the command line's --root holds
_vsrun_containers() {
	local i root=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == --root ]]; then
			[[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
			root=(--root "${COMP_WORDS[i + 1]}")
		fi
	done
	command vsrun "${root[@]}" list --quiet 2>/dev/null
}

_vsrun_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }
_vsrun_files() {
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
	compopt -o filenames 2>/dev/null
}
_vsrun_directories() {
	mapfile -t COMPREPLY < <(compgen -d -- "$1")
	compopt -o filenames 2>/dev/null
}

# tells if $2 is a flag of command $1 ("" for none) that takes a value
_vsrun_takes() {
	case $1:$2 in
	%s) return 0 ;;
	esac
	return 1
}

_vsrun() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= count=0 flags=yes i
	# readline cuts --flag=value into three words
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		if _vsrun_takes "$command" "${COMP_WORDS[i]}"; then
			[[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
			((i++))
			((i >= COMP_CWORD)) || continue
			break
		fi
		case ${COMP_WORDS[i]} in
		-*) ;;
		*) if [[ -z $command ]]; then command=${COMP_WORDS[i]}; else ((count++)); fi ;;
		esac
	done
	COMPREPLY=()
`

// bash writes the completion for bash, which needs no bash-completion.
func (s *shell) bash() string {
	var b strings.Builder
	b.WriteString("# bash " + made)
	var take []string
	for _, o := range taking(s.globals) {
		for _, n := range o.names {
			take = append(take, ":"+dashed(n))
		}
	}
	for _, c := range s.commands {
		for _, o := range taking(c.options) {
			for _, n := range o.names {
				take = append(take, c.name+":"+dashed(n))
			}
		}
	}
	fmt.Fprintf(&b, bashHead, strings.Join(take, " | "))

	b.WriteString("\tif _vsrun_takes \"$command\" \"$prev\"; then\n\t\tcase $command:$prev in\n")
	bashValues(&b, "", s.globals)
	for _, c := range s.commands {
		bashValues(&b, c.name, c.options)
	}
	b.WriteString("\t\tesac\n\t\treturn\n\tfi\n\tcase $command in\n")
	fmt.Fprintf(&b, "\t'')\n\t\tif [[ $cur == -* ]]; then\n\t\t\t_vsrun_words %q \"$cur\"\n\t\telse\n\t\t\t_vsrun_words %q \"$cur\"\n\t\tfi\n\t\t;;\n",
		strings.Join(flagWords(s.globals), " "), strings.Join(s.names(), " "))
	for _, c := range s.commands {
		fmt.Fprintf(&b, "\t%s)\n", c.name)
		if c.rest {
			b.WriteString("\t\t((count == 0)) || flags=\n")
		}
		fmt.Fprintf(&b, "\t\tif [[ $flags && $cur == -* ]]; then\n\t\t\t_vsrun_words %q \"$cur\"\n", strings.Join(append(flagWords(c.options), "--help"), " "))
		if do := s.bashOf(c.first); do != "" {
			fmt.Fprintf(&b, "\t\telif ((count == 0)); then\n\t\t\t%s\n", do)
		}
		if do := s.bashOf(c.more); do != "" {
			fmt.Fprintf(&b, "\t\telif ((count > 0)); then\n\t\t\t%s\n", do)
		}
		b.WriteString("\t\tfi\n\t\t;;\n")
	}
	b.WriteString("\tesac\n}\n\ncomplete -F _vsrun vsrun\n")
	return b.String()
}

func bashValues(b *strings.Builder, command string, list []option) {
	s := new(shell)
	for _, o := range taking(list) {
		do := s.bashOf(o.kind)
		if do == "" {
			continue
		}
		var names []string
		for _, n := range o.names {
			names = append(names, command+":"+dashed(n))
		}
		fmt.Fprintf(b, "\t\t%s) %s ;;\n", strings.Join(names, " | "), do)
	}
}

func (s *shell) bashOf(k kind) string {
	switch k.what {
	case someWords:
		return `_vsrun_words "` + strings.Join(k.words, " ") + `" "$cur"`
	case someFile:
		return `_vsrun_files "$cur"`
	case someDirectory:
		return `_vsrun_directories "$cur"`
	case someContainer:
		return `_vsrun_words "$(_vsrun_containers)" "$cur"`
	case someCommand:
		return `_vsrun_words "` + strings.Join(s.names(), " ") + `" "$cur"`
	}
	return ""
}
