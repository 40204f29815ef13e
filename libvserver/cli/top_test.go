package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/cgroup"
)

func statOf(id string, mib uint64, cpu time.Duration) libvserver.Stat {
	return libvserver.Stat{ID: id, Status: "running", Pid: 7, Uptime: 10 * time.Second, Usage: cgroup.Usage{HasMemory: true, HasTasks: true, HasIO: true,
		Memory: mib << 20, MemoryLimit: cgroup.NoLimit, TasksLimit: cgroup.NoLimit, CPU: uint64(cpu), Processes: 1, Tasks: mib}}
}

// The first measurement gives averages since the start, later ones the time between; a container that has started anew
// under its old id is another.
func TestMeter(t *testing.T) {
	list := []libvserver.Stat{statOf("a", 1, 5*time.Second), statOf("b", 1, 0)}
	m := meter{stat: func(...string) ([]libvserver.Stat, error) { return list, nil }}
	lines, err := m.read()
	if err != nil || lines[0].percent != 50 || lines[1].percent != 0 {
		t.Fatalf("%+v, %v", lines, err)
	}
	m.when = m.when.Add(-time.Second) // as if it had been
	list = []libvserver.Stat{statOf("a", 1, 7*time.Second), statOf("b", 1, time.Second)}
	list[0].ReadBytes = 1000
	list[1].Started = 99
	lines, err = m.read()
	if err != nil {
		t.Fatal(err)
	}
	if p := lines[0].percent; p < 100 || p > 200.1 {
		t.Errorf("2 s of CPU in over 1 s: %v %%", p)
	}
	if r := lines[0].read; r <= 0 || r > 1001 {
		t.Errorf("1000 bytes in over 1 s: %v a second", r)
	}
	if lines[1].percent != 10 {
		t.Errorf("a new container: %v %%, want 10", lines[1].percent)
	}
	m.stat = func(...string) ([]libvserver.Stat, error) { return nil, errors.New("x") }
	if _, err := m.read(); err == nil {
		t.Error("no error")
	}
}

func viewOf(n int) *topView {
	v := &topView{when: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for i := range n {
		id := "c" + string(rune('a'+i))
		v.lines = append(v.lines, line{Stat: statOf(id, uint64(i+1), time.Second), percent: float64(i % 3)})
	}
	return v
}

// screenOf plays a terminal for what a frame writes.
func screenOf(t *testing.T, frame []byte) []string {
	t.Helper()
	s := strings.NewReplacer("\x1b[K", "", "\x1b[J", "", "\x1b[7m", "", "\x1b[0m", "").Replace(strings.TrimPrefix(string(frame), "\x1b[H"))
	if strings.Contains(s, "\x1b") {
		t.Errorf("an escape sequence is left in %q", s)
	}
	return strings.Split(s, "\r\n")
}

func TestFrameFits(t *testing.T) {
	for _, n := range []int{0, 1, 5, 26} {
		for _, size := range [][2]int{{24, 80}, {6, 20}, {3, 10}, {1, 1}, {100, 300}} {
			v := viewOf(n)
			v.offset = 1000
			rows := screenOf(t, v.frame(size[0], size[1]))
			if len(rows) > size[0] {
				t.Errorf("%d containers: %d lines on a terminal of %d", n, len(rows), size[0])
			}
			for _, r := range rows {
				if len(r) > size[1] {
					t.Errorf("%d containers, %d columns: %q", n, size[1], r)
				}
			}
		}
	}
}

func TestFrame(t *testing.T) {
	v := viewOf(3)
	v.lines[0].ID = strings.Repeat("x", 64)
	rows := screenOf(t, v.frame(24, 120))
	want := []string{
		"vsrun top 03:04:05  3 containers, 3 processes, CPU 3.0%, memory 6.0M",
		"by cpu (c m t i n); up, down: scroll; space: now; q: quit",
	}
	if d := cmp.Diff(want, rows[:2]); d != "" {
		t.Error(d)
	}
	for i, start := range []string{"ID", "cc ", "cb ", "xxxxxxxxxxxx"} {
		if !strings.HasPrefix(rows[2+i], start) {
			t.Errorf("line %d is %q, want %s", 2+i, rows[2+i], start)
		}
	}
	if !strings.Contains(rows[5], "running") || strings.Contains(rows[5], strings.Repeat("x", 64)) {
		t.Errorf("a long id was not cut: %q", rows[5])
	}
	for key, first := range map[string]string{"m": "cc", "n": "cb", "t": "cc", "i": "cb"} {
		if quit, measure := v.press(key); quit || measure {
			t.Errorf("key %s", key)
		}
		if rows := screenOf(t, v.frame(24, 120)); !strings.HasPrefix(rows[3], first) {
			t.Errorf("by %s the first is %q", key, rows[3])
		}
	}
	v = viewOf(26)
	v.press("n")
	for range 3 {
		v.press("\x1b[B")
	}
	v.press("k")
	if rows := screenOf(t, v.frame(10, 100)); !strings.HasPrefix(rows[2], "ID") || !strings.HasPrefix(rows[3], "cc") || len(rows) != 10 {
		t.Errorf("scrolled by two: %q", rows)
	}
	if quit, _ := v.press("q"); !quit {
		t.Error("q does not quit")
	}
	if _, measure := v.press(" "); !measure {
		t.Error("space does not measure")
	}
	if quit, measure := v.press("\x1b[Z"); quit || measure {
		t.Error("an unknown key does something")
	}
}

// Keys that are pressed fast come in one read.
func TestKeysOf(t *testing.T) {
	for in, want := range map[string][]string{
		"":                       nil,
		"q":                      {"q"},
		"\x1b[Bq":                {"\x1b[B", "q"},
		"mm\x1b[5~\x1b[A\x1bOBx": {"m", "m", "\x1b[5~", "\x1b[A", "\x1bOB", "x"},
		"\x1b":                   {"\x1b"},
		"\x1b[":                  {"\x1b", "["},
		"\x1b[1;5":               {"\x1b[1;5"},
		"\x1b[1;5Cq":             {"\x1b[1;5C", "q"},
	} {
		if d := cmp.Diff(want, slices.Collect(keysOf(in))); d != "" {
			t.Errorf("%q: %s", in, d)
		}
	}
}
