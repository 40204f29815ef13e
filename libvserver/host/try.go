package host

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of this file try things out on the filesystem of a given
// directory, with throwaway files below it and mounts that are never attached.
// They need root, and are for doctor and tests.

// TryIdmap reports whether the filesystem of dir can be mounted with mapped ids.
func TryIdmap(dir string) error {
	return withUserns(func(userns int) error {
		tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("open_tree %s: %w", dir, err)
		}
		defer unix.Close(tree)
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return fmt.Errorf("mount_setattr %s: %w", dir, err)
		}
		return nil
	})
}

// TryUserNamespace makes a user namespace with a map, in a child that never runs.
func TryUserNamespace() error {
	return withUserns(func(int) error { return nil })
}

// withUserns calls f with a user namespace that maps ids 0 to 65535 to
// themselves (only the own id without privilege). The namespace belongs to a
// child that is traced, and so stands still before its first instruction, and
// is killed afterwards.
func withUserns(f func(userns int) error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the tracer is a thread; it ends with this goroutine
		done <- func() error {
			size := 65536
			if os.Geteuid() != 0 {
				size = 1
			}
			attr := &os.ProcAttr{Sys: &syscall.SysProcAttr{
				Cloneflags:                 unix.CLONE_NEWUSER,
				UidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: size}},
				GidMappings:                []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: size}},
				GidMappingsEnableSetgroups: size > 1,
				Ptrace:                     true,
				Pdeathsig:                  unix.SIGKILL,
			}}
			p, err := os.StartProcess("/proc/self/exe", []string{"probe"}, attr)
			if err != nil {
				return fmt.Errorf("create a user namespace: %w", err)
			}
			defer func() { _ = p.Kill(); _, _ = p.Wait() }()
			fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open a user namespace: %w", err)
			}
			defer unix.Close(fd)
			return f(fd)
		}()
	}()
	return <-done
}

// TryOverlay reports whether an overlay can have its lower and upper layers on
// the filesystem of dir.
func TryOverlay(dir string) error {
	return inTemp(dir, func(tmp string) error {
		return overlay(tmp, "upperdir", tmp+"/upper", "workdir", tmp+"/work", "lowerdir", tmp+"/lower")
	})
}

// OverlayDataOnlySince is the first kernel with data-only lower layers.
const OverlayDataOnlySince = "6.5"

// TryOverlayDataOnly reports whether an overlay takes a data-only lower layer
// (lowerdir=meta::data with metacopy=on) from the filesystem of dir.
func TryOverlayDataOnly(dir string) error {
	return inTemp(dir, func(tmp string) error {
		return overlay(tmp, "upperdir", tmp+"/upper", "workdir", tmp+"/work", "metacopy", "on", "lowerdir", tmp+"/lower::"+tmp+"/data")
	})
}

// overlay makes an overlay that is mounted nowhere and drops it again.
func overlay(tmp string, options ...string) error {
	for _, d := range [...]string{"lower", "data", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
			return err
		}
	}
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen overlay: %w", err)
	}
	defer unix.Close(fd)
	for i := 0; i < len(options); i += 2 {
		if err := unix.FsconfigSetString(fd, options[i], options[i+1]); err != nil {
			return fmt.Errorf("overlay option %s=%s: %w", options[i], options[i+1], err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("create an overlay in %s: %w", filepath.Dir(tmp), err)
	}
	return nil
}

// TryVerity reports whether fs-verity can be switched on for files of dir's
// filesystem, by doing so to a throwaway file (Linux 5.4, fs-verity(7)).
func TryVerity(dir string) error {
	return inTemp(dir, func(tmp string) error {
		path := filepath.Join(tmp, "file")
		if err := os.WriteFile(path, []byte("fs-verity\n"), 0o600); err != nil {
			return err
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		defer unix.Close(fd)
		arg := struct { // struct fsverity_enable_arg of linux/fsverity.h
			version, hashAlgorithm, blockSize, saltSize uint32
			saltPtr                                     uint64
			sigSize, reserved1                          uint32
			sigPtr                                      uint64
			reserved2                                   [11]uint64
		}{version: 1, hashAlgorithm: 1 /* SHA-256 */, blockSize: uint32(os.Getpagesize())}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg))); errno != 0 {
			return fmt.Errorf("enable fs-verity in %s: %w", dir, errno)
		}
		return nil
	})
}

// Filesystem returns the name of the filesystem dir is on, or its magic number
// in hexadecimal, and whether it is mounted read-only.
func Filesystem(dir string) (name string, readOnly bool, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC:
		name = "ext4"
	case unix.XFS_SUPER_MAGIC:
		name = "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		name = "btrfs"
	case unix.TMPFS_MAGIC:
		name = "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		name = "overlay"
	case unix.F2FS_SUPER_MAGIC:
		name = "f2fs"
	case unix.NFS_SUPER_MAGIC:
		name = "nfs"
	case unix.FUSE_SUPER_MAGIC:
		name = "fuse"
	case 0x2fc12fc1:
		name = "zfs"
	default:
		name = fmt.Sprintf("%#x", uint32(st.Type))
	}
	return name, st.Flags&unix.ST_RDONLY != 0, nil
}

// inTemp calls f with a new directory below dir, and removes it afterwards.
func inTemp(dir string, f func(tmp string) error) error {
	tmp, err := os.MkdirTemp(dir, ".vsrun-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	return f(tmp)
}
