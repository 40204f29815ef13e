package cgroup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

// ErrNoCgroup is the error of what needs a cgroup when the container has none.
var ErrNoCgroup = errors.New("the container has no cgroup")

// Manager is the cgroup of one container. Its methods are not for use by several goroutines at once.
type Manager struct {
	driver   Driver
	layout   host.Layout
	dirs     []dir // one a hierarchy; on hybrid hosts the version 2 tree is the last
	rootless bool
	explicit bool    // the path was given by the config
	owner    *uint32 // see Options.OwnerUID

	res    resources
	writes []write // what res asks for
	rules  []rule

	unit  unitName
	props []property

	denied error // why a hierarchy was left out
}

// Driver returns who makes the cgroup: DriverNone if there is to be none.
func (m *Manager) Driver() Driver { return m.driver }

// Layout returns the cgroup layout that the manager works on.
func (m *Manager) Layout() host.Layout { return m.layout }

// NeedsPid reports whether the cgroup can only be made around a running process, by ApplyPid.
func (m *Manager) NeedsPid() bool { return m.driver == DriverSystemd }

// Paths returns the cgroup's directory for each controller, by its version 1 name; "" is the version 2 tree. It is
// the shape of cgroup_paths in runc's state.json. Under the systemd driver it is empty until ApplyPid.
func (m *Manager) Paths() map[string]string {
	p := make(map[string]string, len(m.dirs)+2)
	for i := range m.dirs {
		for c := range strings.SplitSeq(m.dirs[i].hier, ",") {
			p[c] = m.dirs[i].path
		}
	}
	return p
}

// Path returns the cgroup's directory for a controller, "" if there is none. Every controller is in the version 2
// tree on pure version 2; "" asks for that tree on any layout.
func (m *Manager) Path(controller string) string {
	if d := m.dirOf(controller); d != nil {
		return d.path
	}
	return ""
}

// Made reports whether Create made the cgroup in a controller's hierarchy, or systemd did: it goes with the container.
func (m *Manager) Made(controller string) bool {
	d := m.dirOf(controller)
	return d != nil && (d.made > 0 || m.driver == DriverSystemd)
}

// CallerPath returns the directory of the cgroup that the caller is in, and with it a rootless container where Create
// leaves a hierarchy out; "" where none is left out.
func (m *Manager) CallerPath(controller string) string {
	if d := m.dirOf(controller); d != nil && m.rootless && !m.explicit {
		return d.caller
	}
	return ""
}

// dirOf finds the hierarchy of a version 1 controller, or the version 2 tree for "" and on pure version 2.
func (m *Manager) dirOf(controller string) *dir {
	for i := range m.dirs {
		if d := &m.dirs[i]; m.layout == host.CgroupV2 || d.has(controller) {
			return d
		}
	}
	return nil
}

// main returns the directory that speaks for the container: version 2, else the first of the version 1 hierarchies
// that are always there.
func (m *Manager) main() *dir {
	if m.layout != host.CgroupV2 {
		for _, c := range [...]string{"devices", "pids", "memory", "freezer", "name=systemd"} {
			if d := m.dirOf(c); d != nil {
				return d
			}
		}
	}
	if len(m.dirs) > 0 {
		return &m.dirs[0]
	}
	return nil
}

// Create makes the directories, readies them for joining and opens what JoinFDs hands out. Of what existed before it
// checks that it holds no process and is not frozen. When it fails it leaves nothing behind.
func (m *Manager) Create() (err error) {
	switch m.driver {
	case DriverNone:
		return nil
	case DriverSystemd:
		if !systemdRuns() {
			return errors.New("systemd is not running on this host, so the systemd cgroup driver can't be used")
		}
		return nil
	}
	defer func() {
		if err != nil {
			m.unmake()
		}
	}()
	kept := m.dirs[:0]
	for _, d := range m.dirs {
		ok, err := m.createDir(&d)
		if ok {
			kept = append(kept, d)
		}
		if err != nil {
			m.dirs = kept
			return err
		}
	}
	if m.dirs = kept; len(kept) == 0 {
		m.driver = DriverNone
		return m.checkNoLimits()
	}
	if m.layout == host.CgroupV2 || m.wantsUnified() {
		d := &m.dirs[len(m.dirs)-1]
		m.enableControllers(d)
		if m.owner != nil && m.layout == host.CgroupV2 {
			return chownDelegated(d, *m.owner)
		}
	}
	return nil
}

// createDir makes the directory of one hierarchy. It returns false without an error where the hierarchy is left out: a
// refusal that nobody needs to hear of, or a directory where none is mounted.
func (m *Manager) createDir(d *dir) (bool, error) {
	made, err := makeDir(d.path, d.base)
	if err != nil {
		if m.tolerable(err) {
			m.denied = err
			return false, nil
		}
		return false, m.withHint(err)
	}
	d.made = made
	if made == 0 {
		if err := m.checkFit(d); err != nil {
			return true, err
		}
	}
	if d.fd, err = openJoin(d.path, d.v2()); err != nil {
		if errors.Is(err, unix.ENOENT) && made > 0 || m.tolerable(err) {
			unmakeDirs(d.path, made)
			m.denied = err
			return false, nil
		}
		return true, m.withHint(err)
	}
	if d.has("cpuset") {
		return true, m.initCpuset(d)
	}
	return true, nil
}

// unmake undoes Create.
func (m *Manager) unmake() {
	m.Close()
	for i := range m.dirs {
		unmakeDirs(m.dirs[i].path, m.dirs[i].made)
		m.dirs[i].made = 0
	}
}

// Close closes the file descriptors that Create or JoinFDs opened.
func (m *Manager) Close() {
	for i := range m.dirs {
		closeFD(&m.dirs[i].fd)
	}
}

// checkFit refuses a cgroup that was there before and can't be a new container's (runtime-spec 1.1, config-linux.md:
// if fitness is checked, a failed check is an error).
func (m *Manager) checkFit(d *dir) error {
	pids, err := pidsBelow(d.path)
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return fmt.Errorf("cgroup %s is not empty: %d processes are in it (%d is one)", d.path, len(pids), pids[0])
	}
	if frozen, err := frozenDir(d); err == nil && frozen {
		return fmt.Errorf("cgroup %s is frozen", d.path)
	}
	return nil
}

// tolerable reports whether a refusal may pass: a rootless container whose config names no cgroup goes on without.
func (m *Manager) tolerable(err error) bool {
	return m.rootless && !m.explicit && isDenied(err)
}

func isDenied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}

// AddPid moves a running process into the cgroup. It waits for the kernel's global lock (see the package comment), so
// it is for processes that can't join by themselves.
func (m *Manager) AddPid(pid int) error {
	for i := range m.dirs {
		if err := writeFile(m.dirs[i].path+"/cgroup.procs", itoa(pid)); err != nil {
			return m.withHint(opError("", "write "+itoa(pid)+" to", m.dirs[i].path+"/cgroup.procs", err))
		}
	}
	return nil
}
