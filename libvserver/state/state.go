// Package state keeps what vsrun knows about containers on disk, and tells what
// state each is in.
//
// A container is a directory <root>/<id>. In it are state.json, which holds a
// [Record], until the container is started the FIFO its init waits on, and a
// note if it is traced ([Store.SetTraced]).
//
//   - The directory is made by mkdir(2), so one of two creates of an id wins.
//   - state.json is replaced whole: readers, which take no lock, see the old or
//     the new one, whenever the writer is killed. It is not fsync'ed: after a
//     power cut no container runs any more, and a file that is damaged then is
//     treated like one of a create that was cut short.
//   - Changes are made under a lock (flock(2)) on the directory. Whether that
//     lock is taken also tells a create in progress from one that died.
//
// The package starts no process, touches no cgroup and does not look into the
// config.json it keeps. Sub-documents of other packages it stores unread.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vsrun/vsrun/libvserver/host"
)

// Errors to be tested with errors.Is. Engines look for their texts, which are
// runc's; what is returned has the id after it.
var (
	ErrInvalidID = errors.New("invalid container ID format")
	ErrEmptyID   = errors.New("container id cannot be empty")
	ErrExist     = errors.New("container with given ID already exists")
	ErrNotExist  = errors.New("container does not exist")
)

// DamagedError is the error of a container whose record can't be read: its
// create or delete was cut short, or the file came to harm.
type DamagedError struct {
	ID   string
	Err  error
	Busy bool // somebody holds its lock, and is about to make or remove the record
}

func (e *DamagedError) Error() string {
	if e.Busy {
		return fmt.Sprintf("container %s is still being created, or deleted: it has no state", e.ID)
	}
	return fmt.Sprintf("state of container %s is damaged: %v (delete --force removes it)", e.ID, e.Err)
}

// Unwrap returns what is wrong with the file.
func (e *DamagedError) Unwrap() error { return e.Err }

// Store is a directory of containers: the global flag --root.
type Store struct {
	root     string
	explicit bool // given by the user, not the default
	sticky   bool // below XDG_RUNTIME_DIR, where what is not sticky may be cleaned away
}

// Open returns the store at root; "" stands for the default, which is
// /run/vsrun, or $XDG_RUNTIME_DIR/vsrun without root's privilege. It makes and
// opens nothing: the first Reserve creates the directory.
func Open(root string) (*Store, error) {
	if root == "" {
		return defaultStore(), nil
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("--root %s: %w", root, err)
	}
	return &Store{root: abs, explicit: true}, nil
}

// defaultStore follows runc: in the initial user namespace root's store is
// under /run whatever the environment says, and in another one XDG_RUNTIME_DIR
// counts unless the user calls himself root there.
func defaultStore() *Store {
	xdg := os.Getenv("XDG_RUNTIME_DIR")
	if xdg != "" && os.Geteuid() == 0 {
		user, set := os.LookupEnv("USER")
		if !host.InUserNamespace() || set && user == "root" {
			xdg = ""
		}
	}
	if xdg == "" {
		return &Store{root: "/run/vsrun"}
	}
	return &Store{root: xdg + "/vsrun", sticky: true}
}

// Root returns the absolute path of the store.
func (s *Store) Root() string { return s.root }

// Path returns the absolute path of a container's directory.
func (s *Store) Path(id string) string { return s.root + "/" + id }

// makeRoot makes the store's directory.
func (s *Store) makeRoot() error {
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		if s.sticky {
			return fmt.Errorf("the path in $XDG_RUNTIME_DIR must be writable by the user: %w", err)
		}
		return err
	}
	if s.sticky {
		return os.Chmod(s.root, 0o700|os.ModeSticky)
	}
	return nil
}
