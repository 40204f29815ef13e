package unify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// Options say what to unify, and how.
type Options struct {
	Trees     []string
	Store     string // "": StoreFor the first tree
	Layout    tree.Layout
	Exclude   []string // patterns, before the default ones
	NoDefault bool     // no default excludes
	Least     uint64   // bytes: smaller files are not shared
	Seal      Seal
	DryRun    bool
	Progress  *Progress
}

// Result says what was done, or would be.
type Result struct {
	Store   string       `json:"store,omitempty"`
	Layout  string       `json:"layout"`
	DryRun  bool         `json:"dryRun,omitempty"`
	Trees   []TreeResult `json:"trees"`
	Files   int          `json:"files"`  // names of regular files in the trees that were unified now
	Bytes   uint64       `json:"bytes"`  // what these took on disk before
	Shared  int          `json:"shared"` // contents
	New     int          `json:"new"`    // of them were not in the store before
	After   uint64       `json:"after"`  // bytes that new objects and kept files take on disk
	Meta    uint64       `json:"meta"`   // bytes that new metadata trees take on disk
	Saved   int64        `json:"saved"`  // bytes
	Healed  int64        `json:"healed,omitempty"`
	Sealed  int          `json:"sealed,omitempty"`
	Notes   []string     `json:"notes,omitempty"`
	Seconds float64      `json:"seconds"`
}

// TreeResult is what became of one tree.
type TreeResult struct {
	Path   string `json:"path"`
	Status string `json:"status"` // unified, adopted, sealed, already, would be unified, failed
	Digest string `json:"digest,omitempty"`
	Files  int    `json:"files"`
	Bytes  uint64 `json:"bytes"`
	Kept   []Kept `json:"kept,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Kept is a file that was left as it is.
type Kept struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func (k reason) String() string {
	return [...]string{"", "excluded", "open for writing, or changing", "too small", "hard links",
		"too many hard links for this filesystem", "removed from the store by gc meanwhile"}[k]
}

// Unify makes trees share what is equal. Trees that can't be are in the result with their errors, and the returned error
// says that there are some; the others are unified all the same.
func Unify(o *Options) (*Result, error) {
	begun := time.Now()
	unix.Umask(0)
	if len(o.Trees) == 0 {
		return nil, errors.New("no tree is given")
	}
	res := &Result{Layout: o.Layout.String(), DryRun: o.DryRun}
	defer func() { res.Seconds = time.Since(begun).Seconds() }()

	targets := make([]*target, 0, len(o.Trees))
	defer func() {
		for _, t := range targets {
			t.close()
		}
	}()
	for _, path := range o.Trees {
		t, err := openTarget(path)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	for i, t := range targets {
		for _, other := range targets[:i] {
			if within(t.path, other.path) || within(other.path, t.path) {
				return nil, fmt.Errorf("%s and %s are not two separate trees", other.path, t.path)
			}
		}
		if err := t.lock(); err != nil {
			return nil, err
		}
	}
	s, made, err := o.openStore(targets)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if made {
		defer func() {
			for i := range res.Trees {
				if res.Trees[i].Status == "unified" && !o.DryRun {
					return // its containers have their layers here, even if nothing in it is shared
				}
			}
			s.unmake() // if it is empty: after a dry run, or a refusal
		}()
	}
	res.Store = s.Path
	if !o.DryRun {
		if res.Notes, err = s.recover(); err != nil {
			return nil, err
		}
	}

	var todo []*target
	for _, t := range targets {
		if t.was != nil {
			tr, err := s.again(t, o)
			if err != nil {
				return nil, err
			}
			res.Trees = append(res.Trees, *tr)
			if tr.Status != "" {
				continue
			}
			res.Trees = res.Trees[:len(res.Trees)-1]
		}
		if err := s.fits(t); err != nil {
			return nil, err
		}
		todo = append(todo, t)
	}
	if len(todo) == 0 {
		return res, nil
	}
	if err := refuseUsed(todo); err != nil {
		return nil, err
	}
	patterns := o.Exclude
	if o.Layout == tree.LayoutLinks && !o.NoDefault {
		patterns = append(append([]string{}, patterns...), DefaultExcludes...)
	}
	ex, err := newExcludes(patterns)
	if err != nil {
		return nil, err
	}
	r, notes, err := s.begin(o.Progress)
	if err != nil {
		return nil, err
	}
	res.Notes = append(res.Notes, notes...)
	j := &job{run: r, o: o, ex: ex, res: res}
	failed := j.all(todo)
	res.Healed = r.healed.Load()
	res.Saved = int64(res.Bytes) - int64(res.After) - int64(res.Meta)
	if err := r.finish(); err != nil {
		return res, err
	}
	sort.SliceStable(res.Trees, func(a, b int) bool { return order(targets, &res.Trees[a]) < order(targets, &res.Trees[b]) })
	return res, failed
}

func order(targets []*target, t *TreeResult) int {
	for i := range targets {
		if targets[i].path == t.Path {
			return i
		}
	}
	return -1
}

// LayoutFor says which layout to use: that of the first tree, if it is unified already; else objects where overlayfs
// has data-only lower layers on that filesystem (Linux 6.5), else links. Where it takes no layers at all, such as from ext4 with
// the feature casefold, that is an error.
func LayoutFor(trees []string, store string) (tree.Layout, error) {
	for _, path := range trees {
		if t, err := tree.Read(path); err == nil && t != nil {
			return t.Layout, nil
		}
	}
	if store == "" && len(trees) > 0 {
		var err error
		if store, err = StoreFor(trees[0]); err != nil {
			return 0, err
		}
	}
	for {
		_, err := os.Stat(store)
		if err == nil {
			break
		}
		store = filepath.Dir(store)
	}
	dataOnly := host.TryOverlayDataOnly(store)
	var layers error
	if dataOnly != nil { // else it does not matter
		layers = host.TryOverlay(store)
	}
	l, err := tree.LayoutFor(dataOnly, layers)
	if err != nil {
		err = fmt.Errorf("no container could run on a unified tree there: overlayfs takes no layers from that filesystem (--layout links makes one all the same): %w", err)
	}
	return l, err
}

// openStore opens the store, or makes it. A dry run makes none: it uses one that is gone when it ends.
func (o *Options) openStore(targets []*target) (s *Store, made bool, err error) {
	path := o.Store
	if path == "" {
		for _, t := range targets {
			if t.was != nil {
				path = t.was.Store
			}
		}
	}
	if path == "" {
		if path, err = StoreFor(targets[0].path); err != nil {
			return nil, false, err
		}
	}
	// Before anything is made in one.
	if abs, err := filepath.Abs(path); err == nil {
		for _, t := range targets {
			if within(abs, t.path) {
				return nil, false, fmt.Errorf("the store %s is in the tree %s", abs, t.path)
			}
		}
	}
	s, err = OpenStore(path, false)
	if errors.Is(err, ErrNoStore) {
		made = true
		s, err = OpenStore(path, true)
	}
	return s, made, err
}

func refuseUsed(todo []*target) error {
	paths := make([]string, len(todo))
	for i, t := range todo {
		paths[i] = t.path
	}
	why, err := inUse(paths)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if why[p] != nil {
			return fmt.Errorf("%s is in use: %w", p, why[p])
		}
	}
	return nil
}

// again looks at a tree that is unified already. An empty status: it is to be unified all the same.
func (s *Store) again(t *target, o *Options) (*TreeResult, error) {
	tr := &TreeResult{Path: t.path, Status: "already", Digest: t.was.Digest}
	if t.was.Store != s.Path {
		return nil, fmt.Errorf("%s is unified with another store, %s: ununify it first", t.path, t.was.Store)
	}
	if t.was.Layout != o.Layout {
		return nil, fmt.Errorf("%s is unified in the layout %s: ununify it first", t.path, t.was.Layout)
	}
	if t.was.Layout == tree.LayoutLinks {
		tr.Status = "" // new files may have come
		return tr, nil
	}
	lower, data, err := t.was.Open(t.path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.path, err)
	}
	unix.Close(lower)
	unix.Close(data)
	var ref, mine stat
	if err := statAt(s.trees, t.was.Digest+".ref", &ref); err != nil {
		return nil, fmt.Errorf("%s: the reference of its metadata tree: %w", t.path, err)
	}
	if err := statAt(t.fd, tree.RefName, &mine); err == nil && mine.ino == ref.ino {
		if t.was.Verity == tree.VerityOff && o.Seal != SealNone && !o.DryRun {
			done, err := s.finishSeal(t)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.path, err)
			}
			if done {
				tr.Status = "sealed"
			}
		}
		return tr, nil
	}
	// A copy of a unified tree, which the store does not count yet.
	if o.DryRun {
		return tr, nil
	}
	temp := "a" + random()
	if err := unix.Linkat(s.trees, t.was.Digest+".ref", s.temp, temp, 0); err != nil {
		return nil, fmt.Errorf("%s: link the reference: %w", t.path, err)
	}
	if err := unix.Renameat(s.temp, temp, t.fd, tree.RefName); err != nil {
		_ = unix.Unlinkat(s.temp, temp, 0)
		return nil, fmt.Errorf("%s: link the reference: %w", t.path, err)
	}
	var root stat
	if err := statAt(s.trees, t.was.Digest, &root); err == nil {
		_ = setTimes(t.fd, "", &root)
	}
	tr.Status = "adopted"
	return tr, nil
}

// job is one call of Unify.
type job struct {
	*run
	o   *Options
	ex  *excludes
	res *Result

	engine bool // the trees are layers of a container engine
}

// all unifies trees; those that change meanwhile are tried again.
func (j *job) all(todo []*target) error {
	const tries = 3
	for try := 1; ; try++ {
		changed, err := j.once(todo)
		if err != nil {
			return err
		}
		if len(changed) == 0 {
			return nil
		}
		if try == tries {
			var all []error
			for t, why := range changed {
				j.res.Trees = append(j.res.Trees, TreeResult{Path: t.path, Status: "failed", Error: why.Error()})
				all = append(all, fmt.Errorf("%s is left as it was: %w", t.path, why))
			}
			return errors.Join(all...)
		}
		todo = todo[:0]
		for t := range changed {
			todo = append(todo, t)
		}
	}
}

func (j *job) scan(todo []*target) ([]*image, error) {
	j.progress.begin("scanning", 0, 0)
	images := make([]*image, len(todo))
	for i, t := range todo {
		im, err := (&scanner{progress: j.progress, layer: j.engine}).scan(t.path, t.fd)
		if err != nil {
			return nil, err
		}
		images[i] = im
	}
	return images, nil
}

// once is one try. changed has the trees that are as they were because they changed meanwhile.
func (j *job) once(todo []*target) (changed map[*target]error, err error) {
	images, err := j.scan(todo)
	if err != nil {
		return nil, err
	}
	files := inodes(images, j.ex, j.o.Least)
	if j.o.Layout == tree.LayoutLinks {
		return nil, j.links(todo, images, files)
	}
	return j.objectsLayout(todo, images, files)
}

func (j *job) report(t *target, im *image, status, digest string) {
	tr := TreeResult{Path: t.path, Status: status, Digest: digest, Files: im.files, Bytes: im.bytes}
	im.each(func(d *dir, n *node) {
		if n.file != nil && n.file.keep != shared {
			tr.Kept = append(tr.Kept, Kept{d.join(n.name), n.file.keep.String()})
		}
	})
	j.res.Trees = append(j.res.Trees, tr)
}
