package load

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// patience bounds the wait for what takes the kernel its time.
const patience = 20 * time.Second

// fs mounts a tmpfs for a test to fill, without its own files in World.
func (p *place) fs(name, options string) string {
	p.t.Helper()
	dir := filepath.Join(p.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill takes all of a filesystem's space but some bytes, or all of its inodes
// but some.
func fill(t *testing.T, dir string, left int, inodes bool) {
	t.Helper()
	if inodes {
		var names []string
		for i := 0; ; i++ {
			name := filepath.Join(dir, "fill"+strconv.Itoa(i))
			f, err := os.Create(name)
			if err != nil {
				break
			}
			f.Close()
			names = append(names, name)
		}
		for _, name := range names[max(0, len(names)-left):] {
			_ = os.Remove(name)
		}
		return
	}
	f, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	size := int64(0)
	for {
		n, err := f.Write(page)
		size += int64(n)
		if err != nil {
			break
		}
	}
	if err := f.Truncate(max(0, size-int64(left))); err != nil {
		t.Fatal(err)
	}
}

func drain(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "fill*"))
	for _, n := range names {
		_ = os.Remove(n)
	}
}

// refused checks that a call has failed with one line that says all of words.
func (p *place) refused(where string, res harness.Result, words ...string) {
	p.t.Helper()
	text := strings.TrimSpace(res.Stderr)
	lines := 0
	for l := range strings.Lines(text) {
		if !strings.Contains(l, "level=warning") {
			lines++
		}
	}
	if res.Code == 0 || lines != 1 {
		p.t.Errorf("%s: exit code %d, and says %q", where, res.Code, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			p.t.Errorf("%s: does not say %q: %s", where, w, text)
		}
	}
}

// The state root fills up: what does not fit is refused and leaves nothing,
// what is there can be used and deleted.
func TestStateRootFull(t *testing.T) {
	for _, inodes := range []bool{false, true} {
		t.Run(map[bool]string{false: "space", true: "inodes"}[inodes], func(t *testing.T) {
			p := newPlace(t)
			p.root = p.fs("root", "size=256k,nr_inodes=64")
			p.must("create", "-b", p.bundle(), tag+".there")
			p.must("start", tag+".there")
			p.must("create", "-b", p.bundle(), tag+".waits")
			p.before = p.world()
			refused := 0
			step := map[bool]int{false: os.Getpagesize(), true: 1}[inodes]
			for k := range 8 {
				fill(t, p.root, k*step, inodes)
				where := fmt.Sprintf("%d left", k)
				before := p.world()
				for _, args := range [][]string{{"create"}, {"run", "-d"}} {
					id := tag + ".new"
					res := p.try(append(args, "-b", p.bundle(), id)...)
					if res.Code != 0 {
						refused++
						p.refused(where+": "+args[0], res, "no space left on device")
						if diff := harness.Settle(before, p.world); len(diff) > 0 {
							t.Errorf("%s: a failed %s leaves %q", where, args[0], diff)
						}
					}
					p.must("delete", "--force", id)
					if diff := harness.Settle(before, p.world); len(diff) > 0 {
						t.Errorf("%s: delete leaves %q", where, diff)
					}
				}
				p.must("list")
				p.must("state", tag+".there")
				p.must("exec", tag+".there", "/bin/true")
				if res := p.try("update", "--pids-limit", "50", tag+".there"); res.Code != 0 && hasPids() {
					p.refused(where+": update", res, "no space left on device")
				}
				drain(p.root)
			}
			if refused == 0 {
				t.Error("nothing was refused: this test proves nothing")
			}
			fill(t, p.root, 0, inodes)
			p.must("start", tag+".waits")
			p.must("exec", tag+".waits", "/bin/true")
			p.must("kill", tag+".there", "KILL")
			p.must("delete", "--force", tag+".there")
			p.must("delete", "--force", tag+".waits")
			drain(p.root)
			for _, l := range harness.Leaks(tag, filepath.Join(p.dir, "nothing"), p.root) {
				t.Errorf("left behind: %s", l)
			}
		})
	}
}

// So does the root filesystem, in which mount points are to be made, and a
// tmpfs that the covered directory's content does not fit into.
func TestRootfsFull(t *testing.T) {
	p := newPlace(t)
	p.warm()
	dir := p.fs("full", "size=8m,nr_inodes=200")
	for _, c := range []struct{ name, edit string }{
		{"inodes", `mounts+={"destination":"/a/b/c","type":"tmpfs","source":"tmpfs"}`},
		{"space", `mounts+={"destination":"/bin","type":"tmpfs","source":"tmpfs","options":["tmpcopyup","size=64k"]}`},
	} {
		bundle := filepath.Join(dir, c.name)
		if err := harness.MakeBundle(bundle, "", "args:/bin/sleep 100000", c.edit); err != nil {
			t.Fatal(err)
		}
		if c.name == "inodes" {
			fill(t, dir, 0, true)
		}
		p.must("delete", "--force", tag+".full") // which makes nothing
		before := p.world()
		for _, args := range [][]string{{"run", "-d"}, {"create"}} {
			res := p.try(append(args, "-b", bundle, tag+".full")...)
			p.refused(c.name+": "+args[0], res, "mounts[7]", "no space left on device")
			p.must("list")
			for _, d := range harness.Settle(before, p.world) {
				t.Errorf("%s: after %s: %s", c.name, args[0], d)
			}
		}
		drain(dir)
	}
}

func TestStateRootReadOnly(t *testing.T) {
	p := newPlace(t)
	p.root = p.fs("root", "size=1m")
	p.must("run", "-d", "-b", p.bundle(), tag+".there")
	p.before = p.world()
	if err := unix.Mount("", p.root, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	p.refused("create", p.try("create", "-b", p.bundle(), tag+".new"), "read-only file system", p.root)
	p.must("list")
	p.must("state", tag+".there")
	p.must("exec", tag+".there", "/bin/true")
	p.must("pause", tag+".there")
	p.must("resume", tag+".there")
	if hasPids() {
		p.refused("update", p.try("update", "--pids-limit", "50", tag+".there"), "read-only file system")
	}
	p.refused("delete --force", p.try("delete", "--force", tag+".there"), "read-only file system")
	if err := unix.Mount("", p.root, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	p.must("delete", "--force", tag+".there")
	for _, l := range harness.Leaks(tag, filepath.Join(p.dir, "nothing"), p.root) {
		t.Errorf("left behind: %s", l)
	}
}

// The runtime itself has too few of something. Whatever that breaks, nothing
// is left after delete --force, and nothing hangs.
func TestRuntimeShort(t *testing.T) {
	p := newPlace(t, "-process.rlimits") // which would need CAP_SYS_RESOURCE
	p.must("run", "-d", "-b", p.bundle(), tag+".there")
	p.warm()
	cases := []struct {
		name string
		most int // the lowest limit that must do
		from int
		by   func(t *testing.T, n int) []string // a command that runs the rest of its line under the limit
		says []string
	}{
		{name: "descriptors", from: 3, most: 128, by: func(_ *testing.T, n int) []string {
			return []string{"/bin/sh", "-c", "ulimit -n " + strconv.Itoa(n) + `; exec "$@"`, "sh"}
		}, says: []string{"too many open files", "cannot open standard fds", "runtime: eventfd failed", "runtime: epollcreate failed"}}, // the last three are Go's
		{name: "processes", from: 1, most: 40, by: func(t *testing.T, n int) []string {
			dir := pidsCgroup(t, n)
			return []string{"/bin/sh", "-c", "echo $$ > " + dir + `/cgroup.procs; exec "$@"`, "sh"}
		}, says: []string{"resource temporarily unavailable", "failed to create new OS thread"}},
		{name: "file size", from: 1, most: 64, by: func(_ *testing.T, n int) []string { // in blocks of 512 bytes
			return []string{"/bin/sh", "-c", "trap '' XFSZ; ulimit -f " + strconv.Itoa(n) + `; exec "$@"`, "sh"}
		}, says: []string{"file too large"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			refused, worked := 0, 0
			for n := c.from; n <= c.most; n += 1 + n/3 {
				for _, args := range [][]string{{"create", "-b", p.bundle(), tag + ".short"}, {"run", "-d", "-b", p.bundle(), tag + ".short"},
					{"exec", tag + ".there", "/bin/true"}, {"delete", "--force", tag + ".short"}} {
					where := fmt.Sprintf("%s: %d: %s", c.name, n, args[0])
					if args[0] == "delete" {
						p.must("create", "-b", p.bundle(), tag+".short")
					}
					call := p.call(args...)
					call.Prefix = c.by(t, n)
					res, err := rt.Run(call)
					if err != nil {
						t.Fatalf("%s: %v", where, err)
					}
					if res.Code == 0 {
						worked++
					} else {
						refused++
						said := false
						for _, s := range c.says {
							said = said || strings.Contains(res.Stderr, s)
						}
						if !said {
							t.Errorf("%s: exit code %d, and says %q", where, res.Code, res.Stderr)
						}
					}
					p.must("delete", "--force", tag+".short")
					p.clean(where)
					if t.Failed() {
						return
					}
				}
			}
			if refused == 0 || worked == 0 {
				t.Errorf("%d calls were refused and %d worked: this test proves little", refused, worked)
			}
		})
	}
	p.t = t
	p.must("delete", "--force", tag+".there")
}

// pidsCgroup is a cgroup for the caller that takes n processes and threads.
func pidsCgroup(t *testing.T, n int) string {
	t.Helper()
	root := "/sys/fs/cgroup/pids/"
	switch {
	case harness.Controllers("v1")["pids"]:
	case harness.Controllers("v2")["pids"]:
		root = "/sys/fs/cgroup/"
		if err := os.WriteFile(root+"cgroup.subtree_control", []byte("+pids"), 0); err != nil {
			t.Fatal(err)
		}
	default:
		t.Skip("needs the pids controller")
	}
	dir := root + strings.Replace(tag, "vsrun", "caller", 1) + "-" + strconv.Itoa(n)
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := os.WriteFile(dir+"/pids.max", []byte(strconv.Itoa(n)), 0); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A memory limit below what the start of any program needs: the error says
// that it is that.
func TestTooLittleMemory(t *testing.T) {
	if !harness.Controllers("v1")["memory"] && !harness.Controllers("v2")["memory"] {
		t.Skip("needs the memory controller")
	}
	p := newPlace(t)
	p.warm()
	refused, worked := 0, 0
	for _, kib := range []int{0, 4, 16, 64, 128, 256, 512, 1024, 4096, 16384} {
		dir := filepath.Join(p.dir, "limited")
		if err := harness.MakeBundle(dir, "", "args:/bin/true", fmt.Sprintf(`linux.resources={"memory":{"limit":%d}}`, kib<<10)); err != nil {
			t.Fatal(err)
		}
		p.before = p.world()
		for _, args := range [][]string{{"run", "-b", dir, tag + ".small"}, {"create", "-b", dir, tag + ".small"}} {
			res := p.try(args...)
			switch {
			case res.Code == 0:
				worked++
			case !strings.Contains(res.Stderr, "memory"):
				t.Errorf("%s with %d KiB: exit code %d, and says %q", args[0], kib, res.Code, res.Stderr)
			default:
				refused++
			}
			p.must("delete", "--force", tag+".small")
			p.clean(fmt.Sprintf("%d KiB", kib))
		}
		_ = os.RemoveAll(dir)
	}
	if refused == 0 || worked == 0 {
		t.Errorf("%d calls were refused and %d worked: this test proves little", refused, worked)
	}
}

// editState changes a number or a string in a container's record, whose order stays.
func (p *place) editState(id, key, value string) {
	p.t.Helper()
	file := filepath.Join(p.root, id, "state.json")
	text, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	field := regexp.MustCompile(`"` + key + `":("[^"]*"|[0-9]+)`)
	if !field.Match(text) {
		p.t.Fatalf("no %s in %s", key, text)
	}
	if err := os.WriteFile(file, field.ReplaceAll(text, []byte(`"`+key+`":`+value)), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// A state root that has outlived a reboot: the pids are those of others now,
// or of nobody, and the cgroups are gone. Nobody else is harmed.
func TestStaleState(t *testing.T) {
	p := newPlace(t)
	p.warm()
	for _, verb := range []string{"run", "create"} {
		for _, how := range []string{"reused", "gone"} {
			id := tag + ".stale"
			args := map[string][]string{"run": {"run", "-d"}, "create": {"create"}}[verb]
			p.must(append(args, "-b", p.bundle(), id)...)
			var st report
			if err := json.Unmarshal([]byte(p.must("state", id).Stdout), &st); err != nil {
				t.Fatal(err)
			}
			// The machine goes down.
			saved, err := os.ReadFile(filepath.Join(p.root, id, "state.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(st.Pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			harness.Poll(patience, func() bool { return harness.Gone(st.Pid) })
			for _, w := range p.world() {
				if path, ok := strings.CutPrefix(w, "cgroup: "); ok {
					harness.Poll(patience, func() bool { return os.Remove(path) == nil })
				}
			}
			if err := os.WriteFile(filepath.Join(p.root, id, "state.json"), saved, 0o600); err != nil {
				t.Fatal(err)
			}
			other := os.Getpid()
			if how == "reused" {
				p.editState(id, "init_process_pid", strconv.Itoa(other))
			}
			where := verb + ", pid " + how
			if err := json.Unmarshal([]byte(p.must("state", id).Stdout), &st); err != nil || st.Status != "stopped" {
				t.Errorf("%s: state is %q, %v", where, st.Status, err)
			}
			if out := p.must("list").Stdout; !strings.Contains(out, "stopped") {
				t.Errorf("%s: list: %s", where, out)
			}
			p.must("stat")
			for _, verb := range [][]string{{"start"}, {"pause"}, {"exec"}, {"kill"}} {
				args := append(verb, id)
				if verb[0] == "exec" {
					args = append(args, "/bin/true")
				}
				if res := p.try(args...); res.Code == 0 || strings.Contains(res.Stderr, "goroutine") {
					t.Errorf("%s: %s: exit code %d: %s", where, verb[0], res.Code, res.Stderr)
				}
			}
			p.must("delete", id)
			p.clean(where)
		}
	}
}

// The clock is set: a container may be made in the future, or long before the
// epoch.
func TestClockJumps(t *testing.T) {
	p := newPlace(t)
	p.warm()
	for _, when := range []string{"2300-01-01T00:00:00Z", "1950-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"} {
		id := tag + ".clock"
		p.must("create", "-b", p.bundle(), id)
		p.editState(id, "created", strconv.Quote(when))
		p.must("start", id)
		for _, args := range [][]string{{"state", id}, {"list"}, {"stat"}, {"ps", "--all"}, {"exec", id, "/bin/true"}, {"events", "--stats", id}, {"pause", id}, {"resume", id}} {
			res := p.must(args...)
			if args[0] == "state" && !strings.Contains(res.Stdout, when) {
				t.Errorf("state of a container made at %s: %s", when, res.Stdout)
			}
		}
		p.must("delete", "--force", id)
		p.clean(when)
	}
}

// The clock of the whole machine is set, while containers run.
func TestClockSet(t *testing.T) {
	if os.Getenv("VSRUN_TEST_CLOCK") == "" {
		t.Skip("sets the machine's clock: VSRUN_TEST_CLOCK=1, in a test machine")
	}
	p := newPlace(t)
	p.warm()
	begin, real := time.Now(), time.Now().Unix()
	set := func(sec int64) {
		t.Helper()
		if err := unix.Settimeofday(&unix.Timeval{Sec: sec}); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { set(real + int64(time.Since(begin).Seconds())) }()
	const year = 365 * 86400
	for _, jump := range []int64{-20 * year, 20 * year, -real + 86400, 60 * year} { // the last but one is the second day of 1970
		id := tag + ".clock"
		p.must("run", "-d", "-b", p.bundle(), id)
		p.must("create", "-b", p.bundle(), id+"2")
		set(real + jump)
		where := time.Unix(real+jump, 0).UTC().String()
		p.must("start", id+"2")
		for _, args := range [][]string{{"state", id}, {"list"}, {"stat"}, {"ps", "--all"}, {"exec", id, "/bin/true"}, {"events", "--stats", id}, {"pause", id}, {"resume", id},
			{"kill", id, "KILL"}} {
			p.must(args...)
		}
		p.must("run", "-d", "-b", p.bundle(), id+"3")
		set(real)
		for _, n := range []string{"", "2", "3"} {
			p.must("state", id+n)
			p.must("delete", "--force", id+n)
		}
		p.clean(where)
	}
}

// In another time namespace the start times of processes are others. A
// container must not be taken for another one, nor be half removed.
func TestOtherTimeNamespace(t *testing.T) {
	if err := unix.Access("/proc/self/ns/time", unix.F_OK); err != nil {
		t.Skip("needs time namespaces: ", err)
	}
	p := newPlace(t)
	p.warm()
	id := tag + ".time"
	p.must("run", "-d", "-b", p.bundle(), id)
	call := p.call("delete", "--force", id)
	call.Prefix = []string{"unshare", "--time", "--boottime", "100000", "--monotonic", "100000"}
	res, err := rt.Run(call)
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 0 {
		t.Logf("delete --force from another time namespace: %s", res.Stderr)
		p.must("state", id)
		p.must("delete", "--force", id)
	}
	p.clean("at the end")
}
