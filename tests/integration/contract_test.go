package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// These are the parts of what engines expect (tests/engines/CONTRACT.md) that take an engine's own code to prove: the
// functions named after engines do what theirs do.

// dockerCode is the exit code that "docker run" has after a runtime's error: setExitCodeFromError in moby's daemon/errors.go.
func dockerCode(msg string) int {
	msg = strings.ToLower(msg)
	has := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(msg, s) })
	}
	switch {
	case has("executable file not found", "no such file or directory", "system cannot find the file specified", "failed to run runc create/exec call"):
		return 127
	case has("permission denied", "is a directory"):
		return 126
	case has("not a directory"):
		return 127
	}
	return 128
}

// podmanCode is the exit code that "podman run" has after it: getOCIRuntimeError in libpod/oci_util.go.
func podmanCode(msg string) int {
	switch {
	case regexp.MustCompile("(?i).*permission denied.*|.*operation not permitted.*").MatchString(msg):
		return 126
	case regexp.MustCompile("(?i).*executable file not found in.*|.*no such file or directory.*|.*open executable.*").MatchString(msg):
		return 127
	}
	return 125
}

// shimError is what containerd's shim makes of its log: the last error in it (getLastRuntimeError in process/utils.go).
func shimError(t *testing.T, file string) (last string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var l struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("%s: %q: %v", file, line, err)
		}
		if l.Level == "error" {
			last = strings.TrimSpace(l.Msg)
		}
	}
	return last
}

// podmanError is what Podman makes of it: the whole file is one JSON object (readConmonPipeData in oci_conmon_common.go).
func podmanError(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var l struct{ Level, Msg string }
	if err := json.Unmarshal(data, &l); err != nil {
		t.Errorf("%s: %v: %s", file, err, data)
	}
	return l.Msg
}

// TestErrorClasses: engines sort a program that can't be started by the words of the error.
func TestErrorClasses(t *testing.T) {
	p := newPlace(t)
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(p.bundle(), "rootfs", name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("plain", "x", 0o644)
	write("closed", "#!/bin/sh\n", 0o600)
	write("script", "#!/no/shell\n", 0o755)
	for _, tc := range []struct {
		name           string
		edits          []string
		docker, podman int
	}{
		{"not in PATH", []string{"args:nosuchprogram"}, 127, 127},
		{"absolute and not there", []string{"args:/no/such/program"}, 127, 127},
		{"relative and not there", []string{"args:./nosuchprogram"}, 127, 127},
		{"not executable", []string{"args:/plain"}, 126, 126},
		{"not executable for this user", []string{"args:/closed", "process.user.uid=1000"}, 126, 126},
		{"a directory", []string{"args:/etc"}, 126, 126},
		{"no interpreter", []string{"args:/script"}, 127, 127},
		{"no working directory", []string{"args:/bin/true", "process.cwd=/plain"}, 127, 0},
		{"source of a mount not there", []string{`mounts+={"destination":"/mnt","type":"bind","source":"/no/such/source","options":["bind"]}`}, 127, 127},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if rt.Name == "runc" && tc.name == "no interpreter" {
				t.Skip("runc 1.1 notes it on standard error alone")
			}
			p.t = t
			if err := harness.EditFile(filepath.Join(p.bundle(), "config.json"), tc.edits...); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := harness.EditFile(filepath.Join(p.bundle(), "config.json"), "process.cwd=/", "process.user.uid=0"); err != nil {
					t.Fatal(err)
				}
			}()
			log := filepath.Join(t.TempDir(), "log.json")
			res := p.try("--log", log, "--log-format", "json", "run", "-b", p.bundle(), p.tag)
			if res.Code != 1 {
				t.Errorf("exit code %d", res.Code)
			}
			msg := shimError(t, log)
			if whole := podmanError(t, log); whole != msg || msg == "" {
				t.Errorf("Podman reads %q, containerd %q", whole, msg)
			}
			if lines := strings.Split(strings.TrimSpace(res.Stderr), "\n"); lines[len(lines)-1] != msg {
				t.Errorf("the last line of standard error is %q, the log has %q", lines[len(lines)-1], msg)
			}
			if got := dockerCode(msg); got != tc.docker {
				t.Errorf("Docker's exit code is %d, want %d: %s", got, tc.docker, msg)
			}
			if got := podmanCode(msg); tc.podman != 0 && got != tc.podman {
				t.Errorf("Podman's exit code is %d, want %d: %s", got, tc.podman, msg)
			}
			p.noLeaks()
		})
	}
}

// TestDockerVersion reads --version as Docker does: parseRuntimeVersion in moby's daemon/info_unix.go.
func TestDockerVersion(t *testing.T) {
	needRuntime(t)
	res, err := rt.Run(harness.Call{Args: []string{"--version"}})
	if err != nil || res.Code != 0 || res.Stderr != "" {
		t.Fatalf("%d %v %q", res.Code, err, res.Stderr)
	}
	var name, version, commit string
	for line := range strings.Lines(strings.TrimSpace(res.Stdout)) {
		if strings.Contains(line, "version") {
			s := strings.Split(line, "version")
			name, version = strings.TrimSpace(s[0]), strings.TrimSpace(s[len(s)-1])
		} else if c, ok := strings.CutPrefix(line, "commit:"); ok {
			commit = strings.TrimSpace(c)
		}
	}
	if name != rt.Name || !regexp.MustCompile(`^[0-9]+\.[0-9]+`).MatchString(version) || commit == "" {
		t.Errorf("name %q, version %q, commit %q of %s", name, version, commit, res.Stdout)
	}
}

// TestShimReapsInit: the shim is a subreaper, and learns of the end of a container by waiting for its first process. exec
// --detach likewise.
func TestShimReapsInit(t *testing.T) {
	p := newPlace(t, "sh:exit 7")
	const process = `{"user":{"uid":0,"gid":0},"args":["/bin/sh","-c","exit 9"],"env":["PATH=/bin"],"cwd":"/"}`
	file := filepath.Join(p.dir, "process.json")
	if err := os.WriteFile(file, []byte(process), 0o644); err != nil {
		t.Fatal(err)
	}
	// a process of its own, which is the shim: it starts, and waits for what it did not start itself
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	shim := func(want int, args ...string) {
		t.Helper()
		cmd := exec.Command(self)
		cmd.Env = append(slices.Clone(p.env), "VSRUN_TEST_SHIM="+strings.Join(append([]string{rt.Path, "--root", p.root}, args...), "\n"), "VSRUN_TEST_PIDFILE="+filepath.Join(p.dir, "pid"))
		cmd.Env = append(cmd.Env, rt.Env...)
		// the container has the shim's streams, so no pipe of ours
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != want {
			t.Errorf("%v: the process's exit code is %v, want %d", args, err, want)
		}
	}
	if layout == "v2" && harness.CgroupLayout() != "v2" {
		t.Skip("this runtime needs a cgroup layout of its own here")
	}
	pidFile := filepath.Join(p.dir, "pid")
	shim(7, "run", "--detach", "--bundle", p.bundle(), "--pid-file", pidFile, p.tag)
	p.must("delete", "--force", p.tag)
	if err := harness.EditFile(filepath.Join(p.bundle(), "config.json"), "args:/bin/probe trap"); err != nil {
		t.Fatal(err)
	}
	p.must("run", "--detach", "--bundle", p.bundle(), p.tag)
	shim(9, "exec", "--process", file, "--detach", "--pid-file", pidFile, p.tag)
	p.must("delete", "--force", p.tag)
	p.noLeaks()
}

// beShim is the shim of TestShimReapsInit. It returns its exit code: that of the process that the runtime has left behind.
func beShim(line, pidFile string) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "prctl:", err)
		return 100
	}
	args := strings.Split(line, "\n")
	if err := exec.Command(args[0], args[1:]...).Run(); err != nil {
		return 101
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 102
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 103
	}
	var st unix.WaitStatus
	if _, err := unix.Wait4(pid, &st, 0, nil); err != nil {
		fmt.Fprintf(os.Stderr, "wait for %d: %v\n", pid, err)
		return 104
	}
	return st.ExitStatus()
}

// TestShapes: the keys of the documents that engines and tools read, all of them.
func TestShapes(t *testing.T) {
	p := newPlace(t, "args:/bin/probe trap", `annotations={"a":"b"}`)
	p.must("run", "-d", "-b", p.bundle(), p.tag)
	defer p.noLeaks()
	defer p.must("delete", "--force", p.tag)
	keys := func(what, text, want string) {
		t.Helper()
		var doc map[string]any
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		got := slices.Sorted(maps.Keys(doc))
		if d := cmp.Diff(strings.Fields(want), got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	keys("state", p.must("state", p.tag).Stdout, "annotations bundle created id ociVersion owner pid rootfs status")
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(p.must("list", "--format=json").Stdout), &list); err != nil || len(list) != 1 {
		t.Fatalf("list: %v, %d", err, len(list))
	}
	keys("list", string(list[0]), "annotations bundle created id ociVersion owner pid rootfs status")
	keys("events", p.must("events", "--stats", p.tag).Stdout, "data id type")

	// what tools peek for in the runtime's own file
	data, err := os.ReadFile(filepath.Join(p.root, p.tag, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields("id init_process_pid init_process_start created config rootless cgroup_paths namespace_paths external_descriptors intel_rdt_path") {
		if _, ok := doc[key]; !ok {
			t.Errorf("state.json has no %s", key)
		}
	}
	ns, _ := doc["namespace_paths"].(map[string]any)
	if s, _ := ns["NEWNS"].(string); !regexp.MustCompile(`^/proc/\d+/ns/mnt$`).MatchString(s) {
		t.Errorf("namespace_paths: %v", ns)
	}
	// by controller; that of version 2 has no name
	paths, _ := doc["cgroup_paths"].(map[string]any)
	if _, ok := paths[""].(string); ok != (layout != "v1") || (len(paths) > 1) == (layout == "v2") {
		t.Errorf("cgroup_paths on %s: %v", layout, paths)
	}
}
