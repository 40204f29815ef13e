package cgroup

import (
	"strings"

	"golang.org/x/sys/unix"
)

// initCpuset gives a new version 1 cpuset CPUs and memory nodes: the kernel starts it with none (unless the parent's
// cgroup.clone_children is set) and refuses tasks until it has both. What the config sets is left to Set.
func (m *Manager) initCpuset(d *dir) error {
	prefix := "cpuset."
	for _, f := range [...]struct {
		file string
		set  bool
	}{{"cpus", m.res.cpusetCPUs != ""}, {"mems", m.res.cpusetMems != ""}} {
		// Even to hold what is set, a cpuset needs a parent that has it.
		val, err := cpusetOf(d, parent(d.path), &prefix, f.file)
		if err != nil {
			return err
		}
		if f.set {
			continue
		}
		name := d.path + "/" + prefix + f.file
		if d.made == 0 {
			if old, err := readValue(name); err != nil || old != "" {
				continue // was there before and has its own
			}
		}
		if err := writeFile(name, val); err != nil {
			return opError("", "write "+val+" to", name, err)
		}
	}
	return nil
}

func parent(path string) string { return path[:strings.LastIndexByte(path, '/')] }

// cpusetOf returns the value of a cpuset file, which it fills from the parent's if it is empty, up to the root, where
// it never is. The controller can be mounted with noprefix (Android): then the files are called just "cpus" and "mems".
func cpusetOf(d *dir, path string, prefix *string, file string) (string, error) {
	name := path + "/" + *prefix + file
	val, err := readValue(name)
	if err == unix.ENOENT && *prefix != "" {
		*prefix = ""
		return cpusetOf(d, path, prefix, file)
	}
	if err != nil {
		return "", opError("", "read", name, err)
	}
	if val != "" || len(path) <= d.base {
		return val, nil
	}
	if val, err = cpusetOf(d, parent(path), prefix, file); err != nil {
		return "", err
	}
	if err := writeFile(name, val); err != nil {
		return "", opError("", "write "+val+" to", name, err)
	}
	return val, nil
}
