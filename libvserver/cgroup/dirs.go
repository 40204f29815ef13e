package cgroup

import (
	"fmt"
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

// dir is the container's place in one hierarchy.
type dir struct {
	// hier is the controllers of a version 1 hierarchy as in /proc/self/cgroup ("cpu,cpuacct", "name=systemd"), ""
	// for the version 2 tree.
	hier string
	path string
	base int // length of the mount point at the start of path
	// caller is the caller's own cgroup; known for relative paths alone.
	caller string

	// made is how many of path's last components Create made, 0 if the cgroup was there before.
	made int
	fd   int // v1: tasks, for writing; v2: the directory, O_PATH; -1 if not open
}

// v2 reports whether d is in the version 2 tree.
func (d *dir) v2() bool { return d.hier == "" }

// has reports whether a version 1 controller is in d's hierarchy.
func (d *dir) has(controller string) bool {
	for s := range strings.SplitSeq(d.hier, ",") {
		if s == controller {
			return true
		}
	}
	return false
}

// isController reports whether name is a controller whose hierarchy a container joins. Named hierarchies other than
// systemd's are the business of who mounted them.
func isController(name string) bool {
	switch name {
	case "cpuset", "cpu", "cpuacct", "memory", "devices", "freezer", "blkio", "pids", "hugetlb",
		"net_cls", "net_prio", "perf_event", "rdma", "misc":
		return true
	}
	return false
}

// findDirs lists the places of a container with cgroup path p. The usual case costs one listing of /sys/fs/cgroup: a
// hierarchy's directory there is named for its controllers. A relative p needs the caller's own cgroups and, as those
// are told from the root of the hierarchy and not of the mount, the mount table.
func findDirs(l host.Layout, p string) ([]dir, error) {
	abs := p[0] == '/'
	if l == host.CgroupV2 && abs {
		return []dir{{path: host.CgroupRoot + p, base: len(host.CgroupRoot), fd: -1}}, nil
	}
	var own *ownCgroups
	if !abs {
		var err error
		if own, err = readOwn(); err != nil {
			return nil, err
		}
	}
	if l == host.CgroupV2 {
		d, err := own.place("", host.CgroupRoot, p)
		return []dir{d}, err
	}
	mounts, err := listHierarchies(l)
	if err != nil {
		return nil, err
	}
	dirs := make([]dir, 0, len(mounts))
	for _, mp := range mounts {
		if abs {
			dirs = append(dirs, dir{hier: mp.hier, path: mp.point + p, base: len(mp.point), fd: -1})
			continue
		}
		d, err := own.place(mp.hier, mp.point, p)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, d)
	}
	return dirs, nil
}

type hierarchy struct{ hier, point string }

// listHierarchies lists the version 1 hierarchies mounted below /sys/fs/cgroup, and the version 2 tree as the last.
func listHierarchies(l host.Layout) ([]hierarchy, error) {
	names, err := listDirs(host.CgroupRoot)
	if err != nil {
		return nil, err
	}
	hs := make([]hierarchy, 0, len(names)+1)
	for _, name := range names {
		first, _, _ := strings.Cut(name, ",")
		switch {
		case isController(first):
			hs = append(hs, hierarchy{name, host.CgroupRoot + "/" + name})
		case name == "systemd":
			hs = append(hs, hierarchy{"name=systemd", host.CgroupRoot + "/" + name})
		}
	}
	if l == host.CgroupHybrid {
		hs = append(hs, hierarchy{"", host.CgroupRoot + "/unified"})
	}
	return hs, nil
}

// ownCgroups is what /proc/self/cgroup and /proc/self/mountinfo say.
type ownCgroups struct{ cgroup, mountinfo string }

func readOwn() (*ownCgroups, error) {
	c, err := readFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mi, err := readFile("/proc/self/mountinfo")
	return &ownCgroups{c, mi}, err
}

// place gives the directory for a relative path in the hierarchy mounted at point.
func (o *ownCgroups) place(hier, point, rel string) (dir, error) {
	own, ok := o.path(hier)
	if !ok {
		return dir{}, fmt.Errorf("/proc/self/cgroup: no entry for %s", orUnified(hier))
	}
	root := o.mountRoot(point)
	switch {
	case root == "/" || root == "":
	case own == root:
		own = "/"
	case strings.HasPrefix(own, root+"/"):
		own = own[len(root):]
	default:
		// The mount shows another part of the tree than the one we are in; its top is all there is to hang on to.
		own = "/"
	}
	if own == "/" {
		own = ""
	}
	d := dir{hier: hier, base: len(point), caller: point + own, fd: -1}
	if hier == "" {
		// Beside the own cgroup, which most likely holds processes: then it can't give controllers to children.
		if i := strings.LastIndexByte(own, '/'); i >= 0 {
			own = own[:i]
		}
	}
	d.path = point + own + "/" + rel
	return d, nil
}

// path returns the caller's cgroup in a hierarchy, from lines like "8:cpu,cpuacct:/a" and "0::/a". A path that begins
// with "/.." lies outside of the cgroup namespace; it is taken as its root.
func (o *ownCgroups) path(hier string) (string, bool) {
	want, _, _ := strings.Cut(hier, ",")
	for line := range strings.SplitSeq(o.cgroup, "\n") {
		_, rest, _ := strings.Cut(line, ":")
		ctls, p, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for c := range strings.SplitSeq(ctls, ",") {
			if c == want {
				if strings.HasPrefix(p, "/..") {
					p = "/"
				}
				return p, true
			}
		}
	}
	return "", false
}

// mountRoot returns the root field of the topmost mount at point: what part of the hierarchy the mount shows.
func (o *ownCgroups) mountRoot(point string) string {
	root := ""
	for line := range strings.SplitSeq(o.mountinfo, "\n") {
		f := strings.SplitN(line, " ", 6)
		if len(f) == 6 && f[4] == point {
			root = f[3]
		}
	}
	return root
}

func orUnified(hier string) string {
	if hier == "" {
		return "the version 2 hierarchy"
	}
	return hier
}

// makeDir makes a cgroup and the missing ones above it, and returns how many of the last components it made. Another
// runtime may remove an empty parent between two of our calls, hence the rounds.
func makeDir(path string, base int) (int, error) {
	err := mkdir(path)
	for round := 0; err == unix.ENOENT && round < 5; round++ {
		i := strings.LastIndexByte(path, '/')
		if i <= base {
			break
		}
		made, perr := makeDir(path[:i], base)
		if perr != nil {
			return 0, perr
		}
		if err = mkdir(path); err == nil {
			return made + 1, nil
		}
		if made > 0 {
			unmakeDirs(path[:i], made)
		}
	}
	switch err {
	case nil:
		return 1, nil
	case unix.EEXIST:
		return 0, nil
	}
	return 0, opError("", "mkdir", path, err)
}

// unmakeDirs removes the last n components of path as far as they are empty.
func unmakeDirs(path string, n int) {
	for ; n > 0; n-- {
		if err := rmdir(path); err != nil && err != unix.ENOENT {
			return
		}
		path = path[:strings.LastIndexByte(path, '/')]
	}
}
