package cgroup

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
)

// Pids returns the processes in the cgroup, and with all those in cgroups below it too, as the caller's pid namespace
// numbers them. Processes of other namespaces that it can't see are left out.
func (m *Manager) Pids(all bool) ([]int, error) {
	d := m.main()
	if d == nil {
		return nil, ErrNoCgroup
	}
	if all {
		pids, err := pidsBelow(d.path)
		return once(pids), err
	}
	return pidsIn(d.path)
}

// Empty reports whether there is no process in the cgroup or below it. A cgroup that is gone is empty.
func (m *Manager) Empty() (bool, error) {
	d := m.main()
	if d == nil {
		return true, nil
	}
	if d.v2() {
		s, err := readFile(d.path + "/cgroup.events")
		if err != nil {
			if gone(err) {
				err = nil
			}
			return err == nil, err
		}
		n, _ := keyValue(s, "populated")
		return n == 0, nil
	}
	pids, err := pidsBelow(d.path)
	if gone(err) {
		err = nil
	}
	return len(pids) == 0, err
}

// Exists reports whether the cgroup is there.
func (m *Manager) Exists() bool {
	d := m.main()
	return d != nil && unix.Access(d.path, unix.F_OK) == nil
}

// pidsIn returns the processes of one cgroup. Those of a threaded one are listed where its threaded subtree begins, too, and may
// be in several of that.
func pidsIn(path string) ([]int, error) {
	s, err := readAll(path + "/cgroup.procs")
	file := "/cgroup.procs"
	threaded := err == unix.EOPNOTSUPP
	if threaded {
		file = "/cgroup.threads"
		s, err = readAll(path + file)
	}
	if err != nil {
		return nil, opError("", "read", path+file, err)
	}
	var pids []int
	for line := range strings.SplitSeq(s, "\n") {
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
			if threaded {
				pid = host.ProcessOf(pid)
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// once leaves one of each.
func once(pids []int) []int {
	slices.Sort(pids)
	return slices.Compact(pids)
}

// pidsBelow is pidsIn for a whole subtree. Cgroups that vanish while it looks are passed over.
func pidsBelow(path string) ([]int, error) {
	pids, err := pidsIn(path)
	if err != nil {
		return nil, err
	}
	err = eachBelow(path, func(path string) error {
		more, err := pidsBelow(path)
		if err != nil && !gone(err) {
			return err
		}
		pids = append(pids, more...)
		return nil
	})
	return pids, err
}

// killTimeout is how long processes that appear while others are killed are hunted.
const killTimeout = 10 * time.Second

// Kill sends SIGKILL to every process of the container, frozen or not, and returns when no process is left that has
// not got it. Where there is a version 2 cgroup that is one write (cgroup.kill, Linux 5.14). Else, and for what has
// left that cgroup but not the others, processes are frozen and signalled, so that none can fork away.
func (m *Manager) Kill() error {
	if len(m.dirs) == 0 {
		return ErrNoCgroup
	}
	d := m.dirOf("")
	if d == nil || writeFile(d.path+"/cgroup.kill", "1") != nil {
		return m.signalAll(unix.SIGKILL)
	}
	if d == m.main() {
		return nil
	}
	if frozen, err := m.Frozen(); frozen || err != nil { // version 1's freezer holds back even the dying
		if err := m.Freeze(false); err != nil {
			return err
		}
	}
	killed, err := pidsBelow(d.path)
	if err != nil && !gone(err) {
		return err
	}
	pids, err := m.everyone()
	if err != nil {
		return err
	}
	if len(without(pids, killed)) == 0 {
		return nil
	}
	return m.signalAll(unix.SIGKILL)
}

// everyone returns the processes that are in any of the container's cgroups: one that has left some of them is still
// there to be killed, and in the way of removing the others.
func (m *Manager) everyone() ([]int, error) {
	var all []int
	for i := range m.dirs {
		pids, err := pidsBelow(m.dirs[i].path)
		if err != nil && !gone(err) {
			return nil, err
		}
		all = append(all, pids...)
	}
	return once(all), nil
}

// Signal sends a signal to every process of the container. Version 1's freezer holds even SIGKILL back until it thaws.
func (m *Manager) Signal(sig unix.Signal) error {
	if sig == unix.SIGKILL {
		return m.Kill()
	}
	return m.signalAll(sig)
}

func (m *Manager) signalAll(sig unix.Signal) error {
	pids, err := m.everyone()
	if err != nil || len(pids) == 0 {
		return err
	}
	wasFrozen, _ := m.Frozen()
	if !wasFrozen {
		// Best effort: without it a process that forks fast enough may escape one round and is met in the next.
		if m.Freeze(true) == nil {
			if more, err := m.everyone(); err == nil {
				pids = more
			}
		}
	}
	serr := signal(pids, sig)
	if !wasFrozen || sig == unix.SIGKILL {
		if err := m.Freeze(false); err != nil && serr == nil && wasFrozen {
			serr = err
		}
	}
	if sig != unix.SIGKILL || serr != nil {
		return serr
	}
	for end := time.Now().Add(killTimeout); time.Now().Before(end); {
		fresh, err := m.everyone()
		if err != nil {
			return err
		}
		if fresh = without(fresh, pids); len(fresh) == 0 {
			return nil
		}
		if err := signal(fresh, sig); err != nil {
			return err
		}
		pids = append(pids, fresh...)
	}
	return errors.New("processes keep appearing in cgroup " + m.main().path)
}

func signal(pids []int, sig unix.Signal) error {
	var first error
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH && first == nil {
			first = opError("", "send "+unix.SignalName(sig)+" to", "process "+itoa(pid), err)
		}
	}
	return first
}

// without returns the pids that are not in old.
func without(pids, old []int) []int {
	seen := make(map[int]bool, len(old))
	for _, p := range old {
		seen[p] = true
	}
	var left []int
	for _, p := range pids {
		if !seen[p] {
			left = append(left, p)
		}
	}
	return left
}
