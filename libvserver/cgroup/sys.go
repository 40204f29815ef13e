package cgroup

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Error is a failed operation on a cgroup.
type Error struct {
	Place string // place in config.json that asked for it, "" if none
	Op    string // what was tried
	Path  string // on what
	Err   error  // usually a unix.Errno
	Hint  string // what to do about it, "" if unknown
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Place != "" {
		b.WriteString(e.Place)
		b.WriteString(": ")
	}
	b.WriteString(e.Op)
	b.WriteByte(' ')
	b.WriteString(e.Path)
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteByte(')')
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

func opError(place, op, path string, err error) error {
	return &Error{Place: place, Op: op, Path: path, Err: err}
}

func mkdir(path string) error {
	for {
		if err := unix.Mkdir(path, 0o755); err != unix.EINTR {
			return err
		}
	}
}

func rmdir(path string) error {
	for {
		if err := unix.Rmdir(path); err != unix.EINTR {
			return err
		}
	}
}

func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func closeFD(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
		*fd = -1
	}
}

// writeFile writes val to a cgroup file in one write, or line by line: the kernel takes one line at a time. Cgroup
// filesystems have no symbolic links and nobody but the kernel makes files in them, so a plain open is enough once the
// directory is known to be one.
func writeFile(path, val string) error {
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	for len(val) > 0 && err == nil {
		line := val
		if i := strings.IndexByte(val, '\n'); i >= 0 {
			line = val[:i+1]
		}
		err = writeAll(fd, line)
		val = val[len(line):]
	}
	_ = unix.Close(fd)
	return err
}

func writeAll(fd int, s string) error {
	for {
		if _, err := unix.Write(fd, []byte(s)); err != unix.EINTR {
			return err
		}
	}
}

// readFile reads a small file whole. Files of procfs and cgroupfs give no size, so it reads until the end.
func readFile(path string) (string, error) {
	s, err := readAll(path)
	if err != nil {
		err = opError("", "read", path, err)
	}
	return s, err
}

// readValue reads a file of one value, which the kernel gives in one read: one system call less. It is for cgroup
// files that are no lists.
func readValue(path string) (string, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		return strings.TrimSpace(string(buf[:max(n, 0)])), err
	}
}

// readAll is readFile with a bare errno.
func readAll(path string) (string, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	n := 0
	for {
		k, err := unix.Read(fd, buf[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", err
		case k == 0:
			return string(buf[:n]), nil
		}
		if n += k; n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// keyValue finds the number of a "key value" line.
func keyValue(content, key string) (uint64, bool) {
	for line := range strings.SplitSeq(content, "\n") {
		if v, ok := strings.CutPrefix(line, key+" "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// listDirs lists the directories in a directory, not links to some.
func listDirs(path string) ([]string, error) {
	fd, err := open(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, opError("", "open", path, err)
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, opError("", "list", path, err)
		}
		if n == 0 {
			return names, nil
		}
		// struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name up to a NUL.
		for b := buf[:n]; len(b) > 19; {
			l := int(binary.NativeEndian.Uint16(b[16:]))
			name := b[19:l]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			if b[18] == unix.DT_DIR && string(name) != "." && string(name) != ".." {
				names = append(names, string(name))
			}
			b = b[l:]
		}
	}
}

// hasChildren reports whether a cgroup has cgroups below it: kernfs counts directories in the link count.
func hasChildren(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Nlink > 2
}

// longPath is from what length on a path is not made longer: a container to which its cgroup is delegated can nest others
// deeper than a path can name (PATH_MAX is 4096).
const longPath = 3 << 10

// eachBelow calls f with each cgroup directly below one, until that fails.
func eachBelow(path string, f func(path string) error) error {
	if !hasChildren(path) {
		return nil
	}
	subs, err := listDirs(path)
	if err != nil {
		return err
	}
	if len(path) > longPath {
		fd, err := open(path, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return opError("", "open", path, err)
		}
		defer unix.Close(fd)
		path = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	for _, s := range subs {
		if err := f(path + "/" + s); err != nil {
			return err
		}
	}
	return nil
}
