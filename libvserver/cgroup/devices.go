package cgroup

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// any matches every major or minor number.
const anyNumber = -1

// The bits of an access are those of the kernel's BPF_DEVCG_ACC_*.
const (
	accMknod = 1 << iota
	accRead
	accWrite
	accAll = accMknod | accRead | accWrite
)

// rule allows or denies accesses to devices.
type rule struct {
	allow        bool
	typ          byte // 'a', 'b' or 'c'
	major, minor int64
	access       uint8
	byDefault    bool // one of ours, not of the config
}

// String is the rule in the words of devices.allow and devices.deny: "c 1:3 rwm".
func (r rule) String() string {
	var b strings.Builder
	b.WriteByte(r.typ)
	for i, n := range [...]int64{r.major, r.minor} {
		b.WriteByte(" :"[i])
		if n == anyNumber {
			b.WriteByte('*')
		} else {
			b.WriteString(itoa(int(n)))
		}
	}
	b.WriteByte(' ')
	b.WriteString(accessString(r.access))
	return b.String()
}

func accessString(a uint8) string {
	s := make([]byte, 0, 3)
	for i, bit := range [...]uint8{accRead, accWrite, accMknod} {
		if a&bit != 0 {
			s = append(s, "rwm"[i])
		}
	}
	return string(s)
}

// all reports whether r is about every access to every device.
func (r rule) all() bool {
	return r.typ == 'a' && r.major == anyNumber && r.minor == anyNumber && r.access == accAll
}

// defaultRules are appended to the config's and so can't be taken away by it: the devices every container is supplied
// with (config-linux.md, "Default Devices"), its terminals, and making nodes, which gives no access by itself. The list
// is runc's, and crun's console. tun was taken from it once in runc 1.2 and put back: too much counts on it.
var defaultRules = [...]struct {
	path string // of the supplied device
	rule
}{
	{"", rule{true, 'c', anyNumber, anyNumber, accMknod, true}},
	{"", rule{true, 'b', anyNumber, anyNumber, accMknod, true}},
	{"/dev/null", rule{true, 'c', 1, 3, accAll, true}},
	{"/dev/random", rule{true, 'c', 1, 8, accAll, true}},
	{"/dev/full", rule{true, 'c', 1, 7, accAll, true}},
	{"/dev/tty", rule{true, 'c', 5, 0, accAll, true}},
	{"/dev/zero", rule{true, 'c', 1, 5, accAll, true}},
	{"/dev/urandom", rule{true, 'c', 1, 9, accAll, true}},
	{"", rule{true, 'c', 5, 1, accAll, true}},           // console
	{"", rule{true, 'c', 136, anyNumber, accAll, true}}, // pts/*
	{"", rule{true, 'c', 5, 2, accAll, true}},           // ptmx
	{"", rule{true, 'c', 10, 200, accAll, true}},        // net/tun
}

// deviceRules returns the config's rules in its order and the defaults after them; what none of them matches is
// denied. A node of linux.devices that has the path of a supplied device takes its default rule away, as in runc, and
// nodes get no rule by being listed.
func deviceRules(r *specs.LinuxResources, nodes []specs.LinuxDevice) ([]rule, error) {
	n := 0
	if r != nil {
		n = len(r.Devices)
	}
	rules := make([]rule, 0, n+len(defaultRules))
	for i := range n {
		rl, err := parseRule(&r.Devices[i])
		if err != nil {
			return nil, fmt.Errorf("%s.devices[%d]%w", placeRes, i, err)
		}
		rules = append(rules, rl)
	}
next:
	for i := range defaultRules {
		d := &defaultRules[i]
		if d.path != "" {
			for k := range nodes {
				if nodes[k].Path == d.path {
					continue next
				}
			}
		}
		rules = append(rules, d.rule)
	}
	return rules, nil
}

// parseRule checks a rule of the config. Its errors begin with the field's name.
func parseRule(d *specs.LinuxDeviceCgroup) (rule, error) {
	r := rule{allow: d.Allow, typ: 'a', major: anyNumber, minor: anyNumber}
	switch d.Type {
	case "", "a":
	case "b", "c":
		r.typ = d.Type[0]
	default:
		return r, fmt.Errorf(".type: %q is none of a, b and c", d.Type)
	}
	for _, f := range [...]struct {
		name string
		from *int64
		to   *int64
		max  int64
	}{{"major", d.Major, &r.major, 1<<12 - 1}, {"minor", d.Minor, &r.minor, 1<<20 - 1}} {
		if f.from == nil {
			continue
		}
		if *f.from < anyNumber || *f.from > f.max {
			return r, fmt.Errorf(".%s: %d is no device number", f.name, *f.from)
		}
		*f.to = *f.from
	}
	if d.Access == "" {
		return r, fmt.Errorf(".access: must not be empty")
	}
	for i := range len(d.Access) {
		switch d.Access[i] {
		case 'r':
			r.access |= accRead
		case 'w':
			r.access |= accWrite
		case 'm':
			r.access |= accMknod
		default:
			return r, fmt.Errorf(".access: %q holds other letters than r, w and m", d.Access)
		}
	}
	return r, nil
}

// fold turns rules into the two things that a version 1 device cgroup consists of: whether it allows by default, and a
// list of exceptions, in the order in which their devices were first named. The result means the same as the last rule
// that matches deciding, for each bit of an access.
//
// What the kernel can't express is an error: an exception to an exception, such as denying c 1:3 after allowing c *:*.
// Writing such a rule would have no effect, and the kernel would not say so.
func fold(rules []rule) (allow bool, exceptions []rule, err error) {
	for _, r := range rules {
		switch {
		case r.all():
			allow, exceptions = r.allow, exceptions[:0]
		case r.typ == 'a':
			// The kernel and runc take "a" as all devices whatever numbers and access stand beside it. We take
			// them at their word, for block and character devices alike.
			for _, t := range [...]byte{'c', 'b'} {
				r.typ = t
				if exceptions, err = except(allow, exceptions, r); err != nil {
					return false, nil, err
				}
			}
		default:
			if exceptions, err = except(allow, exceptions, r); err != nil {
				return false, nil, err
			}
		}
	}
	return allow, exceptions, nil
}

func except(allow bool, list []rule, r rule) ([]rule, error) {
	if r.allow != allow {
		for i := range list {
			if e := &list[i]; e.typ == r.typ && e.major == r.major && e.minor == r.minor {
				e.access |= r.access
				return list, nil
			}
		}
		return append(list, r), nil
	}
	kept := list[:0]
	for _, e := range list {
		switch {
		case e.typ != r.typ || e.access&r.access == 0:
		case r.covers(e):
			e.access &^= r.access
		case r.meets(e):
			return nil, fmt.Errorf("cgroup version 1 can't %s %q after %q: it keeps no exceptions to exceptions", verb(r.allow), r, e)
		}
		if e.access != 0 {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

func verb(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

// covers reports whether all devices of o are devices of r.
func (r rule) covers(o rule) bool {
	return (r.major == anyNumber || r.major == o.major) && (r.minor == anyNumber || r.minor == o.minor)
}

// meets reports whether some device is one of both.
func (r rule) meets(o rule) bool {
	return (r.major == anyNumber || o.major == anyNumber || r.major == o.major) &&
		(r.minor == anyNumber || o.minor == anyNumber || r.minor == o.minor)
}
