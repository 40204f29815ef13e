package state

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Load reads a container's record. The errors are ErrNotExist, ErrInvalidID,
// ErrEmptyID, and a *DamagedError: then a record comes with it that holds no
// more than the id and the time the directory was changed, which is enough to
// show the container and to delete it.
func (s *Store) Load(id string) (*Record, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		rec, err := loadAt(unix.AT_FDCWD, s.Path(id)+"/"+recordName, id)
		switch {
		case err == nil:
			return rec, nil
		case isDamaged(err): // or about to be written
		case errors.Is(err, unix.ENOENT):
			rec, err = interrupted(id, s.Path(id))
		default:
			return nil, s.openError(id, err)
		}
		var de *DamagedError
		switch {
		case !errors.As(err, &de):
			return rec, err
		case tries == patience:
			de.Busy = s.locked(id) || de.Err == errNoRecord && justNow(rec.Created)
			return rec, err
		}
		// Somebody may be at it: the record is about to come, or the directory about to go. That nobody has the lock tells
		// little at once: who has it ends, and who makes a container has made the directory before.
		time.Sleep(time.Millisecond)
	}
}

// justNow tells a directory that is being made, or emptied, from what was left a while ago.
func justNow(t time.Time) bool {
	age := time.Since(t)
	return age >= 0 && age < time.Second
}

// patience is how many milliseconds Load waits for a record that is being made or removed.
const patience = 5

// loadAt reads a record; an error of open(2), fstat(2) or read(2) is returned as it is.
func loadAt(dirfd int, path, id string) (*Record, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Openat(dirfd, path, flags, 0)
	for err == unix.EINTR {
		fd, err = unix.Openat(dirfd, path, flags, 0)
	}
	var st unix.Stat_t
	if err == unix.ELOOP || err == unix.ENXIO { // a link, or a socket
		if err := unix.Fstatat(dirfd, path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, err
		}
		return damaged(id, &st, errNoFile)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	const largest = 64 << 20
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > largest {
		return damaged(id, &st, errNoFile)
	}
	buf := make([]byte, st.Size)
	for n := 0; n < len(buf); {
		m, err := unix.Read(fd, buf[n:])
		if err != nil && err != unix.EINTR {
			return nil, err // not damaged: it may be that of a container that runs
		}
		if m == 0 {
			buf = buf[:n]
		}
		n += max(m, 0)
	}
	rec, err := decode(buf)
	if err == nil && rec.ID != id {
		err = errors.New("it is that of another container: " + rec.ID)
	}
	if err != nil {
		return damaged(id, &st, errors.New("state.json: "+err.Error()))
	}
	return rec, nil
}

// interrupted tells a container without a record (its create has not come that
// far, or was cut short) from none.
func interrupted(id, path string) (*Record, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, fmt.Errorf("%w: %s", ErrNotExist, id)
	}
	return damaged(id, &st, errNoRecord)
}

// damaged returns what is known of a container without its record, and the
// error. It counts as being created, which it is if its lock is held.
func damaged(id string, st *unix.Stat_t, err error) (*Record, error) {
	return &Record{
		ID: id, OCIVersion: specs.Version, Created: time.Unix(st.Mtim.Unix()).UTC(), Owner: st.Uid, Creating: true,
	}, &DamagedError{ID: id, Err: err}
}

var (
	errNoRecord = errors.New("there is no state.json, so its create was cut short")
	errNoFile   = errors.New("state.json is no file of a sensible size")
)

func isDamaged(err error) bool {
	_, ok := err.(*DamagedError)
	return ok
}
