package libvserver

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/log"
)

// The directory of a container in the store of its tree: see upper.go.

const bootIDFile = "/proc/sys/kernel/random/boot_id"

func bootID() (string, error) {
	fd, err := unix.Open(bootIDFile, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: bootIDFile, Err: err}
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", &os.PathError{Op: "read", Path: bootIDFile, Err: err}
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// makePrivate makes the directory in the store and the reference to the tree in it.
func (n *creation) makePrivate() error {
	o, dir := n.plan.Overlay, n.hooks.Upper.Private
	err := unix.Mkdir(dir, 0o700)
	if err == unix.ENOENT {
		boot := filepath.Dir(dir)
		uppers := filepath.Dir(boot)
		if err := unix.Mkdir(uppers, 0o700); err != nil && err != unix.EEXIST {
			return &os.PathError{Op: "mkdir", Path: uppers, Err: err}
		}
		spread(uppers)
		if err := unix.Mkdir(boot, 0o700); err != nil && err != unix.EEXIST {
			return &os.PathError{Op: "mkdir", Path: boot, Err: err}
		} else if err == nil {
			sweepUppers(uppers, filepath.Base(boot))
		}
		err = unix.Mkdir(dir, 0o700)
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	if o.Data == "" {
		return nil
	}
	if err := unix.Link(o.Lower+".ref", dir+"/"+refName); err != nil && err != unix.ENOENT && err != unix.EMLINK {
		return &os.LinkError{Op: "link", Old: o.Lower + ".ref", New: dir + "/" + refName, Err: err}
	}
	return nil
}

// spread has ext4 put a directory's subdirectories where there are few yet (EXT4_TOPDIR_FL, chattr(1)). Where many files come and
// go, such as below /tmp, it passes over each inode that was deleted in the last minutes whenever it wants one
// (recently_deleted in the kernel's fs/ext4/ialloc.c), and of these a layer takes ten: that has been two milliseconds.
func spread(dir string) {
	const topdir = 0x00020000
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags|topdir)) // others have no such flag
	}
}

// sweepUppers removes what containers have left that ran before the machine was booted.
func sweepUppers(uppers, boot string) {
	entries, err := os.ReadDir(uppers)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Name() != boot && e.Name() != keptName {
			if err := os.RemoveAll(uppers + "/" + e.Name()); err != nil {
				log.Warnf("remove what containers have left before the last boot: %v", err)
			}
		}
	}
}
