package libvserver

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/wire"
)

// UpdateOptions is what update changes.
type UpdateOptions struct {
	ID string
	// Resources are the limits that are given; the others stay as they are. Device rules are never touched.
	Resources *specs.LinuxResources
	// L3CacheSchema and MemBwSchema are lines for resctrl's schemata, "" for no change.
	L3CacheSchema, MemBwSchema string
}

// Update changes the limits of a container that has not ended, and its recorded config with them. When something is
// refused all is as it was before.
func (r *Runtime) Update(o *UpdateOptions) error {
	c, err := r.open(o.ID)
	if err != nil {
		return err
	}
	defer c.dir.Unlock()
	if status, _ := r.status(c.rec); status == specs.StateStopped {
		return ErrNotRunning
	}
	config, res, err := updatedConfig(c.rec.Config, o.Resources)
	if err != nil {
		return err
	}
	m, err := c.cgroup()
	if err != nil {
		return err
	}
	undo, err := setResctrl(c.rec.IntelRdtPath, o.L3CacheSchema, o.MemBwSchema)
	if err != nil {
		return err
	}
	switch {
	case m != nil:
		err = m.Update(res)
	case !noResources(o.Resources):
		err = fmt.Errorf("update container %s: %w", o.ID, cgroup.ErrNoCgroup)
	}
	if err != nil {
		return errors.Join(err, undo())
	}
	_ = fault.On && fault.At(fault.Updated)
	c.rec.Config = config
	return c.dir.Save(c.rec)
}

// noResources reports whether there is nothing in r but device rules.
func noResources(r *specs.LinuxResources) bool {
	if r == nil {
		return true
	}
	rest := *r
	rest.Devices = nil
	w := wire.NewWriter(nil, "")
	spec.EncodeLinuxResources(w, &rest)
	return string(w.Bytes()) == "{}"
}

// updatedConfig returns the recorded config.json with new limits in linux.resources, and what of these is to be written. All
// else stays to the byte. What it would not be read with any more is refused.
func updatedConfig(config []byte, add *specs.LinuxResources) (updated []byte, write *specs.LinuxResources, err error) {
	if add == nil {
		return config, nil, nil
	}
	b, err := spec.Parse(config, "")
	if err != nil {
		return nil, nil, fmt.Errorf("recorded config: %w", err)
	}
	var res specs.LinuxResources
	if l := b.Spec.Linux; l != nil && l.Resources != nil {
		res = *l.Resources
	}
	mergeResources(&res, add)
	if err := spec.CheckResources(&res); err != nil {
		return nil, nil, err
	}
	w := wire.NewWriter(nil, "")
	spec.EncodeLinuxResources(w, &res)
	return setMember(config, w.Bytes(), "linux", "resources"), withSum(add, &res), nil
}

// setMember replaces or adds a member of a JSON object; path is the names of the objects that hold it and its own.
func setMember(doc, value []byte, path ...string) []byte {
	r := wire.NewReader(doc)
	for i, name := range path {
		from := r.Offset()
		if !r.BeginObject() { // null: it has been parsed before
			return splice(doc, from, r.Offset(), nested(path[i:], value))
		}
		inside := r.Offset()
		empty, found := true, false
		for !found && r.NextKey() {
			empty = false
			if found = strings.EqualFold(r.Key(), name); !found {
				r.Skip()
			}
		}
		if !found {
			member := append(append(wire.AppendString(nil, name), ':'), nested(path[i+1:], value)...)
			if !empty {
				member = append(member, ',')
			}
			return splice(doc, inside, inside, member)
		}
	}
	from := r.Offset()
	r.Skip()
	return splice(doc, from, r.Offset(), value)
}

// nested wraps a value in objects.
func nested(path []string, value []byte) []byte {
	for i := len(path) - 1; i >= 0; i-- {
		v := append([]byte{'{'}, wire.AppendString(nil, path[i])...)
		value = append(append(append(v, ':'), value...), '}')
	}
	return value
}

// splice puts something in the place of doc[from:to].
func splice(doc []byte, from, to int, in []byte) []byte {
	out := make([]byte, 0, len(doc)-(to-from)+len(in))
	return append(append(append(out, doc[:from]...), in...), doc[to:]...)
}
