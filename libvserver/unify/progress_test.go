package unify

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// A bar has bytes, files and the time that is left, and fits on its line.
func TestProgressLine(t *testing.T) {
	begun := time.Now()
	p := &Progress{columns: 100}
	p.begin("reading", 1000, 2_000_000_000)
	p.step.Load().begun = begun
	for _, tc := range []struct {
		files, bytes uint64
		after        time.Duration
		want         string
	}{
		{0, 0, 0, "reading [------------------------------]   0 %  0 B of 2.0 GB, 0 of 1000 files"},
		{500, 1_000_000_000, 10 * time.Second, "reading [###############---------------]  50 %  1.0 GB of 2.0 GB, 500 of 1000 files, 10 s left"},
		{250, 500_000_000, 100 * time.Second, "reading [#######-----------------------]  25 %  500 MB of 2.0 GB, 250 of 1000 files, 5:00 min left"},
		{1000, 3_000_000_000, 10 * time.Second, "reading [##############################] 100 %  3.0 GB of 2.0 GB, 1000 of 1000 files, 0 s left"},
	} {
		p.files.Store(tc.files)
		p.size.Store(tc.bytes)
		if got := p.line(begun.Add(tc.after)); got != tc.want {
			t.Errorf("%+v:\n got %q\nwant %q", tc, got, tc.want)
		}
		if p.columns = 70; len(p.line(begun.Add(tc.after))) >= 70 {
			t.Errorf("%q on a terminal of 70 columns", p.line(begun.Add(tc.after)))
		}
		p.columns = 100
	}
	p.begin("scanning", 0, 0)
	p.found(17)
	if got := p.line(begun); got != "scanning: 17 files" {
		t.Error(got)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The bar is drawn while there is work, and gone when it is done. None takes everything.
func TestProgress(t *testing.T) {
	var out lockedBuffer
	p := NewProgress(&out, 80)
	p.begin("removing", 10, 0)
	p.read(3, 0)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "3 of 10 files"); {
		if time.Now().After(deadline) {
			t.Fatalf("no bar: %q", out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.Done()
	p.Done()
	if !strings.HasSuffix(out.String(), "\r\x1b[K") {
		t.Errorf("the bar is left: %q", out.String())
	}
	var none *Progress
	none.begin("x", 1, 1)
	none.read(1, 1)
	none.Done()
}
