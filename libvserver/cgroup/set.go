package cgroup

import (
	"errors"
	"strconv"
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Set writes the limits and device rules into the cgroup that Create made, before anything is in it. Each file is opened
// once and written; nothing is read back.
func (m *Manager) Set() error {
	if m.driver != DriverCgroupfs {
		return nil
	}
	if m.res.blkioWeight != 0 || len(m.res.blkioWeightDevice) > 0 {
		// Which file takes weights is seen in the cgroup itself.
		w, err := m.plan(&m.res, nil)
		if err != nil {
			return err
		}
		m.writes = w
	}
	if err := m.put(m.writes, nil); err != nil {
		return err
	}
	return m.setDevices()
}

// put writes in order. What it overwrites goes to undo, unless that is nil.
func (m *Manager) put(ws []write, undo *undoLog) error {
	var later []int
	for i := range ws {
		err := m.putOne(&ws[i], undo)
		if err == nil {
			continue
		}
		if ws[i].flag&laterOnEINVAL != 0 && errors.Is(err, unix.EINVAL) && i < len(ws)-1 {
			later = append(later, i)
			continue
		}
		return err
	}
	for _, i := range later {
		if err := m.putOne(&ws[i], undo); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) putOne(w *write, undo *undoLog) error {
	d := m.dirFor(w.ctl)
	ctl := strings.TrimPrefix(w.ctl, unifiedPrefix)
	if d == nil {
		if w.flag&optional != 0 {
			return nil
		}
		e := &Error{Place: w.place, Op: "find", Path: "the " + ctl + " cgroup controller", Err: unix.ENODEV}
		if m.denied != nil {
			e.Err = m.denied
			e.Hint = m.delegationHint()
		} else {
			e.Hint = "it is mounted neither below " + host.CgroupRoot + " nor part of a version 2 tree there"
		}
		return e
	}
	path := d.path + "/" + w.file
	kept := 0
	if undo != nil {
		kept = len(undo.old)
		undo.save(path, w)
	}
	err := writeFile(path, w.val)
	if err != nil && undo != nil && !strings.Contains(w.val, "\n") {
		undo.old = undo.old[:kept] // refused, so nothing has changed
	}
	switch {
	case err == nil,
		err == unix.ENOENT && w.flag&optional != 0,
		err == unix.EINVAL && w.flag&orEINVAL != 0:
		return nil
	}
	return &Error{Place: w.place, Op: "write " + strconv.Quote(w.val) + " to", Path: path, Err: err, Hint: m.writeHint(d, w, ctl, err)}
}

// dirFor finds where a controller's files are.
func (m *Manager) dirFor(ctl string) *dir {
	if strings.HasPrefix(ctl, unifiedPrefix) {
		return m.dirOf("")
	}
	if d := m.dirOf(ctl); d != nil {
		return d
	}
	if m.layout == host.CgroupHybrid {
		return m.dirOf("")
	}
	return nil
}

// writeHint says what to do about a refused limit.
func (m *Manager) writeHint(d *dir, w *write, ctl string, err error) string {
	switch {
	case isDenied(err) && m.rootless:
		return m.delegationHint()
	case err == unix.EBUSY && strings.HasSuffix(w.file, "limit_in_bytes"):
		if use, err := readValue(d.path + "/memory.usage_in_bytes"); err == nil {
			return "current use is " + use + " bytes"
		}
	case err == unix.ENOENT && strings.Contains(w.file, "memsw"):
		return "swap accounting is off: boot with swapaccount=1"
	case err == unix.ENOENT && d.v2():
		return m.missingHint(d, ctl)
	case err == unix.ENOENT:
		return "this kernel's " + ctl + " controller has no such file"
	case err == unix.EINVAL && strings.HasPrefix(w.file, "cpuset."):
		return "the parent cgroup may have fewer"
	case err == unix.EINVAL && (w.file == "cpu.weight" || w.file == "cpu.shares"):
		if idle, err := readValue(d.path + "/cpu.idle"); err == nil && idle == "1" {
			return "the cgroup is idle (cpu.idle is 1), so its weight is fixed"
		}
	}
	return ""
}

// missingHint says why a version 2 cgroup lacks a controller's file.
func (m *Manager) missingHint(d *dir, ctl string) string {
	has := func(file string) bool {
		s, err := readValue(file)
		return err == nil && hasWord(s, ctl)
	}
	switch {
	case has(d.path + "/cgroup.controllers"):
		return "this kernel's " + ctl + " controller has no such file"
	case !has(d.path[:d.base] + "/cgroup.controllers"):
		return "controller " + ctl + " is not available in this version 2 tree"
	}
	if t, err := readValue(d.path + "/cgroup.type"); err == nil && t != "domain" {
		return "the cgroup is " + t + ", where controller " + ctl + " can't be"
	}
	if m.rootless {
		return m.delegationHint()
	}
	return "controller " + ctl + " is off: write +" + ctl + " to cgroup.subtree_control of each cgroup from " + d.path[:d.base] +
		" to " + parent(d.path) + ", none of which may hold processes itself"
}

// delegationHint says how to let a user make cgroups with limits.
func (m *Manager) delegationHint() string {
	if m.layout == host.CgroupV2 {
		return "delegate controllers to the user: put \"[Service]\" and \"Delegate=cpu cpuset io memory pids\" into " +
			"/etc/systemd/system/user@.service.d/delegate.conf, then systemctl daemon-reload and log in again; " +
			"or run by systemd-run --user --scope -p Delegate=yes"
	}
	return "cgroup version 1 has no safe delegation to users: leave linux.resources out, or chown a cgroup to the user in every hierarchy and name it in " + placePath
}

func (m *Manager) withHint(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Hint == "" && m.rootless && isDenied(err) {
		if e.Hint = m.delegationHint(); e.Place == "" && m.explicit {
			e.Place = placePath
		}
	}
	return err
}

// checkNoLimits fails if limits were asked for and there will be no cgroup to hold them.
func (m *Manager) checkNoLimits() error {
	for i := range m.writes {
		w := &m.writes[i]
		if w.flag&optional != 0 {
			continue
		}
		err := m.denied
		if err == nil {
			err = ErrNoCgroup
		}
		return &Error{Place: w.place, Op: "set", Path: w.file, Err: err, Hint: m.delegationHint()}
	}
	return nil
}

// wantsUnified reports whether something is to be written into a hybrid host's version 2 tree.
func (m *Manager) wantsUnified() bool {
	if m.layout != host.CgroupHybrid || m.dirOf("") == nil {
		return false
	}
	for i := range m.writes {
		if d := m.dirFor(m.writes[i].ctl); d != nil && d.v2() {
			return true
		}
	}
	return false
}

func hasWord(s, word string) bool {
	for w := range strings.FieldsSeq(s) {
		if w == word {
			return true
		}
	}
	return false
}
