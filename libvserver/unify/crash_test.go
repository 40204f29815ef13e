package unify

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// workerEnv has this test binary do one job and end: STORE JOB LAYOUT TREE...
const workerEnv = "VSRUN_TEST_UNIFY_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		if err := asWorker(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func asWorker(args []string) error {
	store, job, layout, trees := args[0], args[1], tree.Layout(args[2][0]), args[3:]
	switch job {
	case "unify":
		_, err := Unify(&Options{Trees: trees, Store: store, Layout: layout, Least: 1, Seal: SealNone, NoDefault: true})
		return err
	case "ununify":
		_, err := Ununify(&UnunifyOptions{Trees: trees})
		return err
	}
	s, err := OpenStore(store, true)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.GC(false, nil)
	return err
}

func envNumber(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// crasher plays with trees, kills what does, and looks whether they are what they were.
type crasher struct {
	t      *testing.T
	dir    string
	store  string
	layout tree.Layout
	trees  []string
	was    [][]string
	long   map[string]time.Duration
	random *rand.Rand
}

// job runs one; killed after some time if kill is set. It says whether it came to its end.
func (c *crasher) job(job string, kill bool, trees ...string) bool {
	c.t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{c.store, job, string(c.layout)}, trees...)...)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	out, err := os.CreateTemp(c.dir, "out")
	must(c.t, err)
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	begun := time.Now()
	must(c.t, cmd.Start())
	if kill {
		within := c.long[job] + 2*time.Millisecond
		time.AfterFunc(time.Duration(c.random.Int64N(int64(within))), func() { _ = cmd.Process.Kill() })
	}
	err = cmd.Wait()
	if err == nil {
		took := time.Since(begun)
		if c.long[job] == 0 {
			c.long[job] = took
		}
		c.long[job] = (3*c.long[job] + took) / 4
		return true
	}
	if ws := cmd.ProcessState.Sys().(interface{ Signaled() bool }); kill && ws.Signaled() {
		return false
	}
	b, _ := os.ReadFile(out.Name())
	c.t.Fatalf("%s %q: %v: %s", job, trees, err, b)
	return false
}

// check compares every tree with what it was, in whatever form it is.
func (c *crasher) check() (unifiedTrees int) {
	c.t.Helper()
	for i, path := range c.trees {
		tr, err := tree.Read(path)
		must(c.t, err)
		switch {
		case tr == nil:
			c.content(path, c.was[i], c.layout == tree.LayoutLinks)
		case tr.Layout == tree.LayoutLinks:
			unifiedTrees++
			c.content(path, c.was[i], true)
		default:
			unifiedTrees++
			at, upper, work := filepath.Join(c.dir, "mnt"), filepath.Join(c.dir, "upper"), filepath.Join(c.dir, "work")
			for _, d := range []string{at, upper, work} {
				must(c.t, os.MkdirAll(d, 0o700))
			}
			c.alone(func() {
				must(c.t, unix.Mount("overlay", at, "overlay", 0,
					"lowerdir="+tr.Lower(path)+"::"+tr.Data()+",metacopy=on,upperdir="+upper+",workdir="+work))
				c.content(at, c.was[i], false)
				must(c.t, unix.Unmount(at, 0))
			})
		}
	}
	return unifiedTrees
}

// alone calls f on a thread with a mount namespace of its own. A mount that is seen by others is copied into the mount
// namespace that somebody makes meanwhile, and is in use as long as that lasts.
func (c *crasher) alone(f func()) {
	c.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends with it
		must(c.t, unix.Unshare(unix.CLONE_NEWNS))
		must(c.t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		f()
	}()
	<-done
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// content compares a tree with its manifest. loose: names share inodes, and directories' times may be those of a run
// that was killed.
func (c *crasher) content(root string, was []string, loose bool) {
	c.t.Helper()
	got := manifest(c.t, root)
	if len(got) != len(was) {
		c.t.Fatalf("%s has %d names instead of %d", root, len(got), len(was))
	}
	for i := range got {
		a, b := got[i], was[i]
		if loose {
			a, b = looseLine(a), looseLine(b)
		}
		if i > 0 && a != b {
			c.t.Fatalf("%s: is  %s\n was %s", root, a, b)
		}
	}
}

// guests makes trees, two alike each.
func (c *crasher) guests(n int) {
	c.t.Helper()
	for i := range n {
		root := filepath.Join(c.dir, fmt.Sprint("guest", i))
		must(c.t, os.Mkdir(root, 0o755))
		sample(c.t, root, i/2)
		c.trees = append(c.trees, root)
		c.was = append(c.was, manifest(c.t, root))
	}
}

func TestCrash(t *testing.T) {
	kills := envNumber("VSRUN_TEST_KILLS", 8) // of each job
	for _, layout := range []tree.Layout{tree.LayoutObjects, tree.LayoutLinks} {
		t.Run(layout.String(), func(t *testing.T) {
			dir := needPlace(t)
			seed := uint64(envNumber("VSRUN_TEST_SEED", int(time.Now().UnixNano()&0xffffff)))
			t.Logf("VSRUN_TEST_SEED=%d", seed)
			c := &crasher{t: t, dir: dir, store: filepath.Join(dir, "store"), layout: layout, long: map[string]time.Duration{},
				random: rand.New(rand.NewPCG(seed, 1))}
			c.guests(3)
			mountTreeOrSkip(t, dir)
			// How long each takes.
			c.job("unify", false, c.trees...)
			c.check()
			c.job("ununify", false, c.trees...)
			c.job("gc", false)
			c.check()
			killed, rounds := map[string]int{}, 0
			for jobs := []string{"unify", "ununify", "gc"}; len(jobs) > 0; {
				i := c.random.IntN(len(jobs))
				job := jobs[i]
				trees := c.trees[:1+c.random.IntN(len(c.trees))]
				if job == "gc" {
					trees = nil
				}
				if !c.job(job, true, trees...) {
					if killed[job]++; killed[job] == kills {
						jobs = append(jobs[:i], jobs[i+1:]...)
					}
				}
				c.check()
				if rounds++; rounds > 20*(kills+5) {
					t.Errorf("in %d rounds only these were killed: %v", rounds, killed)
					break
				}
			}
			t.Logf("of %d jobs were killed: %v", rounds, killed)
			// The next run finishes the job.
			c.job("unify", false, c.trees...)
			if n := c.check(); n != len(c.trees) {
				t.Errorf("%d of %d trees are unified", n, len(c.trees))
			}
			list, err := os.ReadDir(filepath.Join(c.store, tempDir))
			must(t, err)
			if len(list) > 0 {
				t.Errorf("left in the store: %v", list)
			}
			if _, err := os.Stat(filepath.Join(c.store, rescuedName)); err == nil {
				t.Error("something was rescued although nobody changed a tree")
			}
			c.job("ununify", false, c.trees...)
			for i := range c.trees {
				c.content(c.trees[i], c.was[i], layout == tree.LayoutLinks)
			}
			c.job("gc", false)
			s, err := OpenStore(c.store, false)
			must(t, err)
			defer s.Close()
			info, err := s.Info()
			must(t, err)
			if info.Objects+info.Links+info.Trees != 0 {
				t.Errorf("left after gc: %+v", info)
			}
		})
	}
}
