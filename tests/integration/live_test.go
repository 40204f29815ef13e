package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// Everything that runc's events has of a container, ours has under the same name and of the same kind; what is more is
// named here.
func TestEventsLikeRunc(t *testing.T) {
	t.Parallel()
	needRuntime(t)
	runc, err := harness.NewRuntime("runc")
	if err != nil {
		t.Skipf("needs runc to compare with: %v", err)
	}
	p := newPlace(t, "args:/bin/probe trap")
	if layout != "v2" {
		if err := harness.EditFile(p.bundle()+"/config.json", `linux.resources={"memory":{"limit":67108864},"pids":{"limit":37},"cpu":{"quota":50000,"period":100000}}`); err != nil {
			t.Fatal(err)
		}
	}
	stats := func(rt *harness.Runtime, id string) map[string]any {
		call := func(args ...string) harness.Result {
			c := p.call(args...)
			c.Args[1] += rt.Name // a root of its own
			res, err := rt.Run(c)
			if err != nil || res.Code != 0 {
				t.Fatalf("%s %q: %v, %s", rt.Name, args, err, res.Stderr)
			}
			return res
		}
		call("run", "-d", "-b", p.bundle(), id)
		defer call("delete", "--force", id)
		var doc map[string]any
		if err := json.Unmarshal([]byte(call("events", "--stats", id).Stdout), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	want, got := stats(runc, p.tag+".1"), stats(rt, p.tag+".2")
	more := regexp.MustCompile(`^data\.((cpu|memory|blkio)\.psi|hugetlb\.[0-9]+[KMG]B|memory\.raw\.\w+|(cpu|memory|blkio)\.\w+(\.\w+)?)$`)
	compareShape(t, "", want, got, func(path string) bool { return more.MatchString(strings.TrimPrefix(path, ".")) })
	for _, path := range []string{"data.pids.limit", "data.memory.usage.limit", "data.memory.swap.limit", "data.cpuset"} {
		w, _, _ := harness.Lookup(want, path)
		g, _, _ := harness.Lookup(got, path)
		if fmt.Sprint(w) != fmt.Sprint(g) {
			t.Errorf("%s: %v, runc has %v", path, g, w)
		}
	}
}

// compareShape looks for what is missing, of another kind, or too much.
func compareShape(t *testing.T, path string, want, got any, more func(string) bool) {
	t.Helper()
	w, wok := want.(map[string]any)
	g, gok := got.(map[string]any)
	if !wok || !gok {
		if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			t.Errorf("%s is a %T, in runc a %T", path, got, want)
		}
		return
	}
	for k := range w {
		if _, ok := g[k]; !ok && !omitted(w[k]) {
			t.Errorf("%s.%s is missing; runc has %v", path, k, w[k])
		} else if ok {
			compareShape(t, path+"."+k, w[k], g[k], more)
		}
	}
	for k := range g {
		if _, ok := w[k]; !ok && !more(path+"."+k) {
			t.Errorf("%s.%s is not in runc's", path, k)
		}
	}
}

// omitted: a number is left out when it is 0, which depends on when one looks; so is an empty list.
func omitted(v any) bool {
	switch v.(type) {
	case float64, []any:
		return true
	}
	return false
}

// Verbs meet each other, and the end of the container, at every moment: none hangs, none says anything but that it came
// too late or that another was faster, and nothing is left.
func TestLiveRaces(t *testing.T) { liveRaces(t, false) }

func TestLiveRacesPureV2(t *testing.T) {
	needRuntime(t)
	if layout == "v2" || !hasCgroup2() {
		t.Skip("needs cgroup2 beside version 1")
	}
	liveRaces(t, true)
}

func liveRaces(t *testing.T, pureV2 bool) {
	t.Parallel()
	p := newPlace(t, "sh:probe trap & sleep 1000 & while :; do sleep 0.01; done")
	p.v2 = pureV2
	too := regexp.MustCompile(`container not running|container not paused|does not exist|is not running|not stopped|process already finished`)
	const rounds = 9
	for round := range rounds {
		id := fmt.Sprintf("%s.%d", p.tag, round)
		if round%3 == 2 {
			p.must("create", "-b", p.bundle(), id)
		} else {
			p.must("run", "-d", "-b", p.bundle(), id)
		}
		verbs := [][]string{{"pause", id}, {"resume", id}, {"pause", id}, {"resume", id}, {"ps", "-f", "json", id}, {"state", id}, {"kill", id, "USR1"},
			{"update", "--cpuset-mems", "", id}, {"events", "--stats", id}, {"events", "--interval", "10ms", id}, {"list"}}
		if rt.Name == "vsrun" {
			verbs = append(verbs, []string{"stat"}, []string{"ps", "--all"}, []string{"top"})
		}
		var wg sync.WaitGroup
		over := make(chan struct{})
		for _, v := range verbs {
			wg.Go(func() {
				for {
					res, err := rt.Run(p.call(v...))
					if err != nil {
						t.Errorf("%q hangs: %v", v, err)
						return
					}
					if res.Code != 0 && rt.Name == "vsrun" && !too.MatchString(res.Stderr) {
						t.Errorf("%q: %s", v, res.Stderr)
					}
					select {
					case <-over:
						return
					default:
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(int(100 * time.Millisecond)))) // a moment of this round's own, not a wait
		if round%2 == 0 {
			if res := p.try("kill", id, "KILL"); res.Code != 0 {
				t.Errorf("kill: %s", res.Stderr)
			}
			// A pause that came together with it must not keep the dead.
			stopped := harness.Poll(patience, func() bool { return strings.Contains(p.try("state", id).Stdout, `"stopped"`) })
			if !stopped && rt.Name == "vsrun" {
				t.Errorf("killed and not stopped: %s", p.try("state", id).Stdout)
			}
		}
		if res := p.try("delete", "--force", id); res.Code != 0 {
			t.Errorf("delete --force: %s", res.Stderr)
		}
		close(over)
		wg.Wait()
		if t.Failed() {
			break
		}
	}
	p.noLeaks()
	_ = os.RemoveAll(p.root)
}
