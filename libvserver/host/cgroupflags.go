package host

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// KeepCgroupFlags remembers the options of the cgroup2 filesystem at CgroupRoot, and returns what gives it those back that are
// gone; its error names them. CRIU mounts cgroup2 in the initial cgroup namespace without any, which there sets them for
// every mount of it: nsdelegate, without which a cgroup namespace does not confine what its root may do to its parent's
// cgroups (cgroups(7)), and memory_recursiveprot.
func KeepCgroupFlags() (giveBack func() error) {
	before := cgroupFlags()
	return func() error {
		after := cgroupFlags()
		var lost []string
		for _, f := range before {
			if !slices.Contains(after, f) {
				lost = append(lost, f)
			}
		}
		if len(lost) == 0 {
			return nil
		}
		// A mount sets all of them: those that are left as well.
		if err := setCgroupFlags(before); err != nil {
			return fmt.Errorf("CRIU has taken the options %s from %s: %w", strings.Join(lost, ","), CgroupRoot, err)
		}
		return nil
	}
}

// cgroupFlags are the options of a cgroup2 filesystem at CgroupRoot (proc_pid_mountinfo(5)); none where something else is there.
func cgroupFlags() (flags []string) {
	mounts, err := Mounts("self")
	if err != nil {
		return nil
	}
	for _, m := range mounts {
		if m.Type != "cgroup2" || m.Point != CgroupRoot {
			continue
		}
		flags = nil
		for o := range strings.SplitSeq(m.Super, ",") {
			if o != "rw" && o != "ro" {
				flags = append(flags, o)
			}
		}
	}
	return flags
}

// setCgroupFlags sets the filesystem's options, and leaves the mount's.
func setCgroupFlags(flags []string) error {
	fd, err := unix.Fspick(unix.AT_FDCWD, CgroupRoot, unix.FSPICK_CLOEXEC)
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
