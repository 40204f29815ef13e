package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
)

const (
	recordName = "state.json"
	tempName   = "state.json.new"
)

// Dir is a container's directory under its lock.
//
// The lock belongs to the open file, which a forked child inherits: it lasts
// until Unlock, or until the last process that holds the file is gone. A child
// that is to outlive the caller has to close FD early, not only by execve;
// otherwise a caller that is killed leaves the lock with it.
type Dir struct {
	id    string
	path  string
	fd    int
	saved bool // state.json was seen to exist
	fresh bool // nobody else can have made one: the directory is new
}

// Reserve makes the directory of a new container and locks it. Of any number of
// callers one gets it; the others, and later ones, get an ErrExist.
func (s *Store) Reserve(id string) (*Dir, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	// 0711 lets a container's user pass to the FIFO by its name.
	path := s.Path(id)
	err := unix.Mkdir(path, 0o711)
	if err == unix.ENOENT {
		if err := s.makeRoot(); err != nil {
			return nil, fmt.Errorf("create the state directory: %w", err)
		}
		err = unix.Mkdir(path, 0o711)
	}
	switch {
	case err == unix.EEXIST:
		return nil, fmt.Errorf("%w: %s", ErrExist, id)
	case err != nil:
		return nil, fmt.Errorf("create the container's state: %w", &fs.PathError{Op: "mkdir", Path: path, Err: err})
	}
	d, err := s.Lock(id, -1)
	if d != nil {
		d.fresh = true
	}
	if err != nil && !errors.Is(err, ErrNotExist) {
		_ = unix.Rmdir(path)
	}
	return d, err
}

// Lock waits for the lock of a container that exists: for ever if wait is
// negative, else as long as that, and then returns an error. No lock is needed
// to read, and none to send a signal.
func (s *Store) Lock(id string, wait time.Duration) (*Dir, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	d := &Dir{id: id, path: s.Path(id)}
	fd, err := openDir(d.path)
	if err != nil {
		return nil, s.openError(id, err)
	}
	d.fd = fd
	if err := flock(fd, wait); err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("container %s is busy: another vsrun has been changing it for over %v", id, wait)
		}
		return nil, fmt.Errorf("lock the state of container %s: %w", id, err)
	}
	// It may have been deleted while this waited.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "fstat", Path: d.path, Err: err}
	}
	if st.Nlink == 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("%w: %s", ErrNotExist, id)
	}
	return d, nil
}

func openDir(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openError words the errno of opening something of a container's.
func (s *Store) openError(id string, err error) error {
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return fmt.Errorf("%w: %s", ErrNotExist, id)
	}
	return &fs.PathError{Op: "open", Path: s.Path(id), Err: err}
}

// flock takes the lock, and tries again for as long as wait if that is not negative.
func flock(fd int, wait time.Duration) error {
	how := unix.LOCK_EX
	if wait >= 0 {
		how |= unix.LOCK_NB
	}
	const longest = 20 * time.Millisecond
	for pause := time.Millisecond; ; pause = min(2*pause, longest) {
		err := unix.Flock(fd, how)
		switch {
		case err == unix.EINTR:
			continue
		case err != unix.EWOULDBLOCK || wait <= 0:
			return err
		}
		pause = min(pause, wait)
		time.Sleep(pause)
		wait -= pause
	}
}

// locked reports whether some process holds a container's lock.
func (s *Store) locked(id string) bool {
	fd, err := openDir(s.Path(id))
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// ID returns the container's id.
func (d *Dir) ID() string { return d.id }

// Path returns the directory's absolute path.
func (d *Dir) Path() string { return d.path }

// FD returns the open directory, for openat and the like; see Dir about children.
func (d *Dir) FD() int { return d.fd }

// Load reads the record; errors are those of Store.Load.
func (d *Dir) Load() (*Record, error) {
	rec, err := loadAt(d.fd, recordName, d.id)
	if errors.Is(err, unix.ENOENT) {
		return interrupted(d.id, d.path)
	}
	d.saved = true
	return rec, err
}

// Save replaces the record. A reader, and whoever comes after a kill at any
// point, finds the old or the new one, whole.
func (d *Dir) Save(rec *Record) error {
	if rec.ID != d.id {
		return fmt.Errorf("save the state of container %s: the record is that of %q", d.id, rec.ID)
	}
	if err := d.write(rec.encode()); err != nil {
		_ = unix.Unlinkat(d.fd, tempName, 0)
		return fmt.Errorf("save the state of container %s: %w", d.id, err)
	}
	return nil
}

func (d *Dir) write(data []byte) error {
	name := tempName
	if d.fresh && !d.saved {
		// The first record needs no other name: there is no old one to keep, and readers wait for who holds the lock.
		name = recordName
	}
	fd, err := unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "open", Path: d.path + "/" + name, Err: err}
	}
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil && err != unix.EINTR {
			unix.Close(fd)
			return &fs.PathError{Op: "write", Path: d.path + "/" + name, Err: err}
		}
		data = data[max(n, 0):]
	}
	if err := unix.Close(fd); err != nil {
		return &fs.PathError{Op: "close", Path: d.path + "/" + name, Err: err}
	}
	_ = fault.On && fault.At(fault.Written)
	if name == recordName {
		d.saved = true
		return nil
	}
	return d.publish()
}

// publish gives the temporary file its name. An existing state.json is swapped
// out and unlinked instead of renamed over: the latter makes ext4 write the new
// file out at once (auto_da_alloc), which takes five times as long.
func (d *Dir) publish() error {
	if d.saved {
		switch err := unix.Renameat2(d.fd, tempName, d.fd, recordName, unix.RENAME_EXCHANGE); err {
		case nil:
			_ = unix.Unlinkat(d.fd, tempName, 0)
			return nil
		case unix.ENOENT, unix.EINVAL, unix.ENOSYS: // gone, or a filesystem that can't
		default:
			return &fs.PathError{Op: "rename", Path: d.path + "/" + recordName, Err: err}
		}
	}
	if err := unix.Renameat(d.fd, tempName, d.fd, recordName); err != nil {
		return &fs.PathError{Op: "rename", Path: d.path + "/" + recordName, Err: err}
	}
	d.saved = true
	return nil
}

// Remove removes the directory with all that is in it and gives up the lock.
// The record goes last, so that a delete which is cut short can be repeated.
// xid is the container's context id, 0 if that is not known: it is looked for
// then, as a create that was killed may have taken one.
func (d *Dir) Remove(xid uint32) error {
	defer d.Unlock()
	var err error
	if xid != 0 {
		err = d.freeXid(xid)
	} else {
		err = d.freeAnyXid()
	}
	if err != nil {
		return fmt.Errorf("give back the context id of container %s: %w", d.id, err)
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != recordName {
			_ = unix.Unlinkat(d.fd, name, 0)
		}
	}
	_ = unix.Unlinkat(d.fd, recordName, 0)
	_ = fault.On && fault.At(fault.Emptied)
	switch unix.Rmdir(d.path) {
	case nil, unix.ENOENT:
		return nil
	}
	if err := os.RemoveAll(d.path); err != nil { // there are directories in it
		return fmt.Errorf("remove the state of container %s: %w", d.id, err)
	}
	return nil
}

// names lists the directory.
func (d *Dir) names() ([]string, error) {
	if _, err := unix.Seek(d.fd, 0, 0); err != nil {
		return nil, &fs.PathError{Op: "seek", Path: d.path, Err: err}
	}
	var names []string
	buf := make([]byte, 2048)
	for {
		n, err := unix.ReadDirent(d.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "getdents", Path: d.path, Err: err}
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// Unlock gives up the lock, also for children that inherited the file, and
// closes the directory. A second call does nothing.
func (d *Dir) Unlock() {
	if d.fd >= 0 {
		_ = unix.Flock(d.fd, unix.LOCK_UN)
		unix.Close(d.fd)
		d.fd = -1
	}
}
