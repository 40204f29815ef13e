package log

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var when = time.Date(2026, 1, 2, 16, 4, 5, 6, time.FixedZone("CET", 3600))

func TestText(t *testing.T) {
	for _, tc := range []struct {
		level     Level
		msg, want string
	}{
		{LevelError, "container does not exist", `time="2026-01-02T15:04:05Z" level=error msg="container does not exist"` + "\n"},
		{LevelWarn, "plain", `time="2026-01-02T15:04:05Z" level=warning msg=plain` + "\n"},
		{LevelInfo, "a\nb \"c\"", `time="2026-01-02T15:04:05Z" level=info msg="a\nb \"c\""` + "\n"},
		{LevelDebug, "", `time="2026-01-02T15:04:05Z" level=debug msg=` + "\n"},
	} {
		if got := string(appendText(nil, when, tc.level, tc.msg)); got != tc.want {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, msg := range []string{"container does not exist", "a\nb\t\"c\" \\ \x01 \x7f", "naïve 世界", "", "bad \xff utf-8"} {
		line := appendJSON(nil, when, LevelError, msg)
		var got map[string]string
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := map[string]string{"level": "error", "msg": strings.ToValidUTF8(msg, "\ufffd"), "time": "2026-01-02T15:04:05Z"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if n := strings.Count(string(line), "\n"); n != 1 {
			t.Errorf("%d newlines in %q", n, line)
		}
	}
}

func TestSetupErrors(t *testing.T) {
	var g logger
	if err := g.setup(Options{Format: "xml"}); err == nil || err.Error() != "invalid log-format: xml" {
		t.Errorf("format: got %v", err)
	}
	missing := filepath.Join(t.TempDir(), "no", "log")
	if err := g.setup(Options{File: missing}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing folder: got %v", err)
	}
}

// setupFile returns a logger on a file, a function that reads the file's lines,
// and one that reads what was written to stderr.
func setupFile(t *testing.T, o Options) (g *logger, lines, stderr func() []string) {
	t.Helper()
	dir := t.TempDir()
	o.File = filepath.Join(dir, "log")
	g = new(logger)
	if err := g.setup(o); err != nil {
		t.Fatal(err)
	}
	errFile, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = errFile
	t.Cleanup(func() { os.Stderr = old; errFile.Close(); g.file.Close() })
	read := func(path string) []string {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var out []string
		for s := bufio.NewScanner(f); s.Scan(); {
			out = append(out, s.Text())
		}
		return out
	}
	return g, func() []string { return read(o.File) }, func() []string { return read(errFile.Name()) }
}

// TestFailureLeavesOneObject: Podman decodes the whole file as one object.
func TestFailureLeavesOneObject(t *testing.T) {
	g, lines, stderr := setupFile(t, Options{Format: "json"})
	g.line(LevelWarn, "first")
	g.final(errors.New("the end"))
	if got := lines(); len(got) != 1 || !strings.HasPrefix(got[0], `{"level":"error","msg":"the end","time":"`) {
		t.Errorf("file: %q", got)
	}
	got := stderr()
	if len(got) != 2 || !strings.Contains(got[0], `"msg":"first"`) || got[1] != "the end" {
		t.Errorf("stderr: %q", got)
	}
}

// TestSuccessKeepsStderrClean: the runtime's stderr is the container's.
func TestSuccessKeepsStderrClean(t *testing.T) {
	g, lines, stderr := setupFile(t, Options{Format: "json"})
	g.line(LevelWarn, "first")
	g.line(LevelInfo, "second")
	g.flush()
	g.flush()
	if got := lines(); len(got) != 2 || !strings.Contains(got[0], "first") || !strings.Contains(got[1], "second") {
		t.Errorf("file: %q", got)
	}
	if got := stderr(); len(got) != 0 {
		t.Errorf("stderr: %q", got)
	}
}

func TestNothingHeldBack(t *testing.T) {
	for _, o := range []Options{{Format: "json", Debug: true}, {Format: "text"}} {
		g, lines, _ := setupFile(t, o)
		g.line(LevelWarn, "first")
		if got := lines(); len(got) != 1 {
			t.Errorf("%+v: %q", o, got)
		}
	}
}
