package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sample = []Check{
	{Section: "kernel", Name: "clone3", Since: "5.3", Advice: "boot another"},
	{Section: "kernel", Name: "statmount", Verdict: Lacking, Since: "6.8", Detail: "needs Linux 6.8; this is 6.1.0", Advice: "slower"},
	{Section: "cgroups", Name: "layout", Verdict: Failed, Detail: "nothing is mounted", Advice: "mount \"it\""},
	{Section: "cgroups", Name: "systemd", Verdict: Failed},
}

func TestText(t *testing.T) {
	const want = `kernel
  ✓ ok       clone3
  ! lacking  statmount: needs Linux 6.8; this is 6.1.0
               slower

cgroups
  ✗ FAILED   layout: nothing is mounted
               mount "it"
  ✗ FAILED   systemd

A plain bundle cannot run here, because of: layout, systemd.
`
	if d := cmp.Diff(want, string(appendText(nil, sample, false))); d != "" {
		t.Error(d)
	}
	if got := string(appendText(nil, sample[:2], true)); !strings.HasSuffix(got, "\n\nA plain bundle can run here.\n") {
		t.Errorf("%q", got)
	}
}

func TestJSON(t *testing.T) {
	var got struct {
		OK     bool                `json:"ok"`
		Checks []map[string]string `json:"checks"`
	}
	if err := json.Unmarshal(appendJSON(nil, sample, false), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{
		{"section": "kernel", "name": "clone3", "verdict": "ok", "since": "5.3"},
		{"section": "kernel", "name": "statmount", "verdict": "lacking", "since": "6.8", "detail": "needs Linux 6.8; this is 6.1.0", "advice": "slower"},
		{"section": "cgroups", "name": "layout", "verdict": "failed", "detail": "nothing is mounted", "advice": `mount "it"`},
		{"section": "cgroups", "name": "systemd", "verdict": "failed"},
	}
	if d := cmp.Diff(want, got.Checks); d != "" || got.OK {
		t.Error(got.OK, d)
	}
}

// TestRun runs it on this host: every check says something useful, nothing is
// left behind, and both forms agree.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	var text, js bytes.Buffer
	ok, err := Run(&text, Options{Root: dir + "/run/vsrun", Store: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ok = %v\n%s", ok, text.String())
	ok2, err := Run(&js, Options{Root: dir + "/run/vsrun", Store: dir, JSON: true})
	var got struct{ OK bool }
	if err != nil || json.Unmarshal(js.Bytes(), &got) != nil || got.OK != ok || ok2 != ok {
		t.Errorf("JSON: ok = %v, %v, %v", got.OK, ok2, err)
	}
	for _, c := range examine(Options{Root: dir, Store: dir}) {
		if c.Name == "" || c.Section == "" || c.Verdict != OK && (c.Detail == "" || c.Advice == "") {
			t.Errorf("says too little: %+v", c)
		}
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) != 0 {
		t.Errorf("left behind: %v, %v", l, err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dir: true, dir + "/a/b/c": true, file: false, file + "/x": false, "/proc/nope/x": false} {
		e := &examiner{}
		got, ok := e.directory(path)
		if ok != want || len(e.checks) != 1 || (e.checks[0].Verdict == Failed) != !want {
			t.Errorf("%s: %s, %v, %+v", path, got, ok, e.checks)
		}
	}
}

// TestLayout: doctor names the layout that unify takes, and why.
func TestLayout(t *testing.T) {
	none, old := errors.New("no layers: casefold"), errors.New("overlay option lowerdir: invalid argument")
	for name, c := range map[string]struct {
		dataOnly, layers error
		want             []Check
	}{
		"Linux 6.5": {nil, nil, []Check{
			{Name: "overlay layers", Since: "3.18"},
			{Name: "overlay with data-only layers", Since: "6.5", Detail: "unify makes trees of the layout objects"},
		}},
		"an older kernel": {old, nil, []Check{
			{Name: "overlay layers", Since: "3.18"},
			{Name: "overlay with data-only layers", Since: "6.5", Verdict: Lacking, Detail: old.Error(),
				Advice: "unify makes trees of the layout links: what is equal in owner, mode and times, too, is shared, by hard links"},
		}},
		"no layers from that filesystem": {none, none, []Check{
			{Name: "overlay layers", Since: "3.18", Verdict: Lacking, Detail: none.Error(),
				Advice: "no copy-on-write roots here: put the store on ext4, xfs or btrfs"},
			{Name: "overlay with data-only layers", Since: "6.5", Verdict: Lacking, Detail: none.Error(),
				Advice: "no container can run on a unified tree here"},
		}},
	} {
		e := &examiner{}
		e.layout(c.dataOnly, c.layers)
		if d := cmp.Diff(c.want, e.checks); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
