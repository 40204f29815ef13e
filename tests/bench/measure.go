package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const warmup = 5

// settle is the pause before each round. What a container leaves behind, most of all its network namespace, is taken down
// by the kernel's workers after its process is gone, under locks that the next container needs: without a pause each
// program would be measured with its forerunner's remains.
const settle = 25 * time.Millisecond

// figure is what one program's rounds gave in one row.
type figure struct {
	Name  string
	Times []time.Duration
	Peaks []int64 // KiB, of the largest process of a round
}

type row struct {
	Title   string
	Figures []*figure
}

// column is one program in a row: how to make ready and what to time.
type column struct {
	name  string
	setup func() error
	calls func(round int) []call
	clean func(round int) []call // after them, untimed
	after func() error
}

type call struct {
	argv []string
	env  []string
}

func (b *bench) rows() []struct {
	title   string
	columns []column
} {
	type r = struct {
		title   string
		columns []column
	}
	oci := func(s *subject, args ...string) call {
		return call{append([]string{s.path, "--root", b.root(s)}, args...), s.env}
	}
	each := func(f func(s *subject) column) []column {
		var c []column
		for _, s := range b.subjects {
			col := f(s)
			col.name = s.name
			c = append(c, col)
		}
		return c
	}
	// An id is also the name of a cgroup: no two runtimes may share one.
	id := func(s *subject, round int) string { return b.id(s.name + strconv.Itoa(round)) }
	living := func(s *subject) string { return b.id(s.name + "-living") }
	alive := func(s *subject) column {
		return column{
			setup: func() error { return b.do(oci(s, "create", "--bundle", b.bundle(), living(s))) },
			after: func() error { return b.do(oci(s, "delete", "--force", living(s))) },
		}
	}

	run := each(func(s *subject) column {
		return column{calls: func(n int) []call { return []call{oci(s, "run", "--bundle", b.bundle(), id(s, n))} }}
	})
	if p, err := exec.LookPath("unshare"); err == nil {
		run = append(run, column{name: "unshare", calls: func(int) []call {
			return []call{{[]string{p, "--fork", "--pid", "--net", "--ipc", "--uts", "--mount", "--cgroup",
				filepath.Join(b.bundle(), "rootfs/bin/true")}, baseEnv}}
		}})
	}
	version := each(func(s *subject) column {
		return column{calls: func(int) []call { return []call{{[]string{s.path, "--version"}, s.env}} }}
	})
	version = append(version, column{name: "empty Go program",
		calls: func(int) []call { return []call{{[]string{b.empty}, baseEnv}} }})

	return []r{
		{"run of /bin/true", run},
		{"create + start + delete --force", each(func(s *subject) column {
			return column{calls: func(n int) []call {
				return []call{oci(s, "create", "--bundle", b.bundle(), id(s, n)), oci(s, "start", id(s, n)),
					oci(s, "delete", "--force", id(s, n))}
			}}
		})},
		{"state", each(func(s *subject) column {
			c := alive(s)
			c.calls = func(int) []call { return []call{oci(s, "state", living(s))} }
			return c
		})},
		{"exec of /bin/true", each(func(s *subject) column {
			c := alive(s)
			c.calls = func(int) []call { return []call{oci(s, "exec", living(s), "/bin/true")} }
			return c
		})},
		{"--version", version},
		{"create + start on a unified tree", b.unified()},
	}
}

// unified compares a start on a unified tree with one on a plain tree, both by the first runtime if that can unify.
func (b *bench) unified() []column {
	s := b.subjects[0]
	if s.name != "vsrun" {
		return nil
	}
	shared := filepath.Join(b.dir, "unified")
	start := func(name, bundle string) column {
		id := func(n int) string { return b.id(name + strconv.Itoa(n)) }
		oci := func(args ...string) call { return call{append([]string{s.path, "--root", b.root(s)}, args...), s.env} }
		return column{
			name:  s.name + ", " + name,
			calls: func(n int) []call { return []call{oci("create", "--bundle", bundle, id(n)), oci("start", id(n))} },
			clean: func(n int) []call { return []call{oci("delete", "--force", id(n))} },
		}
	}
	tree := start("unified", shared)
	tree.setup = func() error {
		cp := call{[]string{"/bin/cp", "-a", b.bundle(), shared}, baseEnv}
		unify := call{[]string{s.path, "unify", "--store", filepath.Join(b.dir, "store"), filepath.Join(shared, "rootfs")}, s.env}
		return errors.Join(b.do(cp), b.do(unify))
	}
	return []column{start("plain", b.bundle()), tree}
}

// measure runs all rows, interleaved within each.
func (b *bench) measure(only string) ([]row, error) {
	var rows []row
	for _, r := range b.rows() {
		if !strings.Contains(r.title, only) {
			continue
		}
		cols := r.columns
		figures := make([]*figure, len(cols))
		dropped := make([]error, len(cols))
		for i, c := range cols {
			figures[i] = &figure{Name: c.name}
			if c.setup != nil {
				dropped[i] = c.setup()
			}
		}
		for n := range warmup + b.rounds {
			for k := range cols {
				i := (n + k) % len(cols) // another one begins each round
				if dropped[i] != nil {
					continue
				}
				var total time.Duration
				var peak int64
				time.Sleep(settle)
				for _, c := range cols[i].calls(n) {
					d, kib, err := b.time(c)
					if err != nil {
						dropped[i] = err
						break
					}
					total += d
					peak = max(peak, kib)
				}
				if cols[i].clean != nil {
					for _, c := range cols[i].clean(n) {
						if err := b.do(c); err != nil && dropped[i] == nil {
							dropped[i] = err
						}
					}
				}
				if dropped[i] == nil && n >= warmup {
					figures[i].Times = append(figures[i].Times, total)
					figures[i].Peaks = append(figures[i].Peaks, peak)
				}
			}
		}
		for i, c := range cols {
			if c.after != nil {
				if err := c.after(); err != nil {
					b.note("%s: afterwards: %v", r.title, err)
				}
			}
			if dropped[i] != nil {
				b.note("%s: no figure for %s: %v", r.title, c.name, dropped[i])
			}
		}
		figures = slices.DeleteFunc(figures, func(f *figure) bool { return len(f.Times) < b.rounds })
		if len(figures) > 0 {
			rows = append(rows, row{r.title, figures})
		}
	}
	return rows, nil
}

// do runs a call untimed.
func (b *bench) do(c call) error {
	_, _, err := b.time(c)
	return err
}

// time runs a call by the spawner and returns its wall time and its peak
// memory in KiB.
func (b *bench) time(c call) (time.Duration, int64, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer r.Close()
	errName := filepath.Join(b.dir, "stderr")
	errFile, err := os.Create(errName)
	if err != nil {
		w.Close()
		return 0, 0, err
	}
	defer errFile.Close()
	cmd := exec.Command(b.spawn, c.argv...)
	cmd.Env, cmd.ExtraFiles, cmd.Stderr = c.env, []*os.File{w}, errFile
	err = cmd.Run()
	w.Close()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", b.spawn, err)
	}
	buf := make([]byte, 128)
	n, err := r.Read(buf)
	if err != nil {
		return 0, 0, err
	}
	var ns, kib int64
	var code int
	if _, err := fmt.Sscan(string(buf[:n]), &ns, &kib, &code); err != nil {
		return 0, 0, err
	}
	if code != 0 {
		text, _ := os.ReadFile(errName)
		text, _, _ = bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
		return 0, 0, fmt.Errorf("%s: exit code %d: %s", strings.Join(c.argv, " "), code, text)
	}
	return time.Duration(ns), kib, nil
}
