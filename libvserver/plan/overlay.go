package plan

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

// Tree is a unified tree as the host shows it.
type Tree struct {
	// Lower and Data are the layers of an overlay; Data is "" where Lower holds the files themselves.
	Lower, Data string
	// Verity is the overlay's option of this name, "" for none.
	Verity string
	// Store is where the tree's files are, and the containers' own layers if they are nowhere else.
	Store string
	// UID is the owner of the tree's root.
	UID uint32
}

// Overlay is a root filesystem that containers share: a unified tree below, what the container writes above.
type Overlay struct {
	Origin
	Tree
	// Upper is the directory that is asked for, with the directories upper and work in it; "" for one of the runtime's.
	Upper   string
	UpperAt Origin
	// Tmpfs: the upper layer is in memory.
	Tmpfs bool
	// Keep: it stays when the container goes.
	Keep bool
	// Space (bytes) and Inodes limit it; 0 for no limit.
	Space, Inodes uint64
	DiskAt        Origin
	// IDMap maps the ids of all layers to those of the container's user namespace; nil where they are those already.
	IDMap *MountIDMap
	// FromParent: the runtime mounts it, since the process in its user namespace may not.
	FromParent bool

	// Dir is the directory with the upper layer and FD its descriptor: known once the runtime has made them. Dir is ""
	// for a tmpfs.
	Dir string
	FD  int
}

// Limited tells if the upper layer has a limit that not even root of the container goes beyond.
func (o *Overlay) Limited() bool { return o.Space|o.Inodes != 0 }

func (o *Overlay) String() string {
	s := "mount an overlay of " + o.Lower
	if o.Data != "" {
		s += " over " + o.Data
	}
	if o.IDMap != nil {
		s += ", ids mapped,"
	}
	return s + " as the root filesystem"
}

// prepare are the steps that the runtime takes for the overlay.
func (o *Overlay) prepare() []line {
	where := "in the tree's store"
	switch {
	case o.Tmpfs:
		where = "in memory"
	case o.Upper != "":
		where = "in " + o.Upper
	}
	what := "make the container's own layer " + where
	if o.Keep {
		what += ", or use again what is kept there"
	}
	out := []line{{"runtime", what, o.UpperAt.At()}}
	if o.Limited() {
		what = "limit it to "
		if o.Space != 0 {
			what += strconv.FormatUint(o.Space, 10) + " bytes"
			if o.Inodes != 0 {
				what += " and "
			}
		}
		if o.Inodes != 0 {
			what += strconv.FormatUint(o.Inodes, 10) + " inodes"
		}
		out = append(out, line{"runtime", what, o.DiskAt.At()})
	}
	return out
}

// overlay finds out if the root filesystem is a unified tree, which is never written to.
func (b *builder) overlay() {
	x := &b.b.VServer
	if b.s.Root == nil || b.facts.Tree == nil {
		return
	}
	if b.facts.Unprivileged {
		if x.Rootfs.Unified {
			b.fault(spec.AnnotationPath("rootfs"), "a unified tree needs the host's root: what it is made of is root's alone to read")
		}
		b.needsOverlay()
		return
	}
	t, err := b.facts.Tree(b.p.Rootfs)
	switch {
	case err != nil:
		b.fault("root.path", err.Error())
		return
	case t == nil && x.Rootfs.Unified:
		b.fault(spec.AnnotationPath("rootfs"), "root.path is not a unified tree (\"vsrun unify\" makes it one)")
		return
	case t == nil:
		b.needsOverlay()
		return
	case !b.p.Clone.Has(unix.CLONE_NEWNS):
		b.fault("root.path", "is a unified tree, which needs a new mount namespace in linux.namespaces")
		return
	}
	o := &Overlay{Origin: "root.path", Tree: *t, UpperAt: "root.path", Keep: x.Rootfs.Keep, Space: x.Disk.Space, Inodes: x.Disk.Inodes, FD: -1, FromParent: b.userns}
	if x.Rootfs.Unified {
		o.Origin = Origin(spec.AnnotationPath("rootfs"))
	}
	switch u := x.Rootfs.Upper; {
	case u == spec.UpperTmpfs:
		o.Tmpfs = true
	case u != "":
		o.Upper = b.b.Abs(u)
		for _, dir := range [...]string{b.p.Rootfs, t.Store} {
			if o.Upper == "/" || o.Upper == dir || strings.HasPrefix(o.Upper, dir+"/") {
				b.fault(spec.AnnotationPath("rootfs.upper"), "must not be / or in the tree or its store (got "+strconv.Quote(u)+")")
				return
			}
		}
	}
	if x.Rootfs.Upper != "" {
		o.UpperAt = Origin(spec.AnnotationPath("rootfs.upper"))
	}
	o.DiskAt = diskAt(&x.Disk)
	if b.userns && len(b.linux.UIDMappings) > 0 {
		o.IDMap = mapTree(t.UID, idMaps(b.linux.UIDMappings), idMaps(b.linux.GIDMappings))
	}
	b.p.Overlay = o
}

// mapTree tells how the ids of a tree are to be mapped: a tree that belongs to ids of the user namespace stays as it is.
func mapTree(owner uint32, uids, gids []IDMap) *MountIDMap {
	for _, m := range uids {
		if owner >= m.Host && owner-m.Host < m.Size {
			return nil
		}
	}
	return &MountIDMap{UIDs: uids, GIDs: gids}
}

// diskAt is the annotation that asks for a disk limit.
func diskAt(d *spec.Disk) Origin {
	if d.Space == 0 {
		return Origin(spec.AnnotationPath("disk.inodes"))
	}
	return Origin(spec.AnnotationPath("disk.space"))
}

// leavesQuota tells if root of the container could leave its disk limit, as root of the host's user namespace can.
func (b *builder) leavesQuota() bool {
	x := &b.b.VServer
	return x.Disk.Limited() && x.Rootfs.Upper != spec.UpperTmpfs && !b.userns
}

// needsOverlay refuses what only a root filesystem with a layer of its own can have.
func (b *builder) needsOverlay() {
	x := &b.b.VServer
	for _, a := range [...]struct {
		name  string
		asked bool
	}{{"rootfs.upper", x.Rootfs.Upper != ""}, {"rootfs.keep", x.Rootfs.Keep}, {"disk.space", x.Disk.Space != 0}, {"disk.inodes", x.Disk.Inodes != 0}} {
		if a.asked {
			b.fault(spec.AnnotationPath(a.name), "needs a unified tree in root.path: a plain one has no layer of the container's own")
		}
	}
}
