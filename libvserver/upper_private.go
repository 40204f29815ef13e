package libvserver

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
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
		if fd, err := unix.Open(uppers, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			host.SpreadDirectories(fd)
			unix.Close(fd)
		}
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

// sweepUppers removes what containers have left that ran before the machine was booted.
func sweepUppers(uppers, boot string) {
	entries, err := os.ReadDir(uppers)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Name() != boot && e.Name() != keptName {
			if err := host.RemoveTree(uppers + "/" + e.Name()); err != nil {
				log.Warnf("remove what containers have left before the last boot: %v", err)
			}
		}
	}
}
