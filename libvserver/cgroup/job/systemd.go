package job

import (
	"errors"
	"fmt"

	systemdDbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/systemd"
)

// manager returns the library's manager. It is told of no device rules, so it does not miss its devices package.
func (r *request) manager(props []systemdDbus.Property) (cgroups.Manager, error) {
	if r.Resources == nil {
		r.Resources = &cgroups.Resources{}
	}
	r.Resources.SkipDevices = true
	r.Resources.SkipFreezeOnSet = true // nothing is done to devices that a process would have to be kept from
	res := *r.Resources
	c := &cgroups.Cgroup{
		Name: r.Unit[2], Parent: r.Unit[0], ScopePrefix: r.Unit[1],
		Resources: &res, Systemd: true, SystemdProps: props, Rootless: r.Rootless, OwnerUID: r.Owner,
	}
	if r.Layout == "v2" {
		m, err := systemd.NewUnifiedManager(c, r.Paths[""])
		if err != nil {
			return nil, err // not a nil pointer in an interface
		}
		return m, nil
	}
	m, err := systemd.NewLegacyManager(c, r.Paths)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func apply(r *request) (any, error) {
	props, err := properties(r.Properties)
	if err != nil {
		return nil, err
	}
	m, err := r.manager(append(r.deviceProperties(), props...))
	if err != nil {
		return nil, err
	}
	if err := m.Apply(r.Pid); err != nil {
		return nil, fmt.Errorf("start it around process %d: %w", r.Pid, err)
	}
	if err := m.Set(r.Resources); err != nil {
		return m.GetPaths(), fmt.Errorf("set its limits: %w", err)
	}
	return m.GetPaths(), nil
}

func set(r *request) (any, error) {
	m, err := r.manager(nil)
	if err != nil {
		return nil, err
	}
	if err := m.Set(r.Resources); err != nil {
		return nil, fmt.Errorf("set its limits: %w", err)
	}
	return nil, nil
}

func stop(r *request) (any, error) {
	m, err := r.manager(nil)
	if err != nil {
		return nil, err
	}
	if err := m.Destroy(); err != nil {
		return nil, fmt.Errorf("stop it: %w", err)
	}
	return nil, nil
}

func attach(r *request) (any, error) {
	m, err := r.manager(nil)
	if err != nil {
		return nil, err
	}
	if err := m.AddPid(r.Sub, r.Pid); err != nil {
		return nil, fmt.Errorf("move process %d into it: %w", r.Pid, err)
	}
	return nil, nil
}

func owner(*request) (any, error) { return systemd.DetectUID() }

func check(r *request) (any, error) {
	_, err := properties(r.Properties)
	return nil, err
}

// deviceAllow is the D-Bus type a(ss) of DeviceAllow.
type deviceAllow struct{ Path, Perms string }

func (r *request) deviceProperties() []systemdDbus.Property {
	if r.DevicePolicy == "" {
		return nil
	}
	props := []systemdDbus.Property{{Name: "DevicePolicy", Value: dbus.MakeVariant(r.DevicePolicy)}}
	if len(r.DeviceAllow) == 0 {
		return props
	}
	list := make([]deviceAllow, 0, len(r.DeviceAllow))
	for _, a := range r.DeviceAllow {
		list = append(list, deviceAllow{a[0], a[1]})
	}
	return append(props, systemdDbus.Property{Name: "DeviceAllow", Value: dbus.MakeVariant(list)})
}

// properties reads the values, in GVariant text form. Names that end in Sec become USec with microseconds, as D-Bus
// knows them.
func properties(from [][2]string) ([]systemdDbus.Property, error) {
	var props []systemdDbus.Property
	for _, p := range from {
		name, text := p[0], p[1]
		v, err := dbus.ParseVariant(text, dbus.Signature{})
		if err == nil {
			if n := len(name) - len("Sec"); n > 0 && name[n:] == "Sec" && name[n-1] >= 'a' && name[n-1] <= 'z' {
				name = name[:n] + "USec"
				v, err = secToUSec(v)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("annotations[%q]: %q: %w", "org.systemd.property."+p[0], text, err)
		}
		props = append(props, systemdDbus.Property{Name: name, Value: v})
	}
	return props, nil
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
