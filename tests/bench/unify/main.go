// Unify compares vsrun unify with the tools that link equal files: util-linux' hardlink, jdupes, rdfind. Every tool gets a
// fresh copy of the same four guests, on the disk and in the page cache; the tools take turns, round after round, and the
// table shows medians and how many times hardlink's figure each is. jdupes and rdfind run once, at the end. No run takes longer than
// -limit: what is not done by then is ended, and the table says so. (They remove one replaced file after the other, as
// hardlink does. Where each waits for the disk to discard its blocks, and others keep the disk busy, that takes minutes.)
//
// Of unify it also shows the first guest alone in a store of its own, and what it costs once the store knows it: all again
// with nothing changed, a plain copy of the first guest, and a clone (cp -a of the unified one).
//
//	unify [-n ROUNDS] [-small] [-base DIR] [-dir DIR] [-tools NAMES] [-limit TIME] [-prefix COMMAND]
//
// The guests are copies of one Debian root filesystem of about 1.1 GB (made with mmdebstrap once, or -base); with
// -small, of one of 0.2 GB. Guests two to four have 1 % of the files in usr/share changed in content, 2 % of the shared libraries with mode 600; every guest has a
// machine-id, a host name and 20 MB of random data of its own.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

func main() {
	rounds := flag.Int("n", 1, "rounds")
	base := flag.String("base", "", "root filesystem to make the guests of (default: a Debian one, made once)")
	dir := flag.String("dir", "", "where to work, 12 GB (default: the cache directory)")
	small := flag.Bool("small", false, "guests of 0.2 GB instead of 1.1 GB: a minimal Debian")
	prefix := flag.String("prefix", "", "a command that runs each run of a tool, say one that keeps the machine quiet; there is no limit then")
	tools := flag.String("tools", "hardlink,jdupes,rdfind,objects,links", "what to compare")
	limit := flag.Duration("limit", 10*time.Minute, "how long one run of a tool may take")
	flag.Parse()
	b := &bench{rounds: *rounds, base: *base, dir: *dir, small: *small, limit: *limit, prefix: strings.Fields(*prefix)}
	if err := b.run(strings.Split(*tools, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench unify:", err)
		os.Exit(1)
	}
}

type bench struct {
	rounds    int
	base, dir string
	small     bool
	limit     time.Duration
	prefix    []string

	templates, work string
	before          int64  // bytes on disk of the guests
	more            []*row // what only some tools do, after their first run
}

// figure is one run of one tool.
type figure struct {
	wall, user, sys time.Duration
	disk            int64 // bytes on disk after it
	cut             bool  // it was ended by the limit
}

type row struct {
	name, compares string
	once           bool // at the end, not in each round
	command        func(work string) []string
	unify          func(store string, trees ...string) []string // of unify's rows
	figures        []figure
}

func rows(vsrun string, names []string) []*row {
	unify := func(name, compares string) *row {
		command := func(store string, trees ...string) []string {
			return append([]string{vsrun, "unify", "--store", store, "--layout", name, "--no-default-excludes", "--seal", "none"}, trees...)
		}
		return &row{name: name, compares: compares, unify: command, command: func(work string) []string {
			var trees []string
			for i := range guests {
				trees = append(trees, guest(work, i))
			}
			return command(work+"/store", trees...)
		}}
	}
	all := []*row{
		{name: "hardlink", compares: "content, mode, owner", command: func(w string) []string { return []string{"hardlink", "-t", w} }},
		{name: "jdupes", compares: "content, every byte", once: true, command: func(w string) []string { return []string{"jdupes", "-q", "-r", "-L", w} }},
		{name: "rdfind", compares: "content", once: true, command: func(w string) []string {
			return []string{"rdfind", "-makehardlinks", "true", "-makeresultsfile", "false", "-checksum", "sha256", w}
		}},
		unify("objects", "content, every byte"),
		unify("links", "content, mode, owner, mtime, attributes"),
	}
	return slices.DeleteFunc(all, func(r *row) bool {
		if !slices.Contains(names, r.name) {
			return true
		}
		if _, err := exec.LookPath(r.command("/")[0]); err != nil {
			fmt.Fprintf(os.Stderr, "bench unify: %s is left out: %v\n", r.name, err)
			return true
		}
		return false
	})
}

func (b *bench) run(names []string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	if b.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		b.dir = filepath.Join(cache, "vsrun", "bench-unify")
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	if b.base == "" {
		if err := b.debian(); err != nil {
			return err
		}
	}
	b.templates, b.work = filepath.Join(b.dir, "guests"), filepath.Join(b.dir, "work")
	defer os.RemoveAll(b.work)
	defer os.RemoveAll(b.templates)
	if err := makeGuests(b.base, b.templates); err != nil {
		return err
	}
	all := rows(filepath.Join(root, "vsrun"), names)
	for range b.rounds {
		for _, r := range all {
			if r.once {
				continue
			}
			if err := b.round(r); err != nil {
				return err
			}
		}
	}
	for _, r := range all {
		if !r.once {
			continue
		}
		if b.before, err = fresh(b.templates, b.work); err != nil {
			return err
		}
		if err := b.measure(r, r.command(b.work)); err != nil {
			return err
		}
	}
	show(append(all, b.more...), b.before)
	return nil
}

// round measures what one tool does.
func (b *bench) round(r *row) (err error) {
	if b.before, err = fresh(b.templates, b.work); err != nil {
		return err
	}
	line := r.command(b.work)
	if err := b.measure(r, line); err != nil {
		return err
	}
	if err := b.measure(b.later(r.name+", again", "nothing changed"), line); err != nil {
		return err
	}
	extra := filepath.Join(b.work, "one-more")
	if err := b.plain(extra); err != nil {
		return err
	}
	if r.unify != nil { // hardlink has to be told of all
		line = r.unify(b.work+"/store", extra)
	}
	if err := b.measure(b.later(r.name+", one more", "a plain copy of the first guest"), line); err != nil {
		return err
	}
	if r.unify == nil {
		return nil
	}
	if r.name == "objects" {
		clone := filepath.Join(b.work, "clone")
		if err := copyTree(guest(b.work, 0), clone); err != nil {
			return err
		}
		if err := b.measure(b.later("objects, a clone", "cp -a of a unified guest"), r.unify(b.work+"/store", clone)); err != nil {
			return err
		}
	}
	alone := filepath.Join(b.work, "alone")
	if err := b.plain(alone); err != nil {
		return err
	}
	return b.measure(b.later(r.name+", alone", "the first guest, in a store of its own"), r.unify(b.work+"/another-store", alone))
}

func (b *bench) later(name, compares string) *row {
	for _, r := range b.more {
		if r.name == name {
			return r
		}
	}
	r := &row{name: name, compares: compares}
	b.more = append(b.more, r)
	return r
}

// measure runs a command.
func (b *bench) measure(r *row, command []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), b.limit)
	defer cancel()
	if len(b.prefix) > 0 { // which is not killed: it might leave the machine quiet for ever
		ctx, command = context.Background(), slices.Concat(b.prefix, command)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	begun := time.Now()
	err := cmd.Run()
	wall := time.Since(begun)
	cut := ctx.Err() != nil
	fmt.Fprintf(os.Stderr, "bench unify: %s: %.2f s\n", r.name, wall.Seconds())
	if err != nil && !cut {
		return fmt.Errorf("%s: %w: %.2000s", strings.Join(command[:2], " "), err, text.String())
	}
	disk, err := diskUse(b.work)
	r.figures = append(r.figures, figure{wall, cmd.ProcessState.UserTime(), cmd.ProcessState.SystemTime(), disk, cut})
	return err
}

func median[T cmp.Ordered](list []figure, of func(f *figure) T) T {
	var values []T
	for i := range list {
		values = append(values, of(&list[i]))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func show(all []*row, before int64) {
	wall := func(r *row) float64 { return median(r.figures, func(f *figure) float64 { return f.wall.Seconds() }) }
	cpu := func(r *row) float64 {
		return median(r.figures, func(f *figure) float64 { return (f.user + f.sys).Seconds() })
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("sharing of equal files: %d guests, %d MB on disk; load %.4s at the end\n", guests, before/1e6, load)
	fmt.Printf("%-18s %-40s %9s %8s %8s %8s %6s %6s\n", "TOOL", "COMPARES", "RESULT MB", "WALL s", "USER s", "SYS s", "WALL x", "CPU x")
	for _, r := range all {
		if slices.ContainsFunc(r.figures, func(f figure) bool { return f.cut }) {
			f := &r.figures[len(r.figures)-1]
			fmt.Printf("%-18s %-40s %9s %8s %8.2f %8.2f   ended by the limit; until then, it had brought the %d MB down to %d\n", r.name, r.compares, "-",
				fmt.Sprintf(">%.0f", f.wall.Seconds()), f.user.Seconds(), f.sys.Seconds(), before/1e6, f.disk/1e6)
			continue
		}
		fmt.Printf("%-18s %-40s %9d %8.2f %8.2f %8.2f %6.2f %6.2f\n", r.name, r.compares, median(r.figures, func(f *figure) int64 { return f.disk })/1e6,
			wall(r), median(r.figures, func(f *figure) float64 { return f.user.Seconds() }), median(r.figures, func(f *figure) float64 { return f.sys.Seconds() }),
			wall(r)/wall(all[0]), cpu(r)/cpu(all[0]))
	}
}
