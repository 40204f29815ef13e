package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	got := string(appendTable(nil, []column{{"NAME", true}, {"N", false}, {"CMD", true}}, [][]string{{"é", "1000", "x y"}, {"longer", "5", ""}}))
	want := "NAME       N  CMD\n" +
		"é       1000  x y\n" +
		"longer     5  \n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTexts(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 1023: "1023", 1024: "1.0K", 1536: "1.5K", 10 << 10: "10K", 999 << 10: "999K", 1000 << 10: "1.0M",
		1<<20 - 1: "1.0M", 64 << 20: "64M", 3 << 30: "3.0G", 1<<64 - 1: "16E"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0:00.00", 1234 * time.Millisecond: "0:01.23", 59*time.Minute + 59990*time.Millisecond: "59:59.99",
		time.Hour: "1:00:00", 100*time.Hour + 3*time.Minute + 4*time.Second: "100:03:04"} {
		if got := timeText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0s", 0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 3*time.Hour + 5*time.Minute: "3h05m",
		50 * time.Hour: "2d02h"} {
		if got := ageText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for dev, want := range map[uint32]string{0: "?", 34816: "pts/0", 136<<8 | 255: "pts/255", 136<<8 | 1<<20: "pts/256", 1025: "tty1", 1088: "ttyS0", 5<<8 | 1: "5:1"} {
		if got := ttyText(dev); got != want {
			t.Errorf("device %d: %s, want %s", dev, got, want)
		}
	}
	now := time.Date(2026, 7, 8, 9, 10, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{time.Hour: "08:10", 72 * time.Hour: "Jul05", 9000 * time.Hour: "2025"} {
		if got := startText(now.Add(-ago), now); got != want {
			t.Errorf("%v ago: %s, want %s", ago, got, want)
		}
	}
	if got := printable("a\x1b[2Jb\nc é"); got != "a?[2Jb?c é" {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"éàü", 2, "éà"}, {"abc", 0, ""}} {
		if got := cut(c.s, c.n); got != c.want {
			t.Errorf("cut %q to %d: %q", c.s, c.n, got)
		}
	}
}

// The sizes are those that runc's --memory takes.
func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{"-1": -1, "0": 0, "32": 32, "32b": 32, "32k": 32 << 10, "32K": 32 << 10, "32kb": 32 << 10, "32KiB": 32 << 10,
		"32 kb": 32 << 10, "32.5kB": 32<<10 + 512, "1.5g": 3 << 29, "2T": 2 << 40, "1p": 1 << 50, "1E": 1 << 60, ".5k": 512} {
		if got, err := parseBytes(in); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "hello", "-2", "-32", "32kkb", "32bb", "32b.", "1x", " 32 ", "32  k", "k", "9E", "0x10", "1.2.3k"} {
		if got, err := parseBytes(in); err == nil {
			t.Errorf("%q: %d", in, got)
		} else if !strings.HasPrefix(err.Error(), "invalid size: '"+in+"'") {
			t.Errorf("%q: %v", in, err)
		}
	}
}
