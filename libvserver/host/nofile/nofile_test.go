package nofile_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vsrun/vsrun/libvserver/host/nofile"
)

func TestBeforeSyscall(t *testing.T) {
	if os.Getenv("NOFILE_CHILD") != "" {
		if nofile.Original.Cur != 123 {
			t.Fatalf("nofile.Original.Cur = %d, want the 123 that the shell has set", nofile.Original.Cur)
		}
		if !nofile.Raised() {
			t.Error("Raised() = false")
		}
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -S -n 123 && exec "$0" -test.run TestBeforeSyscall -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "NOFILE_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestBeforeSyscall") {
		t.Fatalf("%v\n%s", err, out)
	}
}
