package cgroup

import (
	"fmt"
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

// Join is what a child needs to be in the container's cgroup.
type Join struct {
	// Cgroup is for clone_args.cgroup with CLONE_INTO_CGROUP (Linux 5.7), -1 if there is none. clone3 fails with EBUSY
	// if the cgroup gives controllers to cgroups below it, with EOPNOTSUPP in a threaded subtree that can't take it,
	// with EACCES without the right to move processes out of the caller's cgroup.
	Cgroup int
	// Tasks are the version 1 hierarchies' tasks files. The child writes "0" into each, while it has one thread.
	Tasks []int
}

// Close closes the descriptors.
func (j *Join) Close() {
	closeFD(&j.Cgroup)
	for i := range j.Tasks {
		closeFD(&j.Tasks[i])
	}
	j.Tasks = nil
}

// openJoin opens what a child needs to join one directory.
func openJoin(path string, v2 bool) (int, error) {
	if v2 {
		fd, err := open(path, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			err = opError("", "open", path, err)
		}
		return fd, err
	}
	fd, err := open(path+"/tasks", unix.O_WRONLY)
	if err != nil {
		err = opError("", "open", path+"/tasks", err)
	}
	return fd, err
}

// JoinFDs returns what a child needs to join. The descriptors are the manager's, good until its Close. Under the
// systemd driver there are none before ApplyPid, which places the child.
func (m *Manager) JoinFDs() (Join, error) {
	j := Join{Cgroup: -1}
	for i := range m.dirs {
		d := &m.dirs[i]
		if d.fd < 0 {
			fd, err := openJoin(d.path, d.v2())
			if err != nil {
				m.Close()
				return Join{Cgroup: -1}, err
			}
			d.fd = fd
		}
		if d.v2() {
			j.Cgroup = d.fd
		} else {
			j.Tasks = append(j.Tasks, d.fd)
		}
	}
	return j, nil
}

// JoinSub is JoinFDs for cgroups below the container's, which must be there (exec --cgroup). A key is a list of version
// 1 controllers that share a hierarchy, or "" for all hierarchies without a key of their own; hierarchies without either
// are joined at the container's cgroup. A path is taken from the container's cgroup, whether it begins with a slash or
// not, and can't lead out. The descriptors are the caller's to Close.
func (m *Manager) JoinSub(subs map[string]string) (_ Join, err error) {
	j := Join{Cgroup: -1}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	for key, sub := range subs {
		if hasDotDot(sub) || strings.IndexByte(sub, 0) >= 0 {
			return j, fmt.Errorf("cgroup path %q must not contain \"..\"", sub)
		}
		if key != "" && (m.layout == host.CgroupV2 || m.dirOfAll(key) == nil) {
			return j, fmt.Errorf("cgroup path %q: no hierarchy of the container has the controllers %q", sub, key)
		}
	}
	for i := range m.dirs {
		d := &m.dirs[i]
		sub := subs[""]
		for key, s := range subs {
			if key != "" && m.dirOfAll(key) == d {
				sub = s
			}
		}
		path := d.path
		if sub = strings.Trim(sub, "/"); sub != "" {
			path += "/" + sub
		}
		fd, err := openJoin(path, d.v2())
		if err != nil {
			return j, err
		}
		if d.v2() {
			j.Cgroup = fd
		} else {
			j.Tasks = append(j.Tasks, fd)
		}
	}
	return j, nil
}

// dirOfAll finds the version 1 hierarchy that has each controller of a list.
func (m *Manager) dirOfAll(list string) *dir {
	first, _, _ := strings.Cut(list, ",")
	d := m.dirOf(first)
	if d == nil || d.v2() {
		return nil
	}
	for c := range strings.SplitSeq(list, ",") {
		if !d.has(c) {
			return nil
		}
	}
	return d
}

// JoinWith returns the version 2 cgroup that a process is in now, for a child to join it there. It is for an exec that
// can't enter the container's own cgroup, because the container has moved its processes to cgroups below (EBUSY) or
// elsewhere. The descriptor is the caller's to Close.
func (m *Manager) JoinWith(pid int) (Join, error) {
	j := Join{Cgroup: -1}
	if m.layout != host.CgroupV2 {
		return j, fmt.Errorf("cgroup of process %d: only version 2 is joined by process", pid)
	}
	s, err := readFile("/proc/" + itoa(pid) + "/cgroup")
	if err != nil {
		return j, err
	}
	p, ok := (&ownCgroups{cgroup: s}).path("")
	if !ok || hasDotDot(p) {
		return j, fmt.Errorf("cgroup of process %d: none that can be seen from here", pid)
	}
	j.Cgroup, err = openJoin(host.CgroupRoot+strings.TrimSuffix(p, "/"), true)
	return j, err
}
