package plan

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
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
		if path.Clean("/"+m.Destination) != "/dev" {
			continue
		}
		if m.Type == "bind" {
			return false
		}
		for _, o := range m.Options {
			if o == "bind" || o == "rbind" {
				return false
			}
		}
	}
	return true
}

func (b *builder) devices() {
	bind := b.userns || b.facts.Unprivileged
	for i := range b.linux.Devices {
		d := &b.linux.Devices[i]
		at := at1("linux.devices", i)
		dev := Device{Origin: at, Path: path.Clean("/" + d.Path), Major: uint32(d.Major), Minor: uint32(d.Minor), Bind: bind, Strict: true, Mode: 0o666}
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
		// /dev/ptmx is a link into the container's own devpts, whatever the list says.
		if dev.Path == "/dev/ptmx" {
			continue
		}
		b.add(dev)
	}
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
