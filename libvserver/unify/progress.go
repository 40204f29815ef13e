package unify

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Progress is what a run has done so far, for whoever watches. A nil Progress takes everything and shows nothing.
type Progress struct {
	w         io.Writer
	columns   int
	step      atomic.Pointer[step]
	files     atomic.Uint64
	size      atomic.Uint64
	stop, end chan struct{}
	once      sync.Once
}

// step is one part of the work.
type step struct {
	name         string
	files, bytes uint64 // what there is to do; 0: not known
	begun        time.Time
}

// NewProgress shows a bar on a terminal of so many columns, until Done.
func NewProgress(w io.Writer, columns int) *Progress {
	p := &Progress{w: w, columns: columns, stop: make(chan struct{}), end: make(chan struct{})}
	p.begin("scanning", 0, 0)
	go func() {
		defer close(p.end)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				fmt.Fprintf(p.w, "\r\x1b[K")
				return
			case now := <-tick.C:
				fmt.Fprintf(p.w, "\r%s\x1b[K", p.line(now))
			}
		}
	}()
	return p
}

// Done takes the bar away.
func (p *Progress) Done() {
	if p != nil {
		p.once.Do(func() {
			close(p.stop)
			<-p.end
		})
	}
}

func (p *Progress) begin(name string, files, bytes uint64) {
	if p == nil {
		return
	}
	p.files.Store(0)
	p.size.Store(0)
	p.step.Store(&step{name, files, bytes, time.Now()})
}

func (p *Progress) found(files int) { p.read(uint64(files), 0) }

// read counts files and bytes as done.
func (p *Progress) read(files, bytes uint64) {
	if p == nil {
		return
	}
	if files > 0 {
		p.files.Add(files)
	}
	if bytes > 0 {
		p.size.Add(bytes)
	}
}

// line is what the bar shows: the step, the bar, bytes, files, time left.
func (p *Progress) line(now time.Time) string {
	s := p.step.Load()
	files, bytes := p.files.Load(), p.size.Load()
	if s.files == 0 {
		return fmt.Sprintf("%s: %d files", s.name, files)
	}
	// Opening a file costs about as much as reading 40 KiB.
	const perFile = 40 << 10
	done := float64(bytes+files*perFile) / float64(max(1, s.bytes+s.files*perFile))
	done = min(done, 1)
	left := ""
	if spent := now.Sub(s.begun); done > 0.02 && spent > 500*time.Millisecond {
		left = ", " + short(time.Duration(float64(spent)*(1-done)/done)) + " left"
	}
	text := fmt.Sprintf(" %3.0f %%  ", done*100)
	if s.bytes > 0 {
		text += Size(bytes) + " of " + Size(s.bytes) + ", "
	}
	text += strconv.FormatUint(files, 10) + " of " + strconv.FormatUint(s.files, 10) + " files" + left
	width := min(30, p.columns-len(s.name)-len(text)-4)
	if width < 5 {
		return s.name + text
	}
	full := int(done * float64(width))
	return s.name + " [" + strings.Repeat("#", full) + strings.Repeat("-", width-full) + "]" + text
}

func short(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute {
		return strconv.Itoa(int(d/time.Second)) + " s"
	}
	return fmt.Sprintf("%d:%02d min", int(d/time.Minute), int(d%time.Minute/time.Second))
}

// Size writes bytes as people read them.
func Size(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, unit := float64(n), 0
	for v >= 999.5 && unit < 5 {
		v /= 1000
		unit++
	}
	prec := 0
	if v < 9.95 {
		prec = 1
	}
	return strconv.FormatFloat(v, 'f', prec, 64) + " " + []string{"B", "kB", "MB", "GB", "TB", "PB"}[unit]
}
