package libvserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// fakeResctrl is a directory with the files that matter. What the kernel makes by itself in a new group is made by hand.
func fakeResctrl(t *testing.T, groups ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, g := range append([]string{"."}, groups...) {
		fillGroup(t, filepath.Join(root, g))
	}
	return root
}

func fillGroup(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "mon_groups"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"schemata": "    L3:0=00ff;1=0ff0\n    MB:0=  20;1= 100\n", "tasks": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func contents(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The rules of config-linux.md, "IntelRdt", one a line.
func TestRdtGroup(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cfg    specs.LinuxIntelRdt
		groups []string // there before
		dir    string   // below the root
		made   bool
		fault  string
	}{
		{name: "no closID: named as the container", dir: "c1", made: true},
		{name: "no closID, there already", groups: []string{"c1"}, dir: "c1"},
		{name: "the root", cfg: specs.LinuxIntelRdt{ClosID: "/"}, dir: "."},
		{name: "closID there", cfg: specs.LinuxIntelRdt{ClosID: "gold"}, groups: []string{"gold"}, dir: "gold"},
		{name: "closID missing, no schema", cfg: specs.LinuxIntelRdt{ClosID: "gold"}, fault: "gold is not there"},
		{name: "closID missing, l3", cfg: specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=f"}, dir: "gold", made: true},
		{name: "closID missing, bandwidth", cfg: specs.LinuxIntelRdt{ClosID: "gold", MemBwSchema: "MB:0=20"}, dir: "gold", made: true},
		{name: "closID missing, schemata", cfg: specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"L2:0=1"}}, dir: "gold", made: true},
		{name: "closID there, the same", cfg: specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:1=ff0;0=FF", MemBwSchema: "MB:0=20"}, groups: []string{"gold"}, dir: "gold"},
		{name: "closID there, other cache", cfg: specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=f"}, groups: []string{"gold"}, fault: "linux.intelRdt.l3CacheSchema"},
		{name: "closID there, other bandwidth", cfg: specs.LinuxIntelRdt{ClosID: "gold", MemBwSchema: "MB:0=30"}, groups: []string{"gold"}, fault: "linux.intelRdt.memBwSchema"},
		{name: "closID there, no such cache", cfg: specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:7=ff"}, groups: []string{"gold"}, fault: "linux.intelRdt.l3CacheSchema"},
		{name: "no schema at all", cfg: specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "nonsense"}, groups: []string{"gold"}, fault: "not of the form"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := fakeResctrl(t, tc.groups...)
			g, err := newRdtGroup(root, &tc.cfg, "c1")
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Fatalf("error %v, want one with %q", err, tc.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g.dir != filepath.Join(root, tc.dir) || g.made != tc.made || g.mon != "" {
				t.Errorf("directory %s, made %v, monitoring %q", g.dir, g.made, g.mon)
			}
		})
	}
}

func TestRdtMake(t *testing.T) {
	root := fakeResctrl(t, "gold")
	before := contents(t, root+"/gold/schemata")

	// No schema: schemata is not written. The monitoring group is named as the container.
	g, err := newRdtGroup(root, &specs.LinuxIntelRdt{ClosID: "gold", EnableMonitoring: true}, "c1")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.make(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, root+"/gold/schemata"); got != before {
		t.Errorf("schemata is %q", got)
	}
	if g.mon != root+"/gold/mon_groups/c1" {
		t.Errorf("monitoring group %s", g.mon)
	}
	if err := os.WriteFile(g.mon+"/tasks", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := g.add(4711); err != nil {
		t.Fatal(err)
	}
	if a, b := contents(t, g.dir+"/tasks"), contents(t, g.mon+"/tasks"); a != "4711" || b != "4711" {
		t.Errorf("tasks are %q and %q", a, b)
	}

	// One that can't be made is an error.
	if err := g.make(); err == nil || !strings.Contains(err.Error(), "enableMonitoring") {
		t.Errorf("a monitoring group that is there: %v", err)
	}

	// The order: cache, bandwidth, schemata last.
	g, err = newRdtGroup(root, &specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=ff", MemBwSchema: "MB:0=20", Schemata: []string{"L2:0=1", "L3:1=1"}}, "c2")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/gold/schemata", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := g.make(); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, root+"/gold/schemata"), "L3:0=ff\nMB:0=20\nL2:0=1\nL3:1=1\n"; got != want {
		t.Errorf("schemata is %q, want %q", got, want)
	}

	// What was made goes, and may be gone.
	g, err = newRdtGroup(root, &specs.LinuxIntelRdt{}, "c3")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.make(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := removeRdt(g.mon, g.dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(g.dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v", g.dir, err)
	}
}
