package faults

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/tests/harness"
)

var v1, v2 = harness.Controllers("v1"), harness.Controllers("v2")

// operation is a command that is stopped.
type operation struct {
	name   string
	before [][]string // commands that come first, undisturbed
	args   []string
	after  []string // a command that follows if it has succeeded: the steps that create has compiled for start
	// stays: what fails leaves the container as it was, so it is used again.
	stays bool
	// keeps: what it is done to are files, which it leaves as they are, and no container; they are made once.
	keeps bool
	only  string // the one fixture to try it with, "" for all
}

const (
	idWord     = "ID"
	bundleWord = "BUNDLE"
	imagesWord = "IMAGES"
)

var (
	create = []string{"create", "-b", bundleWord, idWord}
	runIt  = []string{"run", "-d", "-b", bundleWord, idWord}
	start  = []string{"start", idWord}
	// The firewall that CRIU sets up takes longer than all the rest of a checkpoint.
	checkpoint = []string{"checkpoint", "--network-lock", "skip", "--image-path", imagesWord}
)

func operations() []operation {
	return []operation{
		{name: "create", args: create, after: start},
		{name: "start", before: [][]string{create}, args: start},
		{name: "run", args: runIt},
		{name: "exec", before: [][]string{runIt}, args: []string{"exec", idWord, "/bin/true"}, stays: true},
		{name: "exectracer", before: [][]string{runIt}, args: []string{"exec", "--cap", "CAP_SYS_PTRACE", idWord, "/bin/true"}, only: "plain"},
		{name: "execdetached", before: [][]string{runIt}, args: []string{"exec", "-d", "--pid-file", "PIDFILE", idWord, "/bin/true"}, stays: true, only: "plain"},
		{name: "execterminal", before: [][]string{runIt}, args: []string{"exec", "-d", "-t", "--console-socket", "CONSOLE", idWord, "/bin/true"}, stays: true, only: "terminal"},
		{name: "delete", before: [][]string{runIt, {"kill", idWord, "KILL"}}, args: []string{"delete", idWord}},
		{name: "deleteforce", before: [][]string{runIt}, args: []string{"delete", "--force", idWord}},
		{name: "deletecreated", before: [][]string{create}, args: []string{"delete", "--force", idWord}, only: "plain"},
		{name: "kill", before: [][]string{runIt}, args: []string{"kill", idWord, "KILL"}, only: "plain"},
		{name: "killall", before: [][]string{runIt}, args: []string{"kill", "--all", idWord, "KILL"}, only: "host"},
		{name: "pause", before: [][]string{runIt}, args: []string{"pause", idWord}, only: "plain"},
		{name: "resume", before: [][]string{runIt, {"pause", idWord}}, args: []string{"resume", idWord}, only: "plain"},
		{name: "deletepaused", before: [][]string{runIt, {"pause", idWord}}, args: []string{"delete", "--force", idWord}, only: "plain"},
		{name: "update", before: [][]string{runIt}, args: []string{"update", "--pids-limit", "20", "--memory", "50000000", idWord}, only: "limits"},
		{name: "checkpoint", before: [][]string{runIt}, args: append(slices.Clone(checkpoint), idWord), only: "criu"},
		{name: "checkpointleave", before: [][]string{runIt}, args: append(slices.Clone(checkpoint), "--leave-running", idWord), only: "criu"},
		{name: "restore", before: [][]string{runIt, append(slices.Clone(checkpoint), idWord)},
			args: []string{"restore", "-d", "-b", bundleWord, "--image-path", imagesWord, idWord}, keeps: true, only: "criu"},
		{name: "foreground", args: []string{"run", "-b", bundleWord, idWord}, only: "short"},
	}
}

// family are the operations that carry out the same steps in the same way.
func (op *operation) family() string {
	switch {
	case op.name == "create", op.name == "run", op.name == "foreground":
		return "launch"
	case strings.HasPrefix(op.name, "exec"):
		return "exec"
	}
	return op.name
}

// on tells if an operation is tried with a fixture.
func (op *operation) on(f *fixture) bool {
	switch {
	case op.only != "":
		return op.only == f.name
	case f.cold != nil:
		return op.name == "create"
	case f.fails:
		return op.name == "create" || op.name == "run"
	}
	return f.name != "criu" && f.name != "short"
}

func TestFaults(t *testing.T) {
	s := newScene(t)
	reached := map[string]bool{}
	tried := map[string]int{}
	pc := newPace(t)
	var list []*fixture
	has := map[string]bool{}
	for i := range fixtures {
		f := &fixtures[i]
		if f.need != nil {
			if why := f.need(); why != "" {
				t.Run(f.name, func(t *testing.T) { t.Skip(why) })
				continue
			}
		}
		list = append(list, f)
		has[f.name] = true
	}
	for len(pc.only) > 0 && len(list) > 0 && pc.others(list[len(list)-1].name) {
		list = list[:len(list)-1]
	}
	for _, c := range pc.rounds() {
		pc.last, pc.turns = c, 0
		for _, f := range list {
			for _, op := range operations() {
				if op.on(f) {
					pc.turns++
				}
			}
		}
		for _, f := range list {
			name := f.name
			if c != pc.rounds()[0] {
				name += ", " + c.String()
			}
			t.Run(name, func(t *testing.T) {
				s.t = t
				s.prepare(f)
				for _, op := range operations() {
					if !op.on(f) {
						continue
					}
					t.Run(op.name, func(t *testing.T) {
						s.t = t
						w := &sweep{scene: s, f: f, op: &op, reached: reached, tried: tried, pace: pc}
						w.run()
					})
				}
				s.prefix = nil
				s.env = slices.DeleteFunc(s.env, func(v string) bool { return strings.HasPrefix(v, "NOTIFY_SOCKET=") })
			})
		}
	}
	s.t = t
	fmt.Printf("note: tried: %v\n", tried)
	pc.report()
	if why := pc.cut(); why != "" {
		t.Run("all", func(t *testing.T) { t.Skip(why) })
	}
	for _, p := range fault.All() {
		switch p {
		case fault.CriuStarted.String(), fault.Dumped.String(), fault.Restored.String():
			reached[p] = reached[p] || !has["criu"]
		case fault.Updated.String():
			reached[p] = reached[p] || !has["limits"]
		}
		if !reached[p] && len(pc.unseen) == 0 && pc.only == nil && os.Getenv("VSRUN_TEST_FAULTS") == "all" && !t.Failed() && flag.Lookup("test.run").Value.String() == "" {
			t.Errorf("no operation has passed the point %q", p)
		}
	}
}

// prepare makes a fixture's bundle, and runs it once: mount points are made in
// a rootfs, and caches filled.
func (s *scene) prepare(f *fixture) {
	s.t.Helper()
	if dir := filepath.Join(s.dir, f.name); !harness.Exists(dir) {
		s.bundle(f.name, f.edits(s)...)
		if f.made != nil {
			f.made(s, dir)
		}
	}
	s.env, s.prefix, s.cold = append(s.env, f.env...), f.prefix, f.cold
	w := &sweep{scene: s, f: f}
	s.try("delete", "--force", s.id) // should the one before have come to grief
	life := [][]string{create, {"exec", idWord, "/bin/true"}, start, {"delete", "--force", idWord}}
	if f.fails {
		life, s.filters = nil, nil
	}
	for _, args := range life {
		if f.each != nil && args[0] == "create" {
			f.each(s)
		}
		s.must(w.args(args)...)
		if args[0] == "create" {
			s.filters = harness.DeviceFilters(s.id)
		}
	}
	s.terminals.hangUp()
	harness.Poll(5*time.Second, func() bool { // device filters go when the kernel has time for it, terminals' connections when this program has
		last := s.before
		s.before = s.world()
		return len(harness.Changes(last, s.before)) == 0 && !slices.ContainsFunc(s.before, func(l string) bool { return strings.HasPrefix(l, "BPF program") })
	})
}

// sweep is an operation on a fixture, stopped at one place after the other.
type sweep struct {
	*scene
	f       *fixture
	op      *operation
	reached map[string]bool
	tried   map[string]int
	pace    *pace
	ready   bool     // the container of an operation that stays is there
	during  []string // the world with it
	held    report   // what it was
	kept    string   // what the files of an operation that keeps them were
}

// args fills in the words that stand for this fixture's.
func (w *sweep) args(list []string) []string {
	var args []string
	for i, a := range list {
		switch a {
		case idWord:
			a = w.id
		case bundleWord:
			a = filepath.Join(w.dir, w.f.name)
		case imagesWord:
			a = w.images()
		case "PIDFILE":
			a = filepath.Join(w.dir, "pid")
		case "CONSOLE":
			a = w.terminals.path
		}
		args = append(args, a)
		if i == 0 && (a == "create" || a == "run") {
			for _, f := range w.f.flags {
				if f == "PIDFILE" {
					f = filepath.Join(w.dir, "pid")
				}
				args = append(args, f)
			}
			if w.f.tty {
				args = append(args, "--console-socket", w.terminals.path)
			}
		}
	}
	return args
}

func (w *sweep) run() {
	most, few := 1, false
	switch v := os.Getenv("VSRUN_TEST_FAULTS"); v {
	case "":
		few = w.f.name != "plain"
	case "all":
		most = -1
	default:
		var err error
		if most, err = strconv.Atoi(v); err != nil {
			w.t.Fatalf("VSRUN_TEST_FAULTS: %v", err)
		}
	}
	name := w.f.name + " " + w.op.name
	l := w.pace.found[name]
	switch {
	case w.pace.over():
		if l == nil && !slices.Contains(w.pace.unseen, name) {
			w.pace.unseen = append(w.pace.unseen, name)
		}
		return
	case l != nil && l.count(w.pace.last) == 0:
		w.pace.turns--
		return
	}
	w.try1("delete", "--force", w.id) // should the one before have come to grief
	rng := rand.New(rand.NewPCG(seed, uint64(len(w.f.name)*1000+len(w.op.name))))
	if l == nil {
		kinds := w.places()
		if only := os.Getenv("VSRUN_TEST_PLACE"); only != "" {
			kinds, most = map[string][]place{"chosen": {{order: only}}}, -1
		}
		if few {
			kinds = anyOf(kinds, 4, rng)
		}
		if most >= 0 {
			for kind, places := range kinds {
				rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
				kinds[kind] = places[:min(most, len(places))]
			}
		}
		l = w.pace.sort(name, kinds)
	}
	until := w.pace.until()
	intime := func() bool { return until.IsZero() || time.Now().Before(until) }
	for c := range w.pace.last + 1 {
		kinds := l.left[c]
		names := slices.Sorted(maps.Keys(kinds))
		if !until.IsZero() {
			for _, kind := range names {
				rng.Shuffle(len(kinds[kind]), func(i, j int) { kinds[kind][i], kinds[kind][j] = kinds[kind][j], kinds[kind][i] })
			}
		}
		for l.count(c) > 0 && intime() { // one of each kind after the other
			rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, kind := range names {
				if len(kinds[kind]) > 0 && intime() {
					p := kinds[kind][0]
					kinds[kind] = kinds[kind][1:]
					w.tried[kind]++
					w.pace.did[c]++
					w.try(p)
				}
			}
		}
	}
	w.scene.gone(w.op.name + " at last")
}
