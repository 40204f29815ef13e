package plan

import (
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/wire"
)

const (
	sIFMT  = unix.S_IFMT
	sIFBLK = unix.S_IFBLK
	sIFIFO = unix.S_IFIFO
)

// Options come from the command line.
type Options struct {
	ID           string
	NoPivot      bool
	NoNewKeyring bool
	PreserveFDs  int
	// Wait: the process waits for `start` before it runs the container's program.
	Wait bool
	// Recorded: the runtime records the container while the process is at work, which then need not say how far it is.
	Recorded bool
	// SystemdCgroup: systemd puts the process into its cgroup.
	SystemdCgroup bool
	// NoCgroup: the container has no cgroup of its own (rootless without delegation).
	NoCgroup bool
	// Env is appended to the process's environment (LISTEN_FDS, NOTIFY_SOCKET).
	Env []string
	// NotifyDir is a host directory with the sd_notify proxy's socket, mounted on /run/notify.
	NotifyDir string
}

// Facts are what the plan has to know of the host.
type Facts struct {
	EUID, EGID int
	// Unprivileged: the runtime lacks the host's root. It has another uid, or is root of a user namespace.
	Unprivileged bool
	// Permitted are the runtime's own capabilities, a bit each.
	Permitted uint64
	// Cgroup tells how the host's cgroups are laid out.
	Cgroup   CgroupLayout
	AppArmor bool
	SELinux  bool
	// Stat returns st_mode of a path on the host.
	Stat func(path string) (mode uint32, err error)
	// Readlink returns what a symbolic link on the host holds; an error if the path is none.
	Readlink func(path string) (string, error)
	// Landlock is set if the bundle asks for it.
	Landlock *LandlockFacts
	// Tree looks at a root filesystem: nil if it is not a unified tree.
	Tree func(rootfs string) (*Tree, error)
	// Home looks up a user's home directory in the passwd file of a root filesystem; "" if there is none.
	Home func(rootfs string, uid uint32) string
}

// builder carries what the parts of Build share.
type builder struct {
	b     *spec.Bundle
	s     *specs.Spec
	linux *specs.Linux
	facts *Facts
	opt   *Options
	p     *Plan
	// userns: the process lives in a user namespace other than the runtime's.
	userns bool
	// mntns: the container has a mount namespace of its own, new or joined.
	mntns bool
	errs  spec.Faults
}

// Build turns a bundle into a plan. The error lists every fault that the host's facts add to what spec.Load has checked
// (missing mount sources, an LSM that is not there).
func Build(bundle *spec.Bundle, facts *Facts, opt *Options) (*Plan, error) {
	b := &builder{b: bundle, s: bundle.Spec, linux: bundle.Spec.Linux, facts: facts, opt: opt}
	if b.linux == nil {
		b.linux = &specs.Linux{}
	}
	b.p = &Plan{ID: opt.ID, Warnings: bundle.Warnings, Rootfs: b.rootfs()}
	p := b.p

	p.Untraceable = facts.EUID == 0 && b.can(unix.CAP_SYS_PTRACE)
	b.namespaces()
	b.userns = p.Clone.Has(unix.CLONE_NEWUSER) || p.Clone.Joins(unix.CLONE_NEWUSER)
	b.mntns = p.Clone.Has(unix.CLONE_NEWNS) || p.Clone.Joins(unix.CLONE_NEWNS)
	b.overlay()
	b.network()

	// In a user namespace the process has no privilege over the host's limits: what may go beyond them comes before it
	// joins one; of a process that is born in a new one the runtime sets it, at StageIDs.
	if p.Clone.Joins(unix.CLONE_NEWUSER) && !p.Clone.Has(unix.CLONE_NEWUSER) {
		b.oomScoreAdj()
		b.rlimits()
	}
	// Identity in the namespaces first: nothing works in a user namespace before its maps are written.
	if p.Clone.Has(unix.CLONE_NEWUSER) {
		b.await("linux.uidMappings", StageIDs)
	}
	b.joinInside()
	if b.userns {
		b.newNamespaces(early, false)
		if b.mntns {
			b.add(OpenRoot{"root.path", p.Rootfs})
		}
		b.add(BecomeRoot{"linux.namespaces", b.keepGroups()})
		b.dumpable()
		b.newNamespaces(^uintptr(early), b.forks())
	}

	// The cgroup before the cgroup namespace, whose root it becomes, and before anything costs memory.
	if opt.SystemdCgroup && !opt.NoCgroup {
		b.await("linux.cgroupsPath", StageCgroup)
	}
	if !opt.NoCgroup || p.Clone.Has(unix.CLONE_NEWCGROUP) {
		b.add(JoinCgroup{Origin: "linux.cgroupsPath", NewNamespace: p.Clone.Has(unix.CLONE_NEWCGROUP)})
	}
	b.allCPUs() // a runtime that is kept to some, by its service manager, would keep the container there
	b.add(NewSession{Default})
	b.early()

	if b.mntns || len(b.s.Mounts) > 0 || len(b.linux.Devices) > 0 {
		b.filesystem()
	} else {
		b.hooksStage()
		if p.Rootfs != "" && p.Rootfs != "/" {
			b.add(Chroot{"root.path", p.Rootfs})
		}
	}
	b.process()
	for _, s := range p.Steps {
		if a, ok := s.(Await); ok {
			p.Stages = append(p.Stages, a.Stage)
		}
	}
	if len(b.errs) > 0 {
		return nil, b.errs
	}
	return p, nil
}

// keepGroups: an annotation that Podman gives for --group-add=keep-groups, and crun knows.
func (b *builder) keepGroups() bool { return b.s.Annotations["run.oci.keep_original_groups"] == "1" }

// dumpable follows each change of ids in a new user namespace, where the runtime has no privilege over its process after it.
func (b *builder) dumpable() {
	if b.p.Clone.Has(unix.CLONE_NEWUSER) && !b.can(unix.CAP_SYS_PTRACE) {
		b.add(Dumpable{Default})
	}
}

func (b *builder) add(s Step) { b.p.Steps = append(b.p.Steps, s) }

func (b *builder) await(at Origin, s Stage) { b.add(Await{at, s}) }

func (b *builder) fault(at string, msg string) {
	b.errs = append(b.errs, spec.Fault{Path: at, Msg: msg})
}

func (b *builder) warn(msg string) { b.p.Warnings = append(b.p.Warnings, msg) }

// rootfs is the absolute path of the root filesystem.
func (b *builder) rootfs() string {
	if b.s.Root == nil {
		return ""
	}
	if path.IsAbs(b.s.Root.Path) {
		return path.Clean(b.s.Root.Path)
	}
	return path.Join(b.b.Dir, b.s.Root.Path)
}

// filesystem is everything that happens to mounts, in order. Up to pivot_root the host's tree is still there: sources are
// resolved in it, while targets are only ever resolved below the descriptor of the new root.
//
// Without a mount namespace in the config, all of it is done in the caller's: what the config asks for is done or is an
// error. Delete unmounts it.
func (b *builder) filesystem() {
	b.p.CallerMounts = !b.mntns
	flags, deep, named, at := b.propagation()
	// Nothing of what follows may reach the host. A rootfs that shall share its mounts with the host (shared) keeps its
	// peers; then only the mount it lies in is made private.
	if b.p.CallerMounts {
		flags = 0
	} else if flags == unix.MS_SHARED {
		b.add(Propagation{Origin: at, Path: "/", Flags: unix.MS_SHARED, Deep: deep, Named: named})
	} else {
		b.add(Propagation{Origin: Default, Path: "/", Flags: unix.MS_SLAVE, Deep: true, Named: "rslave"})
	}
	root := MountRoot{Origin: "root.path", Path: b.p.Rootfs, ParentPrivate: flags == unix.MS_SHARED, Private: b.p.CallerMounts, Overlay: b.p.Overlay}
	if root.Overlay != nil {
		root.Origin = root.Overlay.Origin
	}
	b.add(root)

	b.mounts()
	if b.setupDev() {
		b.devices()
		if p := b.s.Process; p != nil && !p.Terminal {
			b.add(NullStdio{Origin: Default})
		}
	} else {
		b.boundDevices()
	}
	b.terminal()
	if p := b.s.Process; p != nil && p.Cwd != "" && p.Cwd != "/" {
		b.add(Directory{"process.cwd", p.Cwd})
	}

	// Hooks come while the rootfs can still be changed: what they add (devices, libraries) must not meet a read-only root.
	b.hooksStage()

	if b.s.Root != nil && b.s.Root.Readonly {
		b.add(ReadonlyRoot{"root.readonly"})
	}
	b.readonlyMounts()
	b.sysctls()
	for i, p := range b.linux.ReadonlyPaths {
		b.add(ReadonlyPath{at1("linux.readonlyPaths", i), path.Clean(p)})
	}
	for i, p := range b.linux.MaskedPaths {
		b.add(MaskPath{at1("linux.maskedPaths", i), path.Clean(p)})
	}
	if b.b.VServer.Net.HideNetif {
		for _, p := range [...]string{"/sys/class/net", "/sys/devices/virtual/net"} {
			b.add(MaskPath{Origin(spec.AnnotationPath("net.hide-netif")), p})
		}
	}
	if b.p.CallerMounts {
		b.add(Chroot{"root.path", b.p.Rootfs})
		return
	}
	b.add(PivotRoot{Origin: "root.path", Move: b.opt.NoPivot})
	if flags != 0 && flags != unix.MS_SLAVE || flags == unix.MS_SLAVE && !deep {
		b.add(Propagation{Origin: at, Path: "/", Flags: flags, Deep: deep, Named: named})
	}
}

// readonlyMounts makes mounts read-only that had to stay writable until everything in them was made, unless a remount has
// it otherwise.
func (b *builder) readonlyMounts() {
	var late []ReadonlyMount
	for _, s := range b.p.Steps {
		m, ok := s.(Mount)
		switch {
		case !ok:
		case m.DelayReadonly:
			late = append(late, ReadonlyMount{m.Origin, m.Target})
		case m.Kind == MountChange && (m.Clear|m.RecClear)&unix.MOUNT_ATTR_RDONLY != 0:
			kept := late[:0]
			for _, l := range late {
				if l.Path != m.Target {
					kept = append(kept, l)
				}
			}
			late = kept
		}
	}
	for _, l := range late {
		b.add(l)
	}
}

// early are settings that need no root filesystem and want the runtime's own privileges.
func (b *builder) early() {
	if !b.userns {
		b.oomScoreAdj()
	}
	if b.s.Hostname != "" {
		b.add(Hostname{"hostname", b.s.Hostname})
	}
	if b.s.Domainname != "" {
		b.add(Domainname{"domainname", b.s.Domainname})
	}
	for _, n := range b.p.Clone.New {
		if n.Flag == unix.CLONE_NEWNET {
			b.add(Loopback{n.Origin})
		}
	}
	if !b.mntns {
		b.sysctls()
	}
}

func (b *builder) oomScoreAdj() {
	if p := b.s.Process; p != nil && p.OOMScoreAdj != nil {
		b.add(OOMScoreAdj{"process.oomScoreAdj", *p.OOMScoreAdj})
	}
}

// rlimits sets the limits as far as the process can still work with them.
func (b *builder) rlimits() {
	if b.s.Process == nil {
		return
	}
	for i := range b.s.Process.Rlimits {
		b.rlimit(at1("process.rlimits", i), &b.s.Process.Rlimits[i], false)
	}
}

func (b *builder) hooksStage() {
	b.netDevices()
	h := b.s.Hooks
	//lint:ignore SA1019 deprecated in the specification, and used
	if h != nil && len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0 {
		b.await("hooks", StageHooks)
	}
}

// netDevices has the host's network devices moved before the hooks, which may look for them.
func (b *builder) netDevices() {
	if len(b.linux.NetDevices) == 0 {
		return
	}
	for _, host := range wire.SortedKeys(b.linux.NetDevices) {
		d := NetDevice{Origin: Origin(wire.AppendKey([]byte("linux.netDevices"), host)), Host: host, Name: b.linux.NetDevices[host].Name}
		if d.Name == "" {
			d.Name = host
		}
		b.p.NetDevices = append(b.p.NetDevices, d)
	}
	b.await("linux.netDevices", StageNetDevices)
}
