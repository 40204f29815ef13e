package spec

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// version checks ociVersion (config.md, "Specification version"): SemVer 2.0,
// major version 1, minor version not above the supported one. Patches and
// pre-releases, "1.0.2-dev" for one, change nothing that matters here.
func (c *checker) version(v string) {
	const path = "ociVersion"
	if v == "" {
		c.fault(path, "is required")
		return
	}
	major, minor, ok := semVer(v)
	switch {
	case !ok:
		c.fault(path, "must be a version as SemVer 2.0 defines it, like 1.3.0 (got "+quote(v)+")")
	case major != specs.VersionMajor || minor > specs.VersionMinor:
		c.fault(path, "version "+v+" is not supported (supported: 1.0.0 to "+supportedVersion+")")
	}
}

// supportedVersion is the version of runtime-spec that is implemented.
const supportedVersion = "1.3.0"

// semVer reads MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]. Numbers that do not fit
// count as very large.
func semVer(v string) (major, minor uint64, ok bool) {
	v, build, hasBuild := strings.Cut(v, "+")
	v, pre, hasPre := strings.Cut(v, "-")
	if hasBuild && !identifiers(build, false) || hasPre && !identifiers(pre, true) {
		return 0, 0, false
	}
	var n [3]uint64
	for i := range n {
		part, rest, more := strings.Cut(v, ".")
		if !numeric(part) || more != (i < 2) {
			return 0, 0, false
		}
		n[i], _ = strconv.ParseUint(part, 10, 64)
		v = rest
	}
	return n[0], n[1], true
}

// numeric says whether s is digits without a leading zero.
func numeric(s string) bool {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	return digits(s)
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return s != ""
}

// identifiers checks the dot-separated parts of a pre-release (where numbers
// have no leading zero) or of build metadata.
func identifiers(s string, pre bool) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || pre && digits(part) && !numeric(part) {
			return false
		}
		for i := 0; i < len(part); i++ {
			if b := part[i]; b != '-' && b-'0' > 9 && (b|0x20 < 'a' || b|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

// root checks root (config.md, "Root").
func (c *checker) root(b *Bundle) {
	r := b.Spec.Root
	if r == nil {
		c.fault("root", "is required")
		return
	}
	if r.Path == "" {
		c.fault("root.path", "is required")
	} else if strings.IndexByte(r.Path, 0) >= 0 {
		c.nul(top("root.path"), r.Path)
	} else if c.host {
		var st unix.Stat_t
		dir := b.Rootfs()
		if err := unix.Stat(dir, &st); err != nil {
			c.fault("root.path", "stat "+dir+": "+err.Error())
		} else if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			c.fault("root.path", dir+" is not a directory")
		}
	}
	if r.Readonly && !c.ns.has(nsMount) {
		c.fault("root.readonly", "needs a mount namespace in linux.namespaces")
	}
}

// names checks hostname and domainname.
func (c *checker) names(s *specs.Spec) {
	// __NEW_UTS_LEN of linux/utsname.h.
	const longest = 64
	for _, n := range [...]struct{ path, value string }{{"hostname", s.Hostname}, {"domainname", s.Domainname}} {
		if n.value == "" {
			continue
		}
		if !c.ns.has(nsUTS) {
			c.fault(n.path, "needs a uts namespace in linux.namespaces")
		}
		if len(n.value) > longest {
			c.fault(n.path, "must not be longer than "+strconv.Itoa(longest)+" bytes (got "+strconv.Itoa(len(n.value))+")")
		}
		c.nul(top(n.path), n.value)
	}
}
