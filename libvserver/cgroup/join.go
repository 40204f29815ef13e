package cgroup

import "golang.org/x/sys/unix"

// Join is what a child needs to be in the container's cgroup.
type Join struct {
	// Cgroup is for clone_args.cgroup with CLONE_INTO_CGROUP (Linux 5.7), -1 if there is none. clone3 fails with EBUSY
	// if the cgroup gives controllers to cgroups below it, with EOPNOTSUPP in a threaded subtree that can't take it,
	// with EACCES without the right to move processes out of the caller's cgroup.
	Cgroup int
	// Tasks are the version 1 hierarchies' tasks files. The child writes "0" into each, while it has one thread.
	Tasks []int
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
