package launch

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func netNamespace(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAhead: what the thread is given to do is done in a new network namespace whose loopback is up, and no other thread
// has changed its own.
func TestAhead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	before := netNamespace(t)
	for _, late := range []time.Duration{0, 100 * time.Millisecond} {
		a := newAhead(t)
		time.Sleep(late) // long enough for the thread to sleep
		a.Go(unix.CLONE_NEWNET)
		time.Sleep(late)
		var there string
		var up bool
		if err := a.do(func() error {
			there = netNamespace(t)
			up = loopbackIsUp(t)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if a.failed || there == before || !up {
			t.Errorf("after %v: failed %v, in %s (the runtime in %s), lo up %v", late, a.failed, there, before, up)
		}
		a.Close()
	}
	for range 20 {
		done := make(chan string)
		go func() { done <- netNamespace(t) }()
		if now := <-done; now != before {
			t.Fatalf("a thread of the runtime is in %s", now)
		}
	}
}

// TestAheadFails: a thread that could not go does the work where it is, and says so.
func TestAheadFails(t *testing.T) {
	a := newAhead(t)
	a.Go(1) // no kind of namespace: EINVAL
	var there string
	if err := a.do(func() error { there = netNamespace(t); return unix.EPERM }); err != unix.EPERM {
		t.Errorf("error %v", err)
	}
	if !a.failed || a.up != 0 || there != netNamespace(t) {
		t.Errorf("failed %v, up %d, in %s", a.failed, a.up, there)
	}
}

// TestAheadForNothing: a launch that fails before the clone lets the thread and its namespace go.
func TestAheadForNothing(t *testing.T) {
	var none *Ahead
	none.Go(unix.CLONE_NEWNET)
	none.Close()
	before := threads(t)
	for i := range 20 {
		a := newAhead(t)
		if i%2 == 0 {
			a.Go(unix.CLONE_NEWNET)
		}
		a.Close()
	}
	deadline := time.Now().Add(time.Minute)
	for threads(t) > before+5 {
		if time.Now().After(deadline) {
			t.Fatalf("%d threads, %d before", threads(t), before)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func newAhead(t *testing.T) *Ahead {
	a := NewAhead()
	if a == nil {
		t.Skip("needs two CPUs: with one, nothing is gained")
	}
	return a
}

func threads(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func loopbackIsUp(t *testing.T) bool {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, r); err != nil {
		t.Fatal(err)
	}
	return r.Uint16()&unix.IFF_UP != 0
}
