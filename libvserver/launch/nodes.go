package launch

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// makeNodes makes the device nodes that a container in a user namespace could not make: in a filesystem of the runtime's
// own, where they are devices, and with the owner that they shall have in the container. What the child gets are detached
// mounts of the single nodes. Where mknod(2) is refused to the runtime as well, the child takes the host's node.
func (d *Descriptors) makeNodes(pl *plan.Plan) error {
	var steps []int
	label := ""
	for i, s := range pl.Steps {
		if s, ok := s.(plan.Device); ok && s.FromParent {
			steps, label = append(steps, i), s.Label
		}
	}
	if len(steps) == 0 {
		return nil
	}
	fs, err := nodeFS(label)
	if err != nil {
		return fmt.Errorf("%s: %w", pl.Steps[steps[0]].At(), err)
	}
	defer unix.Close(fs)
	made := steps[:0]
	for _, i := range steps {
		s := pl.Steps[i].(plan.Device)
		switch err := makeNode(fs, strconv.Itoa(i), &s); err {
		case nil:
			made = append(made, i)
		case unix.EPERM:
		default:
			return fmt.Errorf("%s: %s: %w", s.At(), s, err)
		}
	}
	fds, err := cloneNodes(fs, made)
	if err != nil {
		return fmt.Errorf("%s: %w", pl.Steps[steps[0]].At(), err)
	}
	for k, i := range made {
		if d.Sources == nil {
			d.Sources = make(map[int]int)
		}
		d.Sources[i] = fds[k]
	}
	return nil
}

// nodeFS is the detached mount of a small filesystem.
func nodeFS(label string) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen tmpfs", err)
	}
	defer unix.Close(fs)
	if label != "" {
		if err := unix.FsconfigSetString(fs, "context", label); err != nil {
			return -1, os.NewSyscallError("fsconfig context="+label, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	m, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	return m, os.NewSyscallError("fsmount", err)
}

func makeNode(dir int, name string, s *plan.Device) error {
	if err := unix.Mknodat(dir, name, s.Mode, int(unix.Mkdev(s.Major, s.Minor))); err != nil {
		return err
	}
	if err := unix.Fchownat(dir, name, int(s.HostUID), int(s.HostGID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	return os.NewSyscallError("fchmodat", unix.Fchmodat(dir, name, s.Mode&0o7777, 0)) // whatever the umask
}

// cloneNodes makes detached mounts of single files of a detached mount.
func cloneNodes(fs int, names []int) ([]int, error) {
	fds, err := openNodes(fs, names)
	if err != unix.EINVAL {
		return fds, os.NewSyscallError("open_tree", err)
	}
	// Before Linux 6.15 only a mount in the caller's namespace could be cloned.
	ownThread(func() { fds, err = cloneInside(fs, names) })
	return fds, err
}

// ownThread runs f on a thread that ends with it. It is never the first one, whose namespaces /proc/self shows, and which
// does not end.
func ownThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			ownThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// cloneInside does it in a mount namespace of its own.
func cloneInside(fs int, names []int) ([]int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_PRIVATE}); err != nil {
		return nil, os.NewSyscallError("mount_setattr", err)
	}
	if err := unix.MoveMount(fs, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, os.NewSyscallError("move_mount", err)
	}
	fds, err := openNodes(fs, names)
	return fds, os.NewSyscallError("open_tree", err)
}

func openNodes(fs int, names []int) (fds []int, err error) {
	for _, n := range names {
		fd, err := unix.OpenTree(fs, strconv.Itoa(n), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
