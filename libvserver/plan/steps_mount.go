package plan

import (
	"strings"

	"golang.org/x/sys/unix"
)

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
	// Label is the root directory's SELinux label, for a filesystem that has no option for it.
	Label string

	NoFollowSource, NoFollowTarget bool
	// Optional: a failure (EPERM, EBUSY of nested sysfs or cgroups in user namespaces; ENOENT of a bind) falls back to a
	// bind of this path.
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

func (p PropagationFlag) String() string {
	name := "private"
	switch p.Flag {
	case unix.MS_SHARED:
		name = "shared"
	case unix.MS_SLAVE:
		name = "slave"
	case unix.MS_UNBINDABLE:
		name = "unbindable"
	}
	if p.Deep {
		return "r" + name
	}
	return name
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
	if o := s.options(); len(o) > 0 {
		b.WriteString(" (" + strings.Join(o, ",") + ")")
	}
	return b.String()
}

// options are what the mount is given, in the words of config.json's options, so that a plan shows what a step does.
func (s *Mount) options() []string {
	var o []string
	if s.Kind == MountBind && s.Recursive {
		o = append(o, "rbind")
	}
	o = attrNames(o, "", s.Set, s.Clear)
	o = attrNames(o, "r", s.RecSet, s.RecClear)
	for _, f := range s.SuperFlags {
		if f != "ro" || s.Set&unix.MOUNT_ATTR_RDONLY == 0 { // said already
			o = append(o, f)
		}
	}
	o = append(o, s.Data...)
	for _, p := range s.Propagation {
		o = append(o, p.String())
	}
	for _, f := range [...]struct {
		set  bool
		name string
	}{
		{s.IDMap != nil && !s.IDMap.Recursive, "idmap"}, {s.IDMap != nil && s.IDMap.Recursive, "ridmap"}, {s.CopyUp, "tmpcopyup"},
		{s.NoFollowSource, "src-nofollow"}, {s.NoFollowTarget, "dest-nofollow"},
	} {
		if f.set {
			o = append(o, f.name)
		}
	}
	return o
}

// attrNames appends the names of MOUNT_ATTR_* that are set and cleared.
func attrNames(o []string, prefix string, set, clr uint64) []string {
	for _, a := range [...]struct {
		attr    uint64
		on, off string
	}{
		{unix.MOUNT_ATTR_RDONLY, "ro", "rw"}, {unix.MOUNT_ATTR_NOSUID, "nosuid", "suid"}, {unix.MOUNT_ATTR_NODEV, "nodev", "dev"},
		{unix.MOUNT_ATTR_NOEXEC, "noexec", "exec"}, {unix.MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"},
		{unix.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"},
	} {
		if set&a.attr != 0 {
			o = append(o, prefix+a.on)
		}
		if clr&a.attr != 0 {
			o = append(o, prefix+a.off)
		}
	}
	// The access time settings are values of one field; to set one the field is cleared.
	switch {
	case set&unix.MOUNT_ATTR_STRICTATIME != 0:
		o = append(o, prefix+"strictatime")
	case set&unix.MOUNT_ATTR_NOATIME != 0:
		o = append(o, prefix+"noatime")
	case clr&unix.MOUNT_ATTR__ATIME == unix.MOUNT_ATTR__ATIME:
		o = append(o, prefix+"relatime")
	}
	return o
}
