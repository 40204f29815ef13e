package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// The structs of linux/landlock.h.
type (
	landlockRuleset struct{ fs, net, scoped uint64 }
	// landlockPath is packed: its size is 12.
	landlockPath struct {
		allowed uint64
		parent  int32
	}
	landlockPort struct{ allowed, port uint64 }
)

// Rights that a file can have, in what a descriptor is open for.
const (
	landlockReading = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	landlockWriting = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	rulePathBeneath = 1
	ruleNetPort     = 2
)

// landlock makes a ruleset and confines the process to it. Paths are those of the container's root, which the process is
// in by now.
func (c *compiler) landlock(s plan.Landlock) {
	attr, at := place[landlockRuleset](c.Program)
	attr.fs, attr.net, attr.scoped = s.FS, s.Net, s.Scoped
	set := c.result(unix.SYS_LANDLOCK_CREATE_RULESET, "landlock_create_ruleset", val(at), val(unsafe.Sizeof(*attr)), val(0))
	_, ruleAt := place[landlockPath](c.Program)
	allowed, parent := ruleAt+unsafe.Offsetof(landlockPath{}.allowed), ruleAt+unsafe.Offsetof(landlockPath{}.parent)
	add := func(what string) int {
		return c.call(unix.SYS_LANDLOCK_ADD_RULE, what, set.arg(), val(rulePathBeneath), val(ruleAt), val(0))
	}

	how := c.how(unix.O_PATH|unix.O_CLOEXEC, unix.RESOLVE_NO_MAGICLINKS)
	for _, p := range s.Paths {
		// Rights all fit into the lower half.
		c.emit(opStore, "", val(allowed), val(p.Allowed))
		fd := c.result(unix.SYS_OPENAT2, "open "+p.Path, val(atFDCWD), val(c.cstring(p.Path)), val(how), val(unsafe.Sizeof(unix.OpenHow{})))
		c.emit(opStore, "", val(parent), fd.arg())
		c.statSlot(fd)
		dir := c.ifMode(unix.S_IFDIR)
		c.emit(opStore, "", val(allowed), val(p.Allowed&(landlockReading|landlockWriting)))
		c.land(dir)
		// No right that is left is no rule.
		c.ignore(add("landlock_add_rule of "+p.Path), unix.ENOMSG)
		c.close(fd)
	}
	for _, p := range s.Ports {
		port, portAt := place[landlockPort](c.Program)
		port.allowed, port.port = p.Allowed, p.Port
		c.call(unix.SYS_LANDLOCK_ADD_RULE, "landlock_add_rule of a port", set.arg(), val(ruleNetPort), val(portAt), val(0))
	}
	if s.FS&(landlockReading|landlockWriting) != 0 {
		for fd := range 3 + s.Preserve {
			c.landlockStream(fd, s.FS, allowed, parent, add)
		}
	}
	c.call(unix.SYS_LANDLOCK_RESTRICT_SELF, "landlock_restrict_self", set.arg(), val(0))
	c.close(set)
}

// landlockStream lets the program open anew what one of its descriptors has open, in the same way. A directory is left
// out: it would stand for all beneath it. Pipes and sockets are none of Landlock's business (EBADFD).
func (c *compiler) landlockStream(fd int, rights uint64, allowed, parent uintptr, add func(string) int) {
	i := c.call(unix.SYS_FSTAT, "", val(fd), val(c.statAt))
	closed := c.skip(i, unix.EBADF)
	dir := c.ifMode(unix.S_IFDIR)
	mode := c.result(unix.SYS_FCNTL, "fcntl", val(fd), val(unix.F_GETFL), val(0))
	_, flagsAt := place[uint32](c.Program)
	c.emit(opStore, "", val(flagsAt), mode.arg())
	path := c.emit(opIf, "", val(flagsAt), val(uint32(unix.O_PATH)), val(uint32(unix.O_PATH)), val(0))
	c.emit(opStore, "", val(parent), val(fd))
	var ready []int
	for _, m := range [...]struct {
		mode   uint32
		rights uint64
	}{{unix.O_RDONLY, landlockReading}, {unix.O_WRONLY, landlockWriting}, {unix.O_RDWR, landlockReading | landlockWriting}} {
		c.emit(opStore, "", val(allowed), val(rights&m.rights))
		ready = append(ready, c.emit(opIf, "", val(flagsAt), val(uint32(unix.O_ACCMODE)), val(m.mode), val(0)))
	}
	for _, j := range ready {
		c.land(j)
	}
	c.ignore(add("landlock_add_rule of a descriptor"), unix.EBADFD, unix.ENOMSG)
	c.land(dir)
	c.land(path)
	c.skipTo(closed)
}
