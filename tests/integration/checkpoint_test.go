package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/tests/harness"
)

// needCriu skips a test where CRIU can't do what it is about, with CRIU's own
// reason. Features are those of `criu check --feature`.
func needCriu(t *testing.T, features ...string) {
	t.Helper()
	needRuntime(t)
	path, err := exec.LookPath("criu")
	if err != nil {
		t.Skip("needs CRIU: ", err)
	}
	check := func(what string, args ...string) {
		out, err := exec.Command(path, append([]string{"check"}, args...)...).CombinedOutput()
		if err != nil {
			t.Skipf("needs CRIU%s, and `criu check` says %s", what, criuReason(string(out)))
		}
	}
	check("")
	for _, f := range features {
		check(" with "+f, "--feature", f)
	}
}

// criuReason is the first error, or the first line, of what CRIU says.
func criuReason(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "Error (") {
			return strings.TrimSpace(line)
		}
	}
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	return line
}

// counter is a container that counts in its memory, and appends every number
// to a file as it comes to it.
type counter struct {
	*place
	images string
	file   string
}

// quiet is a shell's preamble: no descriptor leads out of the container.
const quiet = "exec >/dev/null 2>&1 </dev/null; "

const count = "i=0; while :; do i=$((i+1)); echo $i >>/count; sleep 0.01; done"

func newCounter(t *testing.T, edits ...string) *counter {
	t.Helper()
	p := newPlace(t, append([]string{"root.readonly=false", "sh:" + quiet + count}, edits...)...)
	return &counter{p, filepath.Join(p.dir, "images"), filepath.Join(p.bundle(), "rootfs/count")}
}

func (c *counter) numbers() []int {
	b, err := os.ReadFile(c.file)
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	var list []int
	for f := range strings.FieldsSeq(string(b)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			c.t.Fatalf("the counter wrote %q", f)
		}
		list = append(list, n)
	}
	return list
}

func (c *counter) last() int {
	list := c.numbers()
	if len(list) == 0 {
		return 0
	}
	return list[len(list)-1]
}

// goesOn waits until the counter has made some more steps.
func (c *counter) goesOn(steps int) {
	c.t.Helper()
	from := c.last()
	if !harness.Poll(patience, func() bool { return c.last() >= from+steps }) {
		c.t.Fatalf("the counter stands still at %d", c.last())
	}
}

// gapless fails if a step is missing or was made twice.
func (c *counter) gapless() {
	c.t.Helper()
	for i, n := range c.numbers() {
		if n != i+1 {
			c.t.Fatalf("step %d of the counter is %d", i+1, n)
		}
	}
}

func (c *counter) status(id string) string {
	var st struct{ Status string }
	res := c.try("state", id)
	if res.Code != 0 {
		return "gone"
	}
	if err := json.Unmarshal([]byte(res.Stdout), &st); err != nil {
		c.t.Error(err)
	}
	return st.Status
}

func (c *counter) run() {
	c.t.Helper()
	c.must("run", "-d", "-b", c.bundle(), c.tag)
	c.goesOn(5)
}

func (c *counter) checkpoint(flags ...string) harness.Result {
	c.t.Helper()
	return c.must(append(append([]string{"checkpoint", "--image-path", c.images}, flags...), c.tag)...)
}

func (c *counter) restore(flags ...string) harness.Result {
	c.t.Helper()
	return c.must(append(append([]string{"restore", "-d", "-b", c.bundle(), "--image-path", c.images}, flags...), c.tag)...)
}

// Ten times out of the memory and back: no step is lost, and none is made twice.
func TestCheckpointLoop(t *testing.T) {
	needCriu(t)
	c := newCounter(t)
	c.run()
	for round := range 10 {
		c.images = filepath.Join(c.dir, fmt.Sprint("images", round))
		c.checkpoint("--work-path", filepath.Join(c.dir, "work"))
		if s := c.status(c.tag); s != "gone" {
			t.Fatalf("round %d: the container is %s after its checkpoint", round, s)
		}
		at := c.last()
		time.Sleep(30 * time.Millisecond)
		if c.last() != at {
			t.Fatalf("round %d: something goes on counting", round)
		}
		c.restore()
		if s := c.status(c.tag); s != "running" {
			t.Fatalf("round %d: the container is %s after it was restored", round, s)
		}
		c.goesOn(5)
	}
	c.must("delete", "--force", c.tag)
	c.gapless()
	c.noLeaks()
}

// What a container is told apart by is the same after it was restored: mounts
// with their attributes, cgroups, capabilities, ids.
func TestCheckpointKeeps(t *testing.T) {
	needCriu(t)
	kinds := []struct {
		name  string
		v2    bool
		edits []string
		// lacking are runtimes that are known to lose something.
		lacking string
	}{
		{name: "plain"},
		{name: "cgroup2 alone", v2: true},
		{name: "the host's cgroup namespace", edits: []string{"-linux.namespaces[type=cgroup]"}},
		{name: "seccomp", edits: []string{`linux.seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO"}]}`}},
		{name: "rootfsPropagation", edits: []string{"linux.rootfsPropagation=rprivate"}},
		// The second mount of a thing gets the attributes of the host's, and the root those of its directory.
		{name: "read-only mounts", lacking: "runc", edits: []string{
			"root.readonly=true",
			`mounts+={"destination":"/a","type":"bind","source":"/etc","options":["bind","ro","nosuid"]}`,
			`mounts+={"destination":"/b/c","type":"bind","source":"/etc","options":["bind","ro","nosuid"]}`,
			`mounts+={"destination":"/etc/passwd","type":"bind","source":"/etc/passwd","options":["bind","ro"]}`,
			`mounts+={"destination":"/tmp","type":"tmpfs","source":"tmpfs","options":["size=1m"]}`,
		}},
		// The images are root's, and the container's root is not the host's.
		{name: "user namespace", lacking: "runc", edits: []string{
			`linux.namespaces+={"type":"user"}`,
			`linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`,
			`linux.gidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`,
		}},
		{name: "id-mapped mount", lacking: "runc", edits: []string{
			`mounts+={"destination":"/a","type":"bind","source":"/etc","options":["bind","ro"],` +
				`"uidMappings":[{"containerID":0,"hostID":1000,"size":10}],"gidMappings":[{"containerID":0,"hostID":1000,"size":10}]}`,
		}},
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			if k.lacking == rt.Name {
				t.Skipf("%s does not do this", rt.Name)
			}
			c := newCounter(t, k.edits...)
			if c.v2 = k.v2; k.v2 && !hasCgroup2() {
				t.Skip("the kernel has no cgroup2")
			}
			// In a file that it may write to, whatever becomes of the root.
			if err := os.WriteFile(c.file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			c.file = filepath.Join(c.dir, "count")
			if err := os.WriteFile(c.file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(c.file, 0o666); err != nil {
				t.Fatal(err)
			}
			if err := harness.EditFile(filepath.Join(c.bundle(), "config.json"),
				`mounts+={"destination":"/count","type":"bind","source":"`+c.file+`","options":["bind"]}`); err != nil {
				t.Fatal(err)
			}
			noIDMap := func(res harness.Result) {
				t.Helper()
				switch {
				case strings.Contains(res.Stderr, "does not support id-mapped mounts"):
					_ = c.try("delete", "--force", c.tag)
					t.Skip("needs a filesystem that can map ids: ", res.Stderr)
				case res.Code != 0:
					t.Fatal(res.Stderr)
				}
			}
			noIDMap(c.try("run", "-d", "-b", c.bundle(), c.tag))
			c.goesOn(3)
			before := c.facts()
			c.checkpoint()
			noIDMap(c.try("restore", "-d", "-b", c.bundle(), "--image-path", c.images, c.tag))
			c.goesOn(3)
			after := c.facts()
			for what, want := range before {
				if d := cmp.Diff(want, after[what]); d != "" {
					t.Errorf("%s:\n%s", what, d)
				}
			}
			// It is a container like any other.
			if res := c.must("exec", c.tag, "/bin/hostname"); res.Stdout != "vsrun-test\n" {
				t.Errorf("exec: %q", res.Stdout)
			}
			if k.v2 || layout == "v2" || harness.Controllers("v1")["freezer"] {
				c.must("pause", c.tag)
				if s := c.status(c.tag); s != "paused" {
					t.Errorf("paused, it is %s", s)
				}
				c.must("resume", c.tag)
				c.goesOn(3)
			}
			c.must("delete", "--force", c.tag)
			c.gapless()
			c.noLeaks()
		})
	}
}

// facts are what the kernel tells of a container's first process.
func (c *counter) facts() map[string][]string {
	var st struct{ Pid int }
	if err := json.Unmarshal([]byte(c.must("state", c.tag).Stdout), &st); err != nil {
		c.t.Fatal(err)
	}
	proc := "/proc/" + strconv.Itoa(st.Pid) + "/"
	read := func(name string) string {
		b, err := os.ReadFile(proc + name)
		if err != nil {
			c.t.Fatal(err)
		}
		return string(b)
	}
	var mounts, status []string
	for line := range strings.Lines(read("mountinfo")) {
		f := strings.Fields(line)
		if rt.Name != "vsrun" { // as of covers of masked files, runc changes sources and attributes
			mounts = append(mounts, f[4])
			continue
		}
		// Without ids, and device numbers of filesystems that were made anew.
		mounts = append(mounts, strings.Join(f[3:], " "))
	}
	slices.Sort(mounts)
	for line := range strings.Lines(read("status")) {
		for _, key := range []string{"Uid", "Gid", "Groups", "NSpid", "Cap", "NoNewPrivs", "Seccomp"} {
			if strings.HasPrefix(line, key) && !strings.HasPrefix(line, "NSpid") {
				status = append(status, line)
			}
		}
	}
	facts := map[string][]string{"mounts": mounts, "status": status}
	for _, name := range []string{"cgroup", "uid_map", "oom_score_adj", "limits"} {
		facts[name] = strings.Split(read(name), "\n")
	}
	return facts
}

// A container that is left running goes on; its images can be restored when it is gone, and go on from where they were made.
func TestCheckpointLeaveRunning(t *testing.T) {
	needCriu(t)
	c := newCounter(t)
	c.run()
	c.checkpoint("--leave-running")
	c.goesOn(20)
	c.gapless()
	later := c.last()
	c.must("delete", "--force", c.tag)
	if err := os.Remove(c.file); err != nil {
		t.Fatal(err)
	}
	c.restore()
	if !harness.Poll(patience, func() bool { return c.last() > 0 }) {
		t.Fatal("the restored container stands still")
	}
	if first := c.numbers()[0]; first >= later || first < 5 {
		t.Errorf("the restored container goes on at %d; it was left running until %d", first, later)
	}
	c.must("delete", "--force", c.tag)
	c.noLeaks()
}

// Memory is dumped beforehand, twice, and the checkpoint has only what has changed since.
func TestPreDump(t *testing.T) {
	needCriu(t, "mem_dirty_track")
	c := newCounter(t, "sh:"+quiet+"exec /bin/probe hold 32 /count")
	c.run()
	pages := func(dir string) (n int64) {
		list, err := filepath.Glob(filepath.Join(dir, "pages-*.img"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if st, err := os.Stat(f); err == nil {
				n += st.Size()
			}
		}
		return n
	}
	dir := func(n string) string { return filepath.Join(c.dir, "images", n) }
	c.images = dir("1")
	c.checkpoint("--pre-dump")
	c.goesOn(5)
	c.images = dir("2")
	c.checkpoint("--pre-dump", "--parent-path", "../1")
	c.goesOn(5)
	c.images = dir("3")
	c.checkpoint("--parent-path", "../2")
	whole, last := pages(dir("1")), pages(dir("3"))
	if whole < 32<<20 || last >= whole/2 {
		t.Errorf("%d bytes of memory were dumped beforehand, %d at last", whole, last)
	}
	t.Logf("%d bytes of memory were dumped beforehand, %d then, %d at last", whole, pages(dir("2")), last)
	c.restore()
	c.goesOn(5) // it looks at all of its memory at every step
	c.must("delete", "--force", c.tag)
	c.gapless()
	c.noLeaks()
}

// A checkpoint or a restore that CRIU refuses says why, and leaves all as it was.
func TestCheckpointFailure(t *testing.T) {
	needCriu(t)
	c := newCounter(t, "sh:"+quiet+"exec /bin/probe lock /tmp/lock /bin/sh -c '"+count+"'")
	c.run()
	res := c.try("checkpoint", "--image-path", c.images, c.tag)
	if res.Code == 0 {
		t.Fatal("a file lock was dumped without --file-locks")
	}
	if !strings.Contains(res.Stderr, "criu failed") || !strings.Contains(res.Stderr, "dump.log") {
		t.Errorf("error: %q", res.Stderr)
	}
	if rt.Name == "vsrun" {
		last := res.Stderr[strings.LastIndex(strings.TrimSpace(res.Stderr), "\n")+1:]
		if !strings.Contains(last, "level=error") || !strings.Contains(last, "--file-locks") {
			t.Errorf("the last line does not tell the cause: %q", last)
		}
		if !strings.Contains(res.Stderr, "level=warning") || strings.Count(res.Stderr, "\n") > 13 {
			t.Errorf("CRIU's log is not quoted, or at length: %q", res.Stderr)
		}
	}
	c.goesOn(5)
	if s := c.status(c.tag); s != "running" {
		t.Errorf("the container is %s after a failed checkpoint", s)
	}

	// With it the checkpoint is good; a damaged one is not restored.
	c.checkpoint("--file-locks")
	whole := filepath.Join(c.images, "pstree.img")
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(whole, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	res = c.try("restore", "-d", "-b", c.bundle(), "--file-locks", "--image-path", c.images, c.tag)
	if res.Code == 0 || !strings.Contains(res.Stderr, "criu failed") || !strings.Contains(res.Stderr, "restore.log") {
		t.Errorf("a damaged checkpoint: code %d, %q", res.Code, res.Stderr)
	}
	if s := c.status(c.tag); s != "gone" {
		if rt.Name == "vsrun" {
			t.Errorf("the container is %s after a failed restore", s)
		}
		c.must("delete", "--force", c.tag)
	}
	if rt.Name == "vsrun" {
		c.noLeaks()
	}
	if err := os.WriteFile(whole, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c.restore("--file-locks")
	c.goesOn(5)
	c.must("delete", "--force", c.tag)
	c.gapless()
	c.noLeaks()
}

// What can be refused without asking CRIU is.
func TestCheckpointRefused(t *testing.T) {
	needCriu(t)
	c := newCounter(t)
	refused := func(want string, args ...string) {
		t.Helper()
		res := c.try(args...)
		if res.Code != 1 || !strings.Contains(res.Stderr, want) {
			t.Errorf("%s: code %d, %q, want %q", strings.Join(args, " "), res.Code, res.Stderr, want)
		}
	}
	refused("container does not exist", "checkpoint", c.tag)
	c.must("create", "-b", c.bundle(), c.tag)
	refused("cannot be checkpointed in created state", "checkpoint", "--image-path", c.images, c.tag)
	c.must("start", c.tag)
	c.goesOn(1)
	refused("--parent-path must be relative", "checkpoint", "--image-path", c.images, "--parent-path", "/x", c.tag)
	refused("invalid --parent-path", "checkpoint", "--image-path", c.images, "--parent-path", "none", c.tag)
	refused("--page-server ADDRESS:PORT", "checkpoint", "--image-path", c.images, "--page-server", "x", c.tag)
	refused("manage", "checkpoint", "--image-path", c.images, "--manage-cgroups-mode", "x", c.tag)
	refused("is not supported", "checkpoint", "--image-path", c.images, "--empty-ns", "uts", c.tag)
	c.checkpoint("--leave-running")
	refused("container with given ID already exists", "restore", "-d", "-b", c.bundle(), "--image-path", c.images, c.tag)
	c.must("kill", c.tag, "KILL")
	if !harness.Poll(patience, func() bool { return c.status(c.tag) == "stopped" }) {
		t.Error("it does not stop")
	}
	refused("cannot be checkpointed in stopped state", "checkpoint", "--image-path", c.images, c.tag)
	c.must("delete", c.tag)
	refused("no such file or directory", "restore", "-d", "-b", c.bundle(), "--image-path", filepath.Join(c.dir, "none"), c.tag)
	if rt.Name != "vsrun" {
		return
	}
	refused("there is no checkpoint in", "restore", "-d", "-b", c.bundle(), "--image-path", c.dir, c.tag)
	c.env = slices.DeleteFunc(c.env, func(e string) bool { return strings.HasPrefix(e, "PATH=") })
	refused("criu: executable file not found in $PATH", "checkpoint", c.tag)
	c.noLeaks()
}

// The runtime is killed at random moments of a checkpoint or a restore. The container runs, or it is gone; it never hangs.
func TestCheckpointKilled(t *testing.T) {
	needCriu(t)
	needRuntime(t, "runc") // which leaves its mount of the root filesystem
	c := newCounter(t)
	rounds := harness.EnvInt("VSRUN_TEST_CRIU_KILLS", 16)
	seed := uint64(time.Now().UnixNano())
	if s := harness.EnvInt("VSRUN_TEST_SEED", 0); s != 0 {
		seed = uint64(s)
	}
	t.Logf("VSRUN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	c.run()
	usual := c.must("checkpoint", "--image-path", filepath.Join(c.dir, "good"), c.tag).Duration
	seen := map[string]int{}
	options := cgroupOptions(t)
	for round := range rounds {
		c.images = filepath.Join(c.dir, "good")
		restore := c.call("restore", "-d", "-b", c.bundle(), "--image-path", c.images, c.tag)
		dump := c.call("checkpoint", "--image-path", filepath.Join(c.dir, fmt.Sprint("images", round)), c.tag)
		call, what := restore, "restore"
		if round%2 == 1 {
			c.restore()
			call, what = dump, "checkpoint"
		}
		call.Started = func(p *os.Process) {
			time.Sleep(time.Duration(rng.Int64N(int64(usual))))
			_ = p.Kill()
		}
		res, err := rt.Run(call)
		if err != nil {
			t.Error(err)
		}
		// What CRIU was at, it brings to an end; a delete that does not wait for that ends it.
		if round%4 < 2 && !harness.Poll(patience, func() bool { return !swrk(c.tag) }) {
			t.Errorf("round %d: CRIU goes on and on", round)
		}
		status := c.status(c.tag)
		seen[fmt.Sprintf("%s %s", what, status)]++
		if what == "checkpoint" && res.Code != 0 && status == "running" {
			c.goesOn(3)
		}
		c.must("delete", "--force", c.tag)
		if round%4 >= 2 && !harness.Poll(patience, func() bool { return !swrk(c.tag) }) {
			t.Errorf("round %d: CRIU outlives the container", round)
		}
		if left := harness.Leaks(c.tag, c.dir, c.root); len(left) > 0 {
			t.Fatalf("round %d: %s killed: left behind: %s", round, what, strings.Join(left, "; "))
		}
		// CRIU takes them from the host's.
		if rt.Name == "vsrun" && !harness.Poll(patience, func() bool { return cgroupOptions(t) == options }) {
			t.Fatalf("round %d: %s killed: cgroup2 has the options %s, and had %s", round, what, cgroupOptions(t), options)
		}
	}
	fmt.Printf("note: checkpoints and restores killed: %v\n", seen)
}

// cgroupOptions are those of the cgroup2 filesystem at /sys/fs/cgroup, "" if there is none.
func cgroupOptions(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "/sys/fs/cgroup" && f[2] == "cgroup2" {
			return f[3]
		}
	}
	return ""
}

// swrk reports whether a CRIU runs that was started by a runtime under test.
func swrk(tag string) bool {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range list {
		if line, err := os.ReadFile(f); err != nil || !bytes.Contains(line, []byte("\x00swrk\x00")) {
			continue
		}
		if env, err := os.ReadFile(filepath.Join(filepath.Dir(f), "environ")); err == nil && bytes.Contains(env, []byte(tag)) {
			return true
		}
	}
	return false
}

// Hooks of a restore: what prepares the namespaces runs again, what belongs to the start does not; poststop runs at the
// end, which for a checkpoint is the checkpoint.
func TestCheckpointHooks(t *testing.T) {
	needCriu(t)
	var edits []string
	log := filepath.Join(t.TempDir(), "log")
	for _, h := range []string{"prestart", "createRuntime", "poststart", "poststop"} {
		edits = append(edits, `hooks.`+h+`=[{"path":"/bin/sh","args":["sh","-c","cat >/dev/null; echo `+h+` >>`+log+`"]}]`)
	}
	c := newCounter(t, edits...)
	expect := func(when, want string) {
		t.Helper()
		b, err := os.ReadFile(log)
		if got := strings.Join(strings.Fields(string(b)), " "); got != want {
			t.Errorf("hooks of %s: %q, want %q (%v)", when, got, want, err)
		}
		_ = os.Remove(log)
	}
	c.run()
	expect("the start", "prestart createRuntime poststart")
	c.checkpoint()
	expect("the checkpoint", "poststop")
	c.restore()
	expect("the restore", "prestart createRuntime")
	c.must("delete", "--force", c.tag)
	expect("the end", "poststop")
	c.noLeaks()
}

// Pages go to a page server instead of files, as for a container that moves to another machine.
func TestPageServer(t *testing.T) {
	needCriu(t)
	c := newCounter(t)
	c.run()
	if err := os.Mkdir(c.images, 0o700); err != nil {
		t.Fatal(err)
	}
	port := pageServer(t, c.images)
	c.checkpoint("--page-server", "127.0.0.1:"+port)
	c.restore()
	c.goesOn(5)
	c.must("delete", "--force", c.tag)
	c.gapless()
	c.noLeaks()
}

// pageServer starts CRIU's server for pages and returns its port.
func pageServer(t *testing.T, dir string) string {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command("criu", "page-server", "--images-dir", dir, "--address", "127.0.0.1", "--port", port, "--status-fd", "3",
		"-v4", "-o", "page-server.log")
	criuReady(t, cmd)
	return port
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// criuReady starts a service of CRIU's that says on descriptor 3 when it is ready.
func criuReady(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if n, err := r.Read(make([]byte, 1)); n != 1 {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
}
