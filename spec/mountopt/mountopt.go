// Package mountopt reads the option strings of a config's mounts.
//
// It knows the options that runtime-spec's config.md lists for Linux (the
// recursive ones and idmap included), runc's tmpcopyup and crun's copy-symlink,
// src-nofollow and dest-nofollow; anything else is left for the filesystem. It
// only reads: it opens nothing and mounts nothing.
package mountopt

import "golang.org/x/sys/unix"

// Options is what the options of one mount ask for. Where options contradict
// each other the later one wins, as in runc.
type Options struct {
	// Flags are the MS_* flags that are asked for, Cleared those whose absence
	// is asked for ("rw", "exec", ...). No flag is in both. What is in neither
	// is the mounter's choice: a bind mount keeps what its source has.
	Flags, Cleared uint64

	// RecAttrSet and RecAttrClr are the MOUNT_ATTR_* of mount_setattr(2) with
	// AT_RECURSIVE ("rro", "rsuid", ...). MOUNT_ATTR__ATIME is in RecAttrClr
	// whenever an access time mode is set or cleared, as the call wants it.
	RecAttrSet, RecAttrClr uint64

	// Propagation are the propagation changes (MS_SHARED and so on, with MS_REC
	// for the recursive ones), each to be made by a mount(2) of its own in this
	// order after the mount.
	Propagation []uint

	// Data are the options that none of the above is, in order: they go to the
	// filesystem.
	Data []string

	IDMap          bool // idmap or ridmap
	RecursiveIDMap bool // ridmap
	TmpCopyUp      bool // copy what a tmpfs covers up into it
	CopySymlink    bool // bind mount of a symlink: make a copy of the link instead (crun)
	SrcNoFollow    bool // bind the source itself if it is a symlink (crun)
	DestNoFollow   bool // mount over the destination itself if it is a symlink (crun)
}

// IsBind says whether the options make the mount a bind mount.
func (o *Options) IsBind() bool { return o.Flags&unix.MS_BIND != 0 }

// IsRemount says whether the options only change a mount that is there.
func (o *Options) IsRemount() bool { return o.Flags&unix.MS_REMOUNT != 0 }

// kind is what an option sets.
type kind uint8

const (
	setFlag     kind = iota // Flags
	clearFlag               // Cleared
	setRecAttr              // RecAttrSet
	clearRec                // RecAttrClr
	propagation             // Propagation
	idmap
	ridmap
	tmpcopyup
	copySymlink
	srcNoFollow
	destNoFollow
)

type option struct {
	name string
	kind kind
	flag uint64
}

// table lists the options in the order of their names.
var table = [...]option{
	{"async", clearFlag, unix.MS_SYNCHRONOUS},
	{"atime", clearFlag, unix.MS_NOATIME},
	{"bind", setFlag, unix.MS_BIND},
	{"copy-symlink", copySymlink, 0},
	{"defaults", setFlag, 0},
	{"dest-nofollow", destNoFollow, 0},
	{"dev", clearFlag, unix.MS_NODEV},
	{"diratime", clearFlag, unix.MS_NODIRATIME},
	{"dirsync", setFlag, unix.MS_DIRSYNC},
	{"exec", clearFlag, unix.MS_NOEXEC},
	{"idmap", idmap, 0},
	{"iversion", setFlag, unix.MS_I_VERSION},
	{"lazytime", setFlag, unix.MS_LAZYTIME},
	{"loud", clearFlag, unix.MS_SILENT},
	{"mand", setFlag, unix.MS_MANDLOCK},
	{"noatime", setFlag, unix.MS_NOATIME},
	{"nodev", setFlag, unix.MS_NODEV},
	{"nodiratime", setFlag, unix.MS_NODIRATIME},
	{"noexec", setFlag, unix.MS_NOEXEC},
	{"noiversion", clearFlag, unix.MS_I_VERSION},
	{"nolazytime", clearFlag, unix.MS_LAZYTIME},
	{"nomand", clearFlag, unix.MS_MANDLOCK},
	{"norelatime", clearFlag, unix.MS_RELATIME},
	{"nostrictatime", clearFlag, unix.MS_STRICTATIME},
	{"nosuid", setFlag, unix.MS_NOSUID},
	{"nosymfollow", setFlag, unix.MS_NOSYMFOLLOW},
	{"private", propagation, unix.MS_PRIVATE},
	{"ratime", clearRec, unix.MOUNT_ATTR_NOATIME},
	{"rbind", setFlag, unix.MS_BIND | unix.MS_REC},
	{"rdev", clearRec, unix.MOUNT_ATTR_NODEV},
	{"rdiratime", clearRec, unix.MOUNT_ATTR_NODIRATIME},
	{"relatime", setFlag, unix.MS_RELATIME},
	{"remount", setFlag, unix.MS_REMOUNT},
	{"rexec", clearRec, unix.MOUNT_ATTR_NOEXEC},
	{"ridmap", ridmap, 0},
	{"rnoatime", setRecAttr, unix.MOUNT_ATTR_NOATIME},
	{"rnodev", setRecAttr, unix.MOUNT_ATTR_NODEV},
	{"rnodiratime", setRecAttr, unix.MOUNT_ATTR_NODIRATIME},
	{"rnoexec", setRecAttr, unix.MOUNT_ATTR_NOEXEC},
	{"rnorelatime", clearRec, unix.MOUNT_ATTR_RELATIME},
	{"rnostrictatime", clearRec, unix.MOUNT_ATTR_STRICTATIME},
	{"rnosuid", setRecAttr, unix.MOUNT_ATTR_NOSUID},
	{"rnosymfollow", setRecAttr, unix.MOUNT_ATTR_NOSYMFOLLOW},
	{"ro", setFlag, unix.MS_RDONLY},
	{"rprivate", propagation, unix.MS_PRIVATE | unix.MS_REC},
	{"rrelatime", setRecAttr, unix.MOUNT_ATTR_RELATIME},
	{"rro", setRecAttr, unix.MOUNT_ATTR_RDONLY},
	{"rrw", clearRec, unix.MOUNT_ATTR_RDONLY},
	{"rshared", propagation, unix.MS_SHARED | unix.MS_REC},
	{"rslave", propagation, unix.MS_SLAVE | unix.MS_REC},
	{"rstrictatime", setRecAttr, unix.MOUNT_ATTR_STRICTATIME},
	{"rsuid", clearRec, unix.MOUNT_ATTR_NOSUID},
	{"rsymfollow", clearRec, unix.MOUNT_ATTR_NOSYMFOLLOW},
	{"runbindable", propagation, unix.MS_UNBINDABLE | unix.MS_REC},
	{"rw", clearFlag, unix.MS_RDONLY},
	{"shared", propagation, unix.MS_SHARED},
	{"silent", setFlag, unix.MS_SILENT},
	{"slave", propagation, unix.MS_SLAVE},
	{"src-nofollow", srcNoFollow, 0},
	{"strictatime", setFlag, unix.MS_STRICTATIME},
	{"suid", clearFlag, unix.MS_NOSUID},
	{"symfollow", clearFlag, unix.MS_NOSYMFOLLOW},
	{"sync", setFlag, unix.MS_SYNCHRONOUS},
	{"tmpcopyup", tmpcopyup, 0},
	{"unbindable", propagation, unix.MS_UNBINDABLE},
}

// Known returns the names of all options that do not go to the filesystem, in
// order.
func Known() []string {
	names := make([]string, len(table))
	for i := range table {
		names[i] = table[i].name
	}
	return names
}

// PropagationFlags returns the MS_* flags of a propagation option, which is
// what linux.rootfsPropagation may name too. It is not ok for other names.
func PropagationFlags(name string) (flags uint, ok bool) {
	if o := lookup(name); o != nil && o.kind == propagation {
		return uint(o.flag), true
	}
	return 0, false
}

func lookup(name string) *option {
	lo, hi := 0, len(table)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch o := &table[mid]; {
		case o.name == name:
			return o
		case o.name < name:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil
}

// Parse reads the options of one mount. Empty strings mean nothing.
func Parse(options []string) Options {
	var o Options
	for _, name := range options {
		if name == "" {
			continue
		}
		opt := lookup(name)
		if opt == nil {
			o.Data = append(o.Data, name)
			continue
		}
		o.apply(opt)
	}
	return o
}

func (o *Options) apply(opt *option) {
	switch opt.kind {
	case setFlag:
		o.Flags |= opt.flag
		o.Cleared &^= opt.flag
	case clearFlag:
		o.Flags &^= opt.flag
		o.Cleared |= opt.flag
	case setRecAttr:
		o.clearATime(opt.flag)
		o.RecAttrSet |= opt.flag
		if opt.flag&unix.MOUNT_ATTR__ATIME == 0 {
			o.RecAttrClr &^= opt.flag
		}
	case clearRec:
		o.clearATime(opt.flag)
		o.RecAttrClr |= opt.flag
		o.RecAttrSet &^= opt.flag
	case propagation:
		o.Propagation = append(o.Propagation, uint(opt.flag))
	case idmap:
		o.IDMap, o.RecursiveIDMap = true, false
	case ridmap:
		o.IDMap, o.RecursiveIDMap = true, true
	case tmpcopyup:
		o.TmpCopyUp = true
	case copySymlink:
		o.CopySymlink = true
	case srcNoFollow:
		o.SrcNoFollow = true
	case destNoFollow:
		o.DestNoFollow = true
	}
}

// clearATime makes way for an access time mode, if attr is one: the modes are
// values of one field, which mount_setattr(2) wants cleared when it is set.
// (runc leaves the bits of earlier modes in; the call refuses the mixture.)
func (o *Options) clearATime(attr uint64) {
	if attr&unix.MOUNT_ATTR__ATIME == attr {
		o.RecAttrSet &^= unix.MOUNT_ATTR__ATIME
		o.RecAttrClr |= unix.MOUNT_ATTR__ATIME
	}
}
