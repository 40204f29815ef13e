package state

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// tracedName is a file in a container's directory: something came into its pid namespace that may trace what it meets there,
// though the container's own process may not.
const tracedName = "traced"

// Traced reports whether SetTraced was called for a container. Where that can't be told it is so.
func (s *Store) Traced(id string) bool {
	return unix.Faccessat(unix.AT_FDCWD, s.Path(id)+"/"+tracedName, unix.F_OK, 0) != unix.ENOENT
}

// SetTraced notes of a container that processes of its pid namespace may trace others. It needs no lock. That there is no
// such container is no error.
func (s *Store) SetTraced(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	dir, err := openDir(s.Path(id))
	if err != nil {
		if err = s.openError(id, err); errors.Is(err, ErrNotExist) {
			return nil
		}
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, tracedName, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	switch err {
	case nil:
		return unix.Close(fd)
	case unix.ENOENT: // it is being deleted
		return nil
	}
	return &fs.PathError{Op: "open", Path: s.Path(id) + "/" + tracedName, Err: err}
}
