package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec/wire"
	"golang.org/x/sys/unix"
)

// systemdRuns reports whether systemd is the host's init system, as sd_booted(3) does.
func systemdRuns() bool {
	var st unix.Stat_t
	return unix.Lstat("/run/systemd/system", &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// propertyPrefix begins the annotations that are properties of the unit, as in runc and crun.
const propertyPrefix = "org.systemd.property."

// property is such an annotation.
type property struct{ name, value string }

// annotationProperties reads org.systemd.property.NAME annotations: values in GVariant text form ("uint64 5000000",
// "'inactive-or-failed'"). Names that end in Sec are given to systemd in microseconds as USec, as D-Bus knows them.
// Properties that make systemd run something are refused: a scope has none, but a name check costs nothing.
//
// Values that are not plainly right are given to vsrun-helper to check.
func annotationProperties(annotations map[string]string) ([]property, error) {
	var props []property
	doubt := false
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
		p := property{name, annotations[k]}
		doubt = doubt || !p.plain()
		props = append(props, p)
	}
	if doubt {
		w := wire.NewWriter(nil, "")
		w.BeginObject()
		encodeProperties(w, props)
		w.EndObject()
		if _, err := runJob("systemd-check", w.Bytes()); err != nil {
			return nil, err
		}
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

// plain reports whether a value is one of the usual ones: a number or, if the property is no time span, a boolean or a
// short word in quotes.
func (p property) plain() bool {
	digits, most := p.value, 9 // decimal ones that surely fit
	if typ, rest, ok := strings.Cut(p.value, " "); ok {
		switch typ {
		case "int32", "uint32":
		case "int64", "uint64":
			most = 18
		default:
			return false
		}
		digits = rest
	}
	if n := len(digits); n > 0 && n <= most && strings.Trim(digits, "0123456789") == "" {
		return digits[0] != '0' || n == 1
	}
	if strings.HasSuffix(p.name, "Sec") {
		return false
	}
	if p.value == "true" || p.value == "false" {
		return true
	}
	v := p.value
	if len(v) < 2 || v[0] != '\'' || v[len(v)-1] != '\'' {
		return false
	}
	for _, c := range v[1 : len(v)-1] {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func encodeProperties(w *wire.Writer, props []property) {
	w.Key("properties")
	w.BeginArray()
	for _, p := range props {
		w.Strings([]string{p.name, p.value})
	}
	w.EndArray()
}

// ApplyPid has systemd make the unit around a process, which must be waiting, and then sets limits and device rules.
// With another driver it does nothing. It starts a process (see runJob) that takes several round trips on the bus,
// systemd's own work and, on version 1, the library's writes of the pid (see the package comment).
func (m *Manager) ApplyPid(pid int) error {
	if m.driver != DriverSystemd {
		return nil
	}
	w := m.beginUnitRequest()
	w.Key("pid")
	w.Int(int64(pid))
	if m.owner != nil {
		w.Key("owner")
		w.Uint(uint64(*m.owner))
	}
	encodeProperties(w, m.props)
	w.Key("resources")
	m.res.encode(w)
	if m.layout != host.CgroupV2 && len(m.dirs) == 0 {
		devices, err := deviceProperties(m.rules)
		if err != nil {
			return m.unitError(err)
		}
		devices.encode(w)
	}
	w.EndObject()
	answer, err := runJob("systemd-apply", w.Bytes())
	if paths := readPaths(answer); len(paths) > 0 {
		m.dirs = libraryDirs(paths, m.layout)
	}
	if err != nil {
		return m.unitError(err)
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

func (m *Manager) unitError(err error) error {
	return fmt.Errorf("systemd unit %s: %w", m.unit.unit(), err)
}

// readPaths reads the directories that the library has found or made.
func readPaths(answer []byte) map[string]string {
	r := wire.NewReader(answer)
	paths := r.StringMap(nil)
	if r.End() != nil {
		return nil
	}
	return paths
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
	r := *res
	if (r.cpuQuota == 0) != (r.cpuPeriod == 0) { // systemd takes both or the default of the other
		m.currentBandwidth(&r)
	}
	if m.layout == host.CgroupV2 && r.memory == 0 && r.memorySwap > 0 {
		r.memory = parseMax(m.currentValue("memory.max")) // likewise
	}
	w := m.beginUnitRequest()
	w.Key("resources")
	r.encode(w)
	w.EndObject()
	if _, err := runJob("systemd-set", w.Bytes()); err != nil {
		return m.unitError(err)
	}
	return nil
}

// currentBandwidth fills in the one of quota and period that is missing.
func (m *Manager) currentBandwidth(r *resources) {
	quota, period, _ := strings.Cut(m.currentValue("cpu.max"), " ")
	if d := m.dirOf("cpu"); d != nil && !d.v2() {
		quota, _ = readValue(d.path + "/cpu.cfs_quota_us")
		period, _ = readValue(d.path + "/cpu.cfs_period_us")
	}
	if q, err := strconv.ParseInt(quota, 10, 64); err == nil && r.cpuQuota == 0 {
		r.cpuQuota = q
	}
	if p, err := strconv.ParseUint(period, 10, 64); err == nil && r.cpuPeriod == 0 {
		r.cpuPeriod = p
	}
}

// AttachPid has systemd move a process into the unit's version 2 cgroup, or one below it, where the caller may not.
func (m *Manager) AttachPid(pid int, dir string) error {
	sub, ok := strings.CutPrefix(dir, m.Path(""))
	if !ok || sub != "" && sub[0] != '/' {
		return fmt.Errorf("%s is not in the cgroup of systemd unit %s", dir, m.unit.unit())
	}
	w := m.beginUnitRequest()
	w.Key("pid")
	w.Int(int64(pid))
	w.Key("sub")
	w.String(sub)
	w.EndObject()
	if _, err := runJob("systemd-attach", w.Bytes()); err != nil {
		return m.unitError(err)
	}
	return nil
}

// stopUnit stops the unit, if there is one.
func (m *Manager) stopUnit() error {
	if len(m.dirs) == 0 {
		return nil
	}
	w := m.beginUnitRequest()
	w.EndObject()
	if _, err := runJob("systemd-stop", w.Bytes()); err != nil {
		return m.unitError(err)
	}
	return nil
}

// devicePolicy is the properties DevicePolicy and DeviceAllow of a unit; none if the policy is "".
type devicePolicy struct {
	policy string
	allow  []deviceAllow
}

// deviceAllow is an entry of DeviceAllow.
type deviceAllow struct{ path, perms string }

func (d *devicePolicy) encode(w *wire.Writer) {
	if d.policy == "" {
		return
	}
	w.Key("devicePolicy")
	w.String(d.policy)
	if len(d.allow) == 0 {
		return
	}
	w.Key("deviceAllow")
	w.BeginArray()
	for _, a := range d.allow {
		w.Strings([]string{a.path, a.perms})
	}
	w.EndArray()
}

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
func deviceProperties(rules []rule) (d devicePolicy, err error) {
	allow, exceptions, err := fold(rules)
	if err != nil {
		return d, fmt.Errorf("%s: %w", placeDevices, err)
	}
	if allow && len(exceptions) == 0 {
		return d, nil
	}
	d.policy = "strict"
	if allow {
		return d, nil
	}
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
		d.allow = append(d.allow, deviceAllow{path, accessString(e.access)})
	}
	return d, nil
}
