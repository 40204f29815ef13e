package faults

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/tests/harness"
)

// Nothing of the faults is in the product: no code, no names, no environment
// variable.
func TestProductHasNone(t *testing.T) {
	needRuntime(t)
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	product, err := os.ReadFile(filepath.Join(root, "vsrun"))
	if err != nil {
		t.Fatal(err)
	}
	test, err := os.ReadFile(rt.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{fault.Orders, "libvserver/fault.", "libvserver/fault/", fault.CgroupGone.String(), "faultAtStep", "faultAtInsn"} {
		if bytes.Contains(product, []byte(word)) {
			t.Errorf("%q is in the product", word)
		}
		if !bytes.Contains(test, []byte(word)) {
			t.Errorf("%q is not in the build with faults either: this test proves nothing", word)
		}
	}
}

// What explain shows of a plan is what can be stopped.
func TestStepsAreThePlans(t *testing.T) {
	s := newScene(t)
	for i := range fixtures {
		f := &fixtures[i]
		if f.need != nil && f.need() != "" || len(f.env) > 0 || f.flags != nil || f.made != nil || f.each != nil || f.prefix != nil || f.fails {
			continue // explain knows no flags and no environment
		}
		dir := s.bundle(f.name, f.edits(s)...)
		var explained struct {
			Steps []struct{ Actor, Step string }
		}
		if err := json.Unmarshal([]byte(s.must("explain", "--format", "json", dir).Stdout), &explained); err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, st := range explained.Steps {
			if st.Actor == "container" {
				want = append(want, st.Step)
			}
		}
		c := s.call((&sweep{scene: s, f: f}).args(create)...)
		_ = os.Remove(s.trace)
		c.Env = append(slices.Clone(c.Env), fault.Trace+"="+s.trace)
		if res, err := rt.Run(c); err != nil || res.Code != 0 {
			t.Fatalf("%s: exit code %d, %v: %s", f.name, res.Code, err, res.Stderr)
		}
		text, err := os.ReadFile(s.trace)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if where, note, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); strings.HasPrefix(where, "step:") {
				note, _, _ = strings.Cut(note, "\t")
				got = append(got, strings.ReplaceAll(note, s.id, "ID")) // which explain does not know
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: explain shows other steps (-) than there are to stop at (+):\n%s", f.name, diff)
		}
		s.terminals.hangUp()
		s.must("delete", "--force", s.id)
	}
}

// noFixture are the kinds of steps that no fixture asks for here, and why; "" where one does.
var noFixture = map[string]func() string{
	"Label": func() string {
		if !harness.HasLSM("apparmor") {
			return "needs AppArmor"
		}
		return ""
	},
	"MemoryPolicy": func() string {
		if !hasNUMA() {
			return "needs NUMA"
		}
		return ""
	},
	"ReadonlyMount": func() string {
		if harness.CgroupLayout() == "v2" {
			return "needs cgroups of version 1, whose directory of mounts gets it"
		}
		return ""
	},
	"Landlock": func() string {
		if harness.LandlockABI() < 2 {
			return "needs Landlock"
		}
		return ""
	},
}

// A kind of step is tried because some fixture's plan has it: one that none has is not, and a new one must not be forgotten.
func TestEveryKindOfStep(t *testing.T) {
	s := newScene(t)
	kinds := stepKinds(t)
	got := map[string]bool{}
	for i := range fixtures {
		f := &fixtures[i]
		if f.need != nil && f.need() != "" {
			t.Logf("without %s: %s", f.name, f.need())
			continue
		}
		if f.fails {
			continue
		}
		dir := s.bundle(f.name, f.edits(s)...)
		if f.made != nil {
			f.made(s, dir)
		}
		w := &sweep{scene: s, f: f}
		for _, args := range [][]string{create, {"exec", idWord, "/bin/true"}} {
			if f.each != nil && args[0] == "create" {
				f.each(s)
			}
			c := s.call(w.args(args)...)
			_ = os.Remove(s.trace)
			c.Prefix, c.Env = f.prefix, append(append(slices.Clone(c.Env), f.env...), fault.Trace+"="+s.trace)
			if res, err := rt.Run(c); err != nil || res.Code != 0 {
				t.Fatalf("%s: %s: exit code %d, %v: %s", f.name, args[0], res.Code, err, res.Stderr)
			}
			text, err := os.ReadFile(s.trace)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				if i := strings.LastIndex(line, "\tplan."); i >= 0 {
					got[strings.TrimSuffix(line[i+len("\tplan."):], "\n")] = true
				}
			}
		}
		s.terminals.hangUp()
		s.must("delete", "--force", s.id)
	}
	for _, k := range kinds {
		why := ""
		if f := noFixture[k]; f != nil {
			why = f()
		}
		if !got[k] && why == "" {
			t.Errorf("no plan has plan.%s: tests/faults/bundles_test.go needs a bundle that asks for it", k)
		}
	}
}

// stepKinds are the types of package plan that are steps: what embeds Origin and is compiled.
func stepKinds(t *testing.T) (kinds []string) {
	t.Helper()
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	compiled := regexp.MustCompile(`(?m)^\tcase (plan\.[A-Z]\w+(?:, plan\.[A-Z]\w+)*):$`)
	files, err := filepath.Glob(filepath.Join(root, "libvserver/launch/compile*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range compiled.FindAllStringSubmatch(string(text), -1) {
			for k := range strings.SplitSeq(m[1], ", ") {
				kinds = append(kinds, strings.TrimPrefix(k, "plan."))
			}
		}
	}
	if len(kinds) < 30 {
		t.Fatalf("only %q: the source has changed, and this test with it", kinds)
	}
	return kinds
}
