package cgroup

// Step is one thing that the manager will do, for people to read.
type Step struct {
	Op     string // "mkdir", "write", "devices" or "systemd"
	Path   string // the directory, file or unit
	Value  string // what is written, or the device rule
	Origin string // place in config.json, "" if by default
}

// Steps lists what Create, Set and ApplyPid will do, in order. It looks at nothing.
func (m *Manager) Steps() []Step {
	var steps []Step
	if m.driver == DriverSystemd {
		steps = append(steps, Step{"systemd", m.unit.unit(), m.unit.slice, placePath})
	}
	origin := ""
	if m.explicit {
		origin = placePath
	}
	for i := range m.dirs {
		steps = append(steps, Step{"mkdir", m.dirs[i].path, "", origin})
	}
	for i := range m.writes {
		w := &m.writes[i]
		path := w.file
		if d := m.dirFor(w.ctl); d != nil {
			path = d.path + "/" + w.file
		}
		steps = append(steps, Step{"write", path, w.val, w.place})
	}
	if m.driver == DriverNone {
		return steps
	}
	where := m.Path("devices")
	if where == "" {
		where = m.Path("")
	}
	for i, r := range m.rules {
		origin := placeDevices + "[" + itoa(i) + "]"
		if r.byDefault {
			origin = ""
		}
		steps = append(steps, Step{"devices", where, verb(r.allow) + " " + r.String(), origin})
	}
	return steps
}
