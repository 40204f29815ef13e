package unify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// VerifyResult says what is wrong with a store.
type VerifyResult struct {
	Store   string   `json:"store"`
	Objects int      `json:"objects"`
	Bytes   uint64   `json:"bytes"`
	Sealed  int      `json:"sealed"` // checked by asking the filesystem for the digest it enforces
	Links   int      `json:"links"`  // files of the links layout
	Damaged []Damage `json:"damaged,omitempty"`
	Missing []Damage `json:"missing,omitempty"`
}

// Damage is one object, and where it is needed.
type Damage struct {
	Object string   `json:"object"` // links/NAME in the links layout
	Why    string   `json:"why"`
	Files  []string `json:"files,omitempty"` // DIGEST/PATH in metadata trees, at most ten
}

// Verify reads every object and compares it with its name, and looks for what trees need and isn't there.
func (s *Store) Verify(p *Progress) (*VerifyResult, error) {
	res := &VerifyResult{Store: s.Path}
	var names []string
	if err := eachObject(s.objects, func(name string) error { names = append(names, name); return nil }); err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	pool, err := s.pool()
	if err != nil {
		return nil, err
	}
	links := slices.Collect(maps.Values(pool))
	var total uint64
	for _, name := range names {
		var st stat
		if statAt(s.objects, name, &st) == nil {
			total += st.size
		}
	}
	for _, f := range links {
		total += f.st.size
	}
	p.begin("verifying", uint64(len(names)+len(links)), total)
	var mu sync.Mutex
	var size, sealed atomic.Uint64
	there := make(map[string]uint64, len(names))
	bad := map[string]string{}
	err = parallel(len(names), func(i int) error {
		name := names[i]
		n, isSealed, err := s.verifyObject(name)
		if err == unix.ENOENT {
			return nil
		}
		p.read(1, n)
		size.Add(n)
		if isSealed {
			sealed.Add(1)
		}
		mu.Lock()
		there[name] = n
		if err != nil {
			bad[name] = err.Error()
		}
		mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := parallel(len(links), func(i int) error {
		err := s.verifyLink(links[i])
		if err == unix.ENOENT {
			return nil
		}
		p.read(1, links[i].st.size)
		size.Add(links[i].st.size)
		mu.Lock()
		res.Links++
		if err != nil {
			bad[tree.Links+"/"+links[i].path] = err.Error()
		}
		mu.Unlock()
		return nil
	}); err != nil {
		return nil, err
	}
	res.Objects, res.Bytes, res.Sealed = len(there), size.Load(), int(sealed.Load())
	missing := map[string]string{}
	where := map[string][]string{}
	if err := s.eachReference(func(object, file string, n uint64) {
		have, ok := there[object]
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !ok:
			missing[object] = "it is not there"
		case have != n && bad[object] == "":
			bad[object] = fmt.Sprintf("it has %d bytes instead of %d", have, n)
		}
		if (!ok || bad[object] != "") && len(where[object]) < 10 {
			where[object] = append(where[object], file)
		}
	}); err != nil {
		return nil, err
	}
	for o, why := range bad {
		res.Damaged = append(res.Damaged, Damage{o, why, where[o]})
	}
	for o, why := range missing {
		res.Missing = append(res.Missing, Damage{o, why, where[o]})
	}
	for _, l := range [][]Damage{res.Damaged, res.Missing} {
		sort.Slice(l, func(a, b int) bool { return l[a].Object < l[b].Object })
		for i := range l {
			sort.Strings(l[i].Files)
		}
	}
	return res, nil
}

// openRegular opens what the store has under a name to be read, and looks at it; only a regular file can be right.
func openRegular(dirfd int, name string, st *stat) (fd int, err error) {
	if fd, err = openBeneath(dirfd, name, readFile); err != nil {
		return -1, err
	}
	if err = statAt(fd, "", st); err == nil && st.kind() != unix.S_IFREG {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// verifyObject compares an object's content with its name.
func (s *Store) verifyObject(name string) (size uint64, sealed bool, err error) {
	var st stat
	fd, err := openRegular(s.objects, name, &st)
	if err != nil {
		return 0, false, err
	}
	defer unix.Close(fd)
	var d digest
	if d, err = measure(fd); err == nil {
		sealed = true
	} else if d, err = digestOf(fd, &st); err != nil {
		return st.size, false, fmt.Errorf("read: %w", err)
	}
	if d.name() != name {
		return st.size, sealed, fmt.Errorf("its content is that of %s", d.name())
	}
	return st.size, sealed, nil
}

// verifyLink compares a file of the links layout with its name.
func (s *Store) verifyLink(f *file) error {
	var st stat
	fd, err := openRegular(s.links, f.path, &st)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	xattrs, err := attrs{fd: fd}.read(newDirBuffer())
	if err != nil {
		return fmt.Errorf("attributes: %w", err)
	}
	content, err := digestOf(fd, &st)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if d := linkDigest(&content, &st, xattrs); d.name() != f.path {
		return errors.New("it was changed in place, by one of its names: so it is in every tree that has it")
	}
	return nil
}

func digestOf(fd int, st *stat) (digest, error) {
	var h hasher
	buf := make([]byte, 256<<10)
	for at := int64(0); ; {
		if st.sparse() {
			if n := zerosAt(fd, at, int64(st.size)); at+n >= int64(st.size) {
				h.writeZeros(uint64(n))
				return h.sum(), nil
			} else if n >= int64(len(buf)) {
				n -= n % int64(len(buf))
				h.writeZeros(uint64(n))
				at += n
				continue
			}
		}
		n, err := preadFull(fd, buf, at)
		if err != nil {
			return digest{}, err
		}
		h.write(buf[:n])
		if n < len(buf) {
			return h.sum(), nil
		}
		at += int64(n)
	}
}

// eachReference calls f for every file of every metadata tree, from several goroutines.
func (s *Store) eachReference(f func(object, file string, size uint64)) error {
	trees, err := readEntries(s.trees, newDirBuffer())
	if err != nil {
		return fmt.Errorf("read %s/%s: %w", s.Path, tree.Trees, err)
	}
	for _, t := range trees {
		if t.kind != unix.S_IFDIR {
			continue
		}
		top, err := openBeneath(s.trees, t.name, readDir)
		if err != nil {
			continue
		}
		dirs, err := directories(top)
		if err == nil {
			err = parallel(len(dirs), func(i int) error {
				fd, err := openBeneath(top, dirs[i], readDir)
				if err != nil {
					return ignoreGone(err)
				}
				defer unix.Close(fd)
				list, err := readEntries(fd, newDirBuffer())
				var buf [64]byte
				for _, e := range list {
					if e.kind != unix.S_IFREG {
						continue
					}
					n, err := unix.Lgetxattr(xattrPath(fd, e.name), redirect, buf[:])
					var st stat
					if err == nil && n > 1 && statAt(fd, e.name, &st) == nil {
						f(string(buf[1:n]), strings.TrimPrefix(t.name+"/"+dirs[i], "/")+"/"+e.name, st.size)
					}
				}
				return err
			})
		}
		unix.Close(top)
		if err != nil {
			return fmt.Errorf("metadata tree %s: %w", t.name, err)
		}
	}
	return nil
}
