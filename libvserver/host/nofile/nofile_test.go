package nofile

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestBeforeOS(t *testing.T) {
	if os.Getenv("NOFILE_CHILD") != "" {
		if Original.Cur != 123 {
			t.Fatalf("Original.Cur = %d, want the 123 that the shell has set", Original.Cur)
		}
		if !Raised() {
			t.Error("Raised() = false")
		}
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -S -n 123 && exec "$0" -test.run TestBeforeOS -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "NOFILE_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestBeforeOS") {
		t.Fatalf("%v\n%s", err, out)
	}
}
