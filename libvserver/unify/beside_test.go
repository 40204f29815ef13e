package unify

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// Several processes unify and dissolve trees of their own in one store, and others collect its garbage all the time:
// nothing is lost, and in the end everything is as one run would have left it.
func TestBeside(t *testing.T) {
	rounds := envNumber("VSRUN_TEST_ROUNDS", 4)
	for _, layout := range []tree.Layout{tree.LayoutObjects, tree.LayoutLinks} {
		t.Run(layout.String(), func(t *testing.T) {
			dir := needPlace(t)
			store := filepath.Join(dir, "store")
			work := func(job string, trees ...string) error {
				cmd := exec.Command("/proc/self/exe", append([]string{store, job, string(layout)}, trees...)...)
				cmd.Env = append(os.Environ(), workerEnv+"=1")
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("%s %q: %w: %s", job, trees, err, out)
				}
				return nil
			}
			c := &crasher{t: t, dir: dir, store: store, layout: layout}
			c.guests(4)
			s, err := OpenStore(store, true)
			must(t, err)
			defer s.Close()
			var guests, gcs sync.WaitGroup
			errs := make([]error, 3)
			stop := make(chan struct{})
			collections := 0
			gcs.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if errs[2] = work("gc"); errs[2] != nil {
						return
					}
					collections++
				}
			})
			for g, trees := range [][]string{c.trees[:2], c.trees[2:]} {
				guests.Go(func() {
					for range rounds {
						if errs[g] = errors.Join(work("unify", trees...), work("ununify", trees...), work("unify", trees...), work("ununify", trees[0])); errs[g] != nil {
							return
						}
					}
				})
			}
			guests.Wait()
			close(stop)
			gcs.Wait()
			must(t, errors.Join(errs...))
			if collections == 0 {
				t.Error("no garbage was collected meanwhile")
			}
			if layout == tree.LayoutObjects {
				mountTreeOrSkip(t, dir)
			}
			if n := c.check(); n != 2 {
				t.Errorf("%d trees are unified, want 2", n)
			}
			v, err := s.Verify(nil)
			must(t, err)
			if len(v.Damaged)+len(v.Missing) > 0 {
				t.Errorf("%+v", v)
			}
			must(t, work("unify", c.trees...))
			must(t, work("gc"))
			info, err := s.Info()
			must(t, err)
			if info.Unused+info.Missing != 0 || layout == tree.LayoutObjects && info.Guests != 4 {
				t.Errorf("%+v", info)
			}
			must(t, work("ununify", c.trees...))
			for i := range c.trees {
				c.content(c.trees[i], c.was[i], layout == tree.LayoutLinks)
			}
			list, err := os.ReadDir(filepath.Join(store, tempDir))
			must(t, err)
			if len(list) > 0 {
				t.Errorf("left in the store: %v", list)
			}
			t.Logf("%d collections beside %d rounds", collections, rounds)
		})
	}
}

// Two that want the same tree: one gets it, and the other says so or finds it done.
func TestSameTree(t *testing.T) {
	for range envNumber("VSRUN_TEST_ROUNDS", 4) {
		dir := needPlace(t)
		root, store := filepath.Join(dir, "tree"), filepath.Join(dir, "store")
		was := plainTree(t, root)
		results := make(chan error, 3)
		for range cap(results) {
			go func() {
				cmd := exec.Command("/proc/self/exe", store, "unify", string(tree.LayoutObjects), root)
				cmd.Env = append(os.Environ(), workerEnv+"=1")
				out, err := cmd.CombinedOutput()
				if err != nil {
					err = fmt.Errorf("%w: %s", err, out)
				}
				results <- err
			}()
		}
		good := 0
		for range cap(results) {
			err := <-results
			if err == nil {
				good++
			} else {
				if !strings.Contains(err.Error(), "another vsrun is at work on it") {
					t.Error("one that came second: ", err)
				}
			}
		}
		if good == 0 {
			t.Error("none unified the tree")
		}
		_, err := Ununify(&UnunifyOptions{Trees: []string{root}})
		must(t, err)
		same(t, root, was)
	}
}

// A store that a run made and does not need after all is removed only if nobody has begun to use it, and who comes
// while it is being removed makes another.
func TestUnmakeBeside(t *testing.T) {
	dir := needPlace(t)
	path := filepath.Join(dir, "store")
	made, err := OpenStore(path, true)
	must(t, err)
	other, err := OpenStore(path, false)
	must(t, err)
	made.unmake()
	made.Close()
	r, _, err := other.begin(nil)
	if err != nil {
		t.Fatal("a store that is in use was removed: ", err)
	}
	must(t, r.finish())
	must(t, other.rely())
	other.unmake()
	other.Close()
	third, err := OpenStore(path, false)
	if err != nil {
		t.Fatal("a store that a tree relies on was removed: ", err)
	}
	third.Close()

	// One that is removed between its opening and its lock.
	path = filepath.Join(dir, "another")
	if made, err = OpenStore(path, true); err != nil {
		t.Fatal(err)
	}
	must(t, unix.Flock(made.fd, unix.LOCK_EX))
	opened := make(chan error)
	for range 2 {
		go func() {
			s, err := OpenStore(path, true)
			if err == nil {
				r, _, berr := s.begin(nil)
				if err = berr; err == nil {
					err = r.finish()
				}
				s.Close()
			}
			opened <- err
		}()
	}
	time.Sleep(50 * time.Millisecond) // or else it is not opened yet, and the test shows less
	made.unmake()
	if _, err := os.Lstat(path + "/" + tempDir); err == nil {
		t.Error("the store is still there")
	}
	made.Close()
	for range 2 {
		must(t, <-opened)
	}

	// An empty directory of somebody else's is not removed with it.
	empty := filepath.Join(dir, "empty")
	must(t, os.Mkdir(empty, 0o755))
	if made, err = OpenStore(empty, true); err != nil {
		t.Fatal(err)
	}
	made.unmake()
	made.Close()
	if list, err := os.ReadDir(empty); err != nil || len(list) > 0 {
		t.Errorf("%v %v", list, err)
	}
}

// Runs that come to nothing, dry ones, beside those that make and need the same store.
func TestDryBeside(t *testing.T) {
	dir := needPlace(t)
	for round := range envNumber("VSRUN_TEST_ROUNDS", 12) {
		layout := []tree.Layout{tree.LayoutObjects, tree.LayoutLinks}[round%2]
		store := filepath.Join(dir, fmt.Sprint("store", round))
		var all sync.WaitGroup
		for i := range 4 {
			root := filepath.Join(dir, fmt.Sprint("tree", round, ".", i))
			must(t, os.Mkdir(root, 0o755))
			must(t, os.WriteFile(root+"/file", fmt.Append(nil, i), 0o644)) // like no other: in the layout links, the store stays empty
			all.Go(func() {
				for tries := 0; ; tries++ {
					_, err := Unify(&Options{Trees: []string{root}, Store: store, Layout: layout, Least: 1, Seal: SealNone, DryRun: i > 0 && tries < 5})
					if err != nil {
						t.Errorf("round %d, tree %d: %v", round, i, err)
						return
					}
					if i == 0 || tries == 5 {
						return
					}
				}
			})
		}
		all.Wait()
		s, err := OpenStore(store, false)
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Verify(nil)
		s.Close()
		if err != nil || len(v.Damaged)+len(v.Missing) > 0 {
			t.Fatalf("%+v %v", v, err)
		}
	}
}
