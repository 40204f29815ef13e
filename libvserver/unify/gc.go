package unify

import (
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// GCResult says what gc removed.
type GCResult struct {
	Store   string   `json:"store"`
	DryRun  bool     `json:"dryRun,omitempty"`
	Trees   int      `json:"trees"`
	Objects int      `json:"objects"`
	Bytes   uint64   `json:"bytes"`
	Notes   []string `json:"notes,omitempty"`
}

// GC removes metadata trees that no tree stands for, and objects that no metadata tree needs.
//
// It takes no lock. What it may remove is first renamed away, and then it looks again whether somebody needs it. unify
// first makes known what it needs, and then looks whether it is still there (job.confirm). One of the two sees the other.
func (s *Store) GC(dryRun bool, p *Progress) (res *GCResult, err error) {
	unix.Umask(0)
	r, notes, err := s.begin(p)
	if err != nil {
		return nil, err
	}
	res = &GCResult{Store: s.Path, DryRun: dryRun, Notes: notes}
	defer func() {
		if ferr := r.finish(); err == nil {
			err = ferr
		}
	}()
	if err := r.gcTrees(res); err != nil {
		return res, err
	}
	if err := r.gcObjects(res); err != nil {
		return res, err
	}
	return res, r.gcLinks(res)
}

// mounted lists the metadata trees that overlays have as a lower layer now.
func (s *Store) mounted() (map[string]bool, error) {
	found := map[string]bool{}
	err := eachMount(func(_ string, m *host.Mount) {
		if m.Type != "overlay" {
			return
		}
		// Wherever the store is in that namespace: the digest is unique.
		for rest := m.Super; ; {
			i := strings.Index(rest, "/"+tree.Trees+"/")
			if i < 0 {
				return
			}
			rest = rest[i+len(tree.Trees)+2:]
			if len(rest) >= 64 {
				found[rest[:64]] = true
			}
		}
	})
	return found, err
}

func (r *run) gcTrees(res *GCResult) error {
	list, err := readEntries(r.trees, newDirBuffer())
	if err != nil {
		return fmt.Errorf("read %s/%s: %w", r.Path, tree.Trees, err)
	}
	mounted, err := r.mounted()
	if err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	r.progress.begin("metadata trees", uint64(len(list)), 0)
	for _, e := range list {
		r.progress.read(1, 0)
		digest, isRef := strings.CutSuffix(e.name, ".ref")
		var st stat
		if isRef && statAt(r.trees, digest, &st) == nil || mounted[digest] {
			continue // looked at by its tree's name
		}
		unused := func() bool {
			err := statAt(r.trees, digest+".ref", &st)
			return err == unix.ENOENT || err == nil && st.nlink < 2
		}
		if !unused() {
			continue
		}
		if res.DryRun {
			if !isRef {
				res.Trees++
			}
			continue
		}
		if !isRef {
			if err := unix.Renameat(r.trees, digest, r.fd, doomed+digest); err == unix.ENOENT {
				continue
			} else if err != nil {
				return fmt.Errorf("remove metadata tree %s: %w", digest, err)
			}
			if !unused() {
				if err := r.reprieve(r.fd, doomed+digest); err != nil {
					return err
				}
				continue
			}
		}
		if err := unix.Unlinkat(r.trees, digest+".ref", 0); err != nil && err != unix.ENOENT {
			return fmt.Errorf("remove the reference of metadata tree %s: %w", digest, err)
		}
		if isRef {
			continue
		}
		// From here on it is no longer doomed but gone: a recovery shall not bring it back without its reference.
		temp := "m." + digest
		if err := unix.Renameat(r.fd, doomed+digest, r.fd, temp); err != nil {
			return fmt.Errorf("remove metadata tree %s: %w", digest, err)
		}
		res.Trees++
		if fd, err := openBeneath(r.fd, temp, readDir); err == nil {
			if n, err := diskUse(fd); err == nil {
				res.Bytes += n
			}
			unix.Close(fd)
		}
		if err := removeTree(r.fd, temp); err != nil {
			return fmt.Errorf("remove metadata tree %s: %w", digest, err)
		}
	}
	return nil
}

// reprieve puts back what was about to be removed. What has come in its place meanwhile is as good.
func (s *Store) reprieve(fd int, name string) error {
	to := strings.TrimPrefix(name, doomed)
	var err error
	switch kind, rest, _ := strings.Cut(to, "."); {
	case rest == "":
		err = unix.Renameat2(fd, name, s.trees, to, unix.RENAME_NOREPLACE)
		if err == unix.EEXIST {
			err = removeTree(fd, name)
		}
	case kind == "l":
		err = putBack(fd, name, s.links, strings.Replace(rest, ".", "/", 1))
	default:
		err = putBack(fd, name, s.objects, strings.Replace(to, ".", "/", 1))
	}
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("put back %s: %w", to, err)
	}
	return nil
}

func putBack(fd int, name string, dirfd int, to string) error {
	err := unix.Renameat2(fd, name, dirfd, to, unix.RENAME_NOREPLACE)
	if err == unix.EEXIST {
		err = unix.Unlinkat(fd, name, 0)
	}
	return err
}

// used collects the names of the objects that metadata trees need: those in the store, and those being built.
func (s *Store) used() (map[string]int, error) {
	set := map[string]int{}
	var mu sync.Mutex
	collect := func(dirfd int, name string) error {
		fd, err := openBeneath(dirfd, name, readDir)
		if err != nil {
			return ignoreGone(err)
		}
		defer unix.Close(fd)
		return eachRedirect(fd, func(object string) {
			mu.Lock()
			set[object]++
			mu.Unlock()
		})
	}
	buf := newDirBuffer()
	// Those being built first: when one is published meanwhile, it is seen as such.
	runs, err := readEntries(s.temp, buf)
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", s.Path, tempDir, err)
	}
	for _, run := range runs {
		fd, err := openBeneath(s.temp, run.name, readDir)
		if err != nil {
			continue
		}
		list, _ := readEntries(fd, buf)
		for _, e := range list {
			if e.name[0] == 'm' && e.kind == unix.S_IFDIR {
				if err := collect(fd, e.name); err != nil {
					unix.Close(fd)
					return nil, err
				}
			}
		}
		unix.Close(fd)
	}
	trees, err := readEntries(s.trees, buf)
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", s.Path, tree.Trees, err)
	}
	for _, e := range trees {
		if e.kind == unix.S_IFDIR {
			if err := collect(s.trees, e.name); err != nil {
				return nil, fmt.Errorf("metadata tree %s: %w", e.name, err)
			}
		}
	}
	return set, nil
}

func ignoreGone(err error) error {
	if err == unix.ENOENT {
		return nil
	}
	return err
}

func (r *run) gcObjects(res *GCResult) error {
	need, err := r.used()
	if err != nil {
		return err
	}
	alive := r.others()
	var away []string
	err = eachObject(r.objects, func(name string) error {
		if need[name] > 0 {
			return nil
		}
		var st stat
		if err := statAt(r.objects, name, &st); err != nil {
			return ignoreGone(err)
		}
		if alive && st.nlink > 1 {
			return nil // it has just come from a tree that is being unified
		}
		if res.DryRun {
			res.Objects++
			res.Bytes += freed(&st)
			return nil
		}
		if err := unix.Renameat(r.objects, name, r.fd, doomed+strings.Replace(name, "/", ".", 1)); err != nil {
			return ignoreGone(err)
		}
		away = append(away, name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	if len(away) == 0 {
		return nil
	}
	if need, err = r.used(); err != nil {
		return err
	}
	r.progress.begin("removing", uint64(len(away)), 0)
	for _, name := range away {
		r.progress.read(1, 0)
		temp := doomed + strings.Replace(name, "/", ".", 1)
		if need[name] > 0 {
			if err := r.reprieve(r.fd, temp); err != nil {
				return err
			}
			continue
		}
		var st stat
		_ = statAt(r.fd, temp, &st)
		if err := unix.Unlinkat(r.fd, temp, 0); err != nil {
			return fmt.Errorf("remove object %s: %w", name, err)
		}
		res.Objects++
		res.Bytes += freed(&st)
	}
	return nil
}

// freed is how many bytes go with a name.
func freed(st *stat) uint64 {
	if st.nlink > 1 {
		return 0
	}
	return st.blocks * 512
}

// others says whether another run is going on.
func (r *run) others() bool {
	list, err := readEntries(r.temp, newDirBuffer())
	return err != nil || len(list) > 1
}

// gcLinks removes the shared files of the links layout that no tree has any more.
func (r *run) gcLinks(res *GCResult) error {
	err := eachObject(r.links, func(name string) error {
		var st stat
		if err := statAt(r.links, name, &st); err != nil || st.nlink > 1 {
			return ignoreGone(err)
		}
		if !res.DryRun {
			temp := doomed + "l." + strings.Replace(name, "/", ".", 1)
			if err := unix.Renameat(r.links, name, r.fd, temp); err != nil {
				return ignoreGone(err)
			}
			if err := statAt(r.fd, temp, &st); err != nil || st.nlink > 1 {
				return r.reprieve(r.fd, temp)
			}
			if err := unix.Unlinkat(r.fd, temp, 0); err != nil {
				return err
			}
		}
		res.Objects++
		res.Bytes += st.blocks * 512
		return nil
	})
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	return nil
}
