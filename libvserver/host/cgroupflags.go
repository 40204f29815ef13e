package host

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// flagsFile has the options of cgroup2 as they were before the first of those that use CRIU at this moment began. Each holds a
// lock on it, shared with the others: one that began later may find the options gone already.
const flagsFile = "/run/vsrun-cgroup-flags"

// KeepCgroupFlags remembers the options of the cgroup2 filesystem at CgroupRoot, and returns what gives it those back that are
// gone; its error names them. CRIU mounts cgroup2 in the initial cgroup namespace without any, which there sets them for
// every mount of it: nsdelegate, without which a cgroup namespace does not confine what its root may do to its parent's
// cgroups (cgroups(7)), and memory_recursiveprot.
func KeepCgroupFlags() (giveBack func() error) {
	before, fd := rememberFlags(flagsFile, cgroupFlags())
	return func() error {
		defer forgetFlags(fd)
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

// rememberFlags returns what the options were before the first who is at it now: now, if that is the caller. What one that
// was killed has left in the file is still to be given back. Without a file, where the caller may not write there, fd is -1.
func rememberFlags(file string, now []string) (before []string, fd int) {
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return now, -1
	}
	first := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil
	// Who is writing has it for a moment, and no longer; without a lock the file is as good to read.
	for try := 0; !first && try < 100 && unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) != nil; try++ {
		time.Sleep(time.Millisecond)
	}
	var buf [256]byte
	n, _ := unix.Pread(fd, buf[:], 0)
	before = slices.Clone(now)
	for _, f := range strings.Fields(string(buf[:max(n, 0)])) {
		if !slices.Contains(before, f) {
			before = append(before, f)
		}
	}
	if first {
		_, _ = unix.Pwrite(fd, []byte(strings.Join(before, " ")), 0)
		if unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) != nil { // nobody is to wait for this one
			unix.Close(fd)
			fd = -1
		}
	}
	return before, fd
}

// forgetFlags empties the file after the last one.
func forgetFlags(fd int) {
	if fd < 0 {
		return
	}
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = unix.Ftruncate(fd, 0)
	}
	unix.Close(fd)
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
