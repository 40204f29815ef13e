package state

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// IDs returns the ids in the store, sorted. A store that does not exist is
// empty if it is the default one, and an error if the user named it.
func (s *Store) IDs() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && !s.explicit {
			return nil, nil
		}
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && CheckID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// List reports on every container, sorted by id; frozen is as for Status. A
// damaged one is reported as far as it is known, with a warning.
func (s *Store) List(frozen func(*Record) bool) (list []Report, warnings []error, err error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, nil, err
	}
	var names UserNames
	for _, id := range ids {
		rec, err := s.Load(id)
		if rec == nil {
			if !errors.Is(err, ErrNotExist) { // else deleted since the directory was read
				warnings = append(warnings, err)
			}
			continue
		}
		r := s.Report(rec, frozen)
		r.Owner = names.Name(rec.Owner)
		if err != nil && r.Status != specs.StateCreating {
			warnings = append(warnings, err)
		}
		list = append(list, r)
	}
	return list, warnings, nil
}

// UserNames turns user ids into names, by /etc/passwd alone, which is read
// once.
type UserNames struct {
	passwd string
	read   bool
}

// Name returns the name of a user, "#1234" if there is none.
func (o *UserNames) Name(uid uint32) string {
	if !o.read {
		b, _ := os.ReadFile("/etc/passwd") // without it no user has a name
		o.passwd, o.read = string(b), true
	}
	return userName(o.passwd, uid)
}

// userName looks a user id up in a passwd(5) file.
func userName(passwd string, uid uint32) string {
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.SplitSeq(passwd, "\n") {
		name, rest, ok := strings.Cut(line, ":")
		if !ok || name == "" || name[0] == '+' || name[0] == '-' || name[0] == '#' {
			continue
		}
		_, rest, _ = strings.Cut(rest, ":")
		id, _, ok := strings.Cut(rest, ":")
		if ok && id == want {
			return name
		}
	}
	return "#" + want
}
