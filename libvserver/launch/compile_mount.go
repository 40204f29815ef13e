package launch

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

func (c *compiler) mount(s plan.Mount) error {
	how := c.howPath
	switch {
	case s.NoFollowTarget:
		how = c.howFinal
	case s.Kind == plan.MountChange:
	case s.Type == "proc" || s.Type == "sysfs":
		// A link there would lead what is written to them astray.
		how = c.how(unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
	}
	if s.Kind == plan.MountChange {
		return c.remount(s, how)
	}
	w := wantDir
	if s.File {
		w = wantFile
	}
	m := c.newSlot()
	var t found
	attached := false
	if s.Kind == plan.MountBind {
		c.bindSource(s, m)
		t = c.target(s.Target, w, how)
	} else {
		t = c.target(s.Target, w, how)
		var err error
		if attached, err = c.filesystem(s, t.fd, how, m); err != nil {
			return err
		}
		if s.CoverMode {
			c.coverMode(t, m)
		}
	}
	if s.RecSet|s.RecClear != 0 {
		c.setattr(m.arg(), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: s.RecSet, Attr_clr: atimeMask(s.RecSet, s.RecClear)})
	}
	if s.CopyUp {
		c.copyUp(t, m)
	}
	if !attached {
		c.moveMount(m, t.fd)
	}
	c.propagate(s, m)
	c.close(m)
	c.close(t.fd)
	return nil
}

// remount changes what is mounted on the target: the filesystem's options, then the mount's flags.
func (c *compiler) remount(s plan.Mount, how uintptr) error {
	t := c.openRoot(s.Target, how)
	if len(s.Data)+len(s.SuperFlags) > 0 {
		fs := c.result(unix.SYS_FSPICK, "", t.arg(), val(c.empty), val(unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH))
		for _, o := range append(s.SuperFlags[:len(s.SuperFlags):len(s.SuperFlags)], s.Data...) {
			switch {
			case o == "silent": // FSPICK has no such flag, and it keeps nothing but the kernel's log from being told
			case tooLong(o):
				return fmt.Errorf("option %.32q… is longer than fsconfig(2) takes (%d bytes)", o, maxOption)
			default:
				c.fsconfig(fs, o)
			}
		}
		c.call(unix.SYS_FSCONFIG, "reconfigure", fs.arg(), val(unix.FSCONFIG_CMD_RECONFIGURE), val(0), val(0), val(0))
		c.close(fs)
	}
	if s.Set|s.Clear != 0 {
		c.setattr(t.arg(), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: s.Set, Attr_clr: atimeMask(s.Set, s.Clear)})
	}
	if s.RecSet|s.RecClear != 0 {
		c.setattr(t.arg(), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: s.RecSet, Attr_clr: atimeMask(s.RecSet, s.RecClear)})
	}
	c.propagate(s, t)
	c.close(t)
	return nil
}

// atimeMask: an atime setting can only be set together with clearing the whole field (mount_setattr(2)).
func atimeMask(set, clr uint64) uint64 {
	if set&unix.MOUNT_ATTR__ATIME != 0 {
		clr |= unix.MOUNT_ATTR__ATIME
	}
	return clr
}

func (c *compiler) bindSource(s plan.Mount, m slot) {
	if fd, ok := c.d.Sources[c.step]; ok {
		c.into(c.emit(opSet, "", val(fd)), m)
	} else {
		flags := flagIf(s.Recursive, unix.AT_RECURSIVE) | flagIf(s.NoFollowSource, unix.AT_SYMLINK_NOFOLLOW)
		i := c.openTree(val(atFDCWD), s.Source, flags)
		c.into(i, m)
		if s.Fallback != "" {
			there := c.jump()
			c.on(i, uint16(unix.ENOENT), c.here())
			c.into(c.openTree(val(atFDCWD), s.Fallback, flags), m)
			c.land(there)
		}
	}
	c.bindFlags(s, m)
}

// bindFlags sets the flags that are asked for and clears those that are asked to be cleared; the others stay as the source
// has them. In a user namespace the source's flags are locked (mount_namespaces(7)): then it stays read-only, which engines
// ask to clear unless they ask for it, and is an error if it should allow more.
func (c *compiler) bindFlags(s plan.Mount, m slot) {
	if s.Set|s.Clear == 0 {
		return
	}
	i := c.setattr(m.arg(), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: s.Set, Attr_clr: atimeMask(s.Set, s.Clear)})
	if s.Clear == 0 {
		return
	}
	c.on(i, uint16(unix.EPERM), i+2)
	end := c.jump()
	for _, f := range [...]struct {
		flag uint64
		name string
	}{{unix.MOUNT_ATTR_NOSUID, "suid"}, {unix.MOUNT_ATTR_NODEV, "dev"}, {unix.MOUNT_ATTR_NOEXEC, "exec"}} {
		if s.Clear&f.flag == 0 {
			continue
		}
		c.call(unix.SYS_FSTATFS, "fstatfs", m.arg(), val(c.statAt))
		free := c.emit(opIf, "", val(c.statAt+offFlags), val(uint32(f.flag)), val(0), val(0)) // ST_* are the same bits
		c.fail(unix.EPERM, f.name+": the source's no"+f.name+" is locked: it is of another user namespace")
		c.land(free)
	}
	c.setattr(m.arg(), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: s.Set &^ unix.MOUNT_ATTR__ATIME})
	c.land(end)
}

// newFS makes a filesystem by the new mount API (Linux 5.2): every option is a call of its own, so that an error names it.
func (c *compiler) newFS(s plan.Mount, m slot) {
	open := c.call(unix.SYS_FSOPEN, "fsopen "+s.Type, val(c.cstring(s.Type)), val(unix.FSOPEN_CLOEXEC))
	fs := c.newSlot()
	c.into(open, fs)
	if s.Source != "" {
		c.fsconfig(fs, "source="+s.Source)
	}
	for _, o := range s.SuperFlags {
		c.fsconfig(fs, o)
	}
	for _, o := range s.Data {
		c.fsconfig(fs, o)
	}
	create := c.call(unix.SYS_FSCONFIG, "create", fs.arg(), val(unix.FSCONFIG_CMD_CREATE), val(0), val(0), val(0))
	i := c.call(unix.SYS_FSMOUNT, "fsmount", fs.arg(), val(unix.FSMOUNT_CLOEXEC), val(s.Set))
	c.into(i, m)
	c.close(fs)
	if s.Label != "" {
		root := c.newSlot()
		c.into(c.call(unix.SYS_OPENAT, "open it", m.arg(), val(c.cstring(".")), val(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)), root)
		c.call(unix.SYS_FSETXATTR, "label "+s.Label, root.arg(), val(c.cstring("security.selinux")), val(c.cstring(s.Label)), val(len(s.Label)), val(0))
		c.close(root)
	}
	if s.Fallback == "" {
		return
	}
	// Not allowed in a user namespace that does not own what the filesystem shows (sysfs: the network namespace), or where
	// parts of the outer one are covered: that serves then.
	end := c.jump()
	for _, at := range [...]int{create, i} {
		for _, e := range [...]unix.Errno{unix.EPERM, unix.EBUSY} {
			c.on(at, uint16(e), c.here())
		}
	}
	c.close(fs)
	c.on(open, uint16(unix.EPERM), c.here())
	c.into(c.openTree(val(atFDCWD), s.Fallback, unix.AT_RECURSIVE), m)
	c.setattr(m.arg(), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: s.Set &^ unix.MOUNT_ATTR__ATIME})
	c.land(end)
}

func (c *compiler) fsconfig(fs slot, option string) {
	key, value, ok := strings.Cut(option, "=")
	if ok {
		c.call(unix.SYS_FSCONFIG, "option "+option, fs.arg(), val(unix.FSCONFIG_SET_STRING), val(c.cstring(key)), val(c.cstring(value)), val(0))
		return
	}
	c.call(unix.SYS_FSCONFIG, "option "+option, fs.arg(), val(unix.FSCONFIG_SET_FLAG), val(c.cstring(key)), val(0), val(0))
}

// coverMode gives a tmpfs the mode of the directory that it covers, or 01777 if there was none.
func (c *compiler) coverMode(t found, m slot) {
	mode := c.newSlot()
	c.into(c.emit(opSet, "", val(0o1777)), mode)
	made := c.emit(opIfArg, "", val(t.made), val(1), val(0))
	c.statSlot(t.fd)
	c.into(c.emit(opLoad, "", val(c.statAt+offMode), val(0o7777)), mode)
	c.land(made)
	c.call(unix.SYS_FCHMODAT, "chmod", m.arg(), val(c.cstring(".")), mode.arg())
}

// copyUp lets the runtime copy from the covered directory into the still detached tmpfs. It takes both descriptors from
// the child (pidfd_getfd(2)), the covered one first.
func (c *compiler) copyUp(t found, m slot) {
	for _, s := range [...]slot{t.fd, m} {
		c.emit(opAwait, "copy up", val(kindStage+uint32(plan.StageCopyUp)), s.arg(), val(0), val(0))
	}
}

func (c *compiler) propagate(s plan.Mount, m slot) {
	for _, f := range s.Propagation {
		c.setattr(m.arg(), "", unix.AT_EMPTY_PATH|flagIf(f.Deep, unix.AT_RECURSIVE), &unix.MountAttr{Propagation: f.Flag})
	}
}

func (c *compiler) readonlyPath(s plan.ReadonlyPath) {
	i := c.openRootAt(s.Path, c.howPath)
	t := c.newSlot()
	c.into(i, t)
	missing := c.skip(i, unix.ENOENT, unix.ENOTDIR)
	m := c.newSlot()
	c.into(c.openTree(t.arg(), "", unix.AT_RECURSIVE), m)
	c.setattr(m.arg(), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	c.moveMount(m, t)
	c.close(m)
	c.close(t)
	c.skipTo(missing)
}

// skip prepares rules for instruction i to go to where skipTo is called.
func (c *compiler) skip(i int, errnos ...unix.Errno) skipped {
	n := len(c.code[i].rule[:c.code[i].rules])
	c.ignore(i, errnos...)
	return skipped{i, n, len(errnos)}
}

type skipped struct{ insn, from, n int }

func (c *compiler) skipTo(s skipped) {
	for r := s.from; r < s.from+s.n; r++ {
		c.code[s.insn].rule[r].to = int32(c.here())
	}
}

// maskPath: the descriptor of the target is taken once, and both covers come from the host (a container's own /dev/null
// may be anything).
func (c *compiler) maskPath(s plan.MaskPath) {
	i := c.openRootAt(s.Path, c.howPath)
	t := c.newSlot()
	c.into(i, t)
	missing := c.skip(i, unix.ENOENT, unix.ENOTDIR)
	c.statSlot(t)
	dir := c.ifMode(unix.S_IFDIR)

	m := c.newSlot()
	c.into(c.openTree(val(atFDCWD), "/dev/null", 0), m)
	c.statSlot(m)
	c.checkDevice(unix.S_IFCHR, unix.Mkdev(1, 3), "the host's /dev/null is not the null device")
	// Read-only, else root in the container could change the mode and the owner of the host's /dev/null.
	c.setattr(m.arg(), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC})
	c.moveMount(m, t)
	c.close(m)
	end := c.jump()

	c.land(dir)
	if !c.masked {
		c.mask, c.masked = c.newSlot(), true
	}
	again := c.emit(opIfArg, "", val(c.maskReady), val(1), val(0))
	fs := c.result(unix.SYS_FSOPEN, "fsopen tmpfs", val(c.cstring("tmpfs")), val(unix.FSOPEN_CLOEXEC))
	c.fsconfig(fs, "source=tmpfs")
	c.fsconfig(fs, "nr_blocks=1")
	c.fsconfig(fs, "nr_inodes=1")
	c.fsconfig(fs, "mode=755")
	c.call(unix.SYS_FSCONFIG, "create", fs.arg(), val(unix.FSCONFIG_CMD_CREATE), val(0), val(0), val(0))
	c.into(c.call(unix.SYS_FSMOUNT, "fsmount", fs.arg(), val(unix.FSMOUNT_CLOEXEC),
		val(unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)), c.mask)
	c.moveMount(c.mask, t)
	c.close(fs)
	c.into(c.emit(opSet, "", val(1)), c.maskReady)
	first := c.jump()
	c.land(again)
	c.into(c.openTree(c.mask.arg(), "", 0), m)
	c.moveMount(m, t)
	c.close(m)
	c.land(first)
	c.land(end)
	c.close(t)
	c.skipTo(missing)
}
