package load

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// Containers are made and deleted one after the other. Nothing adds up:
// neither what World sees, nor the kernel's own tables, nor the time it takes.
func TestCycles(t *testing.T) {
	p := newPlace(t)
	p.warm()
	n := harness.EnvInt("VSRUN_LOAD_CYCLES", 200)
	slabs := slabUse()
	times := make([]time.Duration, 0, n)
	for i := range n {
		id := tag + ".c" + strconv.Itoa(i)
		took := p.must("create", "-b", p.bundle(), id).Duration
		took += p.must("delete", "--force", id).Duration
		times = append(times, took)
		if i%500 == 499 {
			p.clean(fmt.Sprintf("after %d cycles", i+1))
		}
	}
	p.clean("at the end")
	k := min(100, n/2)
	first, last := median(times[:k]), median(times[n-k:])
	fmt.Printf("note: %d cycles of create and delete --force: median %v at first, %v at last; %s\n",
		n, first.Round(10*time.Microsecond), last.Round(10*time.Microsecond), grown(slabs, slabUse()))
	// What adds up shows in the fastest cycles, too; a machine that got busy shows in the others.
	if first, last := slices.Min(times[:k]), slices.Min(times[n-k:]); last > 3*first {
		t.Errorf("the fastest of the last cycles takes %v, the fastest of the first took %v", last, first)
	}
}

func median(d []time.Duration) time.Duration {
	s := slices.Clone(d)
	slices.Sort(s)
	return s[len(s)/2]
}

// slabUse is the kernel's unreclaimable memory for its own objects, in KiB.
func slabUse() int {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "SUnreclaim:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

func grown(before, after int) string {
	return fmt.Sprintf("unreclaimable slab %d KiB before, %d after", before, after)
}
