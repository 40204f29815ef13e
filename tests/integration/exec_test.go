package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// Many execs into one container at once: each gets its own answer.
func TestExecMany(t *testing.T) {
	p := newPlace(t, "args:/bin/sleep 1000")
	p.must("run", "-d", "-b", p.bundle(), p.tag)
	n := harness.EnvInt("VSRUN_TEST_EXECS", map[bool]int{true: 200, false: 60}[rt.Name == "vsrun"])
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			res, err := rt.Run(p.call("exec", p.tag, "/bin/sh", "-c", "echo "+strconv.Itoa(i)+"; exit "+strconv.Itoa(i%100)))
			if err != nil || res.Code != i%100 || res.Stdout != strconv.Itoa(i)+"\n" {
				t.Errorf("exec %d: code %d, %q, %q, %v", i, res.Code, res.Stdout, res.Stderr, err)
			}
		})
	}
	wg.Wait()
	fmt.Printf("note: %d concurrent execs took %v\n", n, time.Since(begin).Round(time.Millisecond))
	p.must("delete", "--force", p.tag)
	p.noLeaks()
}

// Something happens to the container while execs go in: each ends, with its
// program's exit code or with an error that says what was the matter, and
// nothing is left.
func TestExecRaces(t *testing.T) {
	p := newPlace(t, "args:/bin/sleep 1000", "linux.cgroupsPath=/"+"exec-races")
	seed := uint64(time.Now().UnixNano())
	if s := harness.EnvInt("VSRUN_TEST_SEED", 0); s != 0 {
		seed = uint64(s)
	}
	t.Logf("VSRUN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	const crowd = 6
	rounds := harness.EnvInt("VSRUN_TEST_EXEC_RACES", 30)
	seen := map[string]int{}
	for round := range rounds {
		id := p.tag + "." + strconv.Itoa(round)
		if err := harness.EditFile(filepath.Join(p.bundle(), "config.json"), "linux.cgroupsPath=/"+id); err != nil {
			t.Fatal(err)
		}
		p.must("run", "-d", "-b", p.bundle(), id)
		what := []string{"kill", "delete", "pause"}[round%3]
		if what == "pause" && !hasFreezer(id) {
			continue
		}
		results := make([]harness.Result, crowd)
		var wg sync.WaitGroup
		for i := range crowd {
			wg.Go(func() {
				var err error
				args := []string{"exec", "--ignore-paused", id, "/bin/true"}
				if i == 0 {
					args = []string{"exec", id, "/bin/sleep", "1000"}
				}
				if results[i], err = rt.Run(p.call(args...)); err != nil {
					t.Errorf("round %d: exec against %s: %v", round, what, err)
				}
			})
		}
		time.Sleep(time.Duration(rng.Int64N(int64(12 * time.Millisecond))))
		switch what {
		case "kill":
			p.must("kill", id, "KILL")
		case "delete":
			p.must("delete", "--force", id)
		case "pause":
			freeze(t, id, true)
			time.Sleep(5 * time.Millisecond)
			freeze(t, id, false)
			p.must("kill", id, "KILL")
		}
		wg.Wait()
		for i, r := range results {
			switch {
			case r.Code == 0, r.Code == 137:
				seen["ran"]++
			case r.Code == 255 && (strings.Contains(r.Stderr, "cannot exec in a stopped container") ||
				strings.Contains(r.Stderr, "container does not exist") || strings.Contains(r.Stderr, "is still being created, or deleted")):
				seen["too late"]++
			case r.Code == 255 && what == "pause" && strings.Contains(r.Stderr, "cannot exec in a paused container"):
				seen["paused"]++
			case rt.Name == "vsrun":
				t.Errorf("round %d: exec %d against %s: code %d, %q", round, i, what, r.Code, r.Stderr)
			}
		}
		p.must("delete", "--force", id)
		if left := harness.Leaks(id, filepath.Join(p.dir, "nothing"), p.root); len(left) > 0 && rt.Name == "vsrun" {
			t.Errorf("round %d: exec against %s: left behind: %s", round, what, strings.Join(left, "; "))
			harness.Purge(id, filepath.Join(p.dir, "nothing"))
		}
	}
	fmt.Printf("note: execs against kill, delete and pause: %v\n", seen)
	if rt.Name == "vsrun" {
		p.noLeaks()
	}
}

// A container's first process has been killed and waits for the end of another of its pid namespace, which an exec has brought and
// does not wait for: it is there, and nothing can join it.
func TestExecInDyingContainer(t *testing.T) {
	p := newPlace(t, "args:/bin/sleep 1000")
	p.must("run", "-d", "-b", p.bundle(), p.tag)
	stopped := make(chan *os.Process, 1)
	call := p.call("exec", p.tag, "/bin/sh", "-c", "echo there; exec sleep 1000")
	call.Stdout = filepath.Join(p.dir, "out")
	call.Started = func(proc *os.Process) { stopped <- proc }
	ended := make(chan harness.Result, 1)
	go func() {
		res, _ := rt.Run(call)
		ended <- res
	}()
	proc := <-stopped
	if !harness.Poll(10*time.Second, func() bool {
		out, _ := os.ReadFile(call.Stdout)
		return string(out) == "there\n"
	}) {
		t.Fatal("the exec did not begin")
	}
	_ = proc.Signal(syscall.SIGSTOP)
	p.must("kill", p.tag, "KILL")
	r := p.try("exec", p.tag, "/bin/true")
	if r.Code != 255 || !strings.Contains(r.Stderr, "cannot exec in a stopped container") && rt.Name == "vsrun" {
		t.Errorf("exec in a container whose first process is ending: code %d, %q", r.Code, r.Stderr)
	}
	_ = proc.Signal(syscall.SIGCONT)
	if res := <-ended; res.Code != 137 {
		t.Errorf("the first exec: code %d, %q", res.Code, res.Stderr)
	}
	p.must("delete", "--force", p.tag)
	p.noLeaks()
}

// freezerFile is the file by which a container is paused, and what to write.
func freezerFile(id string, on bool) (file, text string) {
	for _, dir := range []string{"/sys/fs/cgroup/unified/", "/sys/fs/cgroup/"} {
		if layout == "v2" {
			file = dir + id + "/cgroup.freeze"
			if _, err := os.Stat(file); err == nil {
				return file, map[bool]string{true: "1", false: "0"}[on]
			}
		}
	}
	return "/sys/fs/cgroup/freezer/" + id + "/freezer.state", map[bool]string{true: "FROZEN", false: "THAWED"}[on]
}

func hasFreezer(id string) bool {
	file, _ := freezerFile(id, true)
	_, err := os.Stat(file)
	return err == nil
}

func freeze(t *testing.T, id string, on bool) {
	file, text := freezerFile(id, on)
	if err := os.WriteFile(file, []byte(text), 0); err != nil {
		t.Error(err)
	}
}

// An exec that is killed leaves nothing on its way: the program runs, or it does not.
func TestExecKilled(t *testing.T) {
	p := newPlace(t, "args:/bin/sleep 1000")
	p.must("run", "-d", "-b", p.bundle(), p.tag)
	usual := p.must("exec", p.tag, "/bin/true").Duration
	for round := range 40 {
		c := p.call("exec", p.tag, "/bin/sh", "-c", "read x || true")
		after := usual * time.Duration(round) / 30
		c.Started = func(proc *os.Process) { time.AfterFunc(after, func() { _ = proc.Kill() }) }
		if _, err := rt.Run(c); err != nil {
			t.Fatal(err)
		}
	}
	ok := harness.Poll(patience, func() bool {
		out := p.must("exec", p.tag, "/bin/sh", "-c", "for d in /proc/[0-9]*; do echo $(cat $d/comm 2>/dev/null); done").Stdout
		return !strings.Contains(out, "vsrun") && !strings.Contains(out, "runc:[")
	})
	if !ok {
		t.Error("a process of the runtime is left in the container")
	}
	p.must("exec", p.tag, "/bin/true")
	p.must("delete", "--force", p.tag)
	p.noLeaks()
}
