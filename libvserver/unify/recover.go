package unify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// Names in a run's directory:
//
//	m0, m1…        metadata trees, until they are published
//	s0, s1…        what is swapped with the trees to unify: the new one before, the old one after. s0.tree says DIGEST PATH
//	u0, u1…        what is swapped with the trees to dissolve
//	doomed.ab.NAME, doomed.DIGEST   what gc is about to remove, but not yet sure of
//	others         temporary
const (
	doomed      = "doomed."
	rescuedName = "rescued"
)

// recover clears up after runs that were killed. Its notes say what somebody should know.
func (s *Store) recover() (notes []string, err error) {
	list, err := readEntries(s.temp, newDirBuffer())
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", s.Path, tempDir, err)
	}
	for _, e := range list {
		fd, err := openBeneath(s.temp, e.name, readDir)
		if err == unix.ENOENT || err == unix.ENOTDIR {
			continue
		}
		if err != nil {
			return notes, fmt.Errorf("open %s/%s/%s: %w", s.Path, tempDir, e.name, err)
		}
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			unix.Close(fd) // it lives
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Nlink == 0 {
			unix.Close(fd) // it has just ended, or others have cleared up after it
			continue
		}
		more, err := s.recoverRun(fd, e.name)
		unix.Close(fd)
		notes = append(notes, more...)
		if err != nil {
			return notes, fmt.Errorf("clear up after a run that was killed (%s/%s/%s): %w", s.Path, tempDir, e.name, err)
		}
	}
	return notes, nil
}

func (s *Store) recoverRun(fd int, name string) (notes []string, err error) {
	list, err := readEntries(fd, newDirBuffer())
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		switch {
		case strings.HasPrefix(e.name, doomed):
			if err := s.reprieve(fd, e.name); err != nil {
				return notes, err
			}
		case e.name[0] == 's' && !strings.HasSuffix(e.name, ".tree"):
			note, err := s.recoverSwap(fd, e.name, name)
			if err != nil {
				return notes, err
			}
			if note != "" {
				notes = append(notes, note)
			}
		}
	}
	return notes, removeTree(s.temp, name)
}

// recoverSwap decides about what a killed unify had in hand: its own new tree, which nobody needs, or an old one, which
// is there as a unified tree by now.
func (s *Store) recoverSwap(fd int, name, run string) (note string, err error) {
	top, err := openBeneath(fd, name, readDir)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(top)
	t, err := tree.ReadFd(top)
	if err != nil || t != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(s.Path, tempDir, run, name+".tree"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // the new one, unfinished: nothing is swapped before this file is there
	}
	if err != nil {
		return "", err
	}
	digest, path, _ := strings.Cut(string(b), " ")
	var st stat
	if statAt(top, tree.RefName, &st) == nil && statAt(s.trees, digest+".ref", &st) == nil {
		return "", nil // the new one, before it got its attribute
	}
	if s.stands(top, digest) {
		return "", nil // removeTree does the rest
	}
	// Somebody wrote to the old tree after it was read: not for us to throw away.
	if err := unix.Mkdirat(s.fd, rescuedName, 0o700); err != nil && err != unix.EEXIST {
		return "", err
	}
	to := filepath.Base(path) + "." + run
	dir, err := openBeneath(s.fd, rescuedName, readDir)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	if err := unix.Renameat2(fd, name, dir, to, unix.RENAME_NOREPLACE); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s was changed while it was being unified, by a run that was then killed: what it was is in %s/%s/%s",
		path, s.Path, rescuedName, to), nil
}

// stands says whether everything in an old tree is in the metadata tree, too, with the same size and time.
func (s *Store) stands(top int, digest string) bool {
	meta, err := openBeneath(s.trees, digest, readDir)
	if err != nil {
		return false
	}
	defer unix.Close(meta)
	dirs, err := directories(top)
	if err != nil {
		return false
	}
	return parallel(len(dirs), func(i int) error {
		d, err := openBeneath(top, dirs[i], readDir)
		if err != nil {
			return err
		}
		defer unix.Close(d)
		m, err := openBeneath(meta, dirs[i], readDir)
		if err != nil {
			return err
		}
		defer unix.Close(m)
		list, err := readEntries(d, newDirBuffer())
		if err != nil {
			return err
		}
		for _, e := range list {
			var is, was stat
			if err := statAt(d, e.name, &is); err != nil {
				return err
			}
			if err := statAt(m, e.name, &was); err != nil {
				return err
			}
			if is.kind() == unix.S_IFDIR && was.kind() == unix.S_IFDIR {
				continue
			}
			if is.mode != was.mode || is.size != was.size || is.mtime != was.mtime || is.uid != was.uid || is.gid != was.gid {
				return errChanged
			}
		}
		return nil
	}) == nil
}
