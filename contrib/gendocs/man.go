package main

import (
	"regexp"
	"strings"

	"github.com/vsrun/vsrun/libvserver/cli"
)

// page is a manual page in the making, in the language of man(7).
type page struct{ strings.Builder }

func newPage(name, date string) *page {
	p := new(page)
	p.WriteString(".\\\" Made by contrib/gendocs of the definitions of the commands; do not edit.\n")
	p.WriteString(".TH " + strings.ToUpper(escape(name)) + " 8 \"" + date + "\" \"vsrun\" \"System Administration\"\n")
	return p
}

// escape makes a text mean itself to roff, in the middle of a line.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// line writes a line of text.
func (p *page) line(s string) {
	s = escape(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	p.WriteString(s + "\n")
}

func (p *page) section(title string) { p.WriteString(".SH " + title + "\n") }

// heading is a line such as "EXAMPLE 1:", as the help has them in running text.
var heading = regexp.MustCompile(`^([A-Z]+)( \d+)?:$`)

// text writes paragraphs as the help has them: lines that begin with a space, and all between lines of braces, are shown as
// they stand; EXAMPLE: begins a section.
func (p *page) text(s string) {
	literal, begun, braces := false, false, 0
	literally := func(yes bool) {
		if yes && !literal {
			p.WriteString(".RS 4\n.nf\n")
		} else if !yes && literal {
			p.WriteString(".fi\n.RE\n")
		}
		literal = yes
	}
	blank := false
	for l := range strings.SplitSeq(s, "\n") {
		if strings.TrimSpace(l) == "" && braces == 0 {
			blank = true
			continue
		}
		if m := heading.FindStringSubmatch(l); m != nil {
			literally(false)
			if m[2] == "" || m[2] == " 1" {
				p.section(m[1] + map[bool]string{true: "S"}[m[2] != ""])
				begun, blank = false, false
				continue
			}
			blank = true
			continue
		}
		shown := braces > 0 || strings.HasPrefix(l, "  ") && begun || strings.HasPrefix(l, "   ") || l == "{"
		braces += strings.Count(l, "{") - strings.Count(l, "}")
		if blank && begun && !(shown && literal) {
			literally(false)
			p.WriteString(".PP\n")
		}
		if blank && shown && literal {
			p.WriteString("\n")
		}
		blank, begun = false, true
		literally(shown)
		if !shown {
			l = strings.TrimSpace(l)
		}
		p.line(l)
	}
	literally(false)
}

// flags writes a list of flags.
func (p *page) flags(list []cli.FlagDoc) {
	for _, f := range list {
		p.WriteString(".TP\n")
		words := make([]string, len(f.Names))
		for i, name := range f.Names {
			words[i] = `\fB` + escape(dashed(name)) + `\fR`
			if f.Value {
				words[i] += ` \fIvalue\fR`
			}
		}
		p.WriteString(strings.Join(words, ", ") + "\n")
		first, rest, more := strings.Cut(f.Usage, "\n\n")
		p.line(first)
		if more {
			p.WriteString(".RS\n.PP\n")
			p.text(rest)
			p.WriteString(".RE\n")
		}
	}
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// synopsis writes what a command takes.
func (p *page) synopsis(c cli.Doc) {
	p.section("SYNOPSIS")
	p.WriteString(`\fBvsrun\fR [\fIglobal options\fR] \fB` + escape(c.Name) + `\fR`)
	if len(c.Flags) > 0 {
		p.WriteString(` [\fIoptions\fR]`)
	}
	if c.Args != "" {
		p.WriteString(" " + escape(c.Args))
	}
	p.WriteString("\n")
}

func (p *page) name(name, usage string) {
	p.section("NAME")
	p.WriteString(escape(name) + ` \- ` + escape(usage) + "\n")
}

func commandPage(c cli.Doc, date string) string {
	p := newPage("vsrun-"+c.Name, date)
	p.name("vsrun-"+c.Name, c.Usage)
	p.synopsis(c)
	p.section("DESCRIPTION")
	// Examples stand in sections of their own, at the end.
	text := c.About
	if c.Notes != "" {
		notes, examples, found := cutExamples(c.Notes)
		text = strings.Trim(text+"\n\n"+notes, "\n")
		if found {
			text += "\n\n" + examples
		}
	}
	if text == "" {
		text = upperFirst(c.Usage) + "."
	}
	text, examples, _ := cutExamples(text)
	p.text(text)
	if len(c.Flags) > 0 {
		p.section("OPTIONS")
		p.flags(c.Flags)
	}
	p.text(examples)
	if s, ok := statuses[c.Name]; ok {
		p.section("EXIT STATUS")
		p.text(s)
	}
	p.section("SEE ALSO")
	p.WriteString("\\fBvsrun\\fR(8)\n")
	return p.String()
}

// cutExamples cuts a text before its first heading.
func cutExamples(s string) (text, examples string, found bool) {
	at := 0
	for l := range strings.SplitAfterSeq(s, "\n") {
		if heading.MatchString(strings.TrimRight(l, "\n")) {
			return strings.TrimRight(s[:at], "\n"), s[at:], true
		}
		at += len(l)
	}
	return s, "", false
}

func programPage(program cli.Doc, commands []cli.Doc, date string) string {
	p := newPage("vsrun", date)
	p.name("vsrun", program.Usage)
	p.section("SYNOPSIS")
	p.WriteString("\\fBvsrun\\fR [\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR...]\n")
	p.section("DESCRIPTION")
	_, text, found := strings.Cut(program.About, "\n\n") // the first line is the name's
	if !found {
		text = program.About
	}
	p.text(text)
	p.section("COMMANDS")
	for _, c := range commands {
		p.WriteString(".TP\n\\fBvsrun\\-" + escape(c.Name) + "\\fR(8)\n")
		p.line(c.Usage)
	}
	p.section("GLOBAL OPTIONS")
	p.WriteString("They stand before the command.\n")
	p.flags(program.Flags)
	for _, s := range sections {
		p.section(s.title)
		p.text(s.text)
		for _, e := range s.list {
			p.WriteString(".TP\n\\fB" + escape(e[0]) + "\\fR\n")
			p.line(e[1])
		}
	}
	p.section("SEE ALSO")
	for i, c := range commands {
		if i > 0 {
			p.WriteString(",\n")
		}
		p.WriteString("\\fBvsrun\\-" + escape(c.Name) + "\\fR(8)")
	}
	p.WriteString("\n.PP\nThe runtime specification: https://github.com/opencontainers/runtime\\-spec\n")
	return p.String()
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
