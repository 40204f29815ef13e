package netcontext

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/bpf"
	"github.com/vsrun/vsrun/spec"
)

// registerDir has a file for each context, and the lock.
const registerDir = "/run/vsrun-net"

// Entry is what the register has of a context.
type Entry struct {
	NID       uint32
	Netns     uint64 // cookie
	Root, ID  string // state root and container
	Cgroup    string // in the version 2 hierarchy
	Loopback  [4]byte
	Addresses []spec.IPAddress
}

// register is the open register. Who has it has it alone.
type register struct {
	lock            int
	storage, owners int
}

func openRegister() (*register, error) {
	r := &register{-1, -1, -1}
	var err error
	for try := 0; try < 2; try++ {
		r.lock, err = unix.Open(registerDir+"/lock", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		if err != unix.ENOENT {
			break
		}
		if err := os.Mkdir(registerDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: registerDir + "/lock", Err: err}
	}
	var st unix.Stat_t
	if err := unix.Lstat(registerDir, &st); err != nil || st.Uid != uint32(os.Geteuid()) || st.Mode&0o022 != 0 {
		r.close()
		return nil, fmt.Errorf("%s: others than root may write to it", registerDir)
	}
	for {
		err = unix.Flock(r.lock, unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		r.close()
		return nil, &os.PathError{Op: "flock", Path: registerDir + "/lock", Err: err}
	}
	return r, nil
}

func (r *register) close() {
	for _, fd := range [...]int{r.storage, r.owners, r.lock} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func fileOf(nid uint32) string { return registerDir + "/" + strconv.FormatUint(uint64(nid), 10) }

// enter gives the context its id, its loopback address and its addresses, which nobody else has after it.
func (r *register) enter(c *Context) error {
	c.Entry.Root, c.Entry.ID, c.Addresses = c.Config.Root, c.Config.ID, c.Net.Addresses
	if err := r.pickID(c); err != nil {
		return err
	}
	switch c.Net.Loopback {
	case spec.LoopbackAuto:
		c.Loopback = [4]byte{127, byte(c.NID >> 8), byte(c.NID), 1}
	case spec.LoopbackFixed:
		c.Loopback = c.Net.LoopbackAddr
	}
	if err := writeEntry(&c.Entry); err != nil {
		return err
	}
	for _, a := range c.keys() {
		if err := r.own(c, &a); err != nil {
			return err
		}
	}
	return nil
}

// keys are the addresses of a context, with the loopback address.
func (e *Entry) keys() []spec.IPAddress {
	list := e.Addresses
	if e.Loopback != [4]byte{} {
		a := spec.IPAddress{Bits: 32}
		a.Addr[10], a.Addr[11] = 0xff, 0xff
		copy(a.Addr[12:], e.Loopback[:])
		list = append(list[:len(list):len(list)], a)
	}
	return list
}

// pickID finds an id: the one that is asked for, or a free one.
func (r *register) pickID(c *Context) error {
	if nid := c.Net.NID; nid != 0 {
		c.NID = nid
		other, err := readEntry(fileOf(nid))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case other.Stale() || other.Root == c.Config.Root && other.ID == c.Config.ID:
			return r.remove(other)
		}
		return fmt.Errorf("%s: %d is the id of container %s (state root %s)", spec.AnnotationPath("net.nid"), nid, other.ID, other.Root)
	}
	if c.XID != 0 && c.XID <= spec.MaxDynamicNID && r.free(c.XID) {
		c.NID = c.XID
		return nil
	}
	// Dynamic ids are taken in turn, so that a loopback address does not come back at once.
	const count = spec.MaxDynamicNID - spec.MinDynamicNID + 1
	var buf [16]byte
	n, _ := unix.Pread(r.lock, buf[:], 0)
	last, _ := strconv.ParseUint(strings.TrimSpace(string(buf[:max(0, n)])), 10, 16)
	for i := range uint32(count) {
		nid := spec.MinDynamicNID + (uint32(last)+i)%count
		if !r.free(nid) {
			continue
		}
		c.NID = nid
		next := strconv.FormatUint(uint64(nid-spec.MinDynamicNID+1), 10) + "\n"
		_, _ = unix.Pwrite(r.lock, []byte(next), 0)
		_ = unix.Ftruncate(r.lock, int64(len(next)))
		return nil
	}
	return errors.New("network contexts: all dynamic ids are in use")
}

// free tells if an id can be had. One of a container that is gone can.
func (r *register) free(nid uint32) bool {
	if unix.Access(fileOf(nid), unix.F_OK) != nil {
		return true
	}
	other, err := readEntry(fileOf(nid))
	return err == nil && other.Stale() && r.remove(other) == nil
}

// own enters an address in the map of owners.
func (r *register) own(c *Context, a *spec.IPAddress) error {
	k := OwnerKey{c.Netns, a.Addr}
	v := Owner{NID: c.NID}
	for i := range c.Addresses {
		m := &v.Main6
		if c.Addresses[i].Is4() {
			m = &v.Main4
		}
		if *m == [16]byte{} {
			*m = c.Addresses[i].Addr
		}
	}
	err := bpf.Update(r.owners, unsafe.Pointer(&k), unsafe.Pointer(&v), unix.BPF_NOEXIST)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var held Owner
	if err := bpf.Lookup(r.owners, unsafe.Pointer(&k), unsafe.Pointer(&held)); err != nil {
		return err
	}
	other, err := readEntry(fileOf(held.NID))
	if held.NID != c.NID && err == nil && !other.Stale() {
		name := "net.addresses"
		if a.Addr[12] == 127 && a.Is4() {
			name = "net.loopback"
		}
		return fmt.Errorf("%s: %s belongs to network context %d, container %s (state root %s)", spec.AnnotationPath(name), a, held.NID, other.ID, other.Root)
	}
	if err == nil && held.NID != c.NID {
		if err := r.remove(other); err != nil {
			return err
		}
	}
	return bpf.Update(r.owners, unsafe.Pointer(&k), unsafe.Pointer(&v), 0)
}

// Release takes the context out of the register, and the lookup of listeners from a network namespace that has no other.
// The programs are the cgroup's, and go with it. nid is 0 if it is not known. A context that is not there is no error.
func Release(nid uint32, root, id string) error {
	r, err := openRegister()
	if err != nil {
		return err
	}
	defer r.close()
	list := []*Entry{}
	if nid == 0 { // the runtime was killed before it knew
		dropUnfinished()
		if list, err = Entries(); err != nil {
			return err
		}
	} else if e, err := readEntry(fileOf(nid)); err == nil {
		list = append(list, e)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range list {
		if e.Root == root && e.ID == id {
			return r.remove(e)
		}
	}
	return nil
}

// remove takes an entry away, and what stands behind it.
func (r *register) remove(e *Entry) error {
	if r.owners < 0 {
		r.owners, _ = bpf.Get(pinned(MapOwners))
	}
	if r.owners >= 0 {
		for _, a := range e.keys() {
			k := OwnerKey{e.Netns, a.Addr}
			var held Owner
			if bpf.Lookup(r.owners, unsafe.Pointer(&k), unsafe.Pointer(&held)) != nil || held.NID != e.NID {
				continue
			}
			if err := bpf.Delete(r.owners, unsafe.Pointer(&k)); err != nil {
				return err
			}
		}
	}
	// The entry goes last: what is cut short before can be repeated.
	if err := dropNetns(e.Netns, e.NID); err != nil {
		return err
	}
	if err := os.Remove(fileOf(e.NID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Stale tells that the context's container is gone.
func (e *Entry) Stale() bool {
	return errors.Is(unix.Access(e.Root+"/"+e.ID, unix.F_OK), unix.ENOENT)
}

// Entries are all contexts of the host, by id; of all state roots.
func Entries() (list []*Entry, err error) {
	err = eachEntry(func(e *Entry) bool {
		list = append(list, e)
		return true
	})
	slices.SortFunc(list, func(a, b *Entry) int { return int(a.NID) - int(b.NID) })
	return list, err
}

// eachEntry reads the register until do returns false.
func eachEntry(do func(*Entry) bool) error {
	files, err := os.ReadDir(registerDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if c := f.Name()[0]; c < '0' || c > '9' {
			continue
		}
		e, err := readEntry(registerDir + "/" + f.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !do(e) {
			return nil
		}
	}
	return nil
}

// writeEntry writes an entry whole or not at all.
func writeEntry(e *Entry) error {
	b := strconv.AppendUint([]byte("nid "), uint64(e.NID), 10)
	line := func(key, value string) {
		b = append(append(append(append(b, '\n'), key...), ' '), value...)
	}
	line("netns", strconv.FormatUint(e.Netns, 10))
	line("root", strconv.Quote(e.Root))
	line("id", e.ID)
	line("cgroup", strconv.Quote(e.Cgroup))
	if e.Loopback != [4]byte{} {
		a := (&Entry{Loopback: e.Loopback}).keys()[0]
		line("loopback", a.String())
	}
	for i := range e.Addresses {
		line("address", e.Addresses[i].String()+"/"+strconv.Itoa(int(e.Addresses[i].Bits)))
	}
	b = append(b, '\n')
	tmp := fileOf(e.NID)
	tmp = registerDir + "/." + tmp[len(registerDir)+1:]
	err := os.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = os.Rename(tmp, fileOf(e.NID))
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}

func readEntry(file string) (*Entry, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	e := new(Entry)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		ok := true
		switch key {
		case "nid":
			n, err := strconv.ParseUint(value, 10, 32)
			e.NID, ok = uint32(n), err == nil
		case "netns":
			e.Netns, err = strconv.ParseUint(value, 10, 64)
			ok = err == nil
		case "root":
			e.Root, err = strconv.Unquote(value)
			ok = err == nil
		case "id":
			e.ID = value
		case "cgroup":
			e.Cgroup, err = strconv.Unquote(value)
			ok = err == nil
		case "loopback", "address":
			var a spec.IPAddress
			if a, ok = spec.ParseIP(value); key == "loopback" {
				e.Loopback = [4]byte(a.Addr[12:])
			} else {
				e.Addresses = append(e.Addresses, a)
			}
		}
		if !ok {
			return nil, fmt.Errorf("%s: damaged at %q", file, line)
		}
	}
	if e.NID == 0 || e.ID == "" || e.Root == "" {
		return nil, fmt.Errorf("%s: damaged", file)
	}
	return e, nil
}
