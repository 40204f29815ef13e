package cli

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func topCommand() *command {
	interval, order := 2*time.Second, "cpu"
	return &command{
		name: "top", usage: "show what containers use, live",
		args: "[container-id...]",
		about: `The top command shows on a terminal what the containers, or those that are named,
use at the moment, the busiest first. Keys: c, m, t, i, n sort by CPU, memory,
threads, I/O, name; up and down scroll; space measures at once; q quits.

Where standard output is no terminal it prints that once, with averages since
each container's start.`,
		max: math.MaxInt,
		flags: func(f *flags) {
			f.duration(&interval, "interval", "how often to measure")
			f.string(&order, "sort", "select one of: cpu, memory, threads, io or name")
		},
		run: func(c *context) (int, error) {
			t := topView{}
			if t.order = slices.Index(sortNames[:], order); t.order < 0 {
				return 0, fmt.Errorf("--sort: unknown key %q: cpu, memory, threads, io or name", order)
			}
			if interval <= 0 {
				return 0, errors.New("--interval must be greater than 0")
			}
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			m := meter{stat: v.Stat, ids: c.args}
			if !terminal(c.stdout) {
				if t.lines, err = m.read(); err != nil {
					return 0, err
				}
				t.sort()
				return 0, c.print(t.appendTable(nil, math.MaxInt))
			}
			return 0, t.live(&m, c.stdout.(*os.File), interval)
		},
	}
}

// The orders, by the keys that choose them.
const sortKeys = "cmtin"

var sortNames = [...]string{"cpu", "memory", "threads", "io", "name"}

// topView is what the terminal shows.
type topView struct {
	lines  []line
	order  int // in sortKeys
	offset int // lines scrolled past
	when   time.Time
}

// live shows the view until it is quit.
func (t *topView) live(m *meter, out *os.File, interval time.Duration) error {
	s, err := openScreen(out)
	if err != nil {
		return err
	}
	defer s.close()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	keys := s.keys
	measure := true
	for {
		if measure {
			if t.lines, err = m.read(); err != nil {
				return err
			}
			t.when, measure = time.Now(), false
		}
		if _, err := out.Write(t.frame(s.size())); err != nil {
			return err
		}
		select {
		case <-tick.C:
			measure = true
		case sig := <-s.signals:
			switch sig {
			case unix.SIGWINCH:
			case unix.SIGCONT:
				if err := s.resumed(); err != nil {
					return err
				}
			default:
				return nil
			}
		case k, ok := <-keys:
			if !ok {
				return nil // the terminal is gone
			}
			for key := range keysOf(k) {
				quit, now := t.press(key)
				if quit {
					return nil
				}
				measure = measure || now
			}
		}
	}
}

// keysOf takes apart what one read gave: characters, and the sequences that other keys send (ECMA-48: ESC [, parameters,
// a final letter or ~; ESC O and a letter).
func keysOf(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(s) > 0 {
			n := 1
			if len(s) > 2 && s[0] == '\x1b' && (s[1] == '[' || s[1] == 'O') {
				for n = 2; n < len(s) && (s[n] < '@' || s[n] > '~'); n++ {
				}
				n = min(n+1, len(s))
			}
			if !yield(s[:n]) {
				return
			}
			s = s[n:]
		}
	}
}

// press does what a key is for.
func (t *topView) press(k string) (quit, measure bool) {
	switch k {
	case "q", "Q", "\x03", "\x04":
		return true, false
	case " ":
		return false, true
	case "\x1b[A", "\x1bOA", "k":
		t.offset--
	case "\x1b[B", "\x1bOB", "j":
		t.offset++
	case "\x1b[5~":
		t.offset -= 10
	case "\x1b[6~":
		t.offset += 10
	default:
		if i := strings.Index(sortKeys, k); i >= 0 && len(k) == 1 {
			t.order, t.offset = i, 0
		}
	}
	return false, false
}

func (t *topView) sort() {
	slices.SortFunc(t.lines, func(a, b line) int {
		by := 0
		switch sortKeys[t.order] {
		case 'c':
			by = cmp.Compare(b.percent, a.percent)
		case 'm':
			by = cmp.Compare(b.Memory, a.Memory)
		case 't':
			by = cmp.Compare(max(b.Tasks, b.Processes), max(a.Tasks, a.Processes))
		case 'i':
			by = cmp.Compare(b.read+b.write, a.read+a.write)
		}
		if by == 0 {
			by = strings.Compare(a.ID, b.ID)
		}
		return by
	})
}

// frame draws the whole terminal, over what is there, so that nothing flickers.
func (t *topView) frame(rows, columns int) []byte {
	t.sort()
	var procs, memory uint64
	var percent float64
	for i := range t.lines {
		l := &t.lines[i]
		procs, memory, percent = procs+l.Processes, memory+l.Memory, percent+l.percent
	}
	const head = 3 // lines above the containers
	t.offset = max(0, min(t.offset, len(t.lines)-max(0, rows-head)))
	text := append([]byte("vsrun top "), t.when.Format("15:04:05")...)
	text = fmt.Appendf(text, "  %d containers, %d processes, CPU %.1f%%, memory %s\n", len(t.lines), procs, percent, bytesText(memory))
	text = fmt.Appendf(text, "by %s (c m t i n); up, down: scroll; space: now; q: quit\n", sortNames[t.order])
	text = t.appendTable(text, columns)

	b := []byte("\x1b[H")
	n, drawn := 0, 0
	for l := range strings.Lines(string(text)) {
		if n++; n > head && n <= head+t.offset {
			continue
		}
		if drawn++; drawn > rows {
			break
		}
		if drawn > 1 {
			b = append(b, "\r\n"...)
		}
		l = cut(strings.TrimSuffix(l, "\n"), columns)
		if n == head {
			b = append(append(append(b, "\x1b[7m"...), l...), "\x1b[0m"...)
		} else {
			b = append(b, l...)
		}
		b = append(b, "\x1b[K"...)
	}
	return append(b, "\x1b[J"...)
}

var topColumns = [...]column{{"ID", true}, {"CPU%", false}, {"MEM", false}, {"PEAK", false}, {"LIMIT", false}, {"PROCS", false},
	{"THREADS", false}, {"MAX", false}, {"READ/S", false}, {"WRITE/S", false}, {"THROTTLED", false}, {"TIME", false}, {"UPTIME", false},
	{"STATUS", true}}

// appendTable prints the containers, with ids cut so that lines fit, if that is enough.
func (t *topView) appendTable(b []byte, columns int) []byte {
	rows := make([][]string, len(t.lines))
	for i := range t.lines {
		l := &t.lines[i]
		c := l.cells()
		read, write := "-", "-"
		if l.HasIO {
			read, write = bytesText(uint64(l.read)), bytesText(uint64(l.write))
		}
		rows[i] = []string{l.ID, strconv.FormatFloat(l.percent, 'f', 1, 64), c[4], c[5], c[6], c[3], c[11], c[12], read, write, c[10],
			timeText(time.Duration(l.CPU)), c[15], c[2]}
	}
	others := 0
	for i, c := range topColumns[1:] {
		w := len(c.name)
		for _, r := range rows {
			w = max(w, len(r[i+1]))
		}
		others += 2 + w
	}
	const least = 12
	for _, r := range rows {
		r[0] = cut(r[0], max(least, columns-others))
	}
	return appendTable(b, topColumns[:], rows)
}

// cut leaves n characters of s.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
