package cgroup

import (
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

// enableControllers turns on all controllers of a version 2 tree on the way down to the cgroup, as runc does: engines
// read statistics of controllers without limits too, and an update may set some later. It reports nothing: what is
// missing in the end shows, with its cause, when a limit is written.
//
// The usual case is that all are on already: one file is read if it names the common ones, two if not.
func (m *Manager) enableControllers(d *dir) {
	const file = "/cgroup.controllers"
	have, err := readValue(d.path + file)
	if err != nil || m.layout == host.CgroupV2 && m.satisfied(have) {
		return
	}
	all, err := readValue(d.path[:d.base] + file)
	if err != nil || len(strings.Fields(all)) == len(strings.Fields(have)) {
		return
	}
	line := ""
	for c := range strings.FieldsSeq(all) {
		if m.layout == host.CgroupHybrid && !m.asksUnified(c) {
			continue // on a hybrid host what the version 2 tree does is systemd's business
		}
		line += " +" + c
	}
	for end := d.base; line != ""; {
		control := d.path[:end] + "/cgroup.subtree_control"
		if err := writeFile(control, line[1:]); err != nil {
			for c := range strings.FieldsSeq(line) {
				if err == unix.EBUSY && !m.worthThreading(c[1:]) {
					continue
				}
				_ = writeFile(control, c) // not all may be turned on: then as many as may
			}
		}
		i := strings.IndexByte(d.path[end+1:], '/')
		if i < 0 {
			break
		}
		end += 1 + i
	}
	unthread(d, m.writes)
}

// isDomain reports whether a controller works on whole processes only, so that it can't be on in a cgroup that holds
// some and has cgroups below it (cgroups(7), "no internal processes").
func isDomain(ctl string) bool {
	switch ctl {
	case "memory", "io", "hugetlb", "rdma", "misc":
		return true
	}
	return false
}

// worthThreading reports whether a controller should be turned on in a cgroup that holds processes. The kernel allows
// it for those that work on threads, but then makes the cgroup the root of a threaded subtree, with which not all
// programs cope. So it is done only for limits that need it, and if no limit needs a controller that can't be there.
func (m *Manager) worthThreading(ctl string) bool {
	asked := false
	for i := range m.writes {
		c := strings.TrimPrefix(m.writes[i].ctl, unifiedPrefix)
		if isDomain(c) {
			return false
		}
		asked = asked || c == ctl
	}
	return asked
}

// satisfied reports whether a list of controllers holds the common ones and all that the limits need.
func (m *Manager) satisfied(have string) bool {
	for _, c := range [...]string{"cpu", "memory", "pids", "io", "cpuset"} {
		if !hasWord(have, c) {
			return false
		}
	}
	for i := range m.writes {
		if c := strings.TrimPrefix(m.writes[i].ctl, unifiedPrefix); c != "cgroup" && !hasWord(have, c) {
			return false
		}
	}
	return true
}

// asksUnified reports whether a limit needs a controller of the version 2 tree.
func (m *Manager) asksUnified(ctl string) bool {
	for i := range m.writes {
		if w := &m.writes[i]; strings.TrimPrefix(w.ctl, unifiedPrefix) == ctl {
			if d := m.dirFor(w.ctl); d != nil && d.v2() {
				return true
			}
		}
	}
	return false
}

// unthread readies a cgroup made below a threaded one (cgroups(7), "Thread mode"). Such a cgroup is born invalid and
// takes no process until it is threaded too, in which mode only some controllers work. With limits of others it is
// left as it is: writing them fails and says why.
func unthread(d *dir, ws []write) {
	t, err := readValue(d.path + "/cgroup.type")
	if err != nil || t != "domain invalid" {
		return
	}
	for i := range ws {
		if isDomain(strings.TrimPrefix(ws[i].ctl, unifiedPrefix)) {
			return
		}
	}
	_ = writeFile(d.path+"/cgroup.type", "threaded")
}

// chownDelegated gives a version 2 cgroup to a user: the directory and the files that the kernel names for it. Files
// this kernel lacks are passed over (config-linux.md, "Cgroup ownership").
func chownDelegated(d *dir, uid uint32) error {
	chown := func(path string) error {
		err := unix.Fchownat(unix.AT_FDCWD, path, int(uid), -1, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && err != unix.ENOENT {
			return opError("", "chown to uid "+itoa(int(uid)), path, err)
		}
		return nil
	}
	if err := chown(d.path); err != nil {
		return err
	}
	files, err := readValue("/sys/kernel/cgroup/delegate")
	if err != nil {
		files = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n"
	}
	for f := range strings.FieldsSeq(files) {
		if strings.Contains(f, "/") {
			continue
		}
		if err := chown(d.path + "/" + f); err != nil {
			return err
		}
	}
	return nil
}
