package unify

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// EngineOptions say which engine's layers are to share what is equal.
type EngineOptions struct {
	ContainersStorage string // the root of a containers/storage store: Podman, Buildah, CRI-O
	Containerd        string // containerd's root
	Store             string // where the work in progress is; "": StoreFor the engine's directory
	Exclude           []string
	Least             uint64
	DryRun            bool
	Progress          *Progress
}

// UnifyEngine shares equal files of committed layers, which no container writes to, by hard links: files that have owner,
// mode, times and attributes in common, too. The layers stay what they were for their engine. Nothing may run on them
// meanwhile, and the engine must be at rest: its own locks say so.
func UnifyEngine(o *EngineOptions) (*Result, error) {
	begun := time.Now()
	unix.Umask(0)
	root, find := o.ContainersStorage, containersLayers
	if root == "" {
		root, find = o.Containerd, containerdLayers
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	paths, unlock, err := find(root)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := engineAtRest(root); err != nil {
		return nil, err
	}
	res := &Result{Layout: "links", DryRun: o.DryRun}
	defer func() { res.Seconds = time.Since(begun).Seconds() }()
	if len(paths) == 0 {
		return res, nil
	}
	var todo []*target
	defer func() {
		for _, t := range todo {
			t.close()
		}
	}()
	for _, p := range paths {
		t, err := openTarget(p)
		if err != nil {
			return nil, err
		}
		todo = append(todo, t)
	}
	ex, err := newExcludes(o.Exclude)
	if err != nil {
		return nil, err
	}
	uo := &Options{Store: o.Store, Layout: tree.LayoutLinks, Least: o.Least, DryRun: o.DryRun, Progress: o.Progress}
	s, made, err := uo.openStore(todo)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if made {
		defer s.unmake() // it holds nothing for an engine
	}
	for _, t := range todo {
		if err := s.fits(t); err != nil {
			return nil, err
		}
	}
	r, notes, err := s.begin(o.Progress)
	if err != nil {
		return nil, err
	}
	res.Notes = notes
	j := &job{run: r, o: uo, ex: ex, res: res, engine: true}
	_, err = j.once(todo)
	res.Saved = int64(res.Bytes) - int64(res.After)
	return res, errors.Join(err, r.finish())
}

// engineAtRest refuses while an overlay is mounted that has anything below root as a layer. Engines give layers by
// relative paths and short links, too, so that an overlay whose options can't be told counts if it is mounted below root.
func engineAtRest(root string) error {
	var why error
	err := eachMount(func(pid string, m *host.Mount) {
		if m.Type != "overlay" || why != nil {
			return
		}
		upper, lower := layers(m)
		used := within(m.Point, root)
		for _, l := range append(upper, lower...) {
			used = used || within(l, root)
		}
		if used {
			why = fmt.Errorf("%s is in use: a container's root is mounted at %s (seen by process %s): stop the containers", root, m.Point, pid)
		}
	})
	return errors.Join(why, err)
}

// lockFile takes an engine's lock, or says that the engine is at work.
func lockFile(path string, take func(fd int) error) (unlock func(), err error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := take(fd); err != nil {
		unix.Close(fd)
		if err == unix.EAGAIN || err == unix.EACCES {
			return nil, fmt.Errorf("the engine is at work: it holds %s", path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { unix.Close(fd) }, nil
}

func posixLock(fd int) error {
	const ofdSetlk = 37 // F_OFD_SETLK, which conflicts with the locks of fcntl(2) that containers/storage takes
	return unix.FcntlFlock(uintptr(fd), ofdSetlk, &unix.Flock_t{Type: unix.F_WRLCK})
}

func flock(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }

// containersLayers lists the committed layers of a containers/storage store with the overlay driver: those of
// overlay-layers/layers.json that no container in overlay-containers/containers.json has as its own.
func containersLayers(root string) (paths []string, unlock func(), err error) {
	unlock, err = lockFile(filepath.Join(root, "overlay-layers", "layers.lock"), posixLock)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil, fmt.Errorf("%s is no containers/storage store with the overlay driver: it has no overlay-layers/layers.lock", root)
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	read := func(name string, v any) error {
		b, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, v); err != nil {
			return fmt.Errorf("%s/%s: %w", root, name, err)
		}
		return nil
	}
	var layers []struct {
		ID         string
		Incomplete bool
		Flags      map[string]any
	}
	own := map[string]bool{}
	for _, name := range []string{"overlay-containers/containers.json", "overlay-containers/volatile-containers.json"} {
		var list []struct {
			ID    string `json:"id"`
			Layer string `json:"layer"`
		}
		if err = read(name, &list); err != nil {
			return nil, nil, err
		}
		for _, c := range list {
			own[c.Layer] = true
		}
	}
	if err = read("overlay-layers/layers.json", &layers); err != nil {
		return nil, nil, err
	}
	for _, l := range layers {
		if own[l.ID] || l.Incomplete || l.Flags["incomplete"] == true || l.ID == "" || strings.ContainsRune(l.ID, '/') {
			continue
		}
		diff := filepath.Join(root, "overlay", l.ID, "diff")
		if _, serr := os.Lstat(diff); serr == nil {
			paths = append(paths, diff)
		}
	}
	return paths, unlock, nil
}

// containerdLayers lists the committed snapshots of containerd's overlayfs snapshotter. containerd keeps its database
// locked as long as it runs.
func containerdLayers(root string) (paths []string, unlock func(), err error) {
	dir := filepath.Join(root, "io.containerd.snapshotter.v1.overlayfs")
	db := filepath.Join(dir, "metadata.db")
	unlock, err = lockFile(db, flock)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil, fmt.Errorf("%s is no root of containerd with the overlayfs snapshotter: it has no %s", root, strings.TrimPrefix(db, root+"/"))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: stop containerd first", err)
	}
	b, err := os.ReadFile(db)
	if err == nil {
		var ids []uint64
		ids, _, err = committedSnapshots(b)
		for _, id := range ids {
			fs := filepath.Join(dir, "snapshots", strconv.FormatUint(id, 10), "fs")
			if _, serr := os.Lstat(fs); serr == nil {
				paths = append(paths, fs)
			}
		}
	}
	if err != nil {
		unlock()
		return nil, nil, fmt.Errorf("read %s: %w", db, err)
	}
	return paths, unlock, nil
}
