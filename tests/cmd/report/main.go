// Report runs go test and sums it up: a line a package, the output of every
// test that failed, the reason of every skip, and at the very end one plain
// line, "N passed, N failed, N skipped". A test with subtests counts by those.
//
//	report [-also DIRECTORY]... [GO TEST ARGUMENT]...
//	test2json ... | report -stdin
//
// Each directory is a module of its own, tested with the same arguments after
// the current one. The second form sums up events that are there already, for
// a machine without Go.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

type result struct {
	pkg, test string
	action    string // pass, fail, skip
	output    strings.Builder
	elapsed   float64
	parent    bool
}

type report struct {
	out     io.Writer
	results map[string]*result
	order   []*result
	builds  map[string]*strings.Builder // compiler output by import path
	broken  int                         // packages that failed without a failing test
	untold  []string                    // packages without tests
}

func main() {
	r := &report{out: os.Stdout, results: map[string]*result{}, builds: map[string]*strings.Builder{}}
	begin := time.Now()
	dirs, args := modules(os.Args[1:])
	var errs []error
	if len(args) == 1 && args[0] == "-stdin" {
		dirs, errs = nil, append(errs, r.read(os.Stdin))
	}
	for _, dir := range dirs {
		errs = append(errs, r.test(dir, args))
	}
	if failed := r.close(time.Since(begin), errors.Join(errs...)); failed {
		os.Exit(1)
	}
}

// modules splits the command line into directories, the current one first,
// and what goes to go test.
func modules(args []string) (dirs, rest []string) {
	dirs = []string{"."}
	for len(args) >= 2 && args[0] == "-also" {
		dirs, args = append(dirs, args[1]), args[2:]
	}
	return dirs, args
}

func (r *report) test(dir string, args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-C", dir, "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	if err := r.read(pipe); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("in %s: %w", dir, err)
	}
	return nil
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(r.out, line) // not an event: go's own words
			} else {
				r.event(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) event(e event) {
	switch e.Action {
	case "build-output":
		b := r.builds[e.ImportPath]
		if b == nil {
			b = &strings.Builder{}
			r.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return
	case "build-fail":
		return
	}
	res := r.get(e.Package, e.Test)
	switch e.Action {
	case "output":
		res.output.WriteString(e.Output)
		if note, ok := strings.CutPrefix(e.Output, "note: "); ok {
			fmt.Fprint(r.out, "     ", note)
		}
	case "pass", "fail", "skip":
		res.action, res.elapsed = e.Action, e.Elapsed
		if e.Test == "" {
			r.pkgDone(res, e)
		}
	}
}

func (r *report) get(pkg, test string) *result {
	key := pkg + "\x00" + test
	res := r.results[key]
	if res == nil {
		res = &result{pkg: pkg, test: test}
		r.results[key] = res
		r.order = append(r.order, res)
		if i := strings.LastIndexByte(test, '/'); i > 0 {
			r.get(pkg, test[:i]).parent = true
		}
	}
	return res
}

func (r *report) pkgDone(p *result, e event) {
	if p.action == "skip" {
		r.untold = append(r.untold, p.pkg)
		return
	}
	passed, failed, skipped := r.count(p.pkg)
	word := "ok  "
	if p.action == "fail" {
		word = "FAIL"
	}
	fmt.Fprintf(r.out, "%s %s: %d passed, %d failed, %d skipped (%.1fs)\n", word, p.pkg, passed, failed, skipped, p.elapsed)
	for _, t := range r.order {
		if t.pkg == p.pkg && t.test != "" && t.action == "fail" && !t.parent {
			fmt.Fprintf(r.out, "--- FAIL %s (%.1fs)\n%s", t.test, t.elapsed, indent(t.output.String()))
		}
	}
	if p.action == "fail" && failed == 0 {
		r.broken++
		if b := r.builds[e.FailedBuild]; b != nil {
			fmt.Fprint(r.out, indent(b.String()))
		}
		// A parent may fail by itself, a test may be cut off by a crash or a time-out.
		for _, t := range r.order {
			if t.pkg == p.pkg && (t.test == "" || t.action == "fail" || t.action == "") {
				fmt.Fprint(r.out, indent(t.output.String()))
			}
		}
	}
}

func (r *report) count(pkg string) (passed, failed, skipped int) {
	for _, t := range r.order {
		if t.test == "" || t.parent || pkg != "" && t.pkg != pkg {
			continue
		}
		switch t.action {
		case "pass":
			passed++
		case "fail":
			failed++
		case "skip":
			skipped++
		}
	}
	return
}

// close prints the skips and the summary, and reports whether anything failed.
func (r *report) close(took time.Duration, goErr error) bool {
	// test2json tells only of the innermost test when one is cut off by a time-out, and nothing of the package.
	for _, t := range slices.Clone(r.order) {
		if p := r.get(t.pkg, ""); p.action == "" && p.pkg != "" {
			p.action = "fail"
			r.pkgDone(p, event{})
		}
	}
	var skips []string
	for _, t := range r.order {
		if t.test != "" && !t.parent && t.action == "skip" {
			skips = append(skips, fmt.Sprintf("     %s %s: %s", short(t.pkg), t.test, reason(t.output.String())))
		}
	}
	if len(skips) > 0 {
		fmt.Fprintln(r.out, "skipped:")
		slices.SortFunc(skips, cmp.Compare)
		fmt.Fprintln(r.out, strings.Join(skips, "\n"))
	}
	if len(r.untold) > 0 {
		names := make([]string, len(r.untold))
		for i, p := range r.untold {
			names[i] = short(p)
		}
		fmt.Fprintf(r.out, "without tests of their own: %s\n", strings.Join(names, " "))
	}
	passed, failed, skipped := r.count("")
	failed += r.broken
	if goErr != nil && failed == 0 {
		fmt.Fprintln(r.out, "go test:", goErr)
		failed++
	}
	fmt.Fprintf(r.out, "took %s\n", took.Round(time.Second))
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed > 0
}

// reason finds what a test said when it skipped itself.
func reason(output string) string {
	var last string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") || line == "PASS" {
			continue
		}
		// "file_test.go:12: why" or, of a script, "why" in a line of its own.
		if _, why, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(why, ": "); ok && text != "" {
				line = text
			}
		}
		// A test that ran itself again tells that one's output.
		if strings.HasPrefix(line, "=== ") {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "> "); ok {
			if _, why, ok := strings.Cut(rest, "skip "); ok {
				return strings.Trim(why, "'")
			}
			continue
		}
		if last == "" {
			last = line
		}
	}
	if last == "" {
		return "no reason given"
	}
	return last
}

func short(pkg string) string {
	if i := strings.LastIndex(pkg, "/vsrun/"); i >= 0 {
		return pkg[i+len("/vsrun/"):]
	}
	return pkg
}

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("    ")
		b.WriteString(line)
	}
	if s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteByte('\n')
	}
	return b.String()
}
