package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// place is a place for one Go test: a bundle, a --root, a tag.
type place struct {
	t    *testing.T
	tag  string
	dir  string
	root string
	env  []string
	v2   bool // all calls on nothing but cgroup2
}

func newPlace(t *testing.T, edits ...string) *place {
	t.Helper()
	needRuntime(t)
	p := &place{t: t, tag: newTag(strings.ToLower(plain(t.Name()))), dir: t.TempDir()}
	p.root = filepath.Join(p.dir, "root")
	p.env = []string{"PATH=" + os.Getenv("PATH"), harness.TagEnv + "=" + p.tag}
	edits = append([]string{`process.env+="` + harness.TagEnv + "=" + p.tag + `"`}, edits...)
	if err := harness.MakeBundle(p.bundle(), probe, edits...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harness.Purge(p.tag, p.dir) })
	return p
}

// plain is a name without what an id can't hold.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/' ", r) {
			return '-'
		}
		return r
	}, name)
}

func (p *place) bundle() string { return filepath.Join(p.dir, "bundle") }

func (p *place) call(args ...string) harness.Call {
	return harness.Call{Args: append([]string{"--root", p.root}, args...), Env: p.env,
		PureV2: p.v2 || layout == "v2" && harness.CgroupLayout() != "v2"}
}

func (p *place) try(args ...string) harness.Result {
	p.t.Helper()
	return rt.Try(p.t, p.call(args...))
}

func (p *place) must(args ...string) harness.Result {
	p.t.Helper()
	return rt.Must(p.t, p.call(args...))
}

func (p *place) noLeaks() {
	p.t.Helper()
	for _, l := range harness.Leaks(p.tag, p.dir, p.root) {
		p.t.Errorf("left behind: %s", l)
	}
}

// Many creates of one id at once: exactly one wins, the others say that the
// id is in use, and the winner's container is whole.
func TestCreateRace(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "args:/bin/probe trap")
	const n = 20
	for round := range 3 {
		id := p.tag + "." + strconv.Itoa(round)
		results := make([]harness.Result, n)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range n {
			wg.Go(func() {
				<-start
				var err error
				if results[i], err = rt.Run(p.call("create", "--bundle", p.bundle(), id)); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		winners := 0
		for _, r := range results {
			switch {
			case r.Code == 0:
				winners++
			case !strings.Contains(r.Stderr, "already exists") && rt.Name == "vsrun":
				t.Errorf("a loser says %q", r.Stderr)
			}
		}
		// runc 1.1 has no lock between its check and its mkdir.
		if winners != 1 {
			t.Errorf("%d creates of one id succeeded, want one", winners)
		}
		var st struct{ Status string }
		if err := json.Unmarshal([]byte(p.must("state", id).Stdout), &st); err != nil || st.Status != "created" {
			t.Errorf("state after the race: %q, %v", st.Status, err)
		}
		p.must("start", id)
		p.must("delete", "--force", id)
	}
	p.noLeaks()
}

// The runtime is killed at random moments of each command. Whatever it was
// doing, the next list, state and delete --force work, and nothing is left.
func TestKilledAtAnyMoment(t *testing.T) {
	p := newPlace(t, "args:/bin/probe trap")
	p.killedAtAnyMoment([]string{"create", "start", "delete", "run"}, harness.EnvInt("VSRUN_TEST_KILLS", 100)/4, func() []string { return nil })
}

// killedAtAnyMoment kills the runtime as often as said at each of the verbs; left tells what else than harness.Leaks finds is left
// of a container.
func (p *place) killedAtAnyMoment(verbs []string, kills int, leftover func() []string) {
	t := p.t
	seed := uint64(time.Now().UnixNano())
	if s := harness.EnvInt("VSRUN_TEST_SEED", 0); s != 0 {
		seed = uint64(s)
	}
	t.Logf("VSRUN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	// How long a command takes undisturbed bounds the moment to kill it: the first ones, which may be slow, and later every one that
	// the kill came too late for.
	usual := map[string]time.Duration{}
	for range 3 {
		usual["create"] += p.must("create", "-b", p.bundle(), p.tag).Duration / 3
		usual["start"] += p.must("start", p.tag).Duration / 3
		usual["delete"] += p.must("delete", "--force", p.tag).Duration / 3
		usual["run"] += p.must("run", "-d", "-b", p.bundle(), p.tag).Duration / 3
		p.must("delete", "--force", p.tag)
	}
	leftovers, killed, most := 0, map[string]int{}, 20*(kills+5)
	for round := 0; len(verbs) > 0 && round < most; round++ {
		id := p.tag + "." + strconv.Itoa(round)
		what := verbs[round%len(verbs)]
		var args []string
		switch what {
		case "create":
			args = []string{"create", "-b", p.bundle(), id}
		case "run":
			args = []string{"run", "-d", "-b", p.bundle(), id}
		case "start":
			p.must("create", "-b", p.bundle(), id)
			args = []string{"start", id}
		case "delete":
			p.must("run", "-d", "-b", p.bundle(), id)
			args = []string{"delete", "--force", id}
		}
		after := time.Duration(rng.Int64N(int64(usual[what]) + 1))
		c := p.call(args...)
		c.Started = func(proc *os.Process) {
			time.AfterFunc(after, func() { _ = proc.Kill() })
		}
		res, err := rt.Run(c)
		if err != nil {
			t.Fatal(err)
		}
		if res.Code != 137 {
			usual[what] = (usual[what] + res.Duration) / 2
		} else if killed[what]++; killed[what] == kills {
			verbs = slices.DeleteFunc(slices.Clone(verbs), func(v string) bool { return v == what })
		}
		where := fmt.Sprintf("round %d: %s killed after %v", round, what, after)

		if r := p.try("list", "--format", "json"); r.Code != 0 && !strings.Contains(r.Stderr, "no such file") {
			t.Errorf("%s: list: exit code %d: %s", where, r.Code, r.Stderr)
		}
		if r := p.try("state", id); r.Code != 0 && !strings.Contains(r.Stderr, "does not exist") && rt.Name == "vsrun" {
			t.Errorf("%s: state: exit code %d: %s", where, r.Code, r.Stderr)
		}
		if r := p.try("delete", "--force", id); r.Code != 0 {
			t.Errorf("%s: delete --force: exit code %d: %s", where, r.Code, r.Stderr)
		}
		if left := append(harness.Leaks(id, filepath.Join(p.dir, "nothing"), p.root), leftover()...); len(left) > 0 {
			leftovers++
			msg := fmt.Sprintf("%s: left behind: %s", where, strings.Join(left, "; "))
			if rt.Name == "vsrun" {
				t.Error(msg)
			} else {
				t.Log(msg)
			}
			if leftovers == 5 && rt.Name == "vsrun" {
				t.Fatal("that is enough")
			}
			harness.Purge(id, filepath.Join(p.dir, "nothing"))
			_ = os.RemoveAll(filepath.Join(p.root, id))
		}
		// The id can be used at once.
		if round%10 == 0 {
			p.must("create", "-b", p.bundle(), id)
			p.must("delete", "--force", id)
		}
	}
	fmt.Printf("note: calls that were killed before they ended: %v; %d left something behind\n", killed, leftovers)
	for _, v := range verbs {
		t.Errorf("%s was killed in time only %d times in %d calls: this test proves little", v, killed[v], most)
	}
	if rt.Name == "vsrun" {
		p.noLeaks()
	}
}

// An engine whose runtime is killed unmounts the root filesystem and removes the directory below it: what is left of the
// runtime makes nothing there.
func TestKilledAndUnmounted(t *testing.T) {
	p := newPlace(t, "args:/bin/true", `mounts+={"destination":"/made/for/it","type":"tmpfs","source":"tmpfs"}`)
	if rt.Name != "vsrun" {
		t.Skip("what peers leave is theirs")
	}
	live := filepath.Join(p.bundle(), "live")
	if err := os.Mkdir(live, 0o755); err != nil {
		t.Fatal(err)
	}
	usual := p.must("create", "-b", p.bundle(), p.tag).Duration
	p.must("delete", "--force", p.tag)
	if err := harness.EditFile(filepath.Join(p.bundle(), "config.json"), "root.path=live", "root.readonly=false"); err != nil {
		t.Fatal(err)
	}
	killed := 0
	for n := range harness.EnvInt("VSRUN_TEST_KILLS", 100) {
		if err := unix.Mount(filepath.Join(p.bundle(), "rootfs"), live, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		c, done := p.call("create", "-b", p.bundle(), p.tag), make(chan error, 1)
		c.Started = func(proc *os.Process) {
			fd, err := unix.PidfdOpen(proc.Pid, 0)
			time.AfterFunc(usual*time.Duration(n%50)/50, func() {
				if err == nil {
					_ = proc.Kill()
					_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000)
					unix.Close(fd)
				}
				if err == nil {
					err = unix.Unmount(live, unix.MNT_DETACH)
				}
				done <- err
			})
		}
		res, err := rt.Run(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if res.Code == 137 {
			killed++
		}
		p.must("delete", "--force", p.tag)
		if left, err := os.ReadDir(live); err != nil || len(left) > 0 {
			t.Fatalf("create killed after %d/50: in the directory below the root filesystem: %v, %v", n%50, left, err)
		}
	}
	if killed == 0 {
		t.Error("create was never killed in time")
	}
	p.noLeaks()
}

// Many containers one after the other: nothing adds up, neither in the
// system's tables nor in time.
func TestCycles(t *testing.T) {
	p := newPlace(t, "args:/bin/true")
	n := harness.EnvInt("VSRUN_TEST_CYCLES", map[bool]int{true: 500, false: 150}[rt.Name == "vsrun"])
	if testing.Short() {
		n = 100
	}
	fds := countFDs(t)
	times := make([]time.Duration, 0, n)
	for i := range n {
		id := p.tag + "." + strconv.Itoa(i)
		total := p.must("create", "--bundle", p.bundle(), id).Duration
		total += p.must("start", id).Duration
		total += p.must("delete", "--force", id).Duration
		times = append(times, total)
	}
	p.noLeaks()
	if now := countFDs(t); now > fds {
		t.Errorf("%d file descriptors were open before, %d are now", fds, now)
	}
	k := min(50, n/2)
	first, last := median(times[:k]), median(times[n-k:])
	fmt.Printf("note: %d cycles of create, start and delete --force: median %v at first, %v at last: x%.2f\n",
		n, first.Round(time.Microsecond), last.Round(time.Microsecond), float64(last)/float64(first))
	// What adds up (a leaked cgroup or mount for each) shows as a multiple, in the fastest cycles, too; a machine that got busy shows
	// in the others.
	if first, last := slices.Min(times[:k]), slices.Min(times[n-k:]); last > 3*first {
		t.Errorf("the fastest of the last cycles takes %v, the fastest of the first ones %v", last, first)
	}
}

// Containers side by side do not disturb each other.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "sh:echo $((6*7)); exit 3")
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			res, err := rt.Run(p.call("run", "-b", p.bundle(), p.tag+"."+strconv.Itoa(i)))
			if err != nil || res.Code != 3 || res.Stdout != "42\n" {
				t.Errorf("run: code %d, %q, %q, %v", res.Code, res.Stdout, res.Stderr, err)
			}
		})
	}
	for range 5 {
		if r := p.try("list"); r.Code != 0 && !strings.Contains(r.Stderr, "no such file") {
			t.Errorf("list beside others: code %d: %s", r.Code, r.Stderr)
		}
	}
	wg.Wait()
	p.noLeaks()
}

func median(d []time.Duration) time.Duration {
	s := slices.Clone(d)
	slices.Sort(s)
	return s[len(s)/2]
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
