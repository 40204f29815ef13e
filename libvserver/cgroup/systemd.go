package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	systemdDbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/systemd"
	"github.com/vsrun/vsrun/libvserver/host"
)

// propertyPrefix begins the annotations that are properties of the unit, as in runc and crun.
const propertyPrefix = "org.systemd.property."

// annotationProperties reads org.systemd.property.NAME annotations: values in GVariant text form ("uint64 5000000",
// "'inactive-or-failed'"). Names that end in Sec are given to systemd in microseconds as USec, as D-Bus knows them.
// Properties that make systemd run something are refused: a scope has none, but a name check costs nothing.
func annotationProperties(annotations map[string]string) ([]systemdDbus.Property, error) {
	var props []systemdDbus.Property
	for _, k := range sortedKeys(annotations) {
		name, ok := strings.CutPrefix(k, propertyPrefix)
		if !ok {
			continue
		}
		if !isPropertyName(name) {
			return nil, fmt.Errorf("annotations[%q]: %q is not the name of a systemd property", k, name)
		}
		if strings.HasPrefix(name, "Exec") {
			return nil, fmt.Errorf("annotations[%q]: a container may not have systemd run commands", k)
		}
		v, err := dbus.ParseVariant(annotations[k], dbus.Signature{})
		if err == nil {
			if stem, ok := strings.CutSuffix(name, "Sec"); ok && stem != "" && stem[len(stem)-1] >= 'a' && stem[len(stem)-1] <= 'z' {
				name = stem + "USec"
				v, err = secToUSec(v)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("annotations[%q]: %q: %w", k, annotations[k], err)
		}
		props = append(props, systemdDbus.Property{Name: name, Value: v})
	}
	return props, nil
}

func isPropertyName(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return len(s) >= 3
}

func secToUSec(v dbus.Variant) (dbus.Variant, error) {
	const usec = 1000000
	var n uint64
	switch x := v.Value().(type) {
	case byte:
		n = uint64(x) * usec
	case int16:
		n = uint64(x) * usec
	case uint16:
		n = uint64(x) * usec
	case int32:
		n = uint64(x) * usec
	case uint32:
		n = uint64(x) * usec
	case int64:
		n = uint64(x) * usec
	case uint64:
		n = x * usec
	case float64:
		n = uint64(x * usec)
	default:
		return v, errors.New("not a number of seconds")
	}
	return dbus.MakeVariant(n), nil
}

// ApplyPid has systemd make the unit around a process, which must be waiting, and then sets limits and device rules.
// With another driver it does nothing. It takes several round trips on the bus, systemd's own work and, on version 1,
// the library's writes of the pid (see the package comment).
func (m *Manager) ApplyPid(pid int) error {
	if m.driver != DriverSystemd {
		return nil
	}
	lib, err := m.library()
	if err != nil {
		return fmt.Errorf("systemd unit %s: %w", m.unit.unit(), err)
	}
	if err := lib.Apply(pid); err != nil {
		return fmt.Errorf("systemd unit %s: %w", m.unit.unit(), err)
	}
	m.dirs = libraryDirs(lib.GetPaths(), m.layout)
	r := m.res.Resources
	r.SkipFreezeOnSet = true // the process waits, there is nothing to be kept from
	if err := lib.Set(&r); err != nil {
		return fmt.Errorf("systemd unit %s: %w", m.unit.unit(), err)
	}
	if err := m.setDevices(); err != nil {
		return err
	}
	// What the library leaves out.
	ws, err := m.plan(&m.res, nil)
	if err != nil {
		return err
	}
	return m.put(slices.DeleteFunc(ws, func(w write) bool { return w.flag&beyondLibrary == 0 }), nil)
}

// library returns the library's manager. It is told of no device rules, so it does not miss its devices package.
func (m *Manager) library() (cgroups.Manager, error) {
	if m.lib != nil {
		return m.lib, nil
	}
	props := m.props
	if m.layout != host.CgroupV2 && len(m.dirs) == 0 {
		devices, err := deviceProperties(m.rules)
		if err != nil {
			return nil, err
		}
		props = append(devices, props...)
	}
	res := m.res.Resources
	c := &cgroups.Cgroup{
		Name: m.unit.name, Parent: m.unit.slice, ScopePrefix: m.unit.prefix,
		Resources: &res, Systemd: true, SystemdProps: props, Rootless: m.rootless,
	}
	if m.owner != nil {
		uid := int(*m.owner)
		c.OwnerUID = &uid
	}
	var err error
	if m.layout == host.CgroupV2 {
		m.lib, err = systemd.NewUnifiedManager(c, m.Path(""))
	} else {
		var paths map[string]string
		if len(m.dirs) > 0 {
			paths = m.Paths()
		}
		m.lib, err = systemd.NewLegacyManager(c, paths)
	}
	if err != nil {
		m.lib = nil // not a nil pointer in an interface
	}
	return m.lib, err
}

// libraryDirs turns the library's paths into ours: one for each hierarchy, the version 2 tree last.
func libraryDirs(paths map[string]string, l host.Layout) []dir {
	var dirs []dir
	add := func(ctl, path string) {
		for i := range dirs {
			if d := &dirs[i]; d.path == path {
				d.hier += "," + ctl // mounted together
				return
			}
		}
		dirs = append(dirs, dir{hier: ctl, path: path, base: baseOf(path, ctl, l), made: 1, fd: -1})
	}
	for _, ctl := range sortedKeys(paths) {
		if ctl != "" {
			add(ctl, paths[ctl])
		}
	}
	if p, ok := paths[""]; ok {
		add("", p)
	}
	return dirs
}

// updateUnit tells systemd of limits that have been written, so that it won't write its own over them.
func (m *Manager) updateUnit(res *resources) error {
	lib, err := m.library()
	if err != nil {
		return fmt.Errorf("systemd unit %s: %w", m.unit.unit(), err)
	}
	r := res.Resources
	r.SkipDevices, r.SkipFreezeOnSet = true, true
	if (r.CpuQuota == 0) != (r.CpuPeriod == 0) { // systemd takes both or the default of the other
		m.currentBandwidth(&r)
	}
	if err := lib.Set(&r); err != nil {
		return fmt.Errorf("systemd unit %s: %w", m.unit.unit(), err)
	}
	return nil
}

// currentBandwidth fills in the one of quota and period that is missing.
func (m *Manager) currentBandwidth(r *cgroups.Resources) {
	quota, period, _ := strings.Cut(m.currentValue("cpu.max"), " ")
	if d := m.dirOf("cpu"); d != nil && !d.v2() {
		quota, _ = readValue(d.path + "/cpu.cfs_quota_us")
		period, _ = readValue(d.path + "/cpu.cfs_period_us")
	}
	if q, err := strconv.ParseInt(quota, 10, 64); err == nil && r.CpuQuota == 0 {
		r.CpuQuota = q
	}
	if p, err := strconv.ParseUint(period, 10, 64); err == nil && r.CpuPeriod == 0 {
		r.CpuPeriod = p
	}
}

// stopUnit stops the unit, if there is one.
func (m *Manager) stopUnit() error {
	if len(m.dirs) == 0 {
		return nil
	}
	lib, err := m.library()
	if err == nil {
		err = lib.Destroy()
	}
	if err != nil {
		return fmt.Errorf("systemd unit %s: %w", m.unit.unit(), err)
	}
	return nil
}

// deviceAllow is the D-Bus type a(ss) of DeviceAllow.
type deviceAllow struct{ Path, Perms string }

// deviceProperties are the properties that make systemd agree with our device rules on version 1. It rewrites device
// cgroups when it reads its units again, so it must have the list. It can't do "all but" nor a minor number of any
// major: then it gets less, and the next daemon-reload may deny more than the config says.
//
// They are given when the unit is made. Given later, as the library does, they make systemd add the devices controller
// to a running unit, and doing so systemd 252 moves its processes to the slice's device cgroup, out of ours.
//
// On version 2 nothing is said of devices, and the rules are our own program's alone. If systemd attached one too, it
// would put its own back at every daemon-reload, and so take away devices that hooks (GPU toolkits) have allowed since;
// asked for nothing, it attaches none and lets others' be.
func deviceProperties(rules []rule) ([]systemdDbus.Property, error) {
	prop := func(name string, v any) systemdDbus.Property {
		return systemdDbus.Property{Name: name, Value: dbus.MakeVariant(v)}
	}
	allow, exceptions, err := fold(rules)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", placeDevices, err)
	}
	if allow && len(exceptions) == 0 {
		return nil, nil
	}
	props := []systemdDbus.Property{prop("DevicePolicy", "strict")}
	if allow {
		return props, nil
	}
	var list []deviceAllow
	for _, e := range exceptions {
		kind := "char"
		if e.typ == 'b' {
			kind = "block"
		}
		path := "/dev/" + kind + "/" + strconv.FormatInt(e.major, 10) + ":" + strconv.FormatInt(e.minor, 10)
		switch {
		case e.major == anyNumber && e.minor == anyNumber:
			path = kind + "-*"
		case e.major == anyNumber:
			continue
		case e.minor == anyNumber:
			path = kind + "-" + strconv.FormatInt(e.major, 10) // systemd 240
		}
		list = append(list, deviceAllow{path, accessString(e.access)})
	}
	return append(props, prop("DeviceAllow", list)), nil
}
