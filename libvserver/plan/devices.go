package plan

import (
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/mountopt"
)

// defaultDevices are always supplied (runtime-spec, config-linux.md "Default Devices").
var defaultDevices = [...]struct {
	path         string
	major, minor uint32
}{
	{"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7}, {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
}

// setupDev tells if /dev is the runtime's to fill: not if the config binds a ready one there.
func (b *builder) setupDev() bool {
	for i := range b.s.Mounts {
		m := &b.s.Mounts[i]
		if clean(m.Destination) != "/dev" {
			continue
		}
		if o := mountopt.Parse(m.Options); spec.IsBind(m, &o) && !o.IsRemount() {
			return false
		}
	}
	return true
}

// devices fills /dev, and adds what the list has elsewhere.
func (b *builder) devices() {
	for i := range b.linux.Devices {
		// /dev/ptmx is a link into the container's own devpts, whatever the list says.
		if d := b.device(i, false); d.Path != "/dev/ptmx" {
			b.add(d)
		}
	}
	bind := b.bindDevices()
	for _, d := range defaultDevices {
		if !b.listed(d.path) {
			b.add(Device{Origin: Default, Path: d.path, Mode: unix.S_IFCHR | 0o666, Major: d.major, Minor: d.minor, Bind: bind})
		}
	}
	b.add(Symlink{Origin: Default, Path: "/dev/ptmx", Target: "pts/ptmx", Replace: true})
	if b.mounted("/proc") {
		b.add(Symlink{Origin: Default, Path: "/dev/fd", Target: "/proc/self/fd"})
		b.add(Symlink{Origin: Default, Path: "/dev/stdin", Target: "/proc/self/fd/0"})
		b.add(Symlink{Origin: Default, Path: "/dev/stdout", Target: "/proc/self/fd/1"})
		b.add(Symlink{Origin: Default, Path: "/dev/stderr", Target: "/proc/self/fd/2"})
		b.add(Symlink{Origin: Default, Path: "/dev/core", Target: "/proc/kcore", IfExists: "/proc/kcore"})
	}
}

// boundDevices are those of a container with a /dev that is bound: what the list has in it must be there, for nothing is
// made in what is the host's.
func (b *builder) boundDevices() {
	for i := range b.linux.Devices {
		if d := b.device(i, true); d.Path != "/dev/ptmx" {
			b.add(d)
		}
	}
}

// bindDevices tells if mknod(2) is not for the container's process.
func (b *builder) bindDevices() bool { return b.userns || b.facts.Unprivileged }

// device is entry i of linux.devices; /dev may be bound.
func (b *builder) device(i int, bound bool) Device {
	d := &b.linux.Devices[i]
	dev := Device{Origin: at1("linux.devices", i), Path: path.Clean("/" + d.Path), Major: uint32(d.Major), Minor: uint32(d.Minor),
		Bind: b.bindDevices(), Mode: 0o666}
	if d.FileMode != nil {
		dev.Mode = uint32(*d.FileMode) & 0o7777
	}
	switch d.Type {
	case "c", "u":
		dev.Mode |= unix.S_IFCHR
	case "b":
		dev.Mode |= unix.S_IFBLK
	case "p":
		dev.Mode |= unix.S_IFIFO
		dev.Major, dev.Minor, dev.Bind = 0, 0, false
	}
	if d.UID != nil {
		dev.UID = *d.UID
	}
	if d.GID != nil {
		dev.GID = *d.GID
	}
	if dev.Existing = bound && strings.HasPrefix(dev.Path, "/dev/"); dev.Existing {
		return dev
	}
	if dev.Bind && !b.facts.Unprivileged && b.can(unix.CAP_MKNOD) && b.p.Clone.Has(unix.CLONE_NEWUSER) {
		b.nodeFromParent(&dev, d)
	}
	return dev
}

// nodeFromParent arranges for a node of the runtime's making where the host's would not be what is asked for.
func (b *builder) nodeFromParent(dev *Device, d *specs.LinuxDevice) {
	mode, err := b.facts.Stat(dev.Path)
	if d.FileMode == nil && d.UID == nil && d.GID == nil && err == nil && mode&sIFMT == dev.Mode&sIFMT {
		return
	}
	dev.FromParent = true
	if b.facts.SELinux {
		dev.Label = b.linux.MountLabel
	}
	for _, m := range [...]struct {
		key  string
		id   uint32
		maps []specs.LinuxIDMapping
		host *uint32
	}{{"uid", dev.UID, b.linux.UIDMappings, &dev.HostUID}, {"gid", dev.GID, b.linux.GIDMappings, &dev.HostGID}} {
		id, ok := spec.MapID(m.maps, m.id)
		if !ok {
			b.fault(dev.At()+"."+m.key, strconv.FormatUint(uint64(m.id), 10)+" is not mapped by linux."+m.key+"Mappings")
		}
		*m.host = id
	}
}

func (b *builder) listed(p string) bool {
	for i := range b.linux.Devices {
		if path.Clean("/"+b.linux.Devices[i].Path) == p {
			return true
		}
	}
	return false
}

// mounted tells if the config mounts something on p.
func (b *builder) mounted(p string) bool {
	for i := range b.s.Mounts {
		if path.Clean("/"+b.s.Mounts[i].Destination) == p {
			return true
		}
	}
	return false
}

// covered tells if the config mounts something on p or on a directory above it.
func (b *builder) covered(p string) bool {
	for i := range b.s.Mounts {
		d := path.Clean("/" + b.s.Mounts[i].Destination)
		if d == p || d == "/" || strings.HasPrefix(p, d+"/") {
			return true
		}
	}
	return false
}

func (b *builder) terminal() {
	p := b.s.Process
	if p == nil || !p.Terminal {
		return
	}
	t := Terminal{Wanted: true}
	if p.ConsoleSize != nil {
		t.Width, t.Height = uint16(p.ConsoleSize.Width), uint16(p.ConsoleSize.Height)
	}
	b.p.Console = t
	b.add(Console{Origin: "process.terminal", Terminal: t, UID: p.User.UID, Mount: true})
}
