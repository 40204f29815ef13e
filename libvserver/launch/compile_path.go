package launch

import (
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// want is what target makes where nothing is.
type want int

const (
	wantDir want = iota
	wantFile
)

// place of a target in the rootfs.
type found struct {
	fd   slot
	made slot // 1 if it had to be made
}

// openRoot opens a path below the root filesystem, which cannot be left by links, ".." or magic links. The kernel
// answers EAGAIN when a rename went on meanwhile (openat2(2)): then it is tried again.
func (c *compiler) openRoot(file string, how uintptr) slot {
	i := c.openRootAt(file, how)
	s := c.newSlot()
	c.into(i, s)
	return s
}

func (c *compiler) openRootAt(file string, how uintptr) int {
	file = strings.TrimPrefix(file, "/")
	if file == "" {
		file = "."
	}
	i := c.call(unix.SYS_OPENAT2, "open /"+file+" in the rootfs", c.root.arg(), val(c.cstring(file)), val(how), val(unsafe.Sizeof(unix.OpenHow{})))
	c.on(i, uint16(unix.EAGAIN), i)
	return i
}

// target opens a path below the root filesystem for a mount on it; what is missing is made, one component at a time, each
// in the directory that was just resolved.
func (c *compiler) target(file string, w want, how uintptr) found {
	f := found{fd: c.newSlot(), made: c.newSlot()}
	c.into(c.emit(opSet, "", val(0)), f.made)
	i := c.openRootAt(file, how)
	c.into(i, f.fd)
	parts := strings.Split(strings.Trim(file, "/"), "/")
	if len(parts) == 1 && parts[0] == "" {
		return f
	}
	c.on(i, uint16(unix.ENOENT), i+2)
	end := c.jump()
	dir := c.newSlot()
	c.into(c.emit(opSet, "", c.root.arg()), dir)
	for n, name := range parts {
		prefix := strings.Join(parts[:n+1], "/")
		last := n == len(parts)-1
		h := c.howDir
		if last {
			h = how
		}
		next := c.newSlot()
		o := c.openRootAt(prefix, h)
		c.into(o, next)
		c.on(o, uint16(unix.ENOENT), o+2)
		have := c.jump()
		if last && w == wantFile {
			c.ignore(c.call(unix.SYS_MKNODAT, "make file /"+prefix, dir.arg(), val(c.cstring(name)), val(unix.S_IFREG|0o644), val(0)), unix.EEXIST)
		} else {
			c.ignore(c.call(unix.SYS_MKDIRAT, "make directory /"+prefix, dir.arg(), val(c.cstring(name)), val(0o755)), unix.EEXIST)
		}
		c.into(c.openRootAt(prefix, h), next)
		if last {
			c.into(c.emit(opSet, "", val(1)), f.made)
		}
		c.land(have)
		if n > 0 {
			c.close(dir)
		}
		dir = next
	}
	c.into(c.emit(opSet, "", dir.arg()), f.fd)
	c.land(end)
	return f
}

// directory opens the directory of a node to be made; the descriptor is kept for the next one.
func (c *compiler) directory(dir string) slot {
	if s, ok := c.dirs[dir]; ok {
		return s
	}
	s := c.target(dir, wantDir, c.howDir).fd
	if c.dirs == nil {
		c.dirs = make(map[string]slot, 4)
	}
	c.dirs[dir] = s
	return s
}

// statSlot reads the status of an open file into the scratch buffer.
func (c *compiler) statSlot(s slot) {
	c.call(unix.SYS_NEWFSTATAT, "stat", s.arg(), val(c.empty), val(c.statAt), val(unix.AT_EMPTY_PATH))
}

// ifMode continues elsewhere (see land) if the type in the scratch buffer is kind.
func (c *compiler) ifMode(kind uint32) int {
	return c.emit(opIf, "", val(c.statAt+offMode), val(unix.S_IFMT), val(kind), val(0))
}

// checkDevice fails unless the scratch buffer holds a device of that kind and number. wrong is the instruction that fails.
func (c *compiler) checkDevice(kind uint32, rdev uint64, what string) (wrong int) {
	ok := c.ifMode(kind)
	wrong = c.here()
	c.fail(unix.EEXIST, what)
	c.land(ok)
	if kind != unix.S_IFIFO {
		c.emit(opIfNot, "", val(c.statAt+offRdev), val(uint32(0xffffffff)), val(uint32(rdev)), val(wrong))
	}
	return wrong
}

func split(file string) (dir, name string) {
	file = path.Clean("/" + file)
	return path.Dir(file), path.Base(file)
}
