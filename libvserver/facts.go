package libvserver

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/spec"
)

// facts gathers what the plan has to know of the host, and asks only what this bundle makes a question of.
func facts(b *spec.Bundle, cg *cgroup.Manager) *plan.Facts {
	f := &plan.Facts{EUID: os.Geteuid(), EGID: os.Getegid(), Unprivileged: unprivileged(), Stat: stat, Readlink: os.Readlink, Home: home, Tree: lookAtTree}
	if own, err := host.OwnCaps(); err == nil {
		f.Permitted = own.Permitted
	}
	s := b.Spec
	if p := s.Process; p != nil && p.ApparmorProfile != "" {
		f.AppArmor = host.AppArmorEnabled()
	}
	if p := s.Process; p != nil && p.SelinuxLabel != "" || s.Linux != nil && s.Linux.MountLabel != "" {
		f.SELinux = host.SELinuxEnabled()
	}
	for i := range s.Mounts {
		if s.Mounts[i].Type == "cgroup" || s.Mounts[i].Type == "cgroup2" {
			f.Cgroup = cgroupLayout(cg)
			break
		}
	}
	return f
}

func stat(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return st.Mode, nil
}

// cgroupLayout describes the host's hierarchies for a container that mounts them.
func cgroupLayout(cg *cgroup.Manager) plan.CgroupLayout {
	if host.CgroupLayout() == host.CgroupV2 {
		return plan.CgroupLayout{Unified: true}
	}
	var l plan.CgroupLayout
	mounts, err := host.Mounts("self")
	if err != nil {
		return l
	}
	for _, m := range mounts {
		name, ok := strings.CutPrefix(m.Point, host.CgroupRoot+"/")
		if !ok || strings.Contains(name, "/") || m.Type != "cgroup" && m.Type != "cgroup2" {
			continue
		}
		h := plan.CgroupHierarchy{Name: name, V2: m.Type == "cgroup2"}
		key := ""
		for _, o := range strings.Split(m.Super, ",") {
			switch {
			case h.V2 || o == "rw" || o == "ro" || o == "seclabel" || strings.HasPrefix(o, "release_agent=") || o == "clone_children" || o == "xattr" || o == "noprefix":
				continue
			case strings.HasPrefix(o, "name="):
				h.Options = append(h.Options, "none", o)
				key = o
			default:
				h.Options = append(h.Options, o)
				h.Links = append(h.Links, o)
				key = o
			}
		}
		if cg != nil {
			h.Own, h.Caller = cg.Path(key), cg.CallerPath(key)
		}
		l.Hierarchies = append(l.Hierarchies, h)
	}
	return l
}

// home looks up a user's home directory in a root filesystem, "" if it knows none.
func home(rootfs string, uid uint32) string {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(root)
	return homeIn(root, uid)
}

// homeIn is home for an open root directory.
func homeIn(root int, uid uint32) string {
	text, err := readIn(root, "etc/passwd")
	if err != nil {
		return ""
	}
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.SplitSeq(text, "\n") {
		// name:password:uid:gid:comment:home:shell (passwd(5))
		f := strings.SplitN(line, ":", 7)
		if len(f) >= 6 && f[2] == want {
			return f[5]
		}
	}
	return ""
}

// readIn reads a file of a container, which may be anything: links lead nowhere but into the root, and what is no file is not
// opened. The runtime might open any device, and to open some does something.
func readIn(root int, name string) (string, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	place, err := unix.Openat2(root, name, how)
	if err != nil {
		return "", err
	}
	defer unix.Close(place)
	var st unix.Stat_t
	if err := unix.Fstat(place, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxPasswd {
		return "", errors.New("it is not a regular file of at most 4 MiB")
	}
	fd, err := unix.Open("/proc/self/fd/"+itoa(place), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, st.Size)
	n := 0
	for n < len(buf) {
		k, err := unix.Read(fd, buf[n:])
		if k <= 0 || err != nil {
			break
		}
		n += k
	}
	return string(buf[:n]), nil
}

// maxPasswd bounds what is read of a container's passwd file, in bytes.
const maxPasswd = 4 << 20
