package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const events = `{"Action":"run","Package":"m/vsrun/a","Test":"TestX"}
{"Action":"run","Package":"m/vsrun/a","Test":"TestX/one"}
{"Action":"output","Package":"m/vsrun/a","Test":"TestX/one","Output":"    a_test.go:3: broken here\n"}
{"Action":"fail","Package":"m/vsrun/a","Test":"TestX/one","Elapsed":0.1}
{"Action":"run","Package":"m/vsrun/a","Test":"TestX/two"}
{"Action":"pass","Package":"m/vsrun/a","Test":"TestX/two"}
{"Action":"fail","Package":"m/vsrun/a","Test":"TestX"}
{"Action":"run","Package":"m/vsrun/a","Test":"TestY"}
{"Action":"output","Package":"m/vsrun/a","Test":"TestY","Output":"    a_test.go:9: needs root: a mount\n"}
{"Action":"skip","Package":"m/vsrun/a","Test":"TestY"}
{"Action":"fail","Package":"m/vsrun/a","Elapsed":0.2}
{"Action":"skip","Package":"m/vsrun/empty"}
{"ImportPath":"m/vsrun/b [m/vsrun/b.test]","Action":"build-output","Output":"b.go:1: syntax error\n"}
{"ImportPath":"m/vsrun/b [m/vsrun/b.test]","Action":"build-fail"}
{"Action":"fail","Package":"m/vsrun/b","FailedBuild":"m/vsrun/b [m/vsrun/b.test]"}
not JSON
`

func TestReport(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out, results: map[string]*result{}, builds: map[string]*strings.Builder{}}
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if failed := r.close(time.Second, errors.New("exit status 1")); !failed {
		t.Error("not reported as failed")
	}
	for _, want := range []string{
		"FAIL m/vsrun/a: 1 passed, 1 failed, 1 skipped (0.2s)\n--- FAIL TestX/one (0.1s)\n",
		"broken here", "     a TestY: needs root: a mount\n", "syntax error", "not JSON\n",
		"without tests of their own: empty\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if want := "\n1 passed, 2 failed, 1 skipped\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the end is not %q:\n%s", want, &out)
	}
}

// A run that dies before any test counts as failed.
func TestReportNothing(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out, results: map[string]*result{}, builds: map[string]*strings.Builder{}}
	if !r.close(0, errors.New("exit status 2")) || !strings.HasSuffix(out.String(), "0 passed, 1 failed, 0 skipped\n") {
		t.Errorf("%s", &out)
	}
	out.Reset()
	if r.close(0, nil) || !strings.HasSuffix(out.String(), "0 passed, 0 failed, 0 skipped\n") {
		t.Errorf("%s", &out)
	}
}

func TestModules(t *testing.T) {
	dirs, args := modules([]string{"-also", "a", "-also", "b/c", "-run", "X", "./..."})
	if strings.Join(dirs, " ") != ". a b/c" || strings.Join(args, " ") != "-run X ./..." {
		t.Errorf("%q, %q", dirs, args)
	}
	if dirs, args := modules(nil); len(dirs) != 1 || len(args) != 0 {
		t.Errorf("%q, %q", dirs, args)
	}
}

// A test that is cut off by a time-out, whose subtests had passed: test2json ends with the innermost test that ran.
func TestReportCutOff(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out, results: map[string]*result{}, builds: map[string]*strings.Builder{}}
	const events = `{"Action":"run","Package":"m/vsrun/a","Test":"TestX"}
{"Action":"run","Package":"m/vsrun/a","Test":"TestX/one"}
{"Action":"run","Package":"m/vsrun/a","Test":"TestX/one/first"}
{"Action":"pass","Package":"m/vsrun/a","Test":"TestX/one/first"}
{"Action":"output","Package":"m/vsrun/a","Test":"TestX/one","Output":"panic: test timed out after 1s\n"}
{"Action":"fail","Package":"m/vsrun/a","Test":"TestX/one","Elapsed":1}
`
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if !r.close(0, nil) || !strings.HasSuffix(out.String(), "1 passed, 1 failed, 0 skipped\n") || !strings.Contains(out.String(), "timed out") {
		t.Errorf("%s", &out)
	}
}
