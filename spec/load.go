package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec/wire"
)

// ConfigFile is the name that a bundle's configuration must have (bundle.md).
const ConfigFile = "config.json"

// Bundle is a bundle whose configuration has been read and checked.
type Bundle struct {
	Dir      string      // absolute, without symlinks; "" if there is no directory
	Raw      []byte      // the configuration as it was read; Spec's strings alias it
	Spec     *specs.Spec // never nil
	VServer  Extension   // the org.linux-vserver.* annotations
	Warnings []string    // what is to be logged: "PATH: MSG"
}

// Abs gives the host path that p of the configuration means: relative to the
// bundle, if not absolute.
func (b *Bundle) Abs(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(b.Dir, p)
}

// Rootfs gives the host path of the root directory.
func (b *Bundle) Rootfs() string { return b.Abs(b.Spec.Root.Path) }

// Load reads and checks the configuration of the bundle in the directory
// bundle, "" for the current one. configFile names another file than the
// bundle's config.json, relative to the current directory; "" means none.
//
// The error is of one line and names the file and, by JSON path, every fault
// that was found; so is a root directory that does not exist. Where the file
// does not exist the text is runc's.
func Load(bundle, configFile string) (*Bundle, error) {
	raw, dir, err := Read(bundle, configFile)
	if err != nil {
		return nil, err
	}
	b, err := parse(raw, dir, true)
	if err != nil {
		if configFile == "" {
			configFile = ConfigFile
		}
		return nil, &FileError{configFile, err}
	}
	return b, nil
}

// Read is the first half of Load: it gives the configuration's bytes and the
// bundle's directory, as Parse takes them.
func Read(bundle, configFile string) (raw []byte, dir string, err error) {
	if bundle == "" {
		bundle = "."
	}
	dirfd, err := openRetry(unix.AT_FDCWD, bundle, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, "", &os.PathError{Op: "open bundle", Path: bundle, Err: err}
	}
	defer unix.Close(dirfd)
	if dir, err = fdPath(dirfd, bundle); err != nil {
		return nil, "", &os.PathError{Op: "resolve bundle", Path: bundle, Err: err}
	}
	base, file := unix.AT_FDCWD, configFile
	if file == "" || file == ConfigFile {
		base, file = dirfd, ConfigFile
	}
	if raw, err = readFile(base, file); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, "", &notFoundError{file, dir, err}
		}
		return nil, "", &FileError{file, err}
	}
	return raw, dir, nil
}

// notFoundError says that there is no configuration file, as runc does.
type notFoundError struct {
	file, dir string
	err       error
}

func (e *notFoundError) Error() string {
	s := "JSON specification file " + e.file + " not found"
	if e.file == ConfigFile {
		s += " in bundle " + e.dir
	}
	return s
}

func (e *notFoundError) Unwrap() error { return e.err }

// Parse checks a configuration that has been read already. dir is the bundle's
// directory, absolute and without symlinks. It looks at nothing on the host.
// raw must not be modified afterwards.
func Parse(raw []byte, dir string) (*Bundle, error) {
	b, err := parse(raw, dir, false)
	if err != nil {
		return nil, &FileError{ConfigFile, err}
	}
	return b, nil
}

func parse(raw []byte, dir string, host bool) (*Bundle, error) {
	p := new(pool)
	b, r := &p.bundle, &p.reader
	b.Dir, b.Raw, b.Spec = dir, raw, &p.spec
	r.Pool = p
	r.Reset(raw)
	if r.Null() {
		r.Fault(0, "must be an object (got null)")
	} else {
		DecodeSpec(r, b.Spec)
	}
	faults, err := decodeErrors(r, raw, "")
	if err != nil {
		return nil, err
	}
	c := checker{spec: b.Spec, host: host}
	c.config(b)
	if faults = faults.merge(c.faults); len(faults) > 0 {
		return nil, faults
	}
	b.Warnings = c.warnings
	*r = wire.Reader{} // it lives as long as the bundle
	return b, nil
}

// ParseProcess reads and checks a process document, as "exec --process" takes.
// The paths in its error begin with "process". raw must not be modified
// afterwards.
func ParseProcess(raw []byte) (*specs.Process, error) {
	r := wire.NewReader(raw)
	p := new(specs.Process)
	if r.Null() {
		r.Fault(0, "must be an object (got null)")
	} else {
		DecodeProcess(r, p)
	}
	faults, err := decodeErrors(r, raw, "process")
	if err != nil {
		return nil, err
	}
	var c checker
	c.process(p)
	if faults = faults.merge(c.faults); len(faults) > 0 {
		return nil, faults
	}
	return p, nil
}

// ParseResources reads and checks a resources document, as "update
// --resources" takes. The paths in its error begin with "resources". raw must
// not be modified afterwards.
func ParseResources(raw []byte) (*specs.LinuxResources, error) {
	r := wire.NewReader(raw)
	res := new(specs.LinuxResources)
	if r.Null() {
		r.Fault(0, "must be an object (got null)")
	} else {
		DecodeLinuxResources(r, res)
	}
	faults, err := decodeErrors(r, raw, "resources")
	if err != nil {
		return nil, err
	}
	var c checker
	c.resources(res, "resources")
	if faults = faults.merge(c.faults); len(faults) > 0 {
		return nil, faults
	}
	return res, nil
}

// CheckResources checks what linux.resources is to become.
func CheckResources(r *specs.LinuxResources) error {
	var c checker
	c.resources(r, "linux.resources")
	if len(c.faults) > 0 {
		return c.faults
	}
	return nil
}

// fdPath gives the path of an open directory, as the kernel knows it.
func fdPath(fd int, name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf[:])
	if err == nil && n > 0 && n < len(buf) && buf[0] == '/' {
		return string(buf[:n]), nil
	}
	// No /proc: walk it.
	if name, err = filepath.Abs(name); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(name)
}

// readFile reads a regular file by as few system calls as there can be.
func readFile(dirfd int, name string) ([]byte, error) {
	fd, err := openRetry(dirfd, name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	// One byte more than the size: the read that returns less than was asked
	// for is the last.
	buf := make([]byte, 0, st.Size+1)
	for {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		buf = buf[:len(buf)+n]
		if n == 0 || len(buf) < cap(buf) && int64(len(buf)) == st.Size {
			return buf, nil
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

func openRetry(dirfd int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
