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
