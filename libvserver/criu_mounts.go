package libvserver

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// CRIU saves filesystems that are the container's alone (tmpfs, devpts, …) and has to be told of mounts of what the host
// has: each gets a name, for which restore gives the place on the host. Names are the mount points, and of covers of
// masked files /dev/null, as in runc.

// outerMount is a mount of something of the host's.
type outerMount struct {
	at, target, source string
	from               string // where restore finds the source: somewhere else if its ids are mapped
	idmap              *plan.MountIDMap
	deep               bool // with what is mounted below the source
	mask               bool
	flags, allDeep     uint64 // MOUNT_ATTR_* of the mount, and of all below it
}

// kept are the attributes that are put back after a restore.
const kept = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW

// outerMounts takes them from a plan. dir is where restore makes sources that CRIU can't take as they are: those whose ids
// are to be mapped, and for a container in a user namespace, whose root may not reach them by their path, all.
func outerMounts(p *plan.Plan, dir string) (list []outerMount) {
	all := p.Clone.Has(unix.CLONE_NEWUSER) || p.Clone.Joins(unix.CLONE_NEWUSER)
	for _, s := range p.Steps {
		m := outerMount{at: s.At()}
		made := false
		switch s := s.(type) {
		case plan.Mount:
			if s.Kind != plan.MountBind {
				continue
			}
			m.target, m.source, m.deep, m.idmap = s.Target, s.Source, s.Recursive, s.IDMap
			m.flags, m.allDeep = s.Set&kept, s.RecSet&kept
			made = all || m.idmap != nil
		case plan.Device:
			m.target, m.source = s.Path, s.Path
		case plan.MaskPath:
			m.target, m.source, m.mask = s.Path, os.DevNull, true
			m.flags = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
		case plan.ReadonlyRoot:
			m.target, m.flags = "/", unix.MOUNT_ATTR_RDONLY
		default:
			continue
		}
		if m.from = m.source; made {
			m.from = path.Join(dir, "source"+itoa(len(list)))
		}
		list = append(list, m)
	}
	return list
}

// root tells if it is the root filesystem, which CRIU is told of otherwise, but forgets the attributes of.
func (m *outerMount) root() bool { return m.source == "" }

// dumpMounts names the mounts of a running container. root is its root directory, mounts what is mounted there.
func dumpMounts(outer []outerMount, root int, mounts []host.Mount) []proto.Pair {
	var list []proto.Pair
	seen := make(map[string]bool)
	add := func(point, name string) {
		if !seen[point] {
			seen[point] = true
			list = append(list, proto.Pair{Key: point, Val: name})
		}
	}
	for _, m := range outer {
		if m.root() {
			continue
		}
		if m.mask {
			if !isMountPoint(mounts, m.target) || isDirectory(root, m.target) {
				continue
			}
			add(m.target, os.DevNull)
			continue
		}
		point := resolveIn(root, m.target)
		add(point, point)
	}
	// What came along with a source: CRIU has to be told of each.
	for _, m := range outer {
		if !m.deep {
			continue
		}
		point := resolveIn(root, m.target)
		for i := range mounts {
			if p := mounts[i].Point; strings.HasPrefix(p, point+"/") && !isTarget(outer, p) {
				add(p, p)
			}
		}
	}
	return list
}

// restoreMounts gives the places on the host for the names. root is the root filesystem.
func restoreMounts(outer []outerMount, root int) ([]proto.Pair, error) {
	var list []proto.Pair
	seen := make(map[string]bool)
	add := func(name, source string) {
		if !seen[name] {
			seen[name] = true
			list = append(list, proto.Pair{Key: name, Val: source})
		}
	}
	var own []host.Mount
	for _, m := range outer {
		if m.root() {
			continue
		}
		if m.mask {
			add(os.DevNull, os.DevNull)
			continue
		}
		point := resolveIn(root, m.target)
		add(point, m.from)
		add(m.target, m.from)
		if !m.deep {
			continue
		}
		if own == nil {
			var err error
			if own, err = host.Mounts("self"); err != nil {
				return nil, err
			}
		}
		source, err := realPath(m.source)
		if err != nil {
			continue // the plan has checked it; CRIU will say more
		}
		for i := range own {
			if rest, ok := strings.CutPrefix(own[i].Point, strings.TrimSuffix(source, "/")+"/"); ok && rest != "" {
				add(path.Join(point, rest), path.Join(m.from, rest))
			}
		}
	}
	return list, nil
}

// reattribute gives mounts of the host's things their attributes once more, in the mount namespace of the process of a
// pidfd. CRIU does so too, but not for the root, nor for the second of two mounts of the same thing with the same
// attributes: it takes that for a copy of the first, and mounts it from the host all the same.
func reattribute(outer []outerMount, pidfd int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		done <- reattributeIn(outer, pidfd)
	}()
	return <-done
}

func reattributeIn(outer []outerMount, pidfd int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(pidfd, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("join the restored mount namespace: setns: %w", err)
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/", Err: err}
	}
	defer unix.Close(root)
	for i := range outer {
		m := &outer[i]
		if m.flags|m.allDeep == 0 {
			continue
		}
		fd, err := openIn(root, m.target, unix.O_PATH)
		if err != nil {
			continue // CRIU did not miss it
		}
		var st unix.Statx_t
		err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE, &st)
		if err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			if m.flags != 0 {
				err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: m.flags})
			}
			if m.allDeep != 0 && err == nil {
				err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: m.allDeep})
			}
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("attributes of the mount on %s: %w", m.target, err)
		}
	}
	return nil
}

func isTarget(outer []outerMount, point string) bool {
	for i := range outer {
		if outer[i].target == point {
			return true
		}
	}
	return false
}

func isMountPoint(mounts []host.Mount, point string) bool {
	for i := range mounts {
		if mounts[i].Point == point {
			return true
		}
	}
	return false
}

// openIn opens a path below a root directory, whatever links are on the way.
func openIn(root int, name string, flags uint64) (int, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(root, name, how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// resolveIn follows the links of an absolute path below a root directory, as far as it exists.
func resolveIn(root int, name string) string {
	name = path.Clean("/" + name)
	fd, err := openIn(root, name, unix.O_PATH)
	if err != nil {
		if name == "/" {
			return name
		}
		return path.Join(resolveIn(root, path.Dir(name)), path.Base(name))
	}
	defer unix.Close(fd)
	base, err := os.Readlink("/proc/self/fd/" + itoa(root))
	if err != nil {
		return name
	}
	full, err := os.Readlink("/proc/self/fd/" + itoa(fd))
	if err != nil {
		return name
	}
	rest, ok := strings.CutPrefix(full, strings.TrimSuffix(base, "/"))
	if !ok || rest == "" {
		rest = "/"
	}
	return rest
}

func isDirectory(root int, name string) bool {
	fd, err := openIn(root, name, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// realPath is a path of the host without links.
func realPath(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	return os.Readlink("/proc/self/fd/" + itoa(fd))
}

// mountPoints makes the mount points that a root filesystem lacks, as a launch would: those of a tmpfs are among what
// CRIU restores, and cgroups are below /sys. What is bound is mounted meanwhile, since it may have others' mount points
// in it. It is to be called in a mount namespace that nobody else sees.
func mountPoints(root int, p *plan.Plan) error {
	var bound []int
	defer func() {
		for i := len(bound) - 1; i >= 0; i-- {
			_ = unix.Unmount("/proc/self/fd/"+itoa(bound[i]), unix.MNT_DETACH)
			unix.Close(bound[i])
		}
	}()
	var tmpfs []string
	for _, s := range p.Steps {
		m, ok := s.(plan.Mount)
		if !ok || m.Kind == plan.MountChange || strings.HasPrefix(m.Target, host.CgroupRoot) || below(tmpfs, m.Target) {
			continue
		}
		if m.Kind == plan.MountFS && m.Type == "tmpfs" {
			tmpfs = append(tmpfs, m.Target)
		}
		fd, err := makeIn(root, m.Target, m.File)
		if err != nil {
			return fmt.Errorf("%s: make the mount point %s: %w", m.At(), m.Target, err)
		}
		if m.Kind != plan.MountBind {
			unix.Close(fd)
			continue
		}
		if err := unix.Mount(m.Source, "/proc/self/fd/"+itoa(fd), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			unix.Close(fd)
			return fmt.Errorf("%s: bind %s: %w", m.At(), m.Source, err)
		}
		unix.Close(fd)
		if fd, err = openIn(root, m.Target, unix.O_PATH); err != nil { // the mount, not what it covers
			return fmt.Errorf("%s: open %s: %w", m.At(), m.Target, err)
		}
		bound = append(bound, fd)
	}
	return nil
}

func below(dirs []string, name string) bool {
	for _, d := range dirs {
		if strings.HasPrefix(name, d+"/") {
			return true
		}
	}
	return false
}

// makeIn opens a path below a root directory, and makes what is not there: directories, and a file at the end if file
// is set.
func makeIn(root int, name string, file bool) (int, error) {
	fd, err := openIn(root, name, unix.O_PATH)
	if err != unix.ENOENT || name == "/" {
		return fd, err
	}
	parent, err := makeIn(root, path.Dir(name), false)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if file {
		err = unix.Mknodat(parent, path.Base(name), unix.S_IFREG|0o644, 0)
	} else {
		err = unix.Mkdirat(parent, path.Base(name), 0o755)
	}
	if err != nil && err != unix.EEXIST {
		return -1, err
	}
	return openIn(root, name, unix.O_PATH)
}
