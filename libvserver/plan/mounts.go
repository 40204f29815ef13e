package plan

import (
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec/mountopt"
)

// mounts turns the mounts of config.json into steps, in their order.
func (b *builder) mounts() {
	for i := range b.s.Mounts {
		b.mount(at1("mounts", i), &b.s.Mounts[i])
	}
	if b.opt.NotifyDir != "" {
		b.add(Mount{Origin: Default, Kind: MountBind, Type: "bind", Source: b.opt.NotifyDir, Target: "/run/notify", FromParent: b.userns})
	}
}

func (b *builder) mount(at Origin, m *specs.Mount) {
	o := mountopt.Parse(m.Options)
	s := Mount{Origin: at, Type: m.Type, Source: m.Source, Target: clean(m.Destination), Data: o.Data,
		RecSet: o.RecAttrSet, RecClear: o.RecAttrClr, CopyUp: o.TmpCopyUp, NoFollowSource: o.SrcNoFollow, NoFollowTarget: o.DestNoFollow}
	s.Set, s.Clear, s.SuperFlags = attributes(o.Flags, o.Cleared)
	for _, p := range o.Propagation {
		s.Propagation = append(s.Propagation, PropagationFlag{Flag: uint64(p) &^ unix.MS_REC, Deep: p&unix.MS_REC != 0})
	}
	switch {
	case m.Type == "bind" || o.Flags&unix.MS_BIND != 0:
		s.Kind, s.Type = MountBind, "bind"
		s.Recursive = o.Flags&unix.MS_REC != 0
		s.Data, s.SuperFlags = nil, nil
		if o.CopySymlink && b.copySymlink(&s) {
			return
		}
		b.bind(&s, m, &o)
	case o.Flags&unix.MS_REMOUNT != 0:
		s.Kind = MountChange
	case m.Type == "cgroup" || m.Type == "cgroup2":
		b.cgroupMount(&s)
		return
	default:
		b.fsMount(&s)
	}
	if len(m.UIDMappings) > 0 || len(m.GIDMappings) > 0 || o.IDMap {
		b.idmap(&s, m, &o)
	}
	b.add(s)
}

// idmap arranges for an id-mapped mount. Without maps of its own it takes the container's (config.md, "idmap").
func (b *builder) idmap(s *Mount, m *specs.Mount, o *mountopt.Options) {
	s.IDMap = &MountIDMap{UIDs: idMaps(m.UIDMappings), GIDs: idMaps(m.GIDMappings), Recursive: o.RecursiveIDMap}
	if len(m.UIDMappings) == 0 {
		s.IDMap.UIDs, s.IDMap.GIDs = idMaps(b.linux.UIDMappings), idMaps(b.linux.GIDMappings)
		if len(s.IDMap.UIDs) == 0 || len(s.IDMap.GIDs) == 0 {
			b.fault(string(s.Origin), "an id-mapped mount needs uidMappings and gidMappings: the container has no new user namespace to take them from")
		}
	}
	if s.Kind != MountBind {
		b.fault(string(s.Origin), "only bind mounts can be id-mapped")
	}
	s.FromParent = true
}

// copySymlink puts a copy of a symbolic link in the place of a bind mount whose source is one (crun's copy-symlink).
func (b *builder) copySymlink(s *Mount) bool {
	source := s.Source
	if !path.IsAbs(source) {
		source = path.Join(b.b.Dir, source)
	}
	to, err := b.facts.Readlink(source)
	if err != nil {
		return false
	}
	b.add(Symlink{Origin: s.Origin, Path: s.Target, Target: to, Strict: true})
	return true
}

func (b *builder) fsMount(s *Mount) {
	switch s.Type {
	case "tmpfs":
		s.CoverMode = true
		for _, d := range s.Data {
			if strings.HasPrefix(d, "mode=") {
				s.CoverMode = false
			}
		}
		if s.Set&unix.MOUNT_ATTR_RDONLY != 0 {
			s.DelayReadonly = true
			s.Set &^= unix.MOUNT_ATTR_RDONLY
		}
	case "sysfs":
		if b.userns {
			s.Fallback = "/sys"
		}
	case "proc", "mqueue", "devpts":
	default:
		// A superblock on a device knows read-only itself; the virtual filesystems above share theirs with others.
		if s.Set&unix.MOUNT_ATTR_RDONLY != 0 {
			s.SuperFlags = append(s.SuperFlags, "ro")
		}
	}
	if b.linux.MountLabel != "" && b.facts.SELinux && s.Type != "proc" && s.Type != "sysfs" {
		s.Data = append(s.Data[:len(s.Data):len(s.Data)], "context="+b.linux.MountLabel)
	}
}

func (b *builder) bind(s *Mount, m *specs.Mount, o *mountopt.Options) {
	if m.Source == "" {
		b.fault(string(s.Origin)+".source", "a bind mount needs a source")
		return
	}
	if !path.IsAbs(m.Source) {
		s.Source = path.Join(b.b.Dir, m.Source)
	}
	s.FromParent = b.userns
	mode, err := b.facts.Stat(s.Source)
	switch {
	case err == nil:
		s.File = mode&sIFMT != unix.S_IFDIR
	case b.madeEarlier(s.Source):
		s.FromParent = false
	default:
		b.fault(string(s.Origin)+".source", s.Source+": "+errnoText(err))
	}
}

// madeEarlier tells if a path lies in the rootfs where an earlier mount will be: it may not exist before that.
func (b *builder) madeEarlier(source string) bool {
	inside, ok := strings.CutPrefix(source, strings.TrimSuffix(b.p.Rootfs, "/")+"/")
	if !ok {
		return false
	}
	for _, st := range b.p.Steps {
		if m, ok := st.(Mount); ok && (m.Target == "/"+inside || strings.HasPrefix("/"+inside, m.Target+"/")) {
			return true
		}
	}
	return false
}

func errnoText(err error) string {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err.Error()
		}
		err = u.Unwrap()
	}
}

// attributes translates MS_* flags of mount(2) into MOUNT_ATTR_* of mount_setattr(2), and the flags that belong to the
// superblock into their names for fsconfig(2).
func attributes(set, clr uint64) (attrSet, attrClr uint64, super []string) {
	pairs := [...]struct{ ms, attr uint64 }{
		{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY}, {unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID}, {unix.MS_NODEV, unix.MOUNT_ATTR_NODEV},
		{unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC}, {unix.MS_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME}, {unix.MS_NOSYMFOLLOW, unix.MOUNT_ATTR_NOSYMFOLLOW},
	}
	for _, p := range pairs {
		if set&p.ms != 0 {
			attrSet |= p.attr
		}
		if clr&p.ms != 0 {
			attrClr |= p.attr
		}
	}
	// The atime settings are one value, not bits: any of them replaces it whole.
	switch {
	case set&unix.MS_STRICTATIME != 0:
		attrSet, attrClr = attrSet|unix.MOUNT_ATTR_STRICTATIME, attrClr|unix.MOUNT_ATTR__ATIME
	case set&unix.MS_NOATIME != 0:
		attrSet, attrClr = attrSet|unix.MOUNT_ATTR_NOATIME, attrClr|unix.MOUNT_ATTR__ATIME
	case set&unix.MS_RELATIME != 0, clr&(unix.MS_NOATIME|unix.MS_STRICTATIME) != 0:
		attrClr |= unix.MOUNT_ATTR__ATIME
	}
	names := [...]struct {
		ms   uint64
		name string
	}{
		{unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"}, {unix.MS_LAZYTIME, "lazytime"}, {unix.MS_MANDLOCK, "mand"},
	}
	for _, n := range names {
		if set&n.ms != 0 {
			super = append(super, n.name)
		}
	}
	return attrSet, attrClr, super
}
