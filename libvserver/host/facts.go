package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Layout is how the cgroup hierarchies are mounted under /sys/fs/cgroup.
type Layout uint8

// The layouts.
const (
	CgroupNone   Layout = iota // nothing usable is mounted there
	CgroupV1                   // one hierarchy a controller
	CgroupHybrid               // version 1, and version 2 beside it in unified/
	CgroupV2                   // version 2 only
)

// String returns "none", "v1", "hybrid" or "v2".
func (l Layout) String() string {
	switch l {
	case CgroupV1:
		return "v1"
	case CgroupHybrid:
		return "hybrid"
	case CgroupV2:
		return "v2"
	default:
		return "none"
	}
}

// CgroupRoot is where cgroups are mounted.
const CgroupRoot = "/sys/fs/cgroup"

// CgroupLayout looks at the filesystems mounted at [CgroupRoot]: one or two
// statfs(2). It is not remembered, since mounts differ by namespace.
func CgroupLayout() Layout {
	var st unix.Statfs_t
	if unix.Statfs(CgroupRoot, &st) != nil {
		return CgroupNone
	}
	switch uint32(st.Type) {
	case unix.CGROUP2_SUPER_MAGIC:
		return CgroupV2
	case unix.TMPFS_MAGIC:
	default:
		return CgroupNone
	}
	if unix.Statfs(CgroupRoot+"/unified", &st) == nil && uint32(st.Type) == unix.CGROUP2_SUPER_MAGIC {
		return CgroupHybrid
	}
	return CgroupV1
}

// LastCap returns the highest capability this kernel knows: two prctl(2) on
// kernels from 5.9 up to the next capability.
func LastCap() int {
	known := func(n int) bool {
		_, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		return err == nil
	}
	n := unix.CAP_LAST_CAP
	for n > 0 && !known(n) {
		n--
	}
	for n < 63 && known(n+1) {
		n++
	}
	return n
}

// Caps are the capability sets of a process as bit masks.
type Caps struct{ Effective, Permitted, Inheritable uint64 }

// Has reports whether a capability is in the effective set.
func (c Caps) Has(capability int) bool { return c.Effective>>uint(capability)&1 != 0 }

// OwnCaps returns the capability sets of the calling thread (capget(2)).
func OwnCaps() (Caps, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if _, _, errno := unix.Syscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&d)), 0); errno != 0 {
		return Caps{}, errno
	}
	return Caps{
		Effective:   uint64(d[0].Effective) | uint64(d[1].Effective)<<32,
		Permitted:   uint64(d[0].Permitted) | uint64(d[1].Permitted)<<32,
		Inheritable: uint64(d[0].Inheritable) | uint64(d[1].Inheritable)<<32,
	}, nil
}

// SetCaps sets the capability sets of the calling thread (capset(2)).
func SetCaps(c Caps) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	d := [2]unix.CapUserData{
		{Effective: uint32(c.Effective), Permitted: uint32(c.Permitted), Inheritable: uint32(c.Inheritable)},
		{Effective: uint32(c.Effective >> 32), Permitted: uint32(c.Permitted >> 32), Inheritable: uint32(c.Inheritable >> 32)},
	}
	if _, _, errno := unix.Syscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&d)), 0); errno != 0 {
		return errno
	}
	return nil
}

// InUserNamespace reports whether this process is in a user namespace other
// than the initial one, which the namespace's inode number tells. Its uid_map
// does not: systemd 260 (PrivateUsers=full) makes namespaces in which all ids
// are mapped to themselves. That counts only under OpenVZ, which numbers the
// namespaces of its containers anew.
func InUserNamespace() bool {
	const initial = 0xeffffffd // USER_NS_INIT_INO of linux/nsfs.h, the same since Linux 3.8
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		return false // no user namespaces in this kernel
	}
	if st.Ino == initial {
		return false
	}
	if unix.Access("/proc/vz", unix.F_OK) != nil || unix.Access("/proc/bc", unix.F_OK) == nil {
		return true
	}
	s, err := readSmall("/proc/self/uid_map")
	return err == nil && !isFullMap(s)
}

// isFullMap recognises the single line "0 0 4294967295" with any spacing.
func isFullMap(s string) bool {
	want := [...]string{"0", "0", "4294967295"}
	i := 0
	for len(s) > 0 {
		for len(s) > 0 && s[0] == ' ' {
			s = s[1:]
		}
		n := 0
		for n < len(s) && s[n] != ' ' {
			n++
		}
		if n == 0 {
			break
		}
		if i >= len(want) || s[:n] != want[i] {
			return false
		}
		s, i = s[n:], i+1
	}
	return i == len(want)
}
