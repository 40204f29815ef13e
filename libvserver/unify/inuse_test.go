package unify

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Who writes to one of several trees, or is in it, is found, and the others are not blamed.
func TestWriters(t *testing.T) {
	parent, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for _, d := range []string{"reading", "writing", "inside", "itself", "nobody"} {
		must(t, os.MkdirAll(filepath.Join(parent, d, "sub"), 0o700))
		must(t, os.WriteFile(filepath.Join(parent, d, "sub/file"), nil, 0o600))
	}
	cmd := exec.Command("sh", "-c", `exec 3<reading/sub/file 4>>writing/sub/file 5<itself; cd inside/sub; echo ready; read x`)
	cmd.Dir = parent
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	_, err = out.Read(make([]byte, 6))
	must(t, err)
	found, err := writers(parent)
	must(t, err)
	for name, want := range map[string]string{"writing": "has sub/file open for writing", "inside": "is in it", "itself": "has the directory itself open"} {
		if got := found[name]; got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%s: %v, want %q", name, got, want)
		}
		delete(found, name)
	}
	if len(found) > 0 {
		t.Errorf("besides: %v", found)
	}
}
