package unify

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
)

// run is one process's work on a store. Its directory, STORE/tmp/PID-RANDOM, is locked as long as it lives: one that
// is not is what a killed run left.
type run struct {
	*Store
	name     string
	fd       int
	index    *index
	progress *Progress
	healed   atomic.Int64
	temps    atomic.Int64 // names of temporary files
}

// begin makes the run's directory, after it has cleared up after dead runs.
func (s *Store) begin(p *Progress) (*run, []string, error) {
	notes, err := s.recover()
	if err != nil {
		return nil, nil, err
	}
	r := &run{Store: s, index: s.loadIndex(), progress: p}
	for {
		r.name = strconv.Itoa(os.Getpid()) + "-" + random()
		host.SpreadDirectories(s.temp) // metadata trees are many inodes
		if err := unix.Mkdirat(s.temp, r.name, 0o700); err != nil {
			return nil, nil, fmt.Errorf("mkdir %s/%s/%s: %w", s.Path, tempDir, r.name, err)
		}
		r.fd, err = openBeneath(s.temp, r.name, readDir)
		if err == nil {
			err = unix.Flock(r.fd, unix.LOCK_EX|unix.LOCK_NB)
			var st stat
			if err == nil && statAt(s.temp, r.name, &st) == nil {
				return r, notes, nil
			}
			closeFd(r.fd)
		}
		// Another run took it for a dead one's between the two calls.
		if err != nil && err != unix.ENOENT && err != unix.EWOULDBLOCK {
			return nil, nil, fmt.Errorf("lock %s/%s/%s: %w", s.Path, tempDir, r.name, err)
		}
	}
}

// finish saves the index and removes the run's directory.
func (r *run) finish() error {
	err := r.save(r.index)
	if rerr := removeTree(r.temp, r.name); err == nil && rerr != nil {
		err = fmt.Errorf("remove %s/%s/%s: %w", r.Path, tempDir, r.name, rerr)
	}
	closeFd(r.fd)
	return err
}

// place is a name in one of several directories.
type place struct {
	dir  int
	name string
	ino  uint64
}

// below lists all directories below fd, "" for itself first, parents before what is in them; and all other names there.
func below(fd int) (dirs []string, others []place, err error) {
	dirs = []string{""}
	buf := newDirBuffer()
	for i := 0; i < len(dirs); i++ {
		sub, err := openBeneath(fd, dirs[i], readDir)
		if err != nil {
			return nil, nil, fmt.Errorf("open %s: %w", dirs[i], err)
		}
		list, err := readEntries(sub, buf)
		closeFd(sub)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", dirs[i], err)
		}
		for _, e := range list {
			if e.kind == unix.S_IFDIR {
				dirs = append(dirs, strings.TrimPrefix(dirs[i]+"/"+e.name, "/"))
			} else {
				others = append(others, place{i, e.name, e.ino})
			}
		}
	}
	return dirs, others, nil
}

// directories is below without what is no directory.
func directories(fd int) ([]string, error) {
	dirs, _, err := below(fd)
	return dirs, err
}
