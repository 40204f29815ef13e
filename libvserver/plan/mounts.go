package plan

import (
	"path"
	"strconv"
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
		// Read-only: a socket can be used all the same, but the host's directory is not the container's to fill.
		b.add(Mount{Origin: Default, Kind: MountBind, Type: "bind", Source: b.opt.NotifyDir, Target: "/run/notify", FromParent: b.userns,
			Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC})
	}
}

func (b *builder) mount(at Origin, m *specs.Mount) {
	o := mountopt.Parse(m.Options)
	bind := m.Type == "bind" || o.IsBind()
	if bind && o.CopySymlink && !o.IsRemount() && b.copySymlink(at, m) {
		return
	}
	s := Mount{Origin: at, Type: m.Type, Source: m.Source, Target: clean(m.Destination), Data: o.Data,
		RecSet: o.RecAttrSet, RecClear: o.RecAttrClr, CopyUp: o.TmpCopyUp, NoFollowSource: o.SrcNoFollow, NoFollowTarget: o.DestNoFollow}
	s.Set, s.Clear, s.SuperFlags = attributes(o.Flags, o.Cleared)
	if bind {
		b.superIgnored(at, &s)
	}
	for _, p := range o.Propagation {
		s.Propagation = append(s.Propagation, PropagationFlag{Flag: uint64(p) &^ unix.MS_REC, Deep: p&unix.MS_REC != 0})
	}
	switch {
	case o.IsRemount():
		s.Kind = MountChange
		b.remount(&s, bind, &o)
	case bind:
		s.Kind, s.Type = MountBind, "bind"
		s.Recursive = o.Flags&unix.MS_REC != 0
		b.bind(&s, m)
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

// superIgnored takes away what a bind mount cannot have: the options of the filesystem, which is the source's. spec.Load
// warns of those that only the filesystem would know.
func (b *builder) superIgnored(at Origin, s *Mount) {
	if len(s.SuperFlags) > 0 {
		b.warn(string(at) + ".options: ignoring what a bind mount cannot have: " + strings.Join(s.SuperFlags, ","))
	}
	s.Data, s.SuperFlags = nil, nil
}

// remount changes a mount that is there, its flags and, but with option bind, its filesystem. What is not named stays as
// it is, read-only is the mount's alone: its filesystem may be the host's.
func (b *builder) remount(s *Mount, bind bool, o *mountopt.Options) {
	if s.Target == "/dev" && s.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		s.DelayReadonly = true // it is still to be filled
		s.Set &^= unix.MOUNT_ATTR_RDONLY
	}
	if s.CopyUp {
		b.fault(string(s.Origin)+".options", "tmpcopyup can only be given to a new mount")
	}
	if bind {
		return
	}
	for _, f := range s.SuperFlags {
		if f == "iversion" {
			b.fault(string(s.Origin)+".options", "iversion can only be given to a new filesystem")
		}
	}
	for _, n := range [...]struct {
		flag uint64
		name string
	}{{unix.MS_SYNCHRONOUS, "async"}, {unix.MS_LAZYTIME, "nolazytime"}, {unix.MS_MANDLOCK, "nomand"}} {
		if o.Cleared&n.flag != 0 {
			s.SuperFlags = append(s.SuperFlags, n.name)
		}
	}
}

// copySymlink makes a link like the source instead of a mount, if the source is a link, as crun does.
func (b *builder) copySymlink(at Origin, m *specs.Mount) bool {
	if m.Source == "" || b.facts.Readlink == nil {
		return false
	}
	to, err := b.facts.Readlink(b.bindSource(m))
	if err != nil {
		return false
	}
	b.add(Symlink{Origin: at, Path: clean(m.Destination), Target: to, Strict: true})
	return true
}

// bindSource is the absolute path of a bind mount's source.
func (b *builder) bindSource(m *specs.Mount) string {
	if path.IsAbs(m.Source) {
		return m.Source
	}
	return path.Join(b.b.Dir, m.Source)
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

// fallBack names the host's mount that serves where root of a user namespace may not make one of its own: it has to own
// the namespace that the filesystem shows.
func (b *builder) fallBack(s *Mount, path string) {
	if b.userns || b.facts.Unprivileged {
		s.Fallback = path
	}
}

// dataOptions takes options apart as mount(2) does, which had them in one string: at commas, but for those in quotes, which
// labels have (context="system_u:object_r:container_file_t:s0:c1,c2"), and those behind a backslash, which paths have.
func dataOptions(list []string) []string {
	plain := true
	for _, o := range list {
		plain = plain && !strings.ContainsAny(o, ",\"")
	}
	if plain {
		return list
	}
	var out []string
	for _, o := range list {
		quoted, start := false, 0
		for i := 0; i <= len(o); i++ {
			switch {
			case i < len(o) && o[i] == '\\':
				i++
			case i < len(o) && o[i] == '"':
				quoted = !quoted
			case i == len(o) || o[i] == ',' && !quoted:
				if part := o[start:min(i, len(o))]; part != "" {
					out = append(out, unquoted(part))
				}
				start = i + 1
			}
		}
		if start < len(o) {
			out = append(out, unquoted(o[start:])) // it ends in a backslash
		}
	}
	return out
}

// unquoted takes the quotes from the value of a label.
func unquoted(o string) string {
	key, value, _ := strings.Cut(o, "=")
	if strings.HasSuffix(key, "context") && len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		return key + "=" + value[1:len(value)-1]
	}
	return o
}

func (b *builder) fsMount(s *Mount) {
	s.Data = dataOptions(s.Data)
	switch s.Type {
	case "tmpfs":
		s.CoverMode = true
		for _, d := range s.Data {
			if strings.HasPrefix(d, "mode=") {
				s.CoverMode = false
			}
		}
		if (s.Set|s.RecSet)&unix.MOUNT_ATTR_RDONLY != 0 {
			s.DelayReadonly = true
			s.Set &^= unix.MOUNT_ATTR_RDONLY
			s.RecSet &^= unix.MOUNT_ATTR_RDONLY
		}
	case "proc":
		if !b.own(unix.CLONE_NEWPID) {
			b.fallBack(s, "/proc")
		}
	case "mqueue":
		if !b.own(unix.CLONE_NEWIPC) {
			b.fallBack(s, "/dev/mqueue")
		}
	case "sysfs":
		b.fallBack(s, "/sys")
	case "devpts":
	default:
		// A superblock on a device knows read-only itself; the virtual filesystems above share theirs with others.
		if s.Set&unix.MOUNT_ATTR_RDONLY != 0 {
			s.SuperFlags = append(s.SuperFlags, "ro")
		}
	}
	if b.linux.MountLabel != "" && b.facts.SELinux {
		switch s.Type {
		case "proc", "sysfs", "cgroup2": // the policy labels their files, and the host has them, with no context
		case "mqueue": // the kernel made it with the ipc namespace, without a context, and refuses another
			s.Label = b.linux.MountLabel
		default:
			s.Data = append(s.Data[:len(s.Data):len(s.Data)], b.labelOption()+"="+b.linux.MountLabel)
		}
	}
}

// labelOption is the mount option that linux.mountLabel goes into: context, or what an annotation says that Podman gives (an
// option of its own since a filesystem that is mounted twice refuses another context), and crun knows.
func (b *builder) labelOption() string {
	const key = "run.oci.mount_context_type"
	switch v := b.s.Annotations[key]; v {
	case "":
		return "context"
	case "context", "fscontext", "defcontext", "rootcontext": // mount(8), "Mount options for SELinux"
		return v
	default:
		b.fault(`annotations["`+key+`"]`, "must be context, fscontext, defcontext or rootcontext (got "+strconv.Quote(v)+")")
		return "context"
	}
}

func (b *builder) bind(s *Mount, m *specs.Mount) {
	if m.Source == "" {
		b.fault(string(s.Origin)+".source", "a bind mount needs a source")
		return
	}
	s.Source = b.bindSource(m)
	s.FromParent = b.userns
	mode, err := b.facts.Stat(s.Source)
	if s.NoFollowSource && b.facts.Readlink != nil {
		if _, e := b.facts.Readlink(s.Source); e == nil {
			mode, err = unix.S_IFLNK, nil
		}
	}
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
// superblock into their names for fsconfig(2), of which iversion and silent are for mount(2) alone.
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
		{unix.MS_I_VERSION, "iversion"}, {unix.MS_SILENT, "silent"},
	}
	for _, n := range names {
		if set&n.ms != 0 {
			super = append(super, n.name)
		}
	}
	return attrSet, attrClr, super
}
