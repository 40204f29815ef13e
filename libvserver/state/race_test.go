package state

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReserveByGoroutines(t *testing.T) {
	s := testStore(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 100 {
		wg.Go(func() {
			<-start
			d, err := s.Reserve("x")
			switch {
			case err == nil:
				won.Add(1)
				d.Unlock()
			case !errors.Is(err, ErrExist):
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d won", won.Load())
	}
}

func TestReserveByProcesses(t *testing.T) {
	s := testStore(t)
	const n = 20
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var outs []*strings.Builder
	var waits []func() error
	for range n {
		cmd := helper(t, "reserve", s.Root(), "x")
		out := new(strings.Builder)
		cmd.Stdin, cmd.Stdout = r, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		outs, waits = append(outs, out), append(waits, cmd.Wait)
	}
	r.Close()
	w.Close() // go
	won := 0
	for i, wait := range waits {
		if err := wait(); err != nil {
			t.Error(err)
		}
		if strings.Contains(outs[i].String(), "won") {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestLock(t *testing.T) {
	s := testStore(t)
	d := mustReserve(t, s, "x")
	d.Unlock()
	holder := startHelper(t, "hold", s.Root(), "x")
	if _, err := s.Lock("x", 30*time.Millisecond); err == nil || !strings.Contains(err.Error(), "container x is busy") {
		t.Errorf("while it is held: %v", err)
	}
	if !s.locked("x") {
		t.Error("locked() is false")
	}
	_ = holder.Process.Kill()
	d, err := s.Lock("x", time.Minute)
	if err != nil {
		t.Fatalf("after the holder was killed: %v", err)
	}
	// Whoever waits for a container that goes away gets the error of one that isn't.
	got := make(chan error)
	go func() { _, err := s.Lock("x", -1); got <- err }()
	time.Sleep(20 * time.Millisecond)
	if err := d.Remove(0); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, ErrNotExist) {
		t.Errorf("deleted meanwhile: %v", err)
	}
}

// TestUnlockCountsForChildren: a child that inherited the directory must not
// keep the lock once its parent has given it up.
func TestUnlockCountsForChildren(t *testing.T) {
	s := testStore(t)
	d := mustReserve(t, s, "x")
	inherited, err := unix.Dup(d.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	d.Unlock()
	if d, err = s.Lock("x", 0); err != nil {
		t.Fatal(err)
	}
	d.Unlock()
	d.Unlock()
}

// TestKilledWriter kills a process that saves in a loop, again and again:
// neither readers meanwhile nor whoever comes after may see half a record.
func TestKilledWriter(t *testing.T) {
	s := testStore(t)
	d := mustReserve(t, s, "x")
	mustSave(t, d, patternRecord("x", 1))
	d.Unlock()

	stop := make(chan struct{})
	var reads atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				rec, err := s.Load("x")
				if err == nil {
					err = checkPattern(rec)
				}
				if err != nil {
					t.Errorf("reader: %v", err)
					return
				}
				reads.Add(1)
			}
		})
	}
	seen := map[string]bool{}
	for i := range 30 {
		w := startHelper(t, "save", s.Root(), "x")
		time.Sleep(time.Duration(i*211%3000) * time.Microsecond)
		_ = w.Process.Signal(syscall.SIGKILL)
		_ = w.Wait()
		rec, err := s.Load("x")
		if err == nil {
			err = checkPattern(rec)
		}
		if err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
		seen[rec.Bundle] = true
	}
	close(stop)
	wg.Wait()
	if len(seen) < 3 || reads.Load() < 100 {
		t.Errorf("weak run: %d different records after kills, %d reads", len(seen), reads.Load())
	}
	d, err := s.Lock("x", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(0); err != nil {
		t.Error(err)
	}
}

// TestKilledCreator kills a process that creates and deletes a container in a
// loop: whatever is left can be listed and removed.
func TestKilledCreator(t *testing.T) {
	s := testStore(t)
	// The first process may be killed before it has made the root, without which an explicit root can't be listed.
	if err := os.MkdirAll(s.Root(), 0o700); err != nil {
		t.Fatal(err)
	}
	left := map[string]int{}
	for i := range 40 {
		w := startHelper(t, "cycle", s.Root(), "x")
		time.Sleep(time.Duration(i*211%2000) * time.Microsecond)
		_ = w.Process.Signal(syscall.SIGKILL)
		_ = w.Wait()
		list, warnings, err := s.List(nil)
		if err != nil || len(list) > 1 || len(warnings) > len(list) {
			t.Fatalf("list: %v, %v, %v", list, warnings, err)
		}
		rec, err := s.Load("x")
		switch {
		case errors.Is(err, ErrNotExist):
			left["nothing"]++
			continue
		case err == nil && rec.Creating:
			left["first record"]++
		case err == nil:
			left["second record"]++
		case isDamaged(err):
			left["no record"]++
		default:
			t.Fatal(err)
		}
		d, err := s.Lock("x", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Remove(0); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := os.ReadDir(s.Root()); err != nil || len(l) != 0 {
		t.Errorf("left in root: %v, %v", l, err)
	}
	t.Logf("found after kills: %v", left)
}

// TestLoadBesideCycles: who looks at a container that others make and delete finds one that is whole, or none, or one that
// somebody is at, and never one that was cut short.
func TestLoadBesideCycles(t *testing.T) {
	s := testStore(t)
	if err := os.MkdirAll(s.Root(), 0o700); err != nil {
		t.Fatal(err)
	}
	w := startHelper(t, "cycle", s.Root(), "x")
	defer func() { _ = w.Process.Kill(); _ = w.Wait() }()
	found := map[string]int{}
	end := time.Now().Add(2 * time.Second)
	for time.Now().Before(end) {
		_, err := s.Load("x")
		var de *DamagedError
		switch {
		case err == nil:
			found["whole"]++
		case errors.Is(err, ErrNotExist):
			found["none"]++
		case errors.As(err, &de) && de.Busy:
			found["busy"]++
		default:
			t.Fatalf("after %v: %v", found, err)
		}
	}
	if found["whole"] == 0 || found["none"] == 0 {
		t.Errorf("weak run: %v", found)
	}
}
