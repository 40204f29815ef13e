package host

import (
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Version is a kernel's version: Linux Major.Minor.Patch.
type Version struct{ Major, Minor, Patch int }

// ParseVersion reads the numbers a release begins with: "6.1.0-40-amd64" is
// 6.1.0. What is no number counts as zero.
func ParseVersion(release string) Version {
	var n [3]int
	part := 0
	for i := 0; i < len(release) && part < len(n); i++ {
		switch c := release[i]; {
		case '0' <= c && c <= '9' && n[part] < 1<<20:
			n[part] = n[part]*10 + int(c-'0')
		case c == '.':
			part++
		default:
			part = len(n)
		}
	}
	return Version{n[0], n[1], n[2]}
}

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	if v.Major != w.Major {
		return v.Major < w.Major
	}
	if v.Minor != w.Minor {
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

// String returns "6.1.0".
func (v Version) String() string {
	return strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor) + "." + strconv.Itoa(v.Patch)
}

var release struct {
	once sync.Once
	text string
}

// KernelRelease returns the release that uname(2) gives, or "" if it fails.
func KernelRelease() string {
	release.once.Do(func() {
		var u unix.Utsname
		if unix.Uname(&u) == nil {
			release.text = unix.ByteSliceToString(u.Release[:])
		}
	})
	return release.text
}
