package main

import (
	_ "embed" // the C source
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vsrun/vsrun/tests/harness"
)

//go:embed c/spawn.c
var spawnC string

// subject is one program that is measured.
type subject struct {
	name    string
	path    string
	version string
	env     []string // the whole environment
}

var baseEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// findSubjects takes vsrun, runc and crun, and what the command line names.
func (b *bench) findSubjects(names []string) error {
	paths := map[string]string{}
	var order []string
	if root, err := harness.RepoRoot(); err == nil {
		if p := filepath.Join(root, "vsrun"); isExecutable(p) {
			paths["vsrun"], order = p, append(order, "vsrun")
		}
	}
	for _, name := range []string{"crun", "runc"} {
		if p, err := exec.LookPath(name); err == nil {
			paths[name], order = p, append(order, name)
		}
	}
	for _, arg := range names {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=PATH", arg)
		}
		p, err := exec.LookPath(path)
		if err != nil {
			return err
		}
		if p, err = filepath.Abs(p); err != nil {
			return err
		}
		if paths[name] == "" {
			order = append(order, name)
		}
		paths[name] = p
	}
	for _, name := range order {
		r, err := harness.NewRuntime(paths[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.subjects = append(b.subjects, &subject{name: name, path: r.Path, version: version(r.Path), env: baseEnv})
	}
	if len(order) == 0 {
		return fmt.Errorf("no runtime found: run make, or name one: NAME=PATH")
	}
	if order[0] != "vsrun" {
		b.note("vsrun is not built: the figures are compared with %s's", order[0])
	}
	return nil
}

func isExecutable(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// version returns what a runtime says of itself in its first line.
func version(path string) string {
	out, _ := exec.Command(path, "--version").Output()
	first, _, _ := strings.Cut(string(out), "\n")
	_, v, _ := strings.Cut(first, "version ")
	return v
}

// tryAll runs the bundle once by each runtime, drops those that can't, and
// says why. One that only fails to raise a limit is given the shim.
func (b *bench) tryAll() (refused []string) {
	b.subjects = slices.DeleteFunc(b.subjects, func(s *subject) bool {
		text, ok := b.try(s)
		if !ok && harness.NeedsLimitShim(text) {
			if b.shim == "" {
				b.shim, _ = harness.LimitShim(b.dir)
			}
			if b.shim != "" {
				s.env = append(slices.Clone(baseEnv), b.shim)
				first := text
				if text, ok = b.try(s); ok {
					b.note("%s: without CAP_SYS_RESOURCE it stops with %q; a preloaded library makes the same call "+
						"and hides that one error", s.name, first)
				}
			}
		}
		if !ok {
			refused = append(refused, fmt.Sprintf("%s says %q", s.name, text))
		}
		return !ok
	})
	return refused
}

func (b *bench) try(s *subject) (text string, ok bool) {
	cmd := exec.Command(s.path, "--root", b.root(s), "run", "--bundle", b.bundle(), b.id("try"))
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	text = strings.TrimSpace(string(out))
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	if i := strings.Index(text, `msg="`); i >= 0 { // logrus' text form
		text = strings.TrimSuffix(text[i+len(`msg="`):], `"`)
	}
	return text, err == nil
}

func (b *bench) id(name string) string { return filepath.Base(b.dir) + "-" + name }
