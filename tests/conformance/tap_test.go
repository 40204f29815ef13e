package conformance

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// outcome is what one run of a program showed.
type outcome struct {
	exit    int
	timeout bool
	plan    int      // N of "1..N", summed up if there are several; -1 without a plan
	ok      int      // lines "ok"
	failed  []string // lines "not ok"
	errors  []string // YAML "error" lines of a program that asserts nothing
	leaks   []string
	stderr  string
}

var (
	planLine  = regexp.MustCompile(`^1\.\.(\d+)\s*$`)
	errorLine = regexp.MustCompile(`^\s*"error":`)
)

// parse reads a program's TAP. Only lines at the margin count: inside the
// container another program prints TAP, which may come quoted in a diagnostic.
func parse(stdout string) outcome {
	o := outcome{plan: -1}
	for line := range strings.Lines(stdout) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "not ok "):
			o.failed = append(o.failed, line)
		case strings.HasPrefix(line, "ok "):
			o.ok++
		case errorLine.MatchString(line):
			o.errors = append(o.errors, strings.TrimSpace(line))
		default:
			if m := planLine.FindStringSubmatch(line); m != nil {
				n, _ := strconv.Atoi(m[1])
				o.plan = max(o.plan, 0) + n
			}
		}
	}
	return o
}

// judge compares an outcome with an expectation and returns what is wrong, or "".
// The exit status alone says little: most programs exit 0 with assertions failed.
func judge(e expectation, o outcome) string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	switch {
	case o.timeout:
		fault("timed out")
	case o.exit != 0:
		fault("exit status %d", o.exit)
	}
	if e.silent {
		// These assert nothing: they print a diagnostic when something is wrong.
		for _, line := range o.errors {
			fault("%s", line)
		}
	} else if o.plan < 1 || o.ok+len(o.failed) != o.plan {
		// Without this, a program whose container dies at once would pass.
		fault("%d assertions of a plan of %d", o.ok+len(o.failed), o.plan)
	}
	used := make([]bool, len(e.except))
	for _, line := range o.failed {
		excused := false
		for i, re := range e.except {
			if regexp.MustCompile(re).MatchString(line) {
				used[i], excused = true, true
			}
		}
		if !excused {
			fault("%s", line)
		}
	}
	if len(faults) == 0 {
		for i, re := range e.except {
			if !used[i] {
				fault("no assertion that matches %q failed: the exception can go", re)
			}
		}
	}
	for _, l := range o.leaks {
		fault("left behind: %s", l)
	}
	if len(faults) > 0 && o.stderr != "" {
		fault("stderr: %s", strings.TrimSpace(o.stderr))
	}
	return strings.Join(faults, "\n")
}

func (o outcome) String() string {
	s := fmt.Sprintf("%d/%d", o.ok, o.ok+len(o.failed))
	if o.timeout {
		return s + " timeout"
	}
	if o.exit != 0 {
		s += fmt.Sprintf(" exit %d", o.exit)
	}
	return s
}

func TestJudge(t *testing.T) {
	const good = "TAP version 13\n1..2\nok 1 - a\n  ---\n  {\n    \"error\": \"none\"\n  }\nok 2 - b\n"
	for _, tc := range []struct {
		name   string
		e      expectation
		stdout string
		exit   int
		leaks  []string
		want   string // part of the complaint, "" for none
	}{
		{"pass", expectation{}, good, 0, nil, ""},
		{"plan last", expectation{}, "ok 1 - a\n1..1\n", 0, nil, ""},
		{"two plans", expectation{}, "1..1\nok 1 - a\n1..0\n", 0, nil, ""},
		{"exit status", expectation{}, good, 1, nil, "exit status 1"},
		{"assertion", expectation{}, "1..2\nok 1\nnot ok 2 - b\n", 0, nil, "not ok 2 - b"},
		{"nothing asserted", expectation{}, "TAP version 13\n1..0\n", 0, nil, "0 assertions of a plan of 0"},
		{"no output", expectation{}, "", 0, nil, "0 assertions of a plan of -1"},
		{"cut off", expectation{}, "1..3\nok 1\n", 0, nil, "1 assertions of a plan of 3"},
		{"nested", expectation{}, "1..1\nok 1\n  \"stdout\": \"\\nnot ok 5\"\n    not ok 5\n", 0, nil, ""},
		{"leak", expectation{}, good, 0, []string{"cgroup /x"}, "left behind: cgroup /x"},
		{"silent", expectation{silent: true}, "1..0\n", 0, nil, ""},
		{"silent with diagnostic", expectation{silent: true}, "  ---\n  {\n    \"error\": \"no hook\"\n  }\n1..0\n", 0, nil, "no hook"},
		{"excused", expectation{except: []string{"pids"}}, "1..2\nok 1\nnot ok 2 - pids\n", 0, nil, ""},
		{"not the excused one", expectation{except: []string{"pids"}}, "1..2\nnot ok 1 - cpu\nnot ok 2 - pids\n", 0, nil, "not ok 1 - cpu"},
		{"better than excused", expectation{except: []string{"pids"}}, good, 0, nil, "the exception can go"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := parse(tc.stdout)
			o.exit, o.leaks = tc.exit, tc.leaks
			got := judge(tc.e, o)
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("complaint %q, want %q", got, tc.want)
			}
		})
	}
}
