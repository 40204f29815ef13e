package netcontext

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/bpf"
)

// Leftovers are what crashes have left of network contexts.
type Leftovers struct {
	Contexts  int // entries of containers that are gone
	Addresses int // in the map of owners, of contexts that have no entry
	Pins      int // of network namespaces that have no contexts; where there are none at all, of other versions of vsrun
}

// None tells that there is nothing.
func (l Leftovers) None() bool { return l == Leftovers{} }

// Sweep finds what is left, and removes it if it is told to.
func Sweep(remove bool) (Leftovers, error) {
	var l Leftovers
	if !remove && unix.Access(registerDir, unix.F_OK) != nil && unix.Access(pinned(""), unix.F_OK) != nil {
		return l, nil // there never were any
	}
	r, err := openRegister()
	if err != nil {
		return l, err
	}
	defer r.close()
	if remove {
		dropUnfinished()
	}
	list, err := Entries()
	if err != nil {
		return l, err
	}
	for _, e := range list {
		if !e.Stale() {
			continue
		}
		if remove {
			if err := r.remove(e); err != nil {
				return l, err
			}
		}
		l.Contexts++
	}
	if l.Addresses, err = r.sweepOwners(list, remove); err != nil {
		return l, err
	}
	if l.Pins, err = sweepPins(list, remove); err != nil || l.Contexts < len(list) {
		return l, err
	}
	n, err := sweepVersions(remove)
	l.Pins += n
	return l, err
}

// sweepVersions looks for what other versions of vsrun have pinned. As long as there are contexts it may be in use.
func sweepVersions(remove bool) (n int, err error) {
	dirs, err := os.ReadDir(Dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return 0, err
	}
	for _, d := range dirs {
		if d.Name() == ABI {
			continue
		}
		pins, err := os.ReadDir(Dir + "/" + d.Name())
		if err != nil {
			return n, err
		}
		n += len(pins)
		if !remove {
			continue
		}
		for _, p := range pins {
			if err := os.Remove(Dir + "/" + d.Name() + "/" + p.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
				return n, err
			}
		}
		if err := os.Remove(Dir + "/" + d.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return n, err
		}
	}
	return n, nil
}

// sweepOwners looks for addresses whose context is in no entry.
func (r *register) sweepOwners(list []*Entry, remove bool) (n int, err error) {
	if r.owners < 0 {
		if r.owners, err = bpf.Get(pinned(MapOwners)); err != nil {
			if errors.Is(err, unix.ENOENT) {
				err = nil
			}
			return 0, err
		}
	}
	known := map[uint32]bool{}
	for _, e := range list {
		known[e.NID] = true
	}
	var lost []OwnerKey
	var k OwnerKey
	for at := unsafe.Pointer(nil); ; at = unsafe.Pointer(&k) {
		var next OwnerKey
		err := bpf.NextKey(r.owners, at, unsafe.Pointer(&next))
		if errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return 0, err
		}
		k = next
		var v Owner
		if bpf.Lookup(r.owners, unsafe.Pointer(&k), unsafe.Pointer(&v)) == nil && !known[v.NID] {
			lost = append(lost, k)
		}
	}
	for i := range lost {
		if !remove {
			break
		}
		if err := bpf.Delete(r.owners, unsafe.Pointer(&lost[i])); err != nil {
			return i, err
		}
	}
	return len(lost), nil
}

// sweepPins looks for what is pinned for network namespaces without contexts. The programs of the runtime's own stay loaded.
func sweepPins(list []*Entry, remove bool) (n int, err error) {
	pins, err := os.ReadDir(pinned(""))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return 0, err
	}
	own, err := netnsCookie()
	if err != nil {
		return 0, err
	}
	live := map[uint64]bool{}
	for _, e := range list {
		live[e.Netns] = live[e.Netns] || !e.Stale()
	}
	for _, p := range pins {
		_, text, link := strings.Cut(p.Name(), "-link-")
		if !link {
			var prog bool
			if _, text, prog = strings.Cut(p.Name(), "-prog-"); !prog {
				continue
			}
		}
		text, _, _ = strings.Cut(text, "-")
		cookie, err := strconv.ParseUint(text, 10, 64)
		if err != nil || live[cookie] || !link && cookie == own {
			continue
		}
		if remove {
			if err := os.Remove(pinned(p.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
				return n, err
			}
		}
		n++
	}
	return n, nil
}

// dropUnfinished removes what somebody was writing who was killed: it takes the lock to write.
func dropUnfinished() {
	files, _ := os.ReadDir(registerDir)
	for _, f := range files {
		if f.Name()[0] == '.' {
			_ = os.Remove(registerDir + "/" + f.Name())
		}
	}
}
