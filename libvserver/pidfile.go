package libvserver

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
)

// writePidFile makes the file of --pid-file, which whoever waits for it finds complete. It has no name before, so that a
// runtime that is killed leaves nothing; only where the filesystem knows no nameless files it is written under another
// one and renamed, as runc does.
func writePidFile(file string, pid int) error {
	err := linkPidFile(file, pid)
	switch err {
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EPERM: // open(2), O_TMPFILE
		err = renamePidFile(file, pid)
	}
	if err != nil {
		return fmt.Errorf("--pid-file: %w", err)
	}
	return nil
}

// linkPidFile gives the complete file its name. A file of that name was an earlier process's.
func linkPidFile(file string, pid int) error {
	fd, err := unix.Open(filepath.Dir(file), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return wrapPath("open", filepath.Dir(file), err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(itoa(pid))); err != nil {
		return wrapPath("write", file, err)
	}
	_ = fault.On && fault.At(fault.PidFileWritten)
	const tries = 100 // others may make and remove it meanwhile
	for range tries {
		err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+itoa(fd), unix.AT_FDCWD, file, unix.AT_SYMLINK_FOLLOW)
		if err != unix.EEXIST {
			break
		}
		if err := unix.Unlink(file); err != nil && err != unix.ENOENT {
			return wrapPath("unlink", file, err)
		}
	}
	return wrapPath("link", file, err)
}

// wrapPath names the file of an error, but for those that mean that there are no nameless files.
func wrapPath(op, path string, err error) error {
	switch err {
	case nil, unix.EOPNOTSUPP, unix.EISDIR, unix.EPERM:
		return err
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

func renamePidFile(file string, pid int) error {
	tmp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file))
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(tmp, flags, 0o666)
	if os.IsExist(err) { // left by a runtime that was killed
		_ = os.Remove(tmp)
		f, err = os.OpenFile(tmp, flags, 0o666)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(itoa(pid))
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}
