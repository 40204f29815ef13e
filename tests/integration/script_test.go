package integration

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vsrun/vsrun/tests/harness"
)

// TestScripts runs every script on this host's own cgroup layout.
func TestScripts(t *testing.T) {
	needRuntime(t)
	testscript.Run(t, params("testdata/script", nil, layout))
}

// The scripts that are run once more with nothing but cgroup2 mounted.
var onPureV2 = []string{"lifecycle", "run", "delete", "ns_new", "ns_join", "mount_cgroup", "mount_cgroup_userns", "cgroup_v2", "cgroup_frozen",
	"seccomp",
	"userns_cgroup", "rootless", "rootless_cgroup", "userns_join", "userns", "process_caps", "devices", "devices_userns", "exec", "exec_cgroup", "exec_states",
	"pause", "ps", "update", "events", "stat"}

// TestScriptsPureV2 runs some scripts in a mount namespace whose
// /sys/fs/cgroup is a cgroup2 mount, as on a host without v1.
func TestScriptsPureV2(t *testing.T) {
	needRuntime(t)
	if layout == "v2" {
		t.Skip("the layout is pure cgroup2 already: TestScripts covers it")
	}
	if !hasCgroup2() {
		t.Skip("the kernel has no cgroup2")
	}
	var files []string
	for _, name := range onPureV2 {
		files = append(files, filepath.Join("testdata/script", name+".txtar"))
	}
	testscript.Run(t, params("", files, "v2"))
}

func hasCgroup2() bool {
	data, err := os.ReadFile("/proc/filesystems")
	return err == nil && slices.Contains(strings.Fields(string(data)), "cgroup2")
}

// world is what the commands of one script share.
type world struct {
	tag     string
	work    string
	pureV2  bool
	code    int // of the last call
	calls   int // so far
	bg      map[string]*background
	outputs map[string]string // container id → file with its output
	talks   map[string]*harness.Talk
	sockets map[string]*socket
	uid     int // of the user who calls the runtime
	gid     int
	prefix  []string // what runs the runtime
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func newTag(name string) string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return "t" + hex.EncodeToString(b[:]) + "-" + strings.ReplaceAll(name, "_", "-")
}

func params(dir string, files []string, layout string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		Files:               files,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		ContinueOnError:     os.Getenv("VSRUN_TEST_CONTINUE") != "",
		Cmds:                commands,
		Condition:           func(c string) (bool, error) { return condition(c, layout) },
		Setup: func(env *testscript.Env) error {
			name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
			w := &world{
				tag:     newTag(name),
				work:    env.WorkDir,
				pureV2:  layout == "v2" && harness.CgroupLayout() != "v2",
				bg:      map[string]*background{},
				outputs: map[string]string{},
				talks:   map[string]*harness.Talk{},
				sockets: map[string]*socket{},
			}
			env.Values[worldKey{}] = w
			env.Setenv("ID", w.tag)
			env.Setenv("ROOT", filepath.Join(w.work, ".root"))
			env.Setenv("RUNTIME", rt.Path)
			env.Setenv("LAYOUT", layout)
			env.Setenv(harness.TagEnv, w.tag)
			tb := env.T().(testing.TB)
			env.Defer(func() { w.finish(tb) })
			if err := w.writeRT(); err != nil {
				return err
			}
			env.Setenv("RT", filepath.Join(w.work, ".rt"))
			return os.Mkdir(filepath.Join(w.work, ".out"), 0o755)
		},
	}
}

// writeRT writes the program that shell lines of a script call as $RT: the
// runtime with the script's --root, in the script's cgroup layout, with the
// shell's own process id.
func (w *world) writeRT() error {
	argv := slices.Concat(w.prefix, []string{rt.Path, "--root", filepath.Join(w.work, ".root")})
	if w.pureV2 {
		argv = harness.PureV2Args(argv...)
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	for _, e := range rt.Env {
		b.WriteString("export '" + e + "'\n")
	}
	b.WriteString("exec")
	for _, a := range argv {
		b.WriteString(" '" + a + "'")
	}
	b.WriteString(" \"$@\"\n")
	return os.WriteFile(filepath.Join(w.work, ".rt"), []byte(b.String()), 0o755)
}

// finish fails a script that left something behind, and clears it away.
func (w *world) finish(t testing.TB) {
	for name, b := range w.bg {
		if !t.Failed() {
			t.Errorf("background call %s was never waited for", name)
		}
		b.stop()
	}
	for _, s := range w.sockets {
		s.closer.Close()
	}
	if !t.Failed() && !t.Skipped() {
		for _, l := range harness.Leaks(w.tag, w.work, filepath.Join(w.work, ".root")) {
			t.Errorf("left behind: %s", l)
		}
	}
	harness.Purge(w.tag, w.work)
}

// condition answers what stands in [brackets] before a line of a script.
func condition(c, layout string) (bool, error) {
	kind, arg, _ := strings.Cut(c, ":")
	switch kind {
	case "runc", "crun", "vsrun":
		return rt.Name == kind, nil
	case "cgroup": // v1 stands for the controllers' own mounts, so for hybrid as well
		return arg == layout || arg == "v1" && layout == "hybrid", nil
	case "controller":
		version := "v1"
		if layout == "v2" {
			version = "v2"
		}
		return harness.Controllers(version)[arg], nil
	case "cap":
		n, err := strconv.Atoi(arg)
		return harness.HasCapability(n), err
	case "lsm":
		return harness.HasLSM(arg), nil
	case "systemd":
		_, err := os.Stat("/run/systemd/system")
		return err == nil, nil
	case "landlock": // of this version of its interface, at least
		n, err := strconv.Atoi(arg)
		return harness.LandlockABI() >= max(n, 1), err
	case "kernel":
		var major, minor int
		if _, err := fmt.Sscanf(arg, "%d.%d", &major, &minor); err != nil {
			return false, err
		}
		return harness.KernelAtLeast(major, minor), nil
	}
	return false, fmt.Errorf("unknown condition")
}
