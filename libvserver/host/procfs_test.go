package host

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteProc(t *testing.T) {
	proc, err := OpenProc()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc)
	own := strconv.Itoa(os.Getpid())
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteProc(proc, own+"/oom_score_adj", string(text)); err != nil {
		t.Error(err)
	}
	if err := WriteProc(proc, "self/oom_score_adj", string(text)); err != nil {
		t.Error("through the link self:", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]error{
		own + "/fd/" + strconv.Itoa(int(f.Fd())): unix.ELOOP,
		own + "/root" + file:                     unix.ELOOP,
		"../" + file:                             unix.EXDEV,
		file:                                     unix.EXDEV,
	} {
		if err := WriteProc(proc, name, "x"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if text, _ := os.ReadFile(file); len(text) > 0 {
		t.Errorf("a file outside was written: %q", text)
	}
}
