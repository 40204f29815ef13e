package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where the fields are in struct stat. Device numbers that Linux gives out fit the low 32 bits.
const (
	offMode = unsafe.Offsetof(unix.Stat_t{}.Mode)
	offSize = unsafe.Offsetof(unix.Stat_t{}.Size)
	offRdev = unsafe.Offsetof(unix.Stat_t{}.Rdev)
	// In struct statfs, which is no larger.
	offFlags = unsafe.Offsetof(unix.Statfs_t{}.Flags)
)
