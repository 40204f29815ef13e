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

// openImage finds the helper: the embedded one in a sealed memfd, else an
// installed one.
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
	fd, err := memfd(f)
	if err == nil {
		return &image{path: "/proc/self/fd/" + strconv.Itoa(fd), fd: fd}, nil
	}
	// No executable memfd on this host (vm.memfd_noexec=2, or an LSM): an
	// installed copy does as well.
	if path, _, ierr := installed(); ierr == nil {
		return &image{path: path, fd: -1}, nil
	}
	return nil, fmt.Errorf("unpack the embedded %s: %w (and no %s is installed beside vsrun or in ../libexec/vsrun)", Name, err, Name)
}

// embedded opens the helper in this executable; nil when there is none.
func embedded() fs.File {
	f, err := files.Open("bin/" + Name)
	if err != nil {
		return nil
	}
	return f
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

// installed finds a helper on disk: beside this executable, or where
// distributions put such programs.
func installed() (path string, st unix.Stat_t, err error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", st, fmt.Errorf("%w (readlink /proc/self/exe: %v)", ErrMissing, err)
	}
	dir := self[:strings.LastIndexByte(self, '/')+1]
	for _, p := range [...]string{dir + Name, dir + "../libexec/vsrun/" + Name} {
		if unix.Stat(p, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
			return p, st, nil
		}
	}
	return "", st, ErrMissing
}
