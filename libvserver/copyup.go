package libvserver

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// copyUp fills a tmpfs with what it covers (tmpcopyup). The child hands over the two directories in turn.
func (n *creation) copyUp(fd int) error {
	local, err := unix.PidfdGetfd(n.process.PIDFD, fd, 0)
	if err != nil {
		return os.NewSyscallError("tmpcopyup: pidfd_getfd", err)
	}
	if n.covered == 0 {
		n.covered = local
		return nil
	}
	defer func() {
		unix.Close(local)
		unix.Close(n.covered)
		n.covered = 0
	}()
	work := func() error { return copyTree(n.covered, local, ".") }
	if n.hooks.NS&unix.CLONE_NEWUSER != 0 {
		err = asMapped(n.process.PID, work)
	} else {
		err = work()
	}
	if err != nil {
		m := n.copiedUp()
		return fmt.Errorf("%s: %s: tmpcopyup: %w", m.At(), m, err)
	}
	n.copied++
	return nil
}

// copiedUp is the mount whose turn it is.
func (n *creation) copiedUp() (m plan.Mount) {
	turn := n.copied
	for _, s := range n.plan.Steps {
		if s, ok := s.(plan.Mount); ok && s.CopyUp {
			if m = s; turn == 0 {
				break
			}
			turn--
		}
	}
	return m
}

// asMapped makes files as root of the user namespace that a process is in, where it is not root of the host: in a filesystem
// of that namespace there are no others. Capabilities stay as they are. It takes a thread that ends with it.
func asMapped(pid int, f func() error) error {
	uid, ok := hostID(pid, "uid", 0)
	gid, ok2 := hostID(pid, "gid", 0)
	caps, err := host.OwnCaps()
	if err != nil || !ok || !ok2 || !caps.Has(unix.CAP_SETUID) || !caps.Has(unix.CAP_SETGID) {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if _, err := unix.SetfsgidRetGid(int(gid)); err != nil {
				return os.NewSyscallError("setfsgid", err)
			}
			if _, err := unix.SetfsuidRetUid(int(uid)); err != nil {
				return os.NewSyscallError("setfsuid", err)
			}
			// With root's id the thread has lost the capabilities over files (capabilities(7)).
			if err := host.SetCaps(caps); err != nil {
				return os.NewSyscallError("capset", err)
			}
			return f()
		}()
	}()
	return <-done
}

// copyTree copies the entries of directory from to directory to, with owners, modes and times. Links are never followed, names
// are only used in the directory they were read from, and each once: what is covered may be another container's, too, which
// puts something else there meanwhile. where is for errors.
func copyTree(from, to int, where string) error {
	fd, err := unix.Openat(from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: where, Err: err}
	}
	dir := os.NewFile(uintptr(fd), where)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyEntry(int(dir.Fd()), to, name); err != nil {
			return &os.PathError{Op: "copy", Path: where + "/" + name, Err: err}
		}
	}
	return nil
}

func copyEntry(from, to int, name string) error {
	// Nothing is opened for reading before it is known for a file or a directory: the runtime may open any device.
	fd, err := unix.Openat(from, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err = unix.Mkdirat(to, name, 0o700); err == nil {
			err = copyDir(fd, to, name)
		}
	case unix.S_IFREG:
		err = copyFile(fd, to, name)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		var k int
		if k, err = unix.Readlinkat(fd, "", buf); err == nil {
			err = unix.Symlinkat(string(buf[:k]), to, name)
		}
	default:
		err = unix.Mknodat(to, name, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	// A kernel may refuse an owner that the filesystem's user namespace does not map: then the file is its root's.
	if err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil && err != unix.EOVERFLOW && err != unix.EINVAL {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(to, name, st.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyDir(from, to int, name string) error {
	out, err := unix.Openat(to, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	return copyTree(from, out, name)
}

// copyFile copies a regular file, of which from is no more than a place (O_PATH).
func copyFile(from, to int, name string) error {
	src, err := os.OpenFile("/proc/self/fd/"+itoa(from), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	out, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(out), name)
	_, err = io.Copy(dst, src)
	if e := dst.Close(); err == nil {
		err = e
	}
	return err
}
