package launch

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// device makes a node in the directory that was resolved in the rootfs, never by a path through it. Where mknod(2) is
// refused (user namespaces) the host's node is bound, or one that the runtime has made.
func (c *compiler) device(s plan.Device) {
	if s.Existing {
		t := c.openRoot(s.Path, c.howPath)
		c.statSlot(t)
		c.checkDevice(s.Mode&unix.S_IFMT, unix.Mkdev(s.Major, s.Minor), s.Path+" is not that device")
		c.close(t)
		return
	}
	dir, name := split(s.Path)
	d := c.directory(dir)
	at := val(c.cstring(name))
	kind := s.Mode & unix.S_IFMT
	rdev := unix.Mkdev(s.Major, s.Minor)
	var made, bound int
	if !s.Bind {
		i := c.call(unix.SYS_MKNODAT, "mknod "+s.Path, d.arg(), at, val(s.Mode), val(rdev))
		exists := c.skip(i, unix.EEXIST, unix.EROFS)
		if s.UID != 0 || s.GID != 0 {
			c.call(unix.SYS_FCHOWNAT, "chown "+s.Path, d.arg(), at, val(s.UID), val(s.GID), val(unix.AT_SYMLINK_NOFOLLOW))
		}
		made = c.jump()
		if kind != unix.S_IFIFO {
			// A device cgroup or a lacking CAP_MKNOD says EPERM: then the host's node is bound.
			c.on(i, uint16(unix.EPERM), 0)
		}
		eperm := i
		c.skipTo(exists)
		t := c.openRoot(s.Path, c.howFinal)
		c.statSlot(t)
		c.checkDevice(kind, rdev, s.Path+" is there already, and is not that device")
		c.close(t)
		if kind == unix.S_IFIFO {
			c.land(made)
			return
		}
		bound = c.jump()
		c.code[eperm].rule[c.code[eperm].rules-1].to = int32(c.here())
	}
	m, t := c.newSlot(), c.newSlot()
	if fd, ok := c.d.Sources[c.step]; ok {
		c.into(c.emit(opSet, "", val(fd)), m)
	} else {
		c.into(c.openTree(val(atFDCWD), s.Path, 0), m)
		c.statSlot(m)
		c.checkDevice(kind, rdev, "the host's "+s.Path+" is not that device")
	}
	i := c.call(unix.SYS_MKNODAT, "make file "+s.Path, d.arg(), at, val(unix.S_IFREG|0o644), val(0))
	exists := c.skip(i, unix.EEXIST)
	c.into(c.openRootAt(s.Path, c.howFinal), t)
	free := c.jump()
	c.skipTo(exists)
	c.into(c.openRootAt(s.Path, c.howFinal), t)
	c.inTheWay(s.Path, kind, rdev, t)
	c.land(free)
	c.moveMount(m, t)
	c.close(t)
	c.close(m)
	if !s.Bind {
		c.land(made)
		c.land(bound)
	}
}

// inTheWay goes on if what is in the place of a device is that device, or an empty file, as an earlier launch has made it
// to bind a device on.
func (c *compiler) inTheWay(file string, kind uint32, rdev uint64, t slot) {
	c.statSlot(t)
	regular := c.ifMode(unix.S_IFREG)
	wrong := c.checkDevice(kind, rdev, file+" is there already, and is not that device")
	end := c.jump()
	c.land(regular)
	for half := range uintptr(2) {
		c.emit(opIfNot, "", val(c.statAt+offSize+4*half), val(uint32(0xffffffff)), val(0), val(wrong))
	}
	c.land(end)
}

func (c *compiler) symlink(s plan.Symlink) {
	var skip skipped
	if s.IfExists != "" {
		i := c.call(unix.SYS_FACCESSAT, "", val(atFDCWD), val(c.cstring(s.IfExists)), val(unix.F_OK))
		skip = c.skip(i, anyErrno)
	}
	dir, name := split(s.Path)
	d := c.directory(dir)
	at := val(c.cstring(name))
	if s.Replace {
		c.ignore(c.call(unix.SYS_UNLINKAT, "remove "+s.Path, d.arg(), at, val(0)), unix.ENOENT, unix.EROFS, unix.EISDIR)
	}
	i := c.call(unix.SYS_SYMLINKAT, "symlink "+s.Path, val(c.cstring(s.Target)), d.arg(), at)
	if s.Strict {
		c.sameLink(s, i, d, at)
	} else {
		c.ignore(i, unix.EEXIST, unix.EROFS)
	}
	if s.IfExists != "" {
		c.skipTo(skip)
	}
}

// sameLink goes on after instruction i found something in the link's place, if that is such a link.
func (c *compiler) sameLink(s plan.Symlink, i int, d slot, at arg) {
	there := c.skip(i, unix.EEXIST)
	made := c.jump()
	c.skipTo(there)
	buf := c.bytes(len(s.Target) + 8)
	n := c.result(unix.SYS_READLINKAT, "there is a file that is no link", d.arg(), at, val(address(buf)), val(len(s.Target)+1))
	same := c.emit(opIfArg, "", val(n), val(len(s.Target)), val(0))
	other := c.here()
	c.fail(unix.EEXIST, "there is another link")
	c.land(same)
	want := append([]byte(s.Target), make([]byte, 4)...)
	for at := 0; at < len(s.Target); at += 4 {
		mask := uint32(0xffffffff)
		if rest := len(s.Target) - at; rest < 4 {
			b := [4]byte{}
			for k := range rest {
				b[k] = 0xff
			}
			mask = binary.NativeEndian.Uint32(b[:])
		}
		c.emit(opIfNot, "", val(address(buf)+uintptr(at)), val(mask), val(binary.NativeEndian.Uint32(want[at:])&mask), val(other))
	}
	c.land(made)
}

// nullStdio looks here which of the standard streams, which are the child's as well, are the null device.
func (c *compiler) nullStdio(s plan.NullStdio) {
	null := slot(-1)
	for fd := range 3 {
		from := fd
		if fd < len(c.d.Stdio) {
			from = c.d.Stdio[fd]
		}
		var st unix.Stat_t
		if unix.Fstat(from, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != nullDevice {
			continue
		}
		if null < 0 {
			if s.Running {
				null = c.someNull()
			} else {
				null = c.openRoot("/dev/null", c.how(openNull, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS))
				c.statSlot(null)
				c.checkDevice(unix.S_IFCHR, nullDevice, "/dev/null is not the null device")
			}
		}
		c.call(unix.SYS_DUP3, "dup", null.arg(), val(fd), val(0))
	}
	if null >= 0 {
		c.close(null)
	}
}

const (
	nullDevice = 1<<8 | 3 // major 1, minor 3
	openNull   = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
)

// someNull opens the null device of the container that was joined, or, where that has none or something else in its place, one
// that nobody sees.
func (c *compiler) someNull() slot {
	null := c.newSlot()
	open := c.call(unix.SYS_OPENAT2, "open /dev/null", val(atFDCWD), val(c.cstring("/dev/null")), val(c.how(openNull, unix.RESOLVE_NO_MAGICLINKS)),
		val(unsafe.Sizeof(unix.OpenHow{})))
	c.into(open, null)
	missing := c.skip(open, anyErrno)
	c.statSlot(null)
	other := c.emit(opIfNot, "", val(c.statAt+offMode), val(unix.S_IFMT), val(unix.S_IFCHR), val(0))
	found := c.emit(opIf, "", val(c.statAt+offRdev), val(uint32(0xffffffff)), val(nullDevice), val(0))
	c.land(other)
	c.close(null)
	c.skipTo(missing)
	m, name := c.newSlot(), val(c.cstring("null"))
	c.newFS(plan.Mount{Type: "tmpfs", Set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}, m)
	c.call(unix.SYS_MKNODAT, "make a null device", m.arg(), name, val(unix.S_IFCHR|0o666), val(nullDevice))
	c.into(c.call(unix.SYS_OPENAT, "open a null device", m.arg(), name, val(openNull)), null)
	c.close(m)
	c.land(found)
	return null
}

// console: the pty comes from the container's own devpts, the slave by TIOCGPTPEER on the master (Linux 4.13), so no
// name in the container is trusted (CVE-2025-52565).
func (c *compiler) console(s plan.Console) {
	m := c.newSlot()
	rdwr := uint64(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	if c.rooted {
		c.into(c.openRootAt("/dev/ptmx", c.how(rdwr, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)), m)
	} else {
		c.into(c.call(unix.SYS_OPENAT, "open /dev/ptmx", val(atFDCWD), val(c.cstring("/dev/ptmx")), val(rdwr)), m)
	}
	c.statSlot(m)
	c.checkDevice(unix.S_IFCHR, unix.Mkdev(5, 2), "/dev/ptmx is not the pty multiplexer")
	c.call(unix.SYS_IOCTL, "TIOCSPTLCK", m.arg(), val(unix.TIOCSPTLCK), val(c.zero))
	pts := c.result(unix.SYS_IOCTL, "TIOCGPTPEER", m.arg(), val(unix.TIOCGPTPEER), val(rdwr))
	if s.Width != 0 || s.Height != 0 {
		ws, at := place[unix.Winsize](c.Program)
		ws.Col, ws.Row = s.Width, s.Height
		c.call(unix.SYS_IOCTL, "TIOCSWINSZ", m.arg(), val(unix.TIOCSWINSZ), val(at))
	}
	c.sendMaster(m)
	c.close(m)
	c.ignore(c.call(unix.SYS_FCHOWN, "chown", pts.arg(), val(s.UID), val(^uintptr(0))), unix.EINVAL, unix.EPERM)
	if s.Mount {
		d := c.directory("/dev")
		c.ignore(c.call(unix.SYS_MKNODAT, "make file /dev/console", d.arg(), val(c.cstring("console")), val(unix.S_IFREG|0o620), val(0)), unix.EEXIST, unix.EROFS)
		t := c.openRoot("/dev/console", c.howFinal)
		mm := c.newSlot()
		c.into(c.openTree(pts.arg(), "", 0), mm)
		c.moveMount(mm, t)
		c.close(mm)
		c.close(t)
	}
	for fd := range 3 {
		c.call(unix.SYS_DUP3, "dup", pts.arg(), val(fd), val(0))
	}
	c.call(unix.SYS_IOCTL, "TIOCSCTTY", val(0), val(unix.TIOCSCTTY), val(0))
	c.close(pts)
}

// sendMaster hands the pty's master over: to the console socket, with the name that engines expect beside it, or to the
// runtime, which relays it.
func (c *compiler) sendMaster(m slot) {
	type control struct {
		hdr unix.Cmsghdr
		fd  int32
		_   int32
	}
	ctl, ctlAt := place[control](c.Program)
	ctl.hdr.Level, ctl.hdr.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	ctl.hdr.SetLen(unix.CmsgLen(4))
	payload := "/dev/ptmx"
	fd := c.d.Console
	if fd < 0 {
		// The runtime reads messages of this size, in which only the kind matters.
		fd = c.d.Reports
		msg := message{Kind: kindStage + uint32(plan.StageConsole)}
		payload = string(unsafe.Slice((*byte)(unsafe.Pointer(&msg)), messageSize))
	}
	iov, iovAt := place[unix.Iovec](c.Program)
	data := c.bytes(len(payload))
	copy(data, payload)
	iov.Base = unsafe.SliceData(data)
	iov.SetLen(len(payload))
	hdr, hdrAt := place[unix.Msghdr](c.Program)
	hdr.Iov = iov
	hdr.SetIovlen(1)
	hdr.Control = (*byte)(unsafe.Pointer(ctl))
	hdr.SetControllen(unix.CmsgSpace(4))
	_ = iovAt
	c.emit(opStore, "", val(ctlAt+unsafe.Offsetof(ctl.fd)), m.arg())
	c.call(unix.SYS_SENDMSG, "send the pty's master", val(fd), val(hdrAt), val(unix.MSG_NOSIGNAL))
}
