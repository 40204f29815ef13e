package criu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `(00.000000) Version: 4.1.1 (gitid 0)
(00.035905) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.071449) Warn  (compel/arch/x86/src/lib/infect.c:418): Will restore 7198 with interrupted system call
(00.100000) Dumping an Error that is none
(00.140229) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1 path=/tmp/cr/out
(00.140244)      7: Error (criu/cr-dump.c:1681): Dump files (pid: 17926) failed with -1
(00.190692) Error (criu/cr-dump.c:2111): Dumping FAILED.`

func TestReadLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dump.log")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	q := ReadLog(file, 10)
	if want := "Can't lookup mount=27 for fd=1 path=/tmp/cr/out"; q.Cause != want {
		t.Errorf("cause %q, want %q", q.Cause, want)
	}
	if len(q.Lines) != 5 || !strings.HasSuffix(q.Lines[4], "Dumping FAILED.") || !strings.Contains(q.Lines[1], "Will restore") {
		t.Errorf("lines: %q", q.Lines)
	}
	if q := ReadLog(file, 2); len(q.Lines) != 2 || !strings.Contains(q.Lines[0], "failed with -1") || q.Cause == "" {
		t.Errorf("two lines: %q", q)
	}
	if q := ReadLog(file+"x", 10); len(q.Lines) != 0 || q.Cause != "" {
		t.Errorf("no file: %q", q)
	}
}

func TestParseLine(t *testing.T) {
	for line, want := range map[string][2]string{
		"(00.1) Error (a.c:1): text: (b): c":   {"Error", "text: (b): c"},
		"(00.1)     12: Error (a.c:1): text":   {"Error", "text"},
		"(00.1) Warn  (a.c:1): text":           {"Warn", "text"},
		"(00.1) pie: 1: Error (a.c:1): text":   {},
		"(00.1) Error":                         {},
		"(00.1 Error (a.c:1): text":            {},
		"Error (a.c:1): text":                  {},
		"(00.1) Errors: text":                  {},
		"":                                     {},
		"(00.1) Error without a place in code": {"Error", "without a place in code"},
	} {
		level, text, ok := parseLine(line)
		if got := [2]string{level, text}; got != want || ok != (want[0] != "") {
			t.Errorf("%q: %q, %v", line, got, ok)
		}
	}
}
