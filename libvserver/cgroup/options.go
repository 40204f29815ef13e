package cgroup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/host"
)

// Driver is who makes and removes the cgroup.
type Driver uint8

// The drivers.
const (
	DriverNone     Driver = iota // no cgroup: a rootless container without delegation
	DriverCgroupfs               // plain mkdir, write, rmdir
	DriverSystemd                // a transient scope or slice, over D-Bus
)

// String returns "none", "cgroupfs" or "systemd".
func (d Driver) String() string {
	switch d {
	case DriverCgroupfs:
		return "cgroupfs"
	case DriverSystemd:
		return "systemd"
	default:
		return "none"
	}
}

// Options says what is to be made.
type Options struct {
	ID string // container id: the last path component when Path is empty

	// Path is linux.cgroupsPath. For plain files: absolute means from the mount point of each hierarchy; relative
	// means below the runtime's own cgroup (version 1) or beside it (version 2, where a cgroup that holds processes
	// can't have controllers in its children), as runc does; empty means "/ID", or ID taken as relative when
	// Rootless. For systemd: slice:prefix:name, or empty.
	Path string

	Systemd  bool // use the systemd driver (--systemd-cgroup)
	Rootless bool // not real root: tolerate refusals where nothing was asked for
	Disabled bool // no cgroup at all

	Resources   *specs.LinuxResources
	Devices     []specs.LinuxDevice // linux.devices: an entry replaces the default rule of the same path, as in runc
	Annotations map[string]string   // org.systemd.property.* are given to systemd
	Origins     map[string]string   // places in config.json that stand for others: those of annotations, by the place of what they set

	// Layout is what host.CgroupLayout found, if the caller has asked already; zero to ask again.
	Layout host.Layout

	// OwnerUID is the host uid that shall own a version 2 cgroup (config-linux.md, "Cgroup ownership"); nil for no change.
	OwnerUID *uint32
}

// unitName is the three parts of a systemd cgroupsPath.
type unitName struct{ slice, prefix, name string }

func (u unitName) String() string { return u.slice + ":" + u.prefix + ":" + u.name }

// unit is the name of the systemd unit.
func (u unitName) unit() string {
	if strings.HasSuffix(u.name, ".slice") {
		return u.name
	}
	return u.prefix + "-" + u.name + ".scope"
}

const placePath = "linux.cgroupsPath"

// checkPath refuses what could name a place outside, or the root of a hierarchy itself, where limits and the device
// filter would hit the whole machine. It returns the path without empty components and ".".
func checkPath(p string) (string, error) {
	if strings.IndexByte(p, 0) >= 0 {
		return "", fmt.Errorf("%s: %q holds a NUL byte", placePath, p)
	}
	abs := strings.HasPrefix(p, "/")
	var b strings.Builder
	for c := range strings.SplitSeq(p, "/") {
		switch c {
		case "", ".":
			continue
		case "..":
			return "", fmt.Errorf("%s: %q must not contain \"..\"", placePath, p)
		}
		if len(c) > 255 {
			return "", fmt.Errorf("%s: a component of %q is longer than 255 bytes", placePath, p)
		}
		if abs || b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(c)
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("%s: %q is the root cgroup, which can't be a container's", placePath, p)
	}
	return b.String(), nil
}

// parseUnit takes a systemd cgroupsPath apart.
func parseUnit(p, id string) (unitName, error) {
	if p == "" {
		return unitName{prefix: "vsrun", name: id}, nil // the slice's default is the library's
	}
	parts := strings.Split(p, ":")
	if len(parts) != 3 {
		return unitName{}, fmt.Errorf("%s: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", placePath, p)
	}
	u := unitName{parts[0], parts[1], parts[2]}
	switch {
	case u.name == "":
		return u, fmt.Errorf("%s: %q names no unit", placePath, p)
	case strings.Contains(u.prefix, "/") || strings.Contains(u.name, "/") || strings.IndexByte(p, 0) >= 0:
		return u, fmt.Errorf("%s: %q: a unit name can't hold a slash or a NUL byte", placePath, p)
	}
	if u.slice != "" {
		if !isSlice(u.slice) {
			return u, fmt.Errorf("%s: %q: invalid slice name: %s", placePath, p, u.slice)
		}
	}
	return u, nil
}

// isSlice reports whether s can name a slice: a-b.slice is in a.slice, so there can be no empty part (systemd.slice(5)).
func isSlice(s string) bool {
	stem, ok := strings.CutSuffix(s, ".slice")
	if !ok || strings.Contains(stem, "/") {
		return false
	}
	return stem == "-" || stem != "" && stem[0] != '-' && stem[len(stem)-1] != '-' && !strings.Contains(stem, "--")
}

// cgroupPath is the path that the cgroupfs driver uses.
func (o *Options) cgroupPath() (string, error) {
	switch {
	case o.Path != "" && !o.Systemd:
		return checkPath(o.Path)
	case o.Rootless:
		return o.ID, nil
	}
	return "/" + o.ID, nil
}

// New works out where the cgroup will be and what will be written. It reads the layout of /sys/fs/cgroup, and for a
// relative path /proc/self/cgroup and /proc/self/mountinfo; it changes nothing. Every error of a value names its place
// in config.json.
func New(o Options) (*Manager, error) {
	if o.ID == "" || o.ID == "." || o.ID == ".." || strings.ContainsAny(o.ID, "/\x00") {
		return nil, fmt.Errorf("cgroup: %q can't be a container id", o.ID)
	}
	m := &Manager{layout: o.Layout, rootless: o.Rootless, explicit: o.Path != "", owner: o.OwnerUID}
	if o.Disabled {
		m.layout = host.CgroupNone
	} else if m.layout == host.CgroupNone {
		m.layout = host.CgroupLayout()
	}
	cgroupPath, err := o.cgroupPath()
	if err != nil {
		return nil, err
	}
	if m.res, err = convert(o.Resources); err != nil {
		return nil, err
	}
	if m.rules, err = deviceRules(o.Resources, o.Devices); err != nil {
		return nil, err
	}
	if o.Systemd && m.layout != host.CgroupNone {
		m.driver = DriverSystemd
		if m.unit, err = parseUnit(o.Path, o.ID); err != nil {
			return nil, err
		}
		if m.props, err = annotationProperties(o.Annotations); err != nil {
			return nil, err
		}
	} else if m.layout != host.CgroupNone {
		m.driver = DriverCgroupfs
		if m.dirs, err = findDirs(m.layout, cgroupPath); err != nil {
			return nil, err
		}
	}
	if o.Resources != nil {
		if m.writes, err = m.plan(&m.res, nil); err != nil {
			return nil, err
		}
		if len(o.Origins) > 0 {
			for i := range m.writes {
				if at, ok := o.Origins[m.writes[i].place]; ok {
					m.writes[i].place = at
				}
			}
		}
	}
	if m.driver == DriverNone {
		if !o.Rootless && !o.Disabled {
			return nil, errors.New("no cgroup hierarchy is mounted at " + host.CgroupRoot)
		}
		return m, m.checkNoLimits()
	}
	return m, nil
}
