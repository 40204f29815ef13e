package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	type result struct {
		Env, Args []string
		TTY       bool
		N         int
	}
	for _, tc := range []struct {
		line string
		rest bool
		want result
		err  string
	}{
		{line: "", want: result{}},
		{line: "-e A=1 --env B=1,2 -env=C a", want: result{Env: []string{"A=1", "B=1,2", "C"}, Args: []string{"a"}}},
		{line: "a -t b -n 3 c", want: result{Args: []string{"a", "b", "c"}, TTY: true, N: 3}},
		{line: "-t a ls -l --env x", rest: true, want: result{Args: []string{"a", "ls", "-l", "--env", "x"}, TTY: true}},
		{line: "-t -- -n a", want: result{Args: []string{"-n", "a"}, TTY: true}},
		{line: "a -- -t", want: result{Args: []string{"a", "-t"}}},
		{line: "-- a -- -t", rest: true, want: result{Args: []string{"a", "--", "-t"}}},
		{line: "- -t", want: result{Args: []string{"-"}, TTY: true}},
		{line: "-n 0x10", want: result{N: 16}},
		{line: "a -n", err: "flag needs an argument: -n"},
		{line: "-t=maybe", err: `invalid boolean value "maybe" for -t: parse error`},
		{line: "-n many", err: `invalid value "many" for flag -n: not a number from 0 on`},
		{line: "-tt", err: "flag provided but not defined: -tt"},
	} {
		var got result
		f := newFlags()
		f.list(&got.Env, "env, e", "set a variable")
		f.bool(&got.TTY, "tty, t", "a terminal")
		f.count(&got.N, "n", "a number")
		var err error
		got.Args, err = f.parse(strings.Fields(tc.line), tc.rest)
		if tc.err != "" {
			if err == nil || err.Error() != tc.err {
				t.Errorf("%s: error %q, want %q", tc.line, err, tc.err)
			}
			continue
		}
		if d := cmp.Diff(tc.want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", tc.line, err, d)
		}
	}
	if _, err := newFlags().parse([]string{"a", "--help"}, false); err != errHelp {
		t.Errorf("help: %v", err)
	}
}

func TestHiddenFlag(t *testing.T) {
	var yes bool
	f := newFlags()
	f.bool(&yes, "secret", "")
	if _, err := f.parse([]string{"--secret"}, false); err != nil || !yes || len(f.help()) != 0 {
		t.Errorf("%v, %v, %v", err, yes, f.help())
	}
}
