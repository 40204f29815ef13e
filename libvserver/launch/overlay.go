package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// A root filesystem that is shared is mounted by the container's process, in its own mount namespace: nothing is mounted
// on the host, and nothing is left when it ends. Only where that process lives in a user namespace the runtime mounts it,
// in a thread with a mount namespace of its own, and hands it over detached.

// UpperName and WorkName are the directories of an overlay's upper layer (plan.Overlay.Dir).
const (
	UpperName = "upper"
	WorkName  = "work"
)

// overlayOptions are the overlay's options but for the layers in o, which are at lower, data and dir.
func overlayOptions(o *plan.Overlay, lower, data, dir string) []string {
	opts := make([]string, 0, 10)
	if data == "" {
		opts = append(opts, "lowerdir="+escapeLower(lower))
	} else if one := "lowerdir=" + escapeLower(lower) + "::" + escapeLower(data); !tooLong(one) {
		opts = append(opts, one) // Linux 6.5
	} else {
		opts = append(opts, "lowerdir+="+lower, "datadir+="+data) // Linux 6.8
	}
	dir = strings.ReplaceAll(dir, `\`, `\\`)
	opts = append(opts, "upperdir="+dir+"/"+UpperName, "workdir="+dir+"/"+WorkName,
		// A change of owner, mode or times copies no data; directories can be renamed; hard links stay what they are
		// when they are written to; inodes keep their number, and no two have the same.
		"metacopy=on", "redirect_dir=on", "index=on", "xino=auto")
	if !o.Keep {
		// The upper layer does not outlive the container: nothing of it has to reach the disk, least of all in the
		// moment in which the container ends.
		opts = append(opts, "volatile")
	}
	if o.Verity != "" {
		opts = append(opts, "verity="+o.Verity)
	}
	return opts
}

// escapeLower escapes what parts one layer from the next.
func escapeLower(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), ":", `\:`)
}

// upperPath is the directory with the upper layer as it is given to the kernel; move tells to go there first, since its
// path is too long for fsconfig(2).
func upperPath(o *plan.Overlay) (path string, move bool) {
	switch {
	case o.Tmpfs:
		return fdPath(o.FD), false
	case tooLong("upperdir=" + strings.ReplaceAll(o.Dir, `\`, `\\`) + "/" + UpperName):
		return ".", true
	}
	return o.Dir, false
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// overlay mounts the overlay, and leaves it detached in m.
func (c *compiler) overlay(s *plan.MountRoot, m slot) error {
	o := s.Overlay
	if o.Tmpfs {
		if o.FD < 0 {
			return errors.New("its upper layer has not been made")
		}
		// It must be mounted somewhere to become a layer: below the overlay nobody sees it, and it goes with the old root.
		c.call(unix.SYS_MOVE_MOUNT, "move_mount on "+s.Path, val(o.FD), val(c.empty), val(atFDCWD), val(c.cstring(s.Path)),
			val(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS))
	} else if c.shared {
		c.emit(opGate, "", val(gateUpper), val(looks))
	}
	dir, move := upperPath(o)
	if move {
		c.call(unix.SYS_CHDIR, "chdir", val(c.cstring(o.Dir)))
	}
	opts := overlayOptions(o, o.Lower, o.Data, dir)
	for _, opt := range opts {
		if tooLong(opt) {
			return fmt.Errorf("option %.64q… is longer than fsconfig(2) takes (%d bytes)", opt, maxOption)
		}
	}
	fs := c.result(unix.SYS_FSOPEN, "fsopen overlay", val(c.cstring("overlay")), val(unix.FSOPEN_CLOEXEC))
	c.fsconfig(fs, "source=overlay")
	for _, opt := range opts {
		c.fsconfig(fs, opt)
	}
	// The overlay writes with the rights of who mounts it, and one of them is to go beyond a quota.
	if o.Limited() {
		c.withoutResource(func() { c.createOverlay(fs) })
	} else {
		c.createOverlay(fs)
	}
	c.into(c.call(unix.SYS_FSMOUNT, "fsmount", fs.arg(), val(unix.FSMOUNT_CLOEXEC), val(0)), m)
	c.close(fs)
	return nil
}

func (c *compiler) createOverlay(fs slot) {
	c.call(unix.SYS_FSCONFIG, "create", fs.arg(), val(unix.FSCONFIG_CMD_CREATE), val(0), val(0), val(0))
}

// withoutResource does something without CAP_SYS_RESOURCE.
func (c *compiler) withoutResource(do func()) {
	own, err := host.OwnCaps()
	if err != nil || !own.Has(unix.CAP_SYS_RESOURCE) {
		do()
		return
	}
	set := func(effective uint64) {
		hdr, hdrAt := place[unix.CapUserHeader](c.Program)
		hdr.Version = unix.LINUX_CAPABILITY_VERSION_3
		d, at := place[[2]unix.CapUserData](c.Program)
		for i := range d {
			shift := 32 * uint(i)
			d[i] = unix.CapUserData{Effective: uint32(effective >> shift), Permitted: uint32(own.Permitted >> shift), Inheritable: uint32(own.Inheritable >> shift)}
		}
		c.call(unix.SYS_CAPSET, "capset", val(hdrAt), val(at))
	}
	set(own.Effective &^ (1 << unix.CAP_SYS_RESOURCE))
	do()
	set(own.Effective)
}

// openOverlay mounts the overlay of a container in a user namespace.
func (d *Descriptors) openOverlay(pl *plan.Plan) error {
	for i, s := range pl.Steps {
		s, ok := s.(plan.MountRoot)
		if !ok || s.Overlay == nil || !s.Overlay.FromParent {
			continue
		}
		fd, err := Overlay(s.Overlay, s.Path)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", s.At(), s, err)
		}
		if d.Sources == nil {
			d.Sources = make(map[int]int)
		}
		d.Sources[i] = fd
	}
	return nil
}

// Overlay mounts an overlay and returns it detached. Layers must be mounted in the mount namespace of who mounts the
// overlay (Linux before 6.15), which those with mapped ids and in memory are not: they are in a namespace that lasts no
// longer than this call, all on the directory at.
func Overlay(o *plan.Overlay, at string) (fd int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		fd, err = overlayHere(o, at)
	}()
	<-done
	return fd, err
}

func overlayHere(o *plan.Overlay, at string) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, os.NewSyscallError("unshare(CLONE_NEWNS)", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, fmt.Errorf("make all mounts private: %w", err)
	}
	lower, data := o.Lower, o.Data
	dir, move := upperPath(o)
	switch {
	case o.Tmpfs:
		if err := attach(o.FD, at); err != nil {
			return -1, err
		}
	case move && o.IDMap != nil:
		dir = o.Dir
	case move:
		if err := unix.Chdir(o.Dir); err != nil { // of this thread alone
			return -1, &os.PathError{Op: "chdir", Path: o.Dir, Err: err}
		}
	}
	if o.IDMap != nil {
		ns, err := newUserns(o.IDMap.UIDs, o.IDMap.GIDs)
		if err != nil {
			return -1, fmt.Errorf("make the user namespace of id-mapped layers: %w", err)
		}
		defer unix.Close(ns)
		for _, layer := range [...]*string{&lower, &data, &dir} {
			if *layer == "" {
				continue
			}
			fd, err := mapped(*layer, ns, at)
			if err != nil {
				return -1, err
			}
			defer unix.Close(fd)
			*layer = fdPath(fd)
		}
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen overlay", err)
	}
	defer unix.Close(fs)
	for _, opt := range append([]string{"source=overlay"}, overlayOptions(o, lower, data, dir)...) {
		key, value, ok := strings.Cut(opt, "=")
		if ok {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return -1, fmt.Errorf("fsconfig: option %s: %w", opt, err)
		}
	}
	if err := mounter(o); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig: create", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("fsmount", err)
	}
	return fd, nil
}

// mapped mounts a directory once more on at, with the ids of a user namespace, and returns the mount.
func mapped(path string, userns int, at string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mount_setattr(MOUNT_ATTR_IDMAP) of %s: %w", path, err)
	}
	if err := attach(fd, at); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func attach(fd int, at string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return &os.PathError{Op: "move_mount", Path: at, Err: err}
	}
	return nil
}

// mounter makes the calling thread who the overlay works as: root as the mapped layers know him, where they are mapped, and
// without the right to go beyond a quota, where there is one.
func mounter(o *plan.Overlay) error {
	own, err := host.OwnCaps()
	if err != nil {
		return os.NewSyscallError("capget", err)
	}
	if o.Limited() {
		own.Effective &^= 1 << unix.CAP_SYS_RESOURCE
	}
	if m := o.IDMap; m != nil {
		// These take capabilities away, which capset gives back. They have no errors, and don't concern other threads.
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(hostRoot(m.GIDs)), 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(hostRoot(m.UIDs)), 0, 0)
	}
	return os.NewSyscallError("capset", host.SetCaps(own))
}

// hostRoot is the host's id of a container's root.
func hostRoot(ids []plan.IDMap) uint32 {
	for _, m := range ids {
		if m.Container == 0 && m.Size > 0 {
			return m.Host
		}
	}
	return 0
}
