package cgroup

import (
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec/wire"
	"golang.org/x/sys/unix"
)

// State is what must be kept of a manager to find, use and remove the cgroup later.
type State struct {
	Driver   Driver
	Layout   host.Layout
	Rootless bool
	Unit     string // systemd: slice:prefix:name
	Dirs     []StateDir
}

// StateDir is the container's place in one hierarchy.
type StateDir struct {
	Hierarchy string // controllers as in /proc/self/cgroup, "" for version 2
	Path      string // absolute
	Made      int    // how many of the last components of Path were made for the container; 0: it was there before
}

// State returns what Create or ApplyPid have made.
func (m *Manager) State() State {
	s := State{Driver: m.driver, Layout: m.layout, Rootless: m.rootless}
	if m.driver == DriverSystemd {
		s.Unit = m.unit.String()
	}
	for i := range m.dirs {
		d := &m.dirs[i]
		s.Dirs = append(s.Dirs, StateDir{d.hier, d.path, d.made})
	}
	return s
}

// Intent returns what State will return after Create, if nobody else makes cgroups meanwhile: each directory that is not
// there is taken as going to be made. Saved before Create, it lets a later process undo a Create that was killed half
// way.
func (m *Manager) Intent() State {
	s := m.State()
	for i := range s.Dirs {
		d, base := &s.Dirs[i], m.dirs[i].base
		for p := d.Path; len(p) > base && unix.Access(p, unix.F_OK) == unix.ENOENT; p = parent(p) {
			d.Made++
		}
	}
	return s
}

// Load returns the manager of a cgroup made before. It looks at nothing. Limits and device rules are not part of the
// state: the manager can't Create, but everything else.
func Load(s State) *Manager {
	m := &Manager{driver: s.Driver, layout: s.Layout, rootless: s.Rootless, explicit: true}
	if p := strings.SplitN(s.Unit, ":", 3); len(p) == 3 {
		m.unit = unitName{p[0], p[1], p[2]}
	}
	for _, d := range s.Dirs {
		if !strings.HasPrefix(d.Path, host.CgroupRoot+"/") || hasDotDot(d.Path) {
			continue // not ours: never to be written to or removed
		}
		base := baseOf(d.Path, d.Hierarchy, s.Layout)
		made := min(d.Made, strings.Count(d.Path[base:], "/")) // never the mount point
		m.dirs = append(m.dirs, dir{hier: d.Hierarchy, path: d.Path, base: base, made: made, fd: -1})
	}
	return m
}

func hasDotDot(path string) bool {
	for c := range strings.SplitSeq(path, "/") {
		if c == ".." {
			return true
		}
	}
	return false
}

// baseOf returns the length of the mount point at the start of a path.
func baseOf(path, hier string, l host.Layout) int {
	n := len(host.CgroupRoot)
	if l == host.CgroupV2 && hier == "" || len(path) <= n {
		return n
	}
	if i := strings.IndexByte(path[n+1:], '/'); i >= 0 {
		return n + 1 + i
	}
	return len(path)
}

// AppendJSON appends the state as a JSON object.
func (s *State) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"driver":`...)
	dst = wire.AppendString(dst, s.Driver.String())
	dst = append(dst, `,"layout":`...)
	dst = wire.AppendString(dst, s.Layout.String())
	if s.Rootless {
		dst = append(dst, `,"rootless":true`...)
	}
	if s.Unit != "" {
		dst = append(dst, `,"unit":`...)
		dst = wire.AppendString(dst, s.Unit)
	}
	dst = append(dst, `,"dirs":[`...)
	for i, d := range s.Dirs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"hierarchy":`...)
		dst = wire.AppendString(dst, d.Hierarchy)
		dst = append(dst, `,"path":`...)
		dst = wire.AppendString(dst, d.Path)
		dst = append(dst, `,"made":`...)
		dst = wire.AppendInt(dst, int64(d.Made))
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// AppendPathsJSON appends the directories as runc's state.json has them under cgroup_paths: an object of controllers.
func (s *State) AppendPathsJSON(dst []byte) []byte {
	dst = append(dst, '{')
	sep := false
	for _, d := range s.Dirs {
		for c := range strings.SplitSeq(d.Hierarchy, ",") {
			if sep {
				dst = append(dst, ',')
			}
			sep = true
			dst = append(wire.AppendString(dst, c), ':')
			dst = wire.AppendString(dst, d.Path)
		}
	}
	return append(dst, '}')
}

// ReadState consumes what AppendJSON printed. The strings are copies. Unknown members are passed over.
func ReadState(r *wire.Reader) State {
	var s State
	if !r.BeginObject() {
		return s
	}
	for r.NextKey() {
		switch r.Key() {
		case "driver":
			switch r.String() {
			case "cgroupfs":
				s.Driver = DriverCgroupfs
			case "systemd":
				s.Driver = DriverSystemd
			}
		case "layout":
			s.Layout = parseLayout(r.String())
		case "rootless":
			s.Rootless = r.Bool()
		case "unit":
			s.Unit = strings.Clone(r.String())
		case "dirs":
			if !r.BeginArray() {
				continue
			}
			for r.NextElem() {
				s.Dirs = append(s.Dirs, readStateDir(r))
			}
		default:
			r.Skip()
		}
	}
	return s
}

func readStateDir(r *wire.Reader) StateDir {
	var d StateDir
	if !r.BeginObject() {
		return d
	}
	for r.NextKey() {
		switch r.Key() {
		case "hierarchy":
			d.Hierarchy = strings.Clone(r.String())
		case "path":
			d.Path = strings.Clone(r.String())
		case "made":
			d.Made = int(r.Int64())
		default:
			r.Skip()
		}
	}
	return d
}

func parseLayout(s string) host.Layout {
	for _, l := range [...]host.Layout{host.CgroupV1, host.CgroupHybrid, host.CgroupV2} {
		if l.String() == s {
			return l
		}
	}
	return host.CgroupNone
}
