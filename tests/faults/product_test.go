package faults

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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
		if f.need != nil && f.need() != "" || len(f.env) > 0 || f.flags != nil || f.made != nil {
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
