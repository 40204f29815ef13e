package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// tag is in every id, and so in every cgroup's name; the first process has chosen it.
var tag = harness.Prefix()

// scene is a bundle, a state root, and a container that must not be touched.
type scene struct {
	t         *testing.T
	dir, root string
	id        string
	bystander string
	pid       int // of the bystander
	terminals *terminals
	trace     string
	filters   []string // hashes of the bundle's device filter
	before    []string // the world without the container
	env       []string
	prefix    []string
	cold      []string // the fixture's
	said      map[string]bool
}

func newScene(t *testing.T) *scene {
	t.Helper()
	needRuntime(t)
	s := &scene{t: t, dir: t.TempDir(), id: tag + ".1", bystander: tag + ".other", said: map[string]bool{}}
	s.root = filepath.Join(s.dir, "root")
	s.trace = filepath.Join(s.dir, "trace")
	s.env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR")}
	s.terminals = listenTerminals(t, filepath.Join(s.dir, "console.sock"))
	listenNotify(t)
	other := []string{"args:/bin/sleep 100000", `linux.namespaces+={"type":"time"}`}
	if v1["pids"] || v2["pids"] {
		other = append(other, `linux.resources={"pids":{"limit":77}}`)
	}
	if err := harness.MakeBundle(filepath.Join(s.dir, "other"), probe, other...); err != nil {
		t.Fatal(err)
	}
	s.must("run", "-d", "-b", filepath.Join(s.dir, "other"), s.bystander)
	s.pid = s.state(s.bystander).Pid
	t.Cleanup(func() {
		s.must("delete", "--force", s.bystander)
		s.must("delete", "--force", s.id)
	})
	return s
}

// bundle makes one, and runs a container of it once: mount points are made in
// a rootfs, and caches filled.
func (s *scene) bundle(name string, edits ...string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	edits = append([]string{"args:/bin/sleep 100000", ownDevice}, edits...)
	if err := harness.MakeBundle(dir, probe, edits...); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *scene) call(args ...string) harness.Call {
	return harness.Call{Path: rt.Path, Args: append([]string{"--root", s.root}, args...), Env: s.env, Prefix: s.prefix}
}

func (s *scene) try(args ...string) harness.Result {
	s.t.Helper()
	return rt.Try(s.t, s.call(args...))
}

func (s *scene) must(args ...string) harness.Result {
	s.t.Helper()
	return rt.Must(s.t, s.call(args...))
}

type report struct {
	ID, Status string
	Pid        int
}

// state of a container; the zero report if there is none.
func (s *scene) state(id string) (st report) {
	s.t.Helper()
	res := s.try("state", id)
	if res.Code != 0 {
		if !strings.Contains(res.Stderr, "container does not exist") && !strings.Contains(res.Stderr, "is damaged") {
			s.t.Errorf("state: exit code %d: %s", res.Code, res.Stderr)
		}
		return st
	}
	if err := json.Unmarshal([]byte(res.Stdout), &st); err != nil {
		s.t.Errorf("state: %v: %q", err, res.Stdout)
	}
	return st
}

// world is what there is; the test's own files are left out.
func (s *scene) world() []string {
	ignore := append([]string{s.trace, filepath.Join(s.dir, "pid"), s.images()}, kept...)
	all := harness.World(tag, s.filters, append(ignore, s.cold...)...)
	return slices.DeleteFunc(all, func(l string) bool { // which goes with the container, and the other end with it
		return strings.HasPrefix(l, "network device: vsfault")
	})
}

// kept are files that are meant to stay: caches, a mount point, a registry;
// and what CRIU leaves in /tmp when it is killed.
var kept = []string{"/run/vsrun-seccomp", "/run/vsrun-criu", "/run/vsrun-cgroup-flags", "/run/criu.kdat", "/run/overlay/upper/vsrun-xid-*",
	"/run/overlay/upper/.criu.*", "/run/overlay/work/*"}

// images is where checkpoints go.
func (s *scene) images() string { return filepath.Join(s.dir, "images") }

func (s *scene) settle(before []string) []string {
	return harness.Settle(before, s.world)
}

// unharmed checks that the others can be used: list and state answer, and the
// bystander is what it was.
func (s *scene) unharmed(where string) {
	s.t.Helper()
	res := s.try("list", "--format", "json")
	var list []report
	if err := json.Unmarshal([]byte(res.Stdout), &list); res.Code != 0 || err != nil {
		s.t.Errorf("%s: list: exit code %d, %v: %s%s", where, res.Code, err, res.Stderr, res.Stdout)
	}
	if !slices.ContainsFunc(list, func(r report) bool { return r == report{s.bystander, "running", s.pid} }) {
		s.t.Errorf("%s: list has not the other container as it was: %s", where, res.Stdout)
	}
	if limit := cgroupFile(s.bystander, "pids.max"); limit != "" && limit != "77" {
		s.t.Errorf("%s: pids.max of the other container is %s", where, limit)
	}
}

// cgroupFile reads a file of a container's cgroup, "" if there is none.
func cgroupFile(id, name string) string {
	for _, dir := range []string{"/sys/fs/cgroup/pids/", "/sys/fs/cgroup/unified/", "/sys/fs/cgroup/"} {
		if b, err := os.ReadFile(dir + id + "/" + name); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	return ""
}

// gone deletes the container, and checks that nothing of it is left.
func (s *scene) gone(where string) {
	s.t.Helper()
	s.terminals.hangUp()
	if res := s.try("delete", "--force", s.id); res.Code != 0 {
		s.t.Errorf("%s: delete --force: exit code %d: %s", where, res.Code, res.Stderr)
	}
	if diff := s.settle(s.before); len(diff) > 0 {
		s.t.Errorf("%s: after delete --force:\n\t%s", where, strings.Join(diff, "\n\t"))
		s.clear(diff)
	}
}

// clear makes the best of what a failed round has left, so that the next one
// begins as this one did.
func (s *scene) clear(diff []string) {
	for _, d := range diff {
		if f := strings.Fields(d); len(f) > 2 && f[0] == "left:" {
			switch f[1] {
			case "process:":
				if pid, err := strconv.Atoi(f[2]); err == nil && pid > 1 && pid != os.Getpid() {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			case "mount:":
				// One that is only not what it was is somebody's.
				changed := slices.ContainsFunc(diff, func(l string) bool { return len(f) > 2 && strings.HasPrefix(l, "gone: mount: "+f[2]+" ") })
				if len(f) > 6 && !changed {
					_ = unix.Unmount(f[6], unix.MNT_DETACH)
				}
			case "file:":
				_ = os.RemoveAll(f[2])
			}
		}
	}
	for range 100 {
		left := 0
		for _, d := range harness.World(tag, nil) {
			if p, ok := strings.CutPrefix(d, "cgroup: "); ok && !strings.Contains(p, s.bystander) {
				_ = os.WriteFile(p+"/freezer.state", []byte("THAWED"), 0)
				if os.Remove(p) != nil {
					left++
				}
			}
		}
		if left == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.before = s.world()
	s.failures()
}

// failures ends a test that fails and fails.
func (s *scene) failures() {
	n, _ := strconv.Atoi(os.Getenv("VSRUN_TEST_FAILURES"))
	if n == 0 {
		n = 5
	}
	s.said[fmt.Sprint(len(s.said))] = true
	if len(s.said) >= n {
		s.t.Fatal("that is enough")
	}
}

// sane checks the words of a failed call: one line, and no trace of a crash.
func (s *scene) sane(where string, res harness.Result) {
	s.t.Helper()
	text := strings.TrimSpace(res.Stderr)
	if strings.Contains(text, "cannot open standard fds") {
		return // Go's own start, which has no other words
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic:") || strings.Contains(text, "fatal error:") {
		s.t.Errorf("%s: a crash: %s", where, text)
		return
	}
	if strings.Contains(text, "still alive") {
		s.t.Errorf("%s: what was killed was held back: %s", where, text)
	}
	lines := strings.Split(text, "\n")
	errors := 0
	for _, l := range lines {
		// CRIU, when it restores, has the container's output for its own words.
		if !strings.Contains(l, "level=warning") && !strings.HasPrefix(l, "Error (criu/") {
			errors++
		}
	}
	if text == "" || errors != 1 {
		s.t.Errorf("%s: exit code %d, and says %q", where, res.Code, res.Stderr)
	}
}
