package launch

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// newUserns makes a user namespace with these maps and returns its descriptor: what mount_setattr(2) wants for an
// id-mapped mount. It lives in a process of its own only until it has been opened.
func newUserns(uids, gids []plan.IDMap) (int, error) {
	d := &Descriptors{Close: [2]int{-1, -1}}
	reports, err := d.talk()
	if err != nil {
		return -1, err
	}
	c := newCompiler(nil, d)
	c.emit(opAwait, "", val(0), val(0), val(0), val(0))
	m := &machine{reports: uintptr(d.Reports), code: c.code, slot: make([]uintptr, c.slots)}
	args := &cloneArgs{flags: unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_NEWUSER, exitSignal: uint64(unix.SIGCHLD)}
	args.pidfd = uint64(address32(&m.pidfd))
	pid, errno := cloneAndExecute(m, args, false)
	unix.Close(d.Reports)
	if errno != 0 {
		unix.Close(reports)
		return -1, os.NewSyscallError("clone3", errno)
	}
	defer func() {
		unix.Close(reports)
		_ = unix.PidfdSendSignal(int(m.pidfd), unix.SIGKILL, nil, 0)
		_ = unix.Waitid(unix.P_PIDFD, int(m.pidfd), nil, unix.WEXITED, nil)
		unix.Close(int(m.pidfd))
	}()
	proc, err := host.OpenProc()
	if err != nil {
		return -1, err
	}
	defer unix.Close(proc)
	dir := strconv.Itoa(pid) + "/"
	for file, list := range map[string][]plan.IDMap{"uid_map": uids, "gid_map": gids} {
		var b []byte
		for _, e := range list {
			b = fmt.Appendf(b, "%d %d %d\n", e.Container, e.Host, e.Size)
		}
		if err := host.WriteProc(proc, dir+file, string(b)); err != nil {
			return -1, err
		}
	}
	fd, err := unix.Openat(proc, dir+"ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/proc/" + dir + "ns/user", Err: err}
	}
	return fd, nil
}

// IDMap maps the ids of a detached mount (Linux 5.12).
func IDMap(mount int, m *plan.MountIDMap) error {
	ns, err := newUserns(m.UIDs, m.GIDs)
	if err != nil {
		return fmt.Errorf("make the user namespace of an id-mapped mount: %w", err)
	}
	defer unix.Close(ns)
	flags := uint(unix.AT_EMPTY_PATH)
	if m.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	err = unix.MountSetattr(mount, "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)})
	if err == unix.EINVAL {
		return fmt.Errorf("mount_setattr(MOUNT_ATTR_IDMAP): %w (the filesystem does not support id-mapped mounts, or is mapped already)", err)
	}
	return os.NewSyscallError("mount_setattr(MOUNT_ATTR_IDMAP)", err)
}
