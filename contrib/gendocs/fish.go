package main

import (
	"fmt"
	"strings"
)

const fishHead = `
# __vsrun_at COMMAND [ARGUMENTS]: the word at the cursor belongs to COMMAND ("" for none yet), which has so many arguments before it
function __vsrun_at
    set -l words (commandline -opc)
    set -l name ""
    set -l count 0
    set -l skip 0
    for w in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- "$name:$w" $__vsrun_taking
            set skip 1
        else if string match -q -- '-*' $w
            continue
        else if test -z "$name"
            set name $w
        else
            set count (math $count + 1)
        end
    end
    test "$name" = "$argv[1]"; or return 1
    set -q argv[2]; or return 0
    switch $argv[2]
        case more
            test $count -gt 0
        case '*'
            test $count = $argv[2]
    end
end

# the containers that the command line's --root holds
function __vsrun_containers
    set -l words (commandline -opc)
    set -l root
    for i in (seq 2 (count $words))
        switch $words[$i]
            case --root
                set root --root $words[(math $i + 1)]
            case '--root=*'
                set root $words[$i]
        end
    end
    command vsrun $root list --quiet 2>/dev/null
end

complete -c vsrun -f
`

// fish writes the completion for fish.
func (s *shell) fish() string {
	var b strings.Builder
	b.WriteString("# fish " + made)
	b.WriteString("\nset -g __vsrun_taking")
	take := func(command string, list []option) {
		for _, o := range taking(list) {
			for _, n := range o.names {
				b.WriteString(" " + command + ":" + dashed(n))
			}
		}
	}
	take("", s.globals)
	for _, c := range s.commands {
		take(c.name, c.options)
	}
	b.WriteString("\n" + fishHead)
	fishFlags(&b, `__vsrun_at ""`, s.globals)
	for _, c := range s.commands {
		fmt.Fprintf(&b, "complete -c vsrun -n '__vsrun_at \"\"' -a %s -d %s\n", c.name, fishQuote(c.usage))
	}
	for _, c := range s.commands {
		at := "__vsrun_at " + c.name
		if c.rest {
			at += " 0"
		}
		fishFlags(&b, at, c.options)
		s.fishArguments(&b, "__vsrun_at "+c.name+" 0", c.first)
		s.fishArguments(&b, "__vsrun_at "+c.name+" more", c.more)
	}
	return b.String()
}

func (s *shell) fishArguments(b *strings.Builder, at string, k kind) {
	if do := s.fishOf(k); do != "" {
		fmt.Fprintf(b, "complete -c vsrun -n '%s' %s\n", at, do)
	}
}

func fishFlags(b *strings.Builder, at string, list []option) {
	for _, o := range list {
		fmt.Fprintf(b, "complete -c vsrun -n '%s'", at)
		for _, n := range o.names {
			if len(n) == 1 {
				b.WriteString(" -s " + n)
			} else {
				b.WriteString(" -l " + n)
			}
		}
		if o.value {
			if o.kind.what == someFile {
				b.WriteString(" -r")
			} else {
				b.WriteString(" -x")
			}
			if do := new(shell).fishOf(o.kind); do != "" {
				b.WriteString(" " + do)
			}
		}
		fmt.Fprintf(b, " -d %s\n", fishQuote(o.usage))
	}
}

func (s *shell) fishOf(k kind) string {
	switch k.what {
	case someWords:
		return "-a '" + strings.Join(k.words, " ") + "'"
	case someFile:
		return "-F"
	case someDirectory:
		return "-a '(__fish_complete_directories)'"
	case someContainer:
		return "-a '(__vsrun_containers)'"
	case someCommand:
		return "-a '" + strings.Join(s.names(), " ") + "'"
	}
	return ""
}

// fishQuote makes one word of fish, whose single quotes know two escapes.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
