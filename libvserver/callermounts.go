package libvserver

import (
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/log"
)

// A container without a mount namespace of its own has its mounts in the caller's, all below a mount of the rootfs on
// itself. They go when the container goes.

// mountID is the id of the mount that a path lies in, 0 if that can't be told.
func mountID(path string) uint64 {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st) != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return st.Mnt_id
}

// unmountRoot removes the mount of the rootfs and all below it, if it has been made: then the rootfs does not lie in the
// mount any more in which it lay before.
func unmountRoot(below uint64, rootfs string) {
	if below == 0 {
		return
	}
	if id := mountID(rootfs); id == 0 || id == below {
		return
	}
	if err := unix.Unmount(rootfs, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL {
		log.Warnf("unmount the root filesystem %s: %v", rootfs, err)
	}
}
