package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
)

// fake notes the calls on libvserver instead of making them.
type fake struct {
	global *global
	calls  []string
	err    error
	status int
}

func (f *fake) setGlobal(g *global) { f.global = g }

func (f *fake) call(format string, args ...any) error {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) Create(o *libvserver.CreateOptions) error { return f.call("create %+v", *o) }
func (f *fake) Run(o *libvserver.RunOptions) (int, error) {
	return f.status, f.call("run %+v", *o)
}
func (f *fake) Exec(o *libvserver.ExecOptions) (int, error) {
	return f.status, f.call("exec %+v", *o)
}
func (f *fake) Start(id string) error { return f.call("start %q", id) }
func (f *fake) Kill(id string, sig unix.Signal, all bool) error {
	return f.call("kill %q %d %v", id, int(sig), all)
}
func (f *fake) Delete(id string, force bool) error { return f.call("delete %q %v", id, force) }
func (f *fake) Report(id string) (*state.Report, error) {
	return report(id), f.call("state %q", id)
}
func (f *fake) List() ([]state.Report, error) {
	return []state.Report{*report("a"), *report("b")}, f.call("list")
}
func (f *fake) Explain(bundle, config string) (*plan.Plan, error) {
	return &plan.Plan{Warnings: []string{"careful"}}, f.call("explain %q %q", bundle, config)
}

func report(id string) *state.Report {
	return &state.Report{
		OCIVersion: "1.3.0", ID: id, Pid: 42, Status: specs.StateRunning, Bundle: "/b", Rootfs: "/b/rootfs",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Owner: "root",
	}
}

// called runs a command line on a fake.
func called(f *fake, line ...string) (out string, status int, err error) {
	return calledOn(f, line...)
}

// calledOn runs a command line on anything that has the verbs.
func calledOn(f interface {
	verbs
	setGlobal(g *global)
}, line ...string) (out string, status int, err error) {
	var b bytes.Buffer
	a := &app{
		program: "vsrun", build: Build{Version: "1.2.3", Commit: "abc", Libseccomp: "2.5.4"}, stdout: &b,
		open: func(g *global, _ *Build) (verbs, error) { f.setGlobal(g); return f, nil },
	}
	status, err = a.run(line)
	return b.String(), status, err
}

func TestCalls(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"start a", `start "a"`},
		{"state a", `state "a"`},
		{"kill a", `kill "a" 15 false`},
		{"kill a KILL", `kill "a" 9 false`},
		{"kill -a a 9", `kill "a" 9 true`},
		{"kill --all a SIGHUP", `kill "a" 1 true`},
		{"kill a usr1 -all", `kill "a" 10 true`}, // after arguments, with one dash
		{"kill --all=false a 0", `kill "a" 0 false`},
		{"delete a", `delete "a" false`},
		{"delete a --force", `delete "a" true`},
		{"delete -f -- -a", `delete "-a" true`},
		{"delete -- -f", `delete "-f" false`},
		{"list", "list"},
		{"list -q", "list"},
		{"explain", `explain "" ""`},
		{"explain b", `explain "b" ""`},
		{"explain --format json b", `explain "b" ""`},
		{"explain b --format=json -f c", `explain "b" "c"`},
		{"create a", "create {ID:a Bundle: ConfigFile: ConsoleSocket: PidFile: PidfdSocket: NoPivot:false NoNewKeyring:false PreserveFDs:0}"},
		{"create -b B -f F --console-socket C --pid-file=P -pidfd-socket Q --no-pivot --no-new-keyring --preserve-fds 3 a",
			"create {ID:a Bundle:B ConfigFile:F ConsoleSocket:C PidFile:P PidfdSocket:Q NoPivot:true NoNewKeyring:true PreserveFDs:3}"},
		{"create -bundle B --config F --no-subreaper a",
			"create {ID:a Bundle:B ConfigFile:F ConsoleSocket: PidFile: PidfdSocket: NoPivot:false NoNewKeyring:false PreserveFDs:0}"},
		{"run -d --keep -no-subreaper a --bundle B",
			"run {CreateOptions:{ID:a Bundle:B ConfigFile: ConsoleSocket: PidFile: PidfdSocket: NoPivot:false NoNewKeyring:false PreserveFDs:0} Detach:true Keep:true NoSubreaper:true}"},
		{"run --bundle -- a", // -- is the value here
			"run {CreateOptions:{ID:a Bundle:-- ConfigFile: ConsoleSocket: PidFile: PidfdSocket: NoPivot:false NoNewKeyring:false PreserveFDs:0} Detach:false Keep:false NoSubreaper:false}"},
	} {
		f := &fake{status: 7}
		_, status, err := called(f, strings.Fields(tc.line)...)
		if err != nil {
			t.Errorf("%s: %v", tc.line, err)
		}
		if d := cmp.Diff([]string{tc.want}, f.calls); d != "" {
			t.Errorf("%s: %s", tc.line, d)
		}
		want := 0
		if strings.HasPrefix(tc.line, "run") {
			want = 7
		}
		if status != want {
			t.Errorf("%s: status %d, want %d", tc.line, status, want)
		}
	}
}

// TestMisuse: the error, with the help of the command on standard output.
func TestMisuse(t *testing.T) {
	for _, tc := range []struct{ line, out, err string }{
		{"kill", "Incorrect Usage.\n\nNAME:\n   vsrun kill - ", `vsrun: "kill" requires a minimum of 1 argument(s)`},
		{"kill a b c", "Incorrect Usage.\n\nNAME:\n   vsrun kill - ", `vsrun: "kill" requires a maximum of 2 argument(s)`},
		{"state", "Incorrect Usage.\n\nNAME:\n   vsrun state - ", `vsrun: "state" requires exactly 1 argument(s)`},
		{"run a b", "Incorrect Usage.\n\nNAME:\n   vsrun run - ", `vsrun: "run" requires exactly 1 argument(s)`},
		{"list x", "Incorrect Usage.\n\nNAME:\n   vsrun list - ", `vsrun: "list" requires exactly 0 argument(s)`},
		{"create --bogus a", "Incorrect Usage: flag provided but not defined: -bogus\n\nNAME:\n   vsrun create - ", "flag provided but not defined: -bogus"},
		{"create a --bogus", "Incorrect Usage: flag provided but not defined: -bogus\n\nNAME:\n   vsrun create - ", "flag provided but not defined: -bogus"},
		{"create a --bundle", "Incorrect Usage: flag needs an argument: -bundle\n\nNAME:\n   vsrun create - ", "flag needs an argument: -bundle"},
		{"create --preserve-fds -1 a", "Incorrect Usage: invalid", `invalid value "-1" for flag -preserve-fds: not a number from 0 on`},
		{"--bogus list", "Incorrect Usage. flag provided but not defined: -bogus\n\nNAME:\n   vsrun - ", "flag provided but not defined: -bogus"},
		{"--root", "Incorrect Usage. flag needs an argument: -root\n\nNAME:\n   vsrun - ", "flag needs an argument: -root"},
		{"bogus", "", "No help topic for 'bogus'"},
		{"help bogus", "", "No help topic for 'bogus'"},
		{"list -f xml", "", `invalid format option "xml": table or json`},
		{"explain --format xml", "", `invalid format option "xml": text or json`},
		{"doctor --format xml", "", `invalid format option "xml": text or json`},
		{"kill a NOSUCH", "", `unknown signal "NOSUCH"`},
		{"--log-format xml list", "", "invalid log-format: xml"},
		{"--rootless maybe list", "", `--rootless: unknown value "maybe": true, false or auto`},
		{"--cgroup-manager x list", "", `--cgroup-manager: unknown manager "x": cgroupfs, systemd or disabled`},
	} {
		f := new(fake)
		out, _, err := called(f, strings.Fields(tc.line)...)
		if err == nil || err.Error() != tc.err {
			t.Errorf("%s: error %q, want %q", tc.line, err, tc.err)
		}
		if !strings.HasPrefix(out, tc.out) || tc.out == "" && out != "" {
			t.Errorf("%s: printed %q", tc.line, out)
		}
		if len(f.calls) != 0 {
			t.Errorf("%s: called %q", tc.line, f.calls)
		}
	}
}

func TestExitCodes(t *testing.T) {
	_, _, err := called(new(fake), "bogus")
	var code *exitError
	if !errors.As(err, &code) || code.status != 3 {
		t.Errorf("unknown command: %v", err)
	}
	want := errors.New("it failed")
	if _, _, err := called(&fake{err: want, status: 9}, "run", "a"); !errors.Is(err, want) {
		t.Errorf("run: %v", err)
	}
}

func TestGlobal(t *testing.T) {
	for _, tc := range []struct {
		line string
		want global
	}{
		{"list", global{rootless: "auto"}},
		{"--systemd-cgroup --rootless=true list", global{systemdCgroup: true, rootless: "true"}},
		{"-systemd-cgroup=false --rootless 0 list", global{rootless: "false"}},
		{"--rootless AUTO list", global{rootless: "auto"}},
		{"--cgroup-manager systemd list", global{cgroupManager: "systemd", systemdCgroup: true, rootless: "auto"}},
		{"--cgroup-manager=disabled list", global{cgroupManager: "disabled", rootless: "auto"}},
		{"--root /r list", global{root: "/r", rootless: "auto"}},
	} {
		f := new(fake)
		if _, _, err := called(f, strings.Fields(tc.line)...); err != nil {
			t.Errorf("%s: %v", tc.line, err)
			continue
		}
		tc.want.log.Format = "text"
		if *f.global != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.line, *f.global, tc.want)
		}
	}
}

func TestRootOfTheHost(t *testing.T) {
	for _, root := range []string{"/", "//", "/a/.."} {
		if _, err := (&global{root: root}).store(); err == nil {
			t.Errorf("%s is taken for a state directory", root)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, flag := range []string{"--version", "-v", "-V", "-version"} {
		out, _, err := called(new(fake), flag)
		if err != nil || !strings.HasPrefix(out, "vsrun version 1.2.3\ncommit: abc\nspec: 1.3.0\ngo: go1.") || !strings.HasSuffix(out, "\nlibseccomp: 2.5.4\n") {
			t.Errorf("%s: %q, %v", flag, out, err)
		}
	}
	var unset Build
	if out := string(unset.appendVersion(nil)); strings.Contains(out, "version \n") || strings.Contains(out, "commit: \n") {
		t.Errorf("unset: %q", out)
	}
}

func TestSpec(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	if _, _, err := called(new(fake), "spec", "-b", dir); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(first, []byte(`"ociVersion"`)) {
		t.Errorf("%q, %v", first, err)
	}
	_, _, err = called(new(fake), "spec", "--rootless", "--bundle", dir)
	if err == nil || err.Error() != "File "+file+" exists. Remove it first" {
		t.Errorf("over a file: %v", err)
	}
	if again, err := os.ReadFile(file); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the file has changed: %q, %v", again, err)
	}
	other := filepath.Join(dir, "other")
	if _, _, err := called(new(fake), "spec", "-rootless", "-f", other); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(other); err != nil || !bytes.Contains(b, []byte(`"uidMappings"`)) {
		t.Errorf("rootless: %q, %v", b, err)
	}
	if _, _, err := called(new(fake), "spec", "-b", filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// TestFullDisk: what could not be printed is an error.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	a := &app{stdout: full, open: func(*global, *Build) (verbs, error) { return new(fake), nil }}
	for _, line := range []string{"--version", "help", "kill --help", "features", "list", "state a", "explain"} {
		if _, err := a.run(strings.Fields(line)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
