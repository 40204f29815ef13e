package quota

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A filesystem that can't limit trees is an error that says what is needed.
func TestCheckUnsupported(t *testing.T) {
	for _, dir := range []string{"/proc", "/dev/shm"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC && fs.Type != unix.TMPFS_MAGIC {
			t.Logf("%s is of another type: %v", dir, err)
			continue
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = Check(int(f.Fd()))
		if !errors.Is(err, ErrUnsupported) {
			t.Fatalf("%s: %v, want %v", dir, err, ErrUnsupported)
		}
		if os.Geteuid() == 0 && !strings.Contains(err.Error(), "prjquota") {
			t.Errorf("%s: %v, which does not say what is needed", dir, err)
		}
	}
}
