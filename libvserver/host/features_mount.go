package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// openTreeNamespace is OPEN_TREE_NAMESPACE of linux/mount.h: a tree cloned into
// a mount namespace of its own.
const openTreeNamespace = 1 << 1

// Paths, mounts and filesystems.
var (
	// Openat2 is openat2(2), which resolves inside a root.
	Openat2 = &Feature{Name: "openat2", Since: "5.6", probe: func() error {
		return present(call(unix.SYS_OPENAT2, badFD, 0, 0, 0))
	}}

	// Faccessat2 is faccessat2(2).
	Faccessat2 = &Feature{Name: "faccessat2", Since: "5.8", probe: func() error {
		return present(call(unix.SYS_FACCESSAT2, badFD, 0, 0, 0))
	}}

	// MountAPI is fsopen, fsconfig, fsmount, open_tree and move_mount.
	MountAPI = &Feature{Name: "the new mount API (fsopen, open_tree, move_mount)", Since: "5.2", probe: func() error {
		for _, nr := range [...]uintptr{unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT} {
			if err := present(call(nr, badFD, 0, badFD, 0, 0)); err != nil {
				return err
			}
		}
		return nil
	}}

	// MountSetattr is mount_setattr(2): flags of a whole tree at once.
	MountSetattr = &Feature{Name: "mount_setattr", Since: "5.12", probe: func() error {
		return present(call(unix.SYS_MOUNT_SETATTR, badFD, 0, 0, 0, 0))
	}}

	// IdmappedMounts is mount_setattr's MOUNT_ATTR_IDMAP. Whether a given
	// filesystem takes it is another question: TryIdmap.
	IdmappedMounts = &Feature{Name: "idmapped mounts", Plural: true, Since: "5.12", probe: func() error {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: badFD}
		return mountAttr(&attr, 5, 12)
	}}

	// Nosymfollow is the nosymfollow attribute in the new mount API.
	Nosymfollow = &Feature{Name: "nosymfollow", Since: "5.14", probe: func() error {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSYMFOLLOW}
		return mountAttr(&attr, 5, 14)
	}}

	// OpenTreeAttr is open_tree_attr(2).
	OpenTreeAttr = &Feature{Name: "open_tree_attr", Since: "6.15", probe: func() error {
		return present(call(unix.SYS_OPEN_TREE_ATTR, badFD, 0, 0, 0, 0))
	}}

	// OpenTreeNamespace is open_tree's OPEN_TREE_NAMESPACE.
	OpenTreeNamespace = &Feature{Name: "OPEN_TREE_NAMESPACE", Since: "7.0", probe: func() error {
		var empty byte
		return accepted(call(unix.SYS_OPEN_TREE, badFD, uintptr(unsafe.Pointer(&empty)), openTreeNamespace|unix.AT_EMPTY_PATH), unix.EBADF)
	}}

	// Statmount is statmount(2) and listmount(2).
	Statmount = &Feature{Name: "statmount", Since: "6.8", probe: func() error {
		return present(call(unix.SYS_STATMOUNT, 0, 0, 0, 0))
	}}

	// ProcSubset is procfs' subset=pid: a private procfs without the global files.
	ProcSubset = &Feature{Name: "procfs subset=pid", Since: "5.8", probe: func() error {
		fd, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		err = unix.FsconfigSetString(fd, "subset", "pid")
		if err == unix.EINVAL {
			return errMissing
		}
		return err
	}}

	// Mqueue is the POSIX message queue filesystem.
	Mqueue = &Feature{Name: "the mqueue filesystem", Since: "2.6.6", Config: "CONFIG_POSIX_MQUEUE", probe: func() error { return filesystem("mqueue") }}

	// Overlay is overlayfs. A kernel that has it as a module not yet loaded
	// counts as lacking it; doctor says so.
	Overlay = &Feature{Name: "overlayfs", Since: "3.18", Config: "CONFIG_OVERLAY_FS (or modprobe overlay)", probe: func() error { return filesystem("overlay") }}

	// OverlayMetacopy is overlayfs' metacopy=on.
	OverlayMetacopy = &Feature{Name: "overlayfs metacopy", Since: "4.19", Config: "CONFIG_OVERLAY_FS (or modprobe overlay)", probe: func() error {
		if !exists("/sys/module/overlay/parameters/metacopy") {
			return errMissing
		}
		return nil
	}}

	// OverlayUserns is overlayfs mounted inside a user namespace. Only a mount
	// there could tell, so the kernel's version must do.
	OverlayUserns = &Feature{Name: "overlayfs in user namespaces", Since: "5.11", Config: "CONFIG_OVERLAY_FS (or modprobe overlay)", probe: func() error {
		if err := sinceRelease(5, 11); err != nil {
			return err
		}
		return filesystem("overlay")
	}}

	// QuotactlFd is quotactl_fd(2), which project quotas are set by.
	QuotactlFd = &Feature{Name: "quotactl_fd", Since: "5.14", Config: "CONFIG_QUOTACTL", probe: func() error {
		return present(call(unix.SYS_QUOTACTL_FD, badFD, 0, 0, 0))
	}}

	// Resctrl is the resctrl filesystem (Intel RDT, AMD QoS).
	Resctrl = &Feature{Name: "resctrl", Since: "4.10", Config: "CONFIG_X86_CPU_RESCTRL and a processor that has it", probe: func() error { return filesystem("resctrl") }}
)

// mountAttr tries an attribute on a file descriptor that does not exist: EBADF
// comes after the attribute was accepted. Who may not mount is told EPERM before
// that, and then the kernel's version has to do.
func mountAttr(attr *unix.MountAttr, major, minor int) error {
	errno, _ := unix.MountSetattr(badFD, "", unix.AT_EMPTY_PATH, attr).(unix.Errno)
	if errno == unix.EPERM {
		return sinceRelease(major, minor)
	}
	return accepted(errno, unix.EBADF)
}
