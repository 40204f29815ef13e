package plan

import "strings"

// Mount puts a filesystem, a bind of a host path or a cgroup tree on a path in the rootfs.
type Mount struct {
	Origin
	Kind   MountKind
	Type   string // filesystem type, "bind" for binds
	Source string
	Target string // absolute, inside the rootfs

	// Attributes of mount_setattr(2), for the mount itself and for all below it.
	Set, Clear       uint64
	RecSet, RecClear uint64
	// Propagation is MS_SHARED, …, in order; Deep tells for each if MS_REC was asked.
	Propagation []PropagationFlag
	// Data are options for the filesystem, in order.
	Data []string
	// SuperFlags are MS_SYNCHRONOUS, MS_DIRSYNC, MS_MANDLOCK, MS_LAZYTIME … by their names for fsconfig(2).
	SuperFlags []string

	Recursive bool // rbind
	// File: the source is not a directory; so shall the target be.
	File bool
	// FromParent: the runtime opens the source before the clone (user namespaces, id-mapped mounts).
	FromParent bool
	IDMap      *MountIDMap

	// DelayReadonly: a later ReadonlyMount step makes it read-only.
	DelayReadonly bool
	// CoverMode: a tmpfs without mode= takes the mode of the directory that it covers, 01777 for a new one.
	CoverMode bool
	CopyUp    bool

	NoFollowSource, NoFollowTarget bool
	// Optional: a failure (EPERM, EBUSY of nested sysfs or cgroups in user namespaces) falls back to a bind of this path.
	Fallback string
}

// MountKind tells how a Mount is made.
type MountKind int

// Kinds of mounts.
const (
	MountFS     MountKind = iota // fsopen
	MountBind                    // open_tree
	MountMove                    // the old root of the container's cgroup tree, symlinks …
	MountChange                  // only change flags of what is mounted there (remount)
)

// PropagationFlag is one propagation option.
type PropagationFlag struct {
	Flag uint64
	Deep bool
}

// MountIDMap are the id maps of an id-mapped mount.
type MountIDMap struct {
	UIDs, GIDs []IDMap
	Recursive  bool
}

func (s Mount) String() string {
	var b strings.Builder
	switch s.Kind {
	case MountBind:
		b.WriteString("bind " + s.Source)
	case MountChange:
		b.WriteString("remount")
	default:
		b.WriteString("mount " + s.Type)
	}
	b.WriteString(" on " + s.Target)
	if len(s.Data) > 0 {
		b.WriteString(" (" + strings.Join(s.Data, ",") + ")")
	}
	return b.String()
}
