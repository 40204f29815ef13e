package helper

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// image is a helper that can be executed at path.
type image struct {
	path string
	fd   int // a memfd, or -1
}

func (i *image) close() {
	if i.fd >= 0 {
		syscall.Close(i.fd)
	}
}

// openImage finds the helper: an installed one if it is the embedded one,
// since it needs no copying (2 ms); else the embedded one in a sealed memfd,
// else any installed one.
func openImage() (*image, error) {
	f := embedded()
	if f == nil {
		path, _, err := installed()
		if err != nil {
			return nil, err
		}
		return &image{path: path, fd: -1}, nil
	}
	defer f.Close()
	if path := installedCopy(); path != "" {
		return &image{path: path, fd: -1}, nil
	}
	fd, err := memfd(f)
	if err == nil {
		return &image{path: "/proc/self/fd/" + strconv.Itoa(fd), fd: fd}, nil
	}
	// No executable memfd on this host (vm.memfd_noexec=2, or an LSM): an
	// installed copy does as well.
	if path, _, ierr := installed(); ierr == nil {
		return &image{path: path, fd: -1}, nil
	}
	return nil, fmt.Errorf("unpack the embedded %s: %w (and no %s is installed beside vsrun, in ../libexec/vsrun or in a standard place)", Name, err, Name)
}

// embedded opens the helper in this executable; nil when there is none.
func embedded() fs.File {
	f, err := files.Open("bin/" + Name)
	if err != nil {
		return nil
	}
	return f
}

// installedCopy finds an installed helper that is the embedded one: of the same
// size and Go build id, which holds a hash of the file. Nobody but root and the
// caller may be able to write to it. "" if there is none.
func installedCopy() string {
	path, st, err := installed()
	if err != nil || st.Mode&0o022 != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return ""
	}
	f := embedded()
	if f == nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() != st.Size {
		return ""
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer syscall.Close(fd)
	var ours, theirs [1024]byte
	_, _ = io.ReadFull(f, ours[:])
	n, err := syscall.Pread(fd, theirs[:], 0)
	if id := buildID(ours[:]); err == nil && id != "" && id == buildID(theirs[:max(n, 0)]) {
		return path
	}
	return ""
}

// memfd copies the helper to a memfd that nobody can change any more.
func memfd(f fs.File) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	// MFD_EXEC (Linux 6.3) is needed where vm.memfd_noexec is 1; before 6.3
	// it is an unknown flag and every memfd is executable.
	fd, errno := memfdCreate(Name, flags|unix.MFD_EXEC)
	if errno == syscall.EINVAL {
		fd, errno = memfdCreate(Name, flags)
	}
	if errno == syscall.EACCES {
		return -1, fmt.Errorf("memfd_create: %w (is vm.memfd_noexec 2?)", errno)
	}
	if errno != 0 {
		return -1, fmt.Errorf("memfd_create: %w", errno)
	}
	if err := fill(fd, f); err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

func fill(fd int, f fs.File) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if err := writeAll(fd, buf[:n]); err != nil {
				return fmt.Errorf("write memfd: %w", err)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal memfd: %w", err)
	}
	return nil
}

// standard are the places that make install and distributions put it in.
var standard = [...]string{"/usr/local/libexec/vsrun/" + Name, "/usr/libexec/vsrun/" + Name}

// installed finds a helper on disk: beside this executable, below the same
// prefix, or in a standard place. A process that was started from a private
// mount (package guard) can't tell where its executable is: it reads "/".
func installed() (path string, st unix.Stat_t, err error) {
	var places [4]string
	copy(places[2:], standard[:])
	if self, err := os.Readlink("/proc/self/exe"); err == nil && len(self) > 1 {
		dir := self[:strings.LastIndexByte(self, '/')+1]
		places[0], places[1] = dir+Name, dir+"../libexec/vsrun/"+Name
	}
	for _, p := range places {
		if p != "" && unix.Stat(p, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
			return p, st, nil
		}
	}
	return "", st, ErrMissing
}
