package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (go test -update writes it anew): %s", file, d)
	}
}

func help(t *testing.T, line ...string) string {
	t.Helper()
	out, status, err := called(new(fake), line...)
	if err != nil || status != 0 {
		t.Errorf("%v: status %d, %v", line, status, err)
	}
	return out
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"run", "state", "list"} {
		golden(t, name+".help", help(t, name, "--help"))
	}
	all := help(t)
	for _, line := range []string{"help", "h", "-h", "--help"} {
		if out := help(t, line); out != all {
			t.Errorf("%s: %s", line, cmp.Diff(all, out))
		}
	}
	if !strings.Contains(all, "\nVERSION:\n   1.2.3\ncommit: abc\n") {
		t.Errorf("no version: %s", all)
	}
	for i, e := range commands() {
		cmd := e.build()
		if cmd.name != e.name || i > 0 && commands()[i-1].name >= e.name {
			t.Errorf("%s: wrong name or place in the list", e.name)
		}
		want := help(t, "help", e.name)
		if !strings.Contains(all, "\n   "+e.name) || !strings.HasPrefix(want, "NAME:\n   vsrun "+e.name+" - "+cmd.usage+"\n") {
			t.Errorf("%s: %q", e.name, want)
		}
		lines := [][]string{{e.name, "-h"}, {e.name, "--help"}, {e.name, "-help"}, {e.name, "x", "y", "z", "-h"}}
		if cmd.rest { // the last is the program's there
			lines = lines[:3]
		}
		for _, line := range lines {
			if out := help(t, line...); out != want {
				t.Errorf("%v: %s", line, cmp.Diff(want, out))
			}
		}
	}
}
