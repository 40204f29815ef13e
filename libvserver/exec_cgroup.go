package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// join clones the process into the container and its cgroup. Where a version 2 cgroup takes no processes, as some program
// inside (systemd, a nested engine) has given its controllers to cgroups below, or is gone, as the first process has moved
// elsewhere, the new process goes where the first one is; but not if --cgroup says where it is to be. Where the caller may
// not move processes there from where it is, as from a user's login session, systemd may.
func (e *execution) join(o *launch.Options, t *launch.Target) (*launch.Process, error) {
	var in execCgroups
	defer in.close()
	if err := e.openCgroups(&in); err != nil {
		return nil, err
	}
	o.CgroupFD, o.CgroupTasks = in.v2, in.tasks
	p, err := launch.Join(e.plan, o, t)
	failed := cgroupRefuses(o, err)
	if failed == 0 {
		return p, err
	}
	explicit := len(e.o.Cgroups) > 0
	switch {
	case failed == unix.EACCES && e.rec.Rootless && e.unitMoves(in.path):
		o.CgroupFD = -1
		return launch.Join(e.plan, o, t)
	case !explicit && e.initCgroup(&in, failed):
	case !explicit && e.rec.Rootless: // it may not be allowed to
	default:
		return nil, fmt.Errorf("adding the process to cgroup %s: %w", in.path, failed)
	}
	o.CgroupFD = in.v2
	p, err = launch.Join(e.plan, o, t)
	switch failed = cgroupRefuses(o, err); {
	case failed == 0:
		return p, err
	case !explicit && e.rec.Rootless: // likewise
		o.CgroupFD = -1
		return launch.Join(e.plan, o, t)
	}
	return nil, fmt.Errorf("adding the process to cgroup %s: %w", in.path, failed)
}

// cgroupRefuses finds the error of the cgroup that a process could not be cloned into, 0 if there is none.
func cgroupRefuses(o *launch.Options, err error) unix.Errno {
	var failed *launch.CloneError
	if o.CgroupFD >= 0 && errors.As(err, &failed) && refused(failed.Errno) {
		return failed.Errno
	}
	return 0
}

// unitMoves has the process wait to be moved by systemd into the cgroup dir, if the container is a unit of systemd's.
func (e *execution) unitMoves(dir string) bool {
	m, err := e.cgroup()
	if err != nil || m == nil || m.Driver() != cgroup.DriverSystemd || m.Layout() != host.CgroupV2 {
		return false
	}
	for i, s := range e.plan.Steps {
		if at, ok := s.(plan.JoinCgroup); ok {
			e.plan.Steps = slices.Insert(e.plan.Steps, i, plan.Step(plan.Await{Origin: at.Origin, Stage: plan.StageCgroup}))
			e.unitDir = dir
			return true
		}
	}
	return false
}

// moveIntoUnit is what the process then waits for. As under runc, it goes on without where no place was asked for.
func (e *execution) moveIntoUnit() error {
	m, err := e.cgroup()
	if err != nil {
		return err
	}
	if err := m.AttachPid(e.process.PID, e.unitDir); err != nil {
		if len(e.o.Cgroups) > 0 {
			return err
		}
		log.Warnf("the process stays in the cgroup of its caller: %v", err)
	}
	return e.process.Continue("")
}

// refused tells the errors of clone3(2) that come from the cgroup.
func refused(e unix.Errno) bool {
	switch e {
	case unix.EBUSY, unix.EOPNOTSUPP, unix.ENODEV, unix.ENOENT, unix.EACCES:
		return true
	}
	return false
}

// execCgroups is what a process needs to join: a directory of cgroup2 (-1: none), tasks files of version 1.
type execCgroups struct {
	v2    int
	path  string // of v2
	v1    bool   // there are version 1 hierarchies too: they, and not v2, have the controllers
	tasks []int
}

func (in *execCgroups) close() {
	if in.v2 >= 0 {
		unix.Close(in.v2)
	}
	for _, fd := range in.tasks {
		unix.Close(fd)
	}
}

func (e *execution) openCgroups(in *execCgroups) error {
	in.v2 = -1
	subs, err := subCgroups(e.o.Cgroups)
	if err != nil {
		return err
	}
	m, err := e.cgroup()
	if err != nil {
		return err
	}
	if m == nil || m.Driver() == cgroup.DriverNone {
		if len(subs) > 0 {
			return errors.New("--cgroup: " + cgroup.ErrNoCgroup.Error())
		}
		return nil
	}
	dirs := m.State().Dirs
	if err := known(subs, dirs); err != nil {
		return err
	}
	for _, d := range dirs {
		in.v1 = in.v1 || d.Hierarchy != ""
		if err := e.openCgroup(in, d, subs); err != nil {
			return err
		}
	}
	return e.openRdt(in)
}

// openRdt opens the container's groups in resctrl: the class of service first, for a monitoring group takes only what is
// in its class. One that is gone is none.
func (e *execution) openRdt(in *execCgroups) error {
	if e.rec.IntelRdtPath == "" {
		return nil
	}
	for _, dir := range [...]string{e.rec.IntelRdtPath, loadLaunched(e.rec).RdtMon} {
		if dir == "" {
			continue
		}
		fd, err := unix.Open(dir+"/tasks", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			in.tasks = append(in.tasks, fd)
		case err != unix.ENOENT:
			return fmt.Errorf("linux.intelRdt: %w", &os.PathError{Op: "open", Path: dir + "/tasks", Err: err})
		}
	}
	return nil
}

func (e *execution) openCgroup(in *execCgroups, d cgroup.StateDir, subs map[string]string) error {
	dir, explicit := subs[""]
	for c := range strings.SplitSeq(d.Hierarchy, ",") {
		if s, ok := subs[c]; ok {
			dir, explicit = s, true
		}
	}
	dir = path.Join(d.Path, dir)
	if d.Hierarchy == "" {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if in.v2, in.path = fd, dir; err == nil {
			return nil
		}
		in.v2 = -1
		if !explicit && (e.initCgroup(in, err) || e.rec.Rootless) {
			return nil
		}
		return fmt.Errorf("can't open cgroup %s: %w", dir, err)
	}
	fd, err := unix.Open(dir+"/tasks", unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		if e.rec.Rootless && !explicit {
			return nil
		}
		return fmt.Errorf("can't open cgroup %s: %w", dir, err)
	}
	in.tasks = append(in.tasks, fd)
	return nil
}

// initCgroup takes the cgroup2 directory that the container's first process is in. It changes nothing where version 1
// has the controllers: there the process goes without.
func (e *execution) initCgroup(in *execCgroups, why error) bool {
	if in.v2 >= 0 {
		unix.Close(in.v2)
		in.v2 = -1
	}
	if in.v1 || host.CgroupLayout() != host.CgroupV2 {
		return true
	}
	text, err := os.ReadFile("/proc/" + itoa(e.rec.InitPid) + "/cgroup")
	if err != nil || e.gone() {
		return false
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/")
		if !ok {
			continue
		}
		dir := host.CgroupRoot + "/" + rest
		if dir == in.path {
			return false
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		log.Debugf("cgroup %s: %v; going where the container's first process is, %s", in.path, why, dir)
		in.v2, in.path = fd, dir
		return true
	}
	return false
}

// subCgroups reads the values of --cgroup: one PATH for all hierarchies, or CONTROLLER[,CONTROLLER]...:PATH for some.
func subCgroups(values []string) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	subs := make(map[string]string, len(values))
	for _, v := range values {
		list, sub, ok := strings.Cut(v, ":")
		if !ok {
			if len(values) != 1 {
				return nil, fmt.Errorf("invalid --cgroup argument: %s (missing <controller>: prefix)", v)
			}
			list, sub = "", v
		}
		for c := range strings.SplitSeq(sub, "/") {
			if c == ".." {
				return nil, fmt.Errorf("bad sub cgroup path: %s", sub)
			}
		}
		for c := range strings.SplitSeq(list, ",") {
			if ok && c == "" {
				return nil, fmt.Errorf("invalid --cgroup argument: %s (empty <controller> prefix)", v)
			}
			if _, twice := subs[c]; twice {
				return nil, fmt.Errorf("invalid --cgroup argument(s): controller %s specified multiple times", c)
			}
			subs[c] = sub
		}
	}
	return subs, nil
}

// known checks that each controller that --cgroup names has a hierarchy, and that those which share one agree.
func known(subs map[string]string, dirs []cgroup.StateDir) error {
	for c, sub := range subs {
		if c == "" {
			continue
		}
		found := false
		for _, d := range dirs {
			list := strings.Split(d.Hierarchy, ",")
			for _, other := range list {
				if other != c {
					continue
				}
				found = true
				for _, o := range list {
					if s, ok := subs[o]; ok && s != sub {
						return fmt.Errorf("--cgroup: %s and %s are in one hierarchy, and can't be in %s and %s", c, o, sub, s)
					}
				}
			}
		}
		if !found {
			return fmt.Errorf("--cgroup: unknown controller %s", c)
		}
	}
	return nil
}
