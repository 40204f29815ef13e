package spec

import "strings"

// Rootfs says how the root filesystem is to be made (org.linux-vserver.rootfs,
// rootfs.upper, rootfs.keep).
type Rootfs struct {
	// Unified: root.path is a unified tree, which is shared: the container gets
	// an overlay of its own above it. Without the annotation that is what
	// happens if the tree says that it is a unified one.
	Unified bool
	// Upper is the directory for what the container writes, absolute or
	// relative to the bundle; "tmpfs" for memory; "" for a private one.
	Upper string
	// Keep leaves it behind when the container is deleted.
	Keep bool
}

// UpperTmpfs is the Upper that stands for memory.
const UpperTmpfs = "tmpfs"

var rootfsAnnotations = [...]annotation{
	{"rootfs", func(x *Extension, _, value string) string {
		if value != "unified" {
			return "must be unified (got " + quote(value) + ")"
		}
		x.Rootfs.Unified = true
		return ""
	}},
	{"rootfs.upper", func(x *Extension, _, value string) string {
		if value == "" || strings.IndexByte(value, 0) >= 0 {
			return "must be a path or tmpfs (got " + quote(value) + ")"
		}
		x.Rootfs.Upper = value
		return ""
	}},
	{"rootfs.keep", func(x *Extension, _, value string) string { return boolean(value, &x.Rootfs.Keep) }},
}

func (c *checker) checkRootfs(x *Extension) {
	switch r := &x.Rootfs; {
	case r.Keep && r.Upper == UpperTmpfs:
		c.annotationFault("rootfs.keep", "what is in memory can't be kept: rootfs.upper must be a path")
	case r.Unified && !c.ns.has(nsMount):
		c.annotationFault("rootfs", "needs a mount namespace in linux.namespaces")
	}
}
