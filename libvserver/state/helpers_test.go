package state

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The test binary runs itself as a child that does one of these things.
const helperEnv = "VSRUN_STATE_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "reserve":
		helperReserve(os.Args[1], os.Args[2])
	case "hold":
		helperHold(os.Args[1], os.Args[2])
	case "save":
		helperSave(os.Args[1], os.Args[2])
	case "cycle":
		helperCycle(os.Args[1], os.Args[2])
	case "sleep":
		time.Sleep(time.Minute)
	}
	os.Exit(0)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// helperReserve reserves an id once stdin ends, and prints "won" if it could.
func helperReserve(root, id string) {
	s, err := Open(root)
	check(err)
	_, _ = io.Copy(io.Discard, os.Stdin)
	if _, err := s.Reserve(id); err == nil {
		fmt.Println("won")
	} else if !strings.Contains(err.Error(), "container with given ID already exists") {
		check(err)
	}
}

// helperHold locks a container, says so, and waits to be killed.
func helperHold(root, id string) {
	s, err := Open(root)
	check(err)
	_, err = s.Lock(id, -1)
	check(err)
	fmt.Println("locked")
	time.Sleep(time.Minute)
}

// helperSave saves records of growing and shrinking size until it is killed.
func helperSave(root, id string) {
	s, err := Open(root)
	check(err)
	d, err := s.Lock(id, -1)
	check(err)
	if _, err := d.Load(); err != nil {
		check(err)
	}
	fmt.Println("locked")
	for i := 0; ; i++ {
		check(d.Save(patternRecord(id, i)))
	}
}

// helperCycle creates and deletes a container until it is killed.
func helperCycle(root, id string) {
	s, err := Open(root)
	check(err)
	fmt.Println("begins")
	for {
		d, err := s.Reserve(id)
		check(err)
		rec := patternRecord(id, 1)
		rec.Creating = true
		check(d.Save(rec))
		rec.Creating = false
		check(d.Save(rec))
		check(d.Remove(0))
	}
}

// patternRecord returns a record whose fields fit together: the bundle names the
// length of the config.
func patternRecord(id string, i int) *Record {
	n := i * 7919 % 30000
	return &Record{
		ID: id, Bundle: "/" + strconv.Itoa(n), Created: time.Unix(int64(i), 0).UTC(),
		Config: []byte(`{"x":"` + strings.Repeat("x", n) + `"}`),
	}
}

func checkPattern(rec *Record) error {
	if want := len(rec.Bundle) - 1; want == 0 {
		return fmt.Errorf("no bundle")
	}
	n, err := strconv.Atoi(rec.Bundle[1:])
	if err != nil {
		return err
	}
	if want := `{"x":"` + strings.Repeat("x", n) + `"}`; string(rec.Config) != want {
		return fmt.Errorf("config of %d bytes, want %d", len(rec.Config), len(want))
	}
	return nil
}

// helper starts the test binary as a child.
func helper(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+what)
	cmd.Stderr = os.Stderr
	return cmd
}

// startHelper starts a child and waits for its first line.
func startHelper(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := helper(t, what, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("helper %s: %v", what, err)
	}
	return cmd
}

func testStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir() + "/root")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustReserve(t testing.TB, s *Store, id string) *Dir {
	t.Helper()
	d, err := s.Reserve(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Unlock)
	return d
}

func mustSave(t testing.TB, d *Dir, rec *Record) {
	t.Helper()
	if err := d.Save(rec); err != nil {
		t.Fatal(err)
	}
}
