// Package job is unify, ununify and store as the helper runs them: vsrun's command line has read and checked the flags
// and passes them on as KEY=VALUE, one an argument, so that vsrun itself links none of it. Standard output and error are
// the user's; the error, if there is one, goes to the caller.
package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// Known says whether a job is one of these.
func Known(name string) bool { return name == "unify" || name == "ununify" || name == "store" }

// request is what the arguments say.
type request struct {
	trees, excludes []string
	one             map[string]string
}

func parse(args []string) (*request, error) {
	r := &request{one: map[string]string{}}
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("argument %q is not KEY=VALUE", a)
		case k == "tree":
			r.trees = append(r.trees, v)
		case k == "exclude":
			r.excludes = append(r.excludes, v)
		default:
			r.one[k] = v
		}
	}
	return r, nil
}

// Main runs a job.
func Main(name string, args []string) error {
	r, err := parse(args)
	if err != nil {
		return err
	}
	unify.UseCores()
	// Most runs end before garbage matters.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(512 << 20)
	p := r.progress()
	defer p.Done()
	switch name {
	case "unify":
		return r.unify(p)
	case "ununify":
		return r.ununify(p)
	}
	return r.store(p)
}

// progress is a bar if standard error is a terminal.
func (r *request) progress() *unify.Progress {
	ws, err := unix.IoctlGetWinsize(2, unix.TIOCGWINSZ)
	if err != nil || r.one["progress"] == "no" {
		return nil
	}
	columns := int(ws.Col)
	if columns == 0 {
		columns = 80
	}
	return unify.NewProgress(os.Stderr, columns)
}

func (r *request) json() bool   { return r.one["format"] == "json" }
func (r *request) dryRun() bool { return r.one["dry-run"] == "yes" }

// out shows a result after the bar is gone.
func (r *request) out(p *unify.Progress, v any, text func(b *strings.Builder)) error {
	p.Done()
	if r.json() {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		return write(string(b) + "\n")
	}
	var b strings.Builder
	text(&b)
	return write(b.String())
}

func write(s string) error {
	if _, err := os.Stdout.WriteString(s); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

func (r *request) unify(p *unify.Progress) error {
	o := &unify.Options{Trees: r.trees, Store: r.one["store"], Exclude: r.excludes, NoDefault: r.one["default-excludes"] == "no",
		Least: 1, DryRun: r.dryRun(), Progress: p, Layout: tree.LayoutObjects}
	switch r.one["layout"] {
	case "links":
		o.Layout = tree.LayoutLinks
	case "auto":
		if len(r.trees) == 0 {
			break
		}
		layout, err := unify.LayoutFor(r.trees, r.one["store"])
		if err != nil {
			return err
		}
		o.Layout = layout
	}
	switch r.one["seal"] {
	case "none":
		o.Seal = unify.SealNone
	case "all":
		o.Seal = unify.SealAll
	}
	if v := r.one["min-size"]; v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return fmt.Errorf("--min-size %q: %w", v, err)
		}
		o.Least = max(n, 1)
	}
	var res *unify.Result
	var err error
	if r.one["containers-storage"]+r.one["containerd"] != "" {
		if r.one["layout"] == "objects" {
			return errors.New("layers of an engine share files by links: --layout objects is for trees")
		}
		res, err = unify.UnifyEngine(&unify.EngineOptions{ContainersStorage: r.one["containers-storage"], Containerd: r.one["containerd"],
			Store: o.Store, Exclude: o.Exclude, Least: o.Least, DryRun: o.DryRun, Progress: p})
	} else {
		res, err = unify.Unify(o)
	}
	if res == nil {
		return err
	}
	return errors.Join(r.out(p, res, func(b *strings.Builder) { unifyText(b, res) }), err)
}

func (r *request) ununify(p *unify.Progress) error {
	res, err := unify.Ununify(&unify.UnunifyOptions{Trees: r.trees, DryRun: r.dryRun(), Progress: p})
	if res == nil {
		return err
	}
	return errors.Join(r.out(p, res, func(b *strings.Builder) { ununifyText(b, res) }), err)
}

func (r *request) store(p *unify.Progress) error {
	path := r.one["store"]
	if path == "" {
		path = tree.StandardStore
	}
	s, err := unify.OpenStore(path, false)
	if err != nil {
		return err
	}
	defer s.Close()
	switch r.one["verb"] {
	case "info":
		v, err := s.Info()
		if err != nil {
			return err
		}
		return r.out(p, v, func(b *strings.Builder) { infoText(b, v) })
	case "list":
		v, err := s.List()
		if err != nil {
			return err
		}
		return r.out(p, v, func(b *strings.Builder) { listText(b, v) })
	case "gc":
		v, err := s.GC(r.dryRun(), p)
		if err != nil {
			return err
		}
		return r.out(p, v, func(b *strings.Builder) { gcText(b, v) })
	case "verify":
		v, err := s.Verify(p)
		if err != nil {
			return err
		}
		err = r.out(p, v, func(b *strings.Builder) { verifyText(b, v) })
		if n := len(v.Damaged) + len(v.Missing); n > 0 {
			err = errors.Join(err, fmt.Errorf("%d objects of the store %s are damaged or missing", n, v.Store))
		}
		return err
	}
	return fmt.Errorf("store: there is no %q", r.one["verb"])
}
