package libvserver

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/log"
)

// keepCgroupFlags remembers the options of the host's cgroup2 filesystem, and returns what gives it those back that are
// gone. CRIU mounts cgroup2 in the initial cgroup namespace without any, which there sets them for every mount of it:
// nsdelegate, without which a cgroup namespace does not confine what its root may do to its parent's cgroups (cgroups(7)),
// and memory_recursiveprot.
func keepCgroupFlags() (giveBack func()) {
	before := cgroupFlags()
	return func() {
		after := cgroupFlags()
		var lost []string
		for _, f := range before {
			if !slices.Contains(after, f) {
				lost = append(lost, f)
			}
		}
		if len(lost) == 0 {
			return
		}
		// A mount sets all of them: those that are left as well.
		if err := setCgroupFlags(before); err != nil {
			log.Warnf("CRIU has taken the options %s from %s: %v", strings.Join(lost, ","), host.CgroupRoot, err)
		}
	}
}

// cgroupFlags are the options of a cgroup2 filesystem at /sys/fs/cgroup; none where something else is there.
func cgroupFlags() (flags []string) {
	mounts, err := readMounts("self")
	if err != nil {
		return nil
	}
	for i := range mounts {
		m := &mounts[i]
		if m.fs != "cgroup2" || m.point != host.CgroupRoot {
			continue
		}
		flags = nil
		for o := range strings.SplitSeq(m.super, ",") {
			if o != "rw" && o != "ro" {
				flags = append(flags, o)
			}
		}
	}
	return flags
}

// setCgroupFlags sets the filesystem's options, and leaves the mount's.
func setCgroupFlags(flags []string) error {
	fd, err := unix.Fspick(unix.AT_FDCWD, host.CgroupRoot, unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fspick: %w", err)
	}
	defer unix.Close(fd)
	for _, f := range flags {
		if err := unix.FsconfigSetFlag(fd, f); err != nil {
			return fmt.Errorf("fsconfig: option %s: %w", f, err)
		}
	}
	if err := unix.FsconfigReconfigure(fd); err != nil {
		return fmt.Errorf("fsconfig: reconfigure: %w", err)
	}
	return nil
}
