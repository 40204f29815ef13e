package libvserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vsrun/vsrun/libvserver/plan"
)

func TestMapHelper(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"good":   "#!/bin/sh\n[ \"$*\" = '12 0 1000 1 1 100000 65536' ] && [ -z \"$VSRUN_TEST\" ] && cat\n",
		"bad":    "#!/bin/sh\necho no range >&2; exit 3\n",
		"killed": "#!/bin/sh\nkill -9 $$\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VSRUN_TEST", "yes")
	t.Setenv("PATH", ":.:/nonexistent:"+dir+":"+os.Getenv("PATH"))
	m := []plan.IDMap{{Container: 0, Host: 1000, Size: 1}, {Container: 1, Host: 100000, Size: 65536}}
	for name, want := range map[string]string{
		"good":   "",
		"bad":    "bad: exit status 3: no range (/etc/subuid must grant all ids but your own: see usermod --add-subuids)",
		"killed": "killed: signal: killed: ",
		"plain":  "plain: executable file not found in $PATH",
		"none":   "none: executable file not found in $PATH",
	} {
		err := mapHelper(name, "/etc/subuid", 12, m)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
