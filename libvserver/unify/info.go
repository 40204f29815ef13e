package unify

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// Info is what a store holds.
type Info struct {
	Store       string `json:"store"`
	Objects     int    `json:"objects"`
	ObjectBytes uint64 `json:"objectBytes"` // on disk
	Sealed      int    `json:"sealed"`
	Links       int    `json:"links"` // shared files of the links layout
	LinkBytes   uint64 `json:"linkBytes"`
	Trees       int    `json:"trees"`  // distinct ones
	Guests      int    `json:"guests"` // unified trees that stand for them
	Files       int    `json:"files"`  // in the distinct trees
	MetaBytes   uint64 `json:"metaBytes"`
	KeptBytes   uint64 `json:"keptBytes"`   // of files in metadata trees that are not shared
	References  uint64 `json:"references"`  // to objects, by all guests
	PlainBytes  uint64 `json:"plainBytes"`  // what all guests' files would take as plain trees
	SavedBytes  int64  `json:"savedBytes"`  // plain less what is taken
	Unused      int    `json:"unused"`      // objects that no tree needs
	UnusedBytes uint64 `json:"unusedBytes"` // gc would free them
	Missing     int    `json:"missing"`     // objects that trees need and are not there
}

// ListEntry is one distinct tree.
type ListEntry struct {
	Digest    string `json:"digest"`
	Guests    int    `json:"guests"`
	Files     int    `json:"files"`
	Bytes     uint64 `json:"bytes"`     // of its objects on disk
	MetaBytes uint64 `json:"metaBytes"` // its metadata tree
	KeptBytes uint64 `json:"keptBytes"`
	Missing   int    `json:"missing"`
}

// blocksOf returns what every object takes on disk, in bytes, and whether it is sealed.
func (s *Store) blocksOf() (map[string]uint64, *Info, error) {
	info := &Info{Store: s.Path}
	size := map[string]uint64{}
	err := eachObject(s.objects, func(name string) error {
		var st stat
		if err := statAt(s.objects, name, &st); err != nil {
			return ignoreGone(err)
		}
		size[name] = st.blocks * 512
		info.Objects++
		info.ObjectBytes += st.blocks * 512
		if st.verity {
			info.Sealed++
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("objects: %w", err)
	}
	return size, info, nil
}

// List describes every distinct tree of the objects layout.
func (s *Store) List() ([]ListEntry, error) {
	size, _, err := s.blocksOf()
	if err != nil {
		return nil, err
	}
	list, _, err := s.list(size)
	return list, err
}

func (s *Store) list(size map[string]uint64) (list []ListEntry, used map[string]bool, err error) {
	used = map[string]bool{}
	entries, err := readEntries(s.trees, newDirBuffer())
	if err != nil {
		return nil, nil, fmt.Errorf("read %s/%s: %w", s.Path, tree.Trees, err)
	}
	for _, e := range entries {
		if e.kind != unix.S_IFDIR {
			continue
		}
		one, err := s.describe(e.name, size, used)
		if err == unix.ENOENT {
			continue // gc was here
		}
		if err != nil {
			return nil, nil, fmt.Errorf("metadata tree %s: %w", e.name, err)
		}
		list = append(list, *one)
	}
	return list, used, nil
}

func (s *Store) describe(digest string, size map[string]uint64, used map[string]bool) (*ListEntry, error) {
	one := &ListEntry{Digest: digest}
	var st stat
	if statAt(s.trees, digest+".ref", &st) == nil {
		one.Guests = int(st.nlink) - 1
	}
	fd, err := openBeneath(s.trees, digest, readDir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var mu sync.Mutex
	mine := map[string]bool{}
	if err := eachRedirect(fd, func(object string) {
		mu.Lock()
		defer mu.Unlock()
		if mine[object] {
			return
		}
		mine[object], used[object] = true, true
		if n, ok := size[object]; ok {
			one.Bytes += n
		} else {
			one.Missing++
		}
	}); err != nil {
		return nil, err
	}
	var files, kept atomic.Int64
	var bytes atomic.Uint64
	dirs, err := directories(fd)
	if err != nil {
		return nil, err
	}
	err = parallel(len(dirs), func(i int) error {
		d, err := openBeneath(fd, dirs[i], readDir)
		if err != nil {
			return ignoreGone(err)
		}
		defer unix.Close(d)
		var st stat
		if err := statAt(d, "", &st); err != nil {
			return err
		}
		bytes.Add(st.blocks * 512)
		list, err := readEntries(d, newDirBuffer())
		var buf [64]byte
		for _, e := range list {
			if e.kind == unix.S_IFDIR || statAt(d, e.name, &st) != nil {
				continue
			}
			if e.kind == unix.S_IFREG {
				files.Add(1)
			}
			if e.kind == unix.S_IFREG && st.blocks*512 >= st.size && st.size > 0 {
				if _, err := unix.Lgetxattr(xattrPath(d, e.name), redirect, buf[:]); err == unix.ENODATA {
					kept.Add(int64(st.blocks * 512))
					continue
				}
			}
			bytes.Add(st.blocks * 512)
		}
		return err
	})
	one.Files, one.MetaBytes, one.KeptBytes = int(files.Load()), bytes.Load(), uint64(kept.Load())
	return one, err
}

// Info counts what the store holds and saves.
func (s *Store) Info() (*Info, error) {
	size, info, err := s.blocksOf()
	if err != nil {
		return nil, err
	}
	list, used, err := s.list(size)
	if err != nil {
		return nil, err
	}
	for i := range list {
		t := &list[i]
		info.Trees++
		info.Guests += t.Guests
		info.Files += t.Files
		info.MetaBytes += t.MetaBytes
		info.KeptBytes += t.KeptBytes
		info.References += uint64(t.Files * t.Guests)
		info.PlainBytes += uint64(t.Guests) * (t.Bytes + t.KeptBytes + t.MetaBytes)
	}
	for name, n := range size {
		if !used[name] {
			info.Unused++
			info.UnusedBytes += n
		}
	}
	for name := range used {
		if _, ok := size[name]; !ok {
			info.Missing++
		}
	}
	info.SavedBytes = int64(info.PlainBytes) - int64(info.ObjectBytes) - int64(info.MetaBytes) - int64(info.KeptBytes)
	err = eachObject(s.links, func(name string) error {
		var st stat
		if err := statAt(s.links, name, &st); err != nil {
			return ignoreGone(err)
		}
		info.Links++
		info.LinkBytes += st.blocks * 512
		if st.nlink < 2 {
			info.Unused++
			info.UnusedBytes += st.blocks * 512
			return nil
		}
		info.References += uint64(st.nlink - 1)
		info.SavedBytes += int64(st.nlink-2) * int64(st.blocks*512)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("links: %w", err)
	}
	return info, nil
}
