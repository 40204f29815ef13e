package helper

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needHelper(t *testing.T) {
	t.Helper()
	if _, err := ID(); err != nil {
		t.Skip("needs vsrun-helper: ", err)
	}
}

// without hides the embedded helper, and those of an installed vsrun.
func without(t *testing.T) {
	saved := files
	files = embed.FS{}
	t.Cleanup(func() { files = saved })
	elsewhere(t)
}

// elsewhere has a directory of the test as the standard place.
func elsewhere(t *testing.T) (path string) {
	saved := standard
	path = filepath.Join(t.TempDir(), Name)
	standard = [...]string{path, ""}
	t.Cleanup(func() { standard = saved })
	return path
}

func TestRun(t *testing.T) {
	needHelper(t)
	answer, err := Run("version", nil)
	if err != nil || !strings.HasPrefix(string(answer), "libseccomp 2.") {
		t.Errorf("%q %v", answer, err)
	}
}

func TestRunErrors(t *testing.T) {
	needHelper(t)
	for _, tc := range []struct {
		job     string
		request []byte
		want    string
	}{
		{"no-such-job", nil, "usage: vsrun-helper JOB <request >answer (there is no such job)"},
		{"seccomp", nil, "seccomp request: message is cut short"},
		// Longer than a pipe holds, and the helper may not read all of it.
		{"seccomp", make([]byte, 1<<20), "seccomp request: message is of another kind or version"},
		{"no-such-job", make([]byte, 1<<20), "usage: vsrun-helper JOB <request >answer (there is no such job)"},
	} {
		answer, err := Run(tc.job, tc.request)
		var je *JobError
		if !errors.As(err, &je) || je.Text != tc.want || je.Job != tc.job || answer != nil {
			t.Errorf("%s: %q %v, want %q", tc.job, answer, err, tc.want)
		}
	}
}

func TestSpawn(t *testing.T) {
	t.Setenv("VSRUN_TEST", "1")
	long := strings.Repeat("x", 100_000)
	for name, tc := range map[string]struct {
		script, stdin  string
		stdout, stderr string
		status         int
	}{
		"pipes":       {"cat; echo bad >&2", long, long, "bad", 0},
		"environment": {"tr '\\0' '\\n' </proc/self/environ | grep -v ^PWD=; echo $0", "", "sh\n", "", 0},
		"directory":   {"pwd -P", "", "/\n", "", 0},
		"exit":        {"echo why >&2; exit 3", "", "", "why", 3},
		"no reader":   {"exec 0<&-; echo early", long, "", "", -1},
		"crash":       {"printf 'fatal error: out of room\\n\\ngoroutine 1 [running]:\\nmain.main()\\n' >&2; exit 2", "", "", "fatal error: out of room", 2},
		"fails early": {"exec 0<&-; echo no >&2; exit 1", long, "", "no", 1},
	} {
		t.Run(name, func(t *testing.T) {
			out, text, status, err := spawn("/bin/sh", []string{"sh", "-c", tc.script}, []byte(tc.stdin))
			if tc.status < 0 {
				if !errors.Is(err, syscall.EPIPE) {
					t.Errorf("error %v, want %v", err, syscall.EPIPE)
				}
				return
			}
			if err != nil || string(out) != tc.stdout || text != tc.stderr || status.ExitStatus() != tc.status {
				t.Errorf("%.80q %q %d %v", out, text, status.ExitStatus(), err)
			}
		})
	}
	if _, _, _, err := spawn("/nonexistent", []string{"x"}, nil); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("error %v, want %v", err, syscall.ENOENT)
	}
}

func TestSpawnLeavesNothing(t *testing.T) {
	before := openFds(t, "self")
	for range 20 {
		if _, _, _, err := spawn("/bin/sh", []string{"sh", "-c", "cat"}, []byte("x")); err != nil {
			t.Fatal(err)
		}
		spawn("/nonexistent", []string{"x"}, nil)
		if _, err := ID(); err == nil {
			Run("version", nil)
		}
	}
	if after := openFds(t, "self"); len(after) != len(before) {
		t.Errorf("descriptors before %q, after %q", before, after)
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("child %d is left (%v)", pid, err)
	}
}

func openFds(t *testing.T, pid string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestHelperFds checks that the helper drops descriptors that vsrun inherited.
func TestHelperFds(t *testing.T) {
	needHelper(t)
	img, err := openImage()
	if err != nil {
		t.Fatal(err)
	}
	defer img.close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(img.path, "seccomp")
	if img.fd >= 0 {
		// os/exec's descriptors come first in the child.
		cmd.Path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), img.fd)
	}
	cmd.ExtraFiles = []*os.File{w, w, w}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	// It waits for its request now: the pipe's end shows that it closed w.
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the helper holds a descriptor that is none of its own: %v", err)
	}
	if fds := openFds(t, fmt.Sprint(cmd.Process.Pid)); len(fds) != 3 {
		t.Errorf("the helper's descriptors: %q", fds)
	}
	stdin.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("an empty request passed")
	}
}

func TestSealed(t *testing.T) {
	f := embedded()
	if f == nil {
		t.Skip("needs an embedded vsrun-helper: ", ErrMissing)
	}
	defer f.Close()
	fd, err := memfd(f)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if _, err := syscall.Pwrite(fd, []byte("x"), 0); err != syscall.EPERM {
		t.Errorf("write to the sealed executable: %v, want %v", err, syscall.EPERM)
	}
	if err := syscall.Ftruncate(fd, 0); err != syscall.EPERM {
		t.Errorf("truncate the sealed executable: %v, want %v", err, syscall.EPERM)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x %v, want close-on-exec", flags, err)
	}
}

func TestInstalled(t *testing.T) {
	img, err := openImage()
	if err != nil {
		t.Skip("needs vsrun-helper: ", err)
	}
	b, err := os.ReadFile(img.path)
	img.close()
	if err != nil {
		t.Fatal(err)
	}
	without(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run("version", nil); !errors.Is(err, ErrMissing) {
		t.Errorf("error %v, want %v", err, ErrMissing)
	}
	if id, err := ID(); id != "" || !errors.Is(err, ErrMissing) {
		t.Errorf("id %q, error %v, want %v", id, err, ErrMissing)
	}
	for _, dir := range []string{filepath.Dir(self), filepath.Join(filepath.Dir(self), "../libexec/vsrun")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, Name)
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		answer, err := Run("version", nil)
		if err != nil || !strings.HasPrefix(string(answer), "libseccomp") {
			t.Errorf("%s: %q %v", dir, answer, err)
		}
		first, err := ID()
		if err != nil || first == "" {
			t.Errorf("%s: id %q %v", dir, first, err)
		}
		time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		if second, _ := ID(); second == first {
			t.Errorf("%s: another file has the same id %q", dir, first)
		}
		os.Remove(path)
	}
}

func TestInstalledCopy(t *testing.T) {
	f := embedded()
	if f == nil {
		t.Skip("needs an embedded vsrun-helper: ", ErrMissing)
	}
	f.Close()
	path := elsewhere(t)
	b, err := files.ReadFile("bin/" + Name)
	if err != nil {
		t.Fatal(err)
	}
	id := bytes.Index(b, []byte(buildID(b[:1024])))
	other := bytes.Clone(b)
	other[id] ^= 1
	for name, c := range map[string]struct {
		content []byte
		mode    os.FileMode
		want    string
	}{
		"the same":      {b, 0o755, path},
		"another build": {other, 0o755, ""},
		"cut":           {b[:len(b)-1], 0o755, ""},
		"longer":        {append(bytes.Clone(b), 0), 0o755, ""},
		"writable":      {b, 0o775, ""},
		"no program":    {b, 0o644, ""},
	} {
		os.Remove(path)
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if got := installedCopy(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		img, err := openImage()
		if err != nil {
			t.Fatal(err)
		}
		if got := img.fd < 0; got != (c.want != "") {
			t.Errorf("%s: started from the file: %v", name, got)
		}
		img.close()
		if answer, err := Run("version", nil); err != nil || !strings.HasPrefix(string(answer), "libseccomp") {
			t.Errorf("%s: %q %v", name, answer, err)
		}
	}
}

func TestID(t *testing.T) {
	f := embedded()
	if f == nil {
		t.Skip("needs an embedded vsrun-helper: ", ErrMissing)
	}
	f.Close()
	id, err := ID()
	if err != nil || strings.Count(id, "/") != 3 {
		t.Errorf("id %q %v, want a Go build id of four parts", id, err)
	}
}

func TestBuildID(t *testing.T) {
	elf := func(rest string) []byte {
		return append([]byte("\x7fELF\x02\x01"+strings.Repeat("\x00", 58)), rest...)
	}
	note := "\x04\x00\x00\x00\x05\x00\x00\x00\x04\x00\x00\x00Go\x00\x00ab/cd\x00\x00\x00"
	for name, tc := range map[string]struct {
		b    []byte
		want string
	}{
		"found":      {elf("\x00\x00\x00\x00" + note), "ab/cd"},
		"no ELF":     {[]byte(strings.Repeat("x", 64) + note), ""},
		"no note":    {elf(strings.Repeat("\x00", 64)), ""},
		"cut":        {elf(note[:18]), ""},
		"other type": {elf("\x04\x00\x00\x00\x05\x00\x00\x00\x03\x00\x00\x00Go\x00\x00ab/cd\x00\x00\x00"), ""},
		"empty":      {nil, ""},
	} {
		if got := buildID(tc.b); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
