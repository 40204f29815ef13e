package load

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// What the model knows of a container.
const (
	absent  = ""
	created = "created"
	running = "running"
	paused  = "paused"
	stopped = "stopped"
)

// slot is a place for one container. Who holds its lock knows its state.
type slot struct {
	mu     sync.Mutex
	id     string
	status string
	pid    int
	limit  int // pids.max
}

// deed is something to do with a container in a state, and what must come of
// it: the state afterwards, and for what fails a part of the message.
type deed struct {
	in   []string
	args []string // ID stands for the container's, BUNDLE for the bundle
	to   string   // "=" for the same state
	says string   // it fails, and says so
	code int      // of an exec; 1 for what fails, unless said
	out  string   // an exec's output
}

const (
	inAny  = "any"
	same   = "="
	notRun = "container not running"
)

var deeds = []deed{
	{in: []string{absent}, args: []string{"create", "-b", "BUNDLE", "ID"}, to: created},
	{in: []string{absent}, args: []string{"run", "-d", "-b", "BUNDLE", "ID"}, to: running},
	{in: []string{absent}, args: []string{"state", "ID"}, to: same, says: "container does not exist"},
	{in: []string{absent}, args: []string{"start", "ID"}, to: same, says: "container does not exist"},
	{in: []string{absent}, args: []string{"delete", "ID"}, to: same, says: "container does not exist"},
	{in: []string{absent}, args: []string{"delete", "--force", "ID"}, to: same},
	{in: []string{created, running, paused, stopped}, args: []string{"create", "-b", "BUNDLE", "ID"}, to: same, says: "already exists"},
	{in: []string{created}, args: []string{"start", "ID"}, to: running},
	{in: []string{running}, args: []string{"start", "ID"}, to: same, says: "cannot start an already running container"},
	{in: []string{paused}, args: []string{"start", "ID"}, to: same, says: "cannot start a container in the paused state"},
	{in: []string{stopped}, args: []string{"start", "ID"}, to: same, says: "cannot start a container that has stopped"},
	{in: []string{created, running}, args: []string{"exec", "ID", "/bin/sh", "-c", "echo here; exit 7"}, to: same, code: 7, out: "here\n"},
	{in: []string{running}, args: []string{"exec", "ID", "/bin/sh", "-c", "hostname"}, to: same, out: "vsrun-test\n"},
	{in: []string{running}, args: []string{"exec", "-d", "ID", "/bin/sleep", "0.01"}, to: same},
	{in: []string{paused}, args: []string{"exec", "ID", "/bin/true"}, to: same, says: "cannot exec in a paused container", code: 255},
	{in: []string{stopped}, args: []string{"exec", "ID", "/bin/true"}, to: same, says: "cannot exec in a stopped container", code: 255},
	{in: []string{running}, args: []string{"pause", "ID"}, to: paused},
	{in: []string{paused}, args: []string{"resume", "ID"}, to: running},
	{in: []string{running, stopped}, args: []string{"resume", "ID"}, to: same, says: "container not paused"},
	{in: []string{stopped, paused}, args: []string{"pause", "ID"}, to: same, says: notRun},
	{in: []string{created, running, paused}, args: []string{"kill", "ID", "KILL"}, to: stopped},
	{in: []string{running}, args: []string{"kill", "ID", "TERM"}, to: stopped},
	{in: []string{running}, args: []string{"kill", "ID", "0"}, to: same},
	{in: []string{stopped}, args: []string{"kill", "ID", "TERM"}, to: same, says: notRun},
	{in: []string{created, running, paused}, args: []string{"delete", "ID"}, to: same, says: "that is not stopped"},
	{in: []string{stopped}, args: []string{"delete", "ID"}, to: absent},
	{in: []string{created, running, paused, stopped}, args: []string{"delete", "--force", "ID"}, to: absent},
	{in: []string{running}, args: []string{"update", "--pids-limit", "LIMIT", "ID"}, to: same},
	{in: []string{running, created}, args: []string{"ps", "--format", "json", "ID"}, to: same},
	{in: []string{running, created, paused, stopped}, args: []string{"state", "ID"}, to: same},
}

type model struct {
	*place
	slots []*slot
	done  atomic.Int64
	fails atomic.Int64
	kinds sync.Map // verb and state to *atomic.Int64
}

func TestModel(t *testing.T) {
	length := 8 * time.Second
	if d, err := time.ParseDuration(os.Getenv("VSRUN_LOAD_TIME")); err == nil {
		length = d
	}
	edits := []string{`sh:trap "exit 3" TERM; sleep 100000 & wait`}
	if hasPids() {
		edits = append(edits, `linux.resources={"pids":{"limit":100}}`)
	}
	p := newPlace(t, edits...)
	p.warm()
	m := &model{place: p}
	for i := range 64 {
		m.slots = append(m.slots, &slot{id: tag + "." + strconv.Itoa(i)})
	}
	end := time.Now().Add(length)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for time.Now().Before(end) && m.fails.Load() < 10 {
				m.step(rng)
			}
		})
	}
	wg.Go(func() { // once in a while all stand still, and are looked at
		for time.Now().Before(end) && m.fails.Load() < 10 {
			time.Sleep(length / 10)
			m.audit()
		}
	})
	wg.Go(func() { // and these look on while they don't
		for time.Now().Before(end) && m.fails.Load() < 10 {
			for _, args := range [][]string{{"list"}, {"stat"}, {"ps", "--all"}} {
				if res := m.try(args...); res.Code != 0 && !strings.Contains(res.Stderr, "no such file") {
					m.fail("%q beside others: exit code %d: %s", args, res.Code, res.Stderr)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	wg.Wait()
	m.audit()
	for _, s := range m.slots {
		m.must("delete", "--force", s.id)
	}
	_ = os.RemoveAll(p.root + "/nothing")
	p.clean("at the end")
	n := 0
	var seldom []string
	for _, d := range deeds {
		for _, in := range d.in {
			c, ok := m.kinds.Load(d.args[0] + " " + in)
			if !ok {
				seldom = append(seldom, d.args[0]+" "+in)
			} else if c.(*atomic.Int64).Load() > 0 {
				n++
			}
		}
	}
	fmt.Printf("note: model: %d calls in %v, %d kinds; never done: %q\n", m.done.Load(), length, n, seldom)
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.fails.Add(1)
	m.t.Errorf(format, args...)
}

// step does something with one container.
func (m *model) step(rng *rand.Rand) {
	s := m.slots[rng.IntN(len(m.slots))]
	if rng.IntN(8) == 0 {
		m.unlocked(s, rng)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var can []*deed
	for i := range deeds {
		if slices.Contains(deeds[i].in, s.status) && (deeds[i].args[0] != "update" || hasPids()) {
			can = append(can, &deeds[i])
		}
	}
	d := can[rng.IntN(len(can))]
	limit := 50 + rng.IntN(50)
	res := m.try(m.words(d.args, s, limit)...)
	m.count(d.args[0] + " " + s.status)
	was := s.status
	code := d.code
	if d.says != "" && code == 0 {
		code = 1
	}
	if res.Code != code || d.says != "" && !strings.Contains(res.Stderr, d.says) || d.out != "" && res.Stdout != d.out {
		m.fail("%q of a container that is %q: exit code %d, %q, %q", d.args, was, res.Code, res.Stdout, res.Stderr)
	}
	if d.to != same {
		s.status = d.to
	}
	if d.args[0] == "update" {
		s.limit = limit
	}
	m.verify(s, was, d)
}

func (m *model) count(kind string) {
	m.done.Add(1)
	c, _ := m.kinds.LoadOrStore(kind, new(atomic.Int64))
	c.(*atomic.Int64).Add(1)
}

func (m *model) words(list []string, s *slot, limit int) []string {
	out := slices.Clone(list)
	for i, a := range out {
		switch a {
		case "ID":
			out[i] = s.id
		case "BUNDLE":
			out[i] = m.bundle()
		case "LIMIT":
			out[i] = strconv.Itoa(limit)
		}
	}
	return out
}

type report struct {
	ID, Status string
	Pid        int
}

// verify asks for the state after a deed. Its caller holds the lock.
func (m *model) verify(s *slot, was string, d *deed) {
	ask := func() (st report) {
		if res := m.try("state", s.id); res.Code == 0 {
			if err := json.Unmarshal([]byte(res.Stdout), &st); err != nil {
				m.fail("state: %v: %q", err, res.Stdout)
			}
		}
		return st
	}
	st := ask()
	if s.status == stopped && st.Status != stopped { // a signal takes its time
		harness.Poll(patience, func() bool {
			if st = ask(); st.Status == running && slices.Contains(d.args, "TERM") { // it came before the program could take it
				m.try("kill", s.id, "TERM")
			}
			return st.Status == stopped
		})
	}
	if st.Status != s.status {
		m.fail("after %q of a container that was %q it is %q, and should be %q", d.args, was, st.Status, s.status)
		s.status = st.Status
	}
	alive := s.status == created || s.status == running || s.status == paused
	switch {
	case !alive && st.Pid != 0:
		m.fail("after %q a container that is %q has pid %d", d.args, st.Status, st.Pid)
	case alive && was != absent && st.Pid != s.pid:
		m.fail("after %q the pid is %d, and was %d", d.args, st.Pid, s.pid)
	case alive && harness.Gone(st.Pid):
		m.fail("after %q a container is %q, and its process %d gone", d.args, st.Status, st.Pid)
	case !alive && s.pid != 0 && !harness.Poll(patience, func() bool { return harness.Gone(s.pid) }):
		m.fail("after %q process %d is still there", d.args, s.pid)
	}
	s.pid = st.Pid
	if s.status == absent {
		s.limit = 0
	}
	if alive && s.limit != 0 {
		if got := pidsMax(s.id); got != "" && got != strconv.Itoa(s.limit) {
			m.fail("after %q pids.max is %s, and should be %d", d.args, got, s.limit)
		}
	}
}

// hasPids tells if processes can be limited.
func hasPids() bool { return harness.Controllers("v1")["pids"] || harness.Controllers("v2")["pids"] }

// pidsMax reads the limit, "" where there is no such file.
func pidsMax(id string) string {
	for _, dir := range []string{"/sys/fs/cgroup/pids/", "/sys/fs/cgroup/"} {
		if b, err := os.ReadFile(filepath.Join(dir, id, "pids.max")); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	return ""
}

// unlocked does something that changes nothing, whatever others do with the
// container meanwhile: it comes back, and says nothing strange.
func (m *model) unlocked(s *slot, rng *rand.Rand) {
	list := [][]string{{"state", s.id}, {"exec", s.id, "/bin/true"}, {"ps", s.id}, {"events", "--stats", s.id}}
	args := list[rng.IntN(len(list))]
	res := m.try(args...)
	m.count(args[0] + " " + inAny)
	if res.Code == 0 {
		return
	}
	for _, ok := range []string{"does not exist", "cannot exec in a", "not running", "is still being created", "process already finished", "paused"} {
		if strings.Contains(res.Stderr, ok) {
			return
		}
	}
	// The kill of a container takes with it what has just come in.
	if args[0] == "exec" && res.Code == 137 {
		return
	}
	m.fail("%q beside others: exit code %d: %q", args, res.Code, res.Stderr)
}

// audit holds everybody, and compares all there is with the model.
func (m *model) audit() {
	for _, s := range m.slots {
		s.mu.Lock()
	}
	defer func() {
		for _, s := range m.slots {
			s.mu.Unlock()
		}
	}()
	var list []report
	res := m.try("list", "--format", "json")
	if err := json.Unmarshal([]byte(res.Stdout), &list); res.Code != 0 || err != nil {
		if strings.Contains(res.Stderr, "no such file") {
			return
		}
		m.fail("list: exit code %d, %v: %s", res.Code, err, res.Stderr)
		return
	}
	have := map[string]report{}
	for _, r := range list {
		have[r.ID] = r
	}
	cgroups := map[string]bool{}
	for _, w := range m.world() {
		if path, ok := strings.CutPrefix(w, "cgroup: "); ok {
			cgroups[filepath.Base(path)] = true
		}
	}
	for _, s := range m.slots {
		if got := have[s.id]; got.Status != s.status || got.Pid != s.pid {
			m.fail("list has %s as %q with pid %d; it should be %q with pid %d", s.id, got.Status, got.Pid, s.status, s.pid)
		}
		if cgroups[s.id] != (s.status != absent) {
			m.fail("container %s is %q; cgroup: %v", s.id, s.status, cgroups[s.id])
		}
		delete(have, s.id)
	}
	for id := range have {
		m.fail("list has %s, which nobody has made", id)
	}
}
