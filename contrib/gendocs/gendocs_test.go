package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/libvserver/cli"
)

// written writes everything into a directory.
func written(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := write(dir, "2001-02-03"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// have skips a test without a program.
func have(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s: not installed", name)
	}
	return path
}

// TestComplete: nothing of the definitions is missing anywhere.
func TestComplete(t *testing.T) {
	all := render("2001-02-03")
	program, commands := cli.Docs()
	if len(commands) < 20 {
		t.Fatalf("%d commands", len(commands))
	}
	text := func(name string) string {
		s, ok := all[name]
		if !ok {
			t.Errorf("%s: not made", name)
		}
		return s
	}
	long := func(flags []cli.FlagDoc) (list []string) {
		for _, f := range flags {
			list = append(list, f.Names...)
		}
		return list
	}
	for _, c := range commands {
		page := text("man/vsrun-" + c.Name + ".8")
		if !strings.Contains(text("man/vsrun.8"), `\fBvsrun\-`+c.Name+`\fR(8)`) {
			t.Errorf("vsrun.8 does not name vsrun-%s", c.Name)
		}
		for _, n := range long(c.Flags) {
			if !strings.Contains(page, `\fB`+escape(dashed(n))+`\fR`) {
				t.Errorf("vsrun-%s.8 lacks %s", c.Name, dashed(n))
			}
			if len(n) == 1 {
				continue
			}
			if !strings.Contains(text("completion/vsrun.fish"), "__vsrun_at "+c.Name) || !strings.Contains(text("completion/vsrun.fish"), " -l "+n) {
				t.Errorf("vsrun.fish lacks %s of %s", dashed(n), c.Name)
			}
			for _, file := range []string{"completion/vsrun.bash", "completion/_vsrun"} {
				_, mine, _ := strings.Cut(text(file), "\n\t"+c.Name+")\n")
				mine, _, _ = strings.Cut(mine, ";;")
				if !strings.Contains(mine, dashed(n)) {
					t.Errorf("%s lacks %s of %s", file, dashed(n), c.Name)
				}
			}
		}
	}
	for _, n := range long(program.Flags) {
		if !strings.Contains(text("man/vsrun.8"), `\fB`+escape(dashed(n))+`\fR`) {
			t.Errorf("vsrun.8 lacks %s", dashed(n))
		}
	}
}

// TestValues: what the usage texts say of a flag's value is understood.
func TestValues(t *testing.T) {
	program, list := cli.Docs()
	s := newShell(program, list)
	find := func(command, flag string) kind {
		flags := s.globals
		for _, c := range s.commands {
			if c.name == command {
				flags = c.options
			}
		}
		for _, o := range flags {
			if slices.Contains(o.names, flag) {
				return o.kind
			}
		}
		t.Fatalf("%s has no flag %s", command, flag)
		return kind{}
	}
	for _, tc := range []struct {
		command, flag string
		want          kind
	}{
		{"", "root", kind{what: someDirectory}},
		{"", "log", kind{what: someFile}},
		{"", "log-format", kind{someWords, []string{"text", "json"}}},
		{"", "cgroup-manager", kind{someWords, []string{"cgroupfs", "systemd", "disabled"}}},
		{"", "rootless", kind{someWords, []string{"true", "false", "auto"}}},
		{"run", "bundle", kind{what: someDirectory}},
		{"run", "config", kind{what: someFile}},
		{"run", "pid-file", kind{what: someFile}},
		{"run", "console-socket", kind{what: someFile}},
		{"run", "preserve-fds", kind{}},
		{"exec", "cwd", kind{}},
		{"exec", "process", kind{what: someFile}},
		{"exec", "user", kind{}},
		{"list", "format", kind{someWords, []string{"table", "json"}}},
		{"top", "sort", kind{someWords, []string{"cpu", "memory", "threads", "io", "name"}}},
		{"checkpoint", "manage-cgroups-mode", kind{someWords, []string{"soft", "full", "strict", "ignore"}}},
		{"checkpoint", "image-path", kind{what: someDirectory}},
		{"checkpoint", "parent-path", kind{what: someDirectory}},
		{"checkpoint", "page-server", kind{}},
		{"update", "resources", kind{what: someFile}},
		{"update", "memory", kind{}},
	} {
		got := find(tc.command, tc.flag)
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(kind{})); d != "" {
			t.Errorf("%s %s: %s", tc.command, tc.flag, d)
		}
	}
}

// TestManual has the pages read by who is strict.
func TestManual(t *testing.T) {
	mandoc := have(t, "mandoc")
	pages, _ := filepath.Glob(filepath.Join(written(t), "man", "*.8"))
	out, err := exec.Command(mandoc, append([]string{"-Tlint", "-W", "warning"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// fakeVsrun puts a vsrun into PATH that knows two containers, and others in --root /other.
func fakeVsrun(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in\n'list --quiet') printf 'web1\\nweb2\\n' ;;\n'--root /other list --quiet' | '--root=/other list --quiet') echo wother ;;\n*) echo bad; exit 1 ;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "vsrun"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// lines are command lines up to the cursor, and what the shells shall offer.
var lines = []struct {
	line string
	want string // all of it, or with "..." after it some of it
	not  string // none of these
}{
	{line: "vsrun che", want: "checkpoint"},
	{line: "vsrun st", want: "start stat state store"},
	{line: "vsrun --roo", want: "--root --rootless"},
	{line: "vsrun --log-format j", want: "json"},
	{line: "vsrun --log-format json sta", want: "start stat state"},
	{line: "vsrun --rootless ", want: "true false auto"},
	{line: "vsrun state ", want: "web1 web2"},
	{line: "vsrun --root /other state ", want: "wother"},
	{line: "vsrun --root=/other state ", want: "wother"},
	{line: "vsrun state web1 ", want: ""},
	{line: "vsrun kill web1 U", want: "USR1 USR2"},
	{line: "vsrun kill --all web1 K", want: "KILL"},
	{line: "vsrun kill --a", want: "--all"},
	{line: "vsrun create --no-", want: "--no-pivot --no-new-keyring"},
	{line: "vsrun create w", want: ""},
	{line: "vsrun list --format ", want: "table json"},
	{line: "vsrun list --format=j", want: "json"},
	{line: "vsrun top --sort t", want: "threads"},
	{line: "vsrun help sta", want: "start stat state"},
	{line: "vsrun stat web1 ", want: "web1 web2"},
	{line: "vsrun exec --us", want: "--user"},
	{line: "vsrun exec --user 1 w", want: "web1 web2"},
	{line: "vsrun exec web1 ls --us", want: "", not: "--user"},
	{line: "vsrun run --bundle /us", want: "/usr..."},
	{line: "vsrun explain /us", want: "/usr..."},
	{line: "vsrun nonsense ", want: ""},
}

// compare is for what a shell offers, whose decoration is cut off before.
func compare(t *testing.T, i int, got []string) {
	t.Helper()
	tc := lines[i]
	slices.Sort(got)
	want := strings.Fields(tc.want)
	if len(want) == 1 && strings.HasSuffix(want[0], "...") {
		w := strings.TrimSuffix(want[0], "...")
		// zsh keeps the leading directories of a path apart
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) || strings.HasPrefix("/"+g, w) }) {
			t.Errorf("%q: %q does not have %s", tc.line, got, w)
		}
		return
	}
	if tc.not != "" {
		if slices.Contains(got, tc.not) {
			t.Errorf("%q: %q has %s", tc.line, got, tc.not)
		}
		return
	}
	slices.Sort(want)
	if d := cmp.Diff(want, slices.Compact(got), cmp.Transformer("", func(s []string) string { return strings.Join(s, " ") })); d != "" {
		t.Errorf("%q: %s", tc.line, d)
	}
}

// answers runs a script that prints "=N" and then what is offered for line N, a word a line.
func answers(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	n := 0
	for part := range strings.SplitSeq(string(out), "=") {
		first, rest, _ := strings.Cut(part, "\n")
		i, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		n++
		var got []string
		for l := range strings.Lines(rest) {
			if l = strings.TrimRight(l, "\n "); l != "" {
				got = append(got, strings.TrimSuffix(l, "/"))
			}
		}
		compare(t, i, got)
	}
	if n != len(lines) {
		t.Errorf("%d answers of %d:\n%s", n, len(lines), out)
	}
}

func TestBash(t *testing.T) {
	have(t, "bash")
	dir := written(t)
	fakeVsrun(t)
	var s strings.Builder
	s.WriteString("set -u; . " + dir + "/completion/vsrun.bash\n")
	for i, tc := range lines {
		// readline's words, of which = is one
		s.WriteString("COMP_WORDS=(")
		words := strings.Split(strings.ReplaceAll(tc.line, "=", " = "), " ")
		for _, w := range words {
			s.WriteString(" " + quote(w))
		}
		s.WriteString(")\nCOMP_CWORD=" + strconv.Itoa(len(words)-1) + "\nCOMPREPLY=(); _vsrun vsrun x y\n")
		s.WriteString("printf '%s\\n' =" + strconv.Itoa(i) + " \"${COMPREPLY[@]}\"\n")
	}
	answers(t, exec.Command("bash", "--norc", "-c", s.String()))
}

func TestFish(t *testing.T) {
	have(t, "fish")
	dir := written(t)
	fakeVsrun(t)
	var s strings.Builder
	s.WriteString("source " + dir + "/completion/vsrun.fish\n")
	for i, tc := range lines {
		// fish offers --flag=word as a whole
		cut := ""
		if at := strings.LastIndex(tc.line, "="); at > strings.LastIndex(tc.line, " ") {
			cut = " | string replace -r '^-.*=' ''"
		}
		s.WriteString("echo =" + strconv.Itoa(i) + "\ncomplete -C" + quote(tc.line) + " | string replace -r '\\t.*' ''" + cut + "\n")
	}
	s.WriteString("true\n")
	cmd := exec.Command("fish", "--no-config", "-c", s.String())
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=dumb")
	answers(t, cmd)
}

// TestZsh has zsh complete on a terminal of its own (zsh/zpty), and notes what is offered by its builtin compadd.
func TestZsh(t *testing.T) {
	have(t, "zsh")
	dir := written(t)
	fakeVsrun(t)
	script := `
zmodload zsh/zpty || exit 1
zpty z zsh -f -i
send() { zpty -w z "$1"; }
send 'PS1= PROMPT_EOL_MARK= ; fpath=(` + dir + `/completion $fpath); autoload -Uz compinit; compinit -D -u; unsetopt zle_bracketed_paste 2>/dev/null; stty -echo'
send 'compadd() {
  local -a got; local dash
  if [[ ${argv[(I)-[OAD]]} = 0 ]]; then
    builtin compadd -O got "$@"
    print -rl -- $got >>` + dir + `/offered
  fi
  builtin compadd "$@"
}'
send 'c() { print -r -- "=$N" >>` + dir + `/offered; _main_complete; compstate[insert]=; compstate[list]=; print -r -- done >` + dir + `/fifo }'
send 'zle -C c complete-word c; bindkey "^I" c; print ready >` + dir + `/fifo'
`
	if err := exec.Command("mkfifo", dir+"/fifo").Run(); err != nil {
		t.Fatal(err)
	}
	script += "read -t 20 x <>" + dir + "/fifo || { echo 'zsh is not ready' >&2; exit 1; }\n"
	for i, tc := range lines {
		script += "zpty -w -n z N=" + strconv.Itoa(i) + "$'\\n'\nzpty -w -n z " + quote(tc.line) + "$'\\t'\n" +
			"read -t 20 x <>" + dir + "/fifo || { echo " + quote("no answer to "+tc.line) + " >&2; exit 1; }\nzpty -w -n z $'\\x15'\n"
	}
	script += "zpty -d z\ncat " + dir + "/offered\n"
	cmd := exec.Command("zsh", "-f", "-c", script)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=xterm")
	answers(t, cmd)
}
