package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

// The registry of context ids is a directory of symbolic links, one for each id
// in use, that name the container's state directory. symlink(2) takes an id or
// fails, at once and without a lock, whatever --root a container is under. A
// link whose container is not there, or has another id, is left over from a
// crash: whoever wants the id next replaces it.
//
// Everybody may have ids: the directory is like /tmp, and nobody follows or
// replaces links of others, but root those of users where none is left. Where it can't be had (no privilege, and root never
// made one), a user has a registry of his own.

// registry is the host's registry of context ids; tests have another.
var registry = "/run/vsrun-xid"

// ErrXidInUse is wrapped by the error of a static context id that another
// container has.
var ErrXidInUse = errors.New("context id is in use")

// ReserveXid gives the container a context id until Remove: want, or a dynamic
// one if that is 0. One that is in use is an ErrXidInUse.
func (d *Dir) ReserveXid(want uint32) (uint32, error) {
	var first error
	for i := range 3 {
		dir, private := registryDir(i)
		if dir == "" {
			continue
		}
		xid, err := d.reserveIn(dir, private, want)
		if err == nil || errors.Is(err, ErrXidInUse) {
			return xid, err
		}
		if first == nil {
			first = err
		}
	}
	return 0, fmt.Errorf("reserve a context id: %w", first)
}

// Registry is the directory of the host's context ids.
func Registry() string { return registry }

// CheckRegistry says why the caller can't register a context id there; nil if
// it can. It changes nothing.
func CheckRegistry() error {
	err := unix.Faccessat(unix.AT_FDCWD, registry, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	if err == unix.ENOENT {
		err = unix.Faccessat(unix.AT_FDCWD, filepath.Dir(registry), unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}
	if err != nil {
		return &fs.PathError{Op: "access", Path: registry, Err: err}
	}
	return nil
}

// registryDir are the places of the registry, in order.
func registryDir(i int) (dir string, private bool) {
	switch i {
	case 0:
		return registry, false
	case 1:
		if xdg := os.Getenv("XDG_RUNTIME_DIR"); xdg != "" && (os.Geteuid() != 0 || xdg[0] == '/') {
			return xdg + "/vsrun-xid", true
		}
		return "", true
	default:
		return "/tmp/vsrun-xid-" + strconv.Itoa(os.Geteuid()), true
	}
}

// reserveIn tries the ids in one registry.
func (d *Dir) reserveIn(dir string, private bool, want uint32) (uint32, error) {
	if want != 0 {
		if err := d.takeXid(dir, private, want, false); err != nil {
			return 0, fmt.Errorf("%s: %w", spec.AnnotationPath("context.xid"), err)
		}
		return want, nil
	}
	const count = spec.MaxDynamicXID - spec.MinDynamicXID + 1
	// Where to begin is anybody's guess, so that hardly ever two meet.
	start := uint64(time.Now().UnixNano()>>8) * 2654435761 >> 8
	for _, fromUsers := range [...]bool{false, true} {
		if fromUsers && (private || os.Geteuid() != 0) {
			break
		}
		for i := range uint64(count) {
			xid := uint32(spec.MinDynamicXID + (start+i)%count)
			switch err := d.takeXid(dir, private, xid, fromUsers); {
			case err == nil:
				return xid, nil
			case !errors.Is(err, ErrXidInUse):
				return 0, err
			}
		}
	}
	return 0, fmt.Errorf("%w: all %d dynamic ones are", ErrXidInUse, count)
}

// takeXid makes the link of an id; fromUsers replaces that of another user.
func (d *Dir) takeXid(dir string, private bool, xid uint32, fromUsers bool) error {
	link := xidLink(dir, xid)
	err := unix.Symlink(d.path, link)
	if err == unix.ENOENT {
		if err := makeRegistry(dir, private); err != nil {
			return err
		}
		err = unix.Symlink(d.path, link)
	}
	if err == unix.EEXIST {
		err = d.replaceXid(dir, xid, fromUsers)
	} else if err != nil {
		err = &fs.PathError{Op: "symlink", Path: link, Err: err}
	} else if private {
		err = ownRegistry(dir)
	}
	return err
}

func xidLink(dir string, xid uint32) string { return dir + "/" + strconv.FormatUint(uint64(xid), 10) }

func makeRegistry(dir string, private bool) error {
	mode := uint32(0o1777)
	if private {
		mode = 0o700
	}
	if err := unix.Mkdir(dir, mode); err != nil && err != unix.EEXIST {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	} else if err == nil && !private {
		// Whatever the umask.
		if err := unix.Fchmodat(unix.AT_FDCWD, dir, mode, 0); err != nil {
			return &fs.PathError{Op: "chmod", Path: dir, Err: err}
		}
	}
	return nil
}

// ownRegistry checks that a registry of the user's own is his.
func ownRegistry(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a directory of the caller's own", dir)
	}
	return nil
}

// replaceXid takes an id whose link is there but leads nowhere. Those who do so
// wait for each other; nobody else removes a link but its own container.
func (d *Dir) replaceXid(dir string, xid uint32, fromUsers bool) error {
	if err := inUse(dir, xid, d.path, fromUsers); err != nil {
		return err
	}
	fd, err := openDir(dir)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	const patience = 2 * time.Second
	if err := flock(fd, patience); err != nil {
		return &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	if err := inUse(dir, xid, d.path, fromUsers); err != nil {
		return err
	}
	name := strconv.FormatUint(uint64(xid), 10)
	if err := unix.Unlinkat(fd, name, 0); err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "unlink", Path: dir + "/" + name, Err: err}
	}
	switch err := unix.Symlinkat(d.path, fd, name); err {
	case nil:
		return nil
	case unix.EEXIST: // by somebody who saw that there was none
		return fmt.Errorf("%w: %d has just been taken", ErrXidInUse, xid)
	default:
		return &fs.PathError{Op: "symlink", Path: dir + "/" + name, Err: err}
	}
}

// inUse returns an ErrXidInUse that says who has an id; nil if nobody does.
func inUse(dir string, xid uint32, own string, fromUsers bool) error {
	link := xidLink(dir, xid)
	var st unix.Stat_t
	if unix.Lstat(link, &st) != nil {
		return nil
	}
	if int(st.Uid) != os.Geteuid() {
		if fromUsers {
			return nil
		}
		// What another user has left behind is for him to tell.
		return fmt.Errorf("%w: user %d has %d", ErrXidInUse, st.Uid, xid)
	}
	path, err := readlink(link)
	if err != nil || path == own {
		return nil
	}
	root, id := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
	if len(root) < 2 {
		return nil
	}
	s := &Store{root: root[:len(root)-1]}
	rec, err := s.Load(id)
	switch {
	case rec == nil && (errors.Is(err, ErrNotExist) || errors.Is(err, ErrInvalidID) || errors.Is(err, ErrEmptyID)):
		return nil
	case rec != nil && isDamaged(err) && !s.locked(id): // its create did not come far
		return nil
	case rec != nil && err == nil && rec.Xid != xid: // a record that is there has its id
		return nil
	}
	return fmt.Errorf("%w: container %s (%s) has %d", ErrXidInUse, id, path, xid)
}

func readlink(path string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// freeXid gives a context id back, if it is the container's.
func (d *Dir) freeXid(xid uint32) error {
	for i := range 3 {
		dir, _ := registryDir(i)
		if dir == "" {
			continue
		}
		if found, err := d.freeLink(xidLink(dir, xid)); found || err != nil {
			return err
		}
	}
	return nil
}

// freeLink removes a link in a registry if it names the container.
func (d *Dir) freeLink(link string) (found bool, err error) {
	switch path, err := readlink(link); {
	case err == unix.ENOENT || err == unix.ENOTDIR || err == unix.EINVAL || err == nil && path != d.path:
		return false, nil
	case err != nil:
		return false, &fs.PathError{Op: "readlink", Path: link, Err: err}
	}
	if err := unix.Unlink(link); err != nil && err != unix.ENOENT {
		return true, &fs.PathError{Op: "unlink", Path: link, Err: err}
	}
	return true, nil
}

// freeAnyXid gives back what the container has taken, by looking through the registries.
func (d *Dir) freeAnyXid() error {
	for i := range 3 {
		dir, _ := registryDir(i)
		if dir == "" {
			continue
		}
		links, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		for _, l := range links {
			if _, err := d.freeLink(dir + "/" + l.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
