package libvserver

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A container without a mount namespace of its own has its mounts in the caller's, all below a mount of the rootfs on
// itself. They go when the container goes.

// mountID is the id of the mount that a path lies in (statx(2), STATX_MNT_ID, Linux 5.8).
func mountID(path string) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
		err = unix.ENOSYS
	}
	if err != nil {
		return 0, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return st.Mnt_id, nil
}

// unmountRoot removes the mount of the rootfs and all below it, if it has been made: then the rootfs does not lie in the
// mount any more in which it lay before.
func unmountRoot(below uint64, rootfs string) error {
	if below == 0 {
		return nil
	}
	id, err := mountID(rootfs)
	if errors.Is(err, unix.ENOENT) || err == nil && id == below {
		return nil
	}
	if err == nil {
		err = unix.Unmount(rootfs, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if err != nil && err != unix.EINVAL {
		return fmt.Errorf("unmount the root filesystem %s: %w", rootfs, err)
	}
	return nil
}
