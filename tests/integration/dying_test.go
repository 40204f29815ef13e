package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// The container dies while a command is at it, of itself, at any moment: the
// command comes back, with success or with an error that says what was the
// matter, and the container can be deleted.
func TestDyingContainer(t *testing.T) {
	p := newPlace(t, "args:/bin/sleep 1000")
	commands := []struct {
		before []string // besides create
		args   []string
	}{
		{nil, []string{"start", "ID"}},
		{[]string{"start"}, []string{"exec", "ID", "/bin/true"}},
		{[]string{"start"}, []string{"exec", "-d", "ID", "/bin/sleep", "100"}},
		{[]string{"start"}, []string{"pause", "ID"}},
		{[]string{"start", "pause"}, []string{"resume", "ID"}},
		{[]string{"start"}, []string{"update", "--pids-limit", "30", "ID"}},
		{[]string{"start"}, []string{"ps", "ID"}},
		{[]string{"start"}, []string{"events", "--stats", "ID"}},
		{[]string{"start"}, []string{"kill", "ID", "USR1"}},
		{[]string{"start"}, []string{"kill", "--all", "ID", "KILL"}},
		{[]string{"start"}, []string{"delete", "--force", "ID"}},
		{nil, []string{"delete", "--force", "ID"}},
		{[]string{"start"}, []string{"state", "ID"}},
		{[]string{"start"}, []string{"list"}},
		{[]string{"start"}, []string{"stat"}},
		{[]string{"start"}, []string{"ps", "--all"}},
	}
	if rt.Name != "vsrun" {
		commands = commands[:len(commands)-2]
	}
	late := regexp.MustCompile(`not running|has stopped|stopped container|not paused|process already finished|has ended|no such process|ended before|was killed before|exited`)
	seed := uint64(harness.EnvInt("VSRUN_TEST_SEED", int(time.Now().UnixNano()>>10)))
	t.Logf("VSRUN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	rounds := harness.EnvInt("VSRUN_TEST_DEATHS", 2)
	seen := map[string]int{}
	for n, c := range commands {
		usual := 10 * time.Millisecond
		for round := range rounds {
			id := p.tag + "." + strconv.Itoa(n) + "." + strconv.Itoa(round)
			p.must("create", "-b", p.bundle(), id)
			for _, b := range c.before {
				p.must(b, id)
			}
			var st struct{ Pid int }
			if err := json.Unmarshal([]byte(p.must("state", id).Stdout), &st); err != nil || st.Pid <= 0 {
				t.Fatalf("state: pid %d, %v", st.Pid, err)
			}
			args := strings.Split(strings.Join(c.args, "\x00"), "\x00")
			for i := range args {
				if args[i] == "ID" {
					args[i] = id
				}
			}
			call := p.call(args...)
			after := time.Duration(rng.Int64N(int64(usual)))
			died := make(chan struct{})
			time.AfterFunc(after, func() {
				defer close(died)
				_ = unix.Kill(st.Pid, unix.SIGKILL)
			})
			res, err := rt.Run(call)
			<-died
			where := fmt.Sprintf("%q, and the container dies after %v", c.args, after)
			if err != nil {
				t.Errorf("%s: %v", where, err)
			}
			usual = (usual + res.Duration) / 2
			switch {
			case res.Code == 0:
				seen["in time"]++
			case res.Code == 137 && c.args[0] == "exec": // it died with the container
				seen["died with it"]++
			case late.MatchString(res.Stderr):
				seen["too late"]++
			case rt.Name == "vsrun":
				t.Errorf("%s: exit code %d: %q", where, res.Code, res.Stderr)
			}
			p.must("delete", "--force", id)
			if left := harness.Leaks(id, p.dir+"/nothing", p.root); len(left) > 0 && rt.Name == "vsrun" {
				t.Errorf("%s: left behind: %s", where, strings.Join(left, "; "))
				harness.Purge(id, p.dir+"/nothing")
			}
		}
	}
	fmt.Printf("note: commands on containers that died: %v\n", seen)
}
