package spec

// Disk limits what a container may write to its root filesystem
// (org.linux-vserver.disk.space, disk.inodes). 0 stands for no limit.
type Disk struct {
	Space  uint64 // bytes
	Inodes uint64
}

// Limited tells if there is a limit.
func (d Disk) Limited() bool { return d != Disk{} }

var diskAnnotations = [...]annotation{
	{"disk.space", func(x *Extension, _, value string) string {
		if msg := size(value, 1, &x.Disk.Space); msg != "" {
			return msg
		}
		// Linux counts quotas in blocks of 1 KiB (quotactl(2)).
		if x.Disk.Space < 1024 {
			return "must be at least 1K (got " + quote(value) + ")"
		}
		return ""
	}},
	{"disk.inodes", func(x *Extension, _, value string) string { return number(value, 1, 1<<62, &x.Disk.Inodes) }},
}

// checkDisk: a limit is one of the upper directory or, in memory, of the tmpfs.
// Whether the container has one is known when the tree has been looked at.
func (c *checker) checkDisk(x *Extension) {
	if x.Disk.Limited() && !c.ns.has(nsMount) {
		name := "disk.space"
		if x.Disk.Space == 0 {
			name = "disk.inodes"
		}
		c.annotationFault(name, "limits need a mount namespace in linux.namespaces: they are those of a root filesystem of the container's own")
	}
}
