package main

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The exerciser does to a tree of files whatever programs do, in an order that
// its seed says, and prints what comes of each step: the same on any filesystem
// that keeps to POSIX. It opens no file for reading before another writes to it
// and expects to see that, which is where overlayfs does not.

// fixture makes the tree that the exerciser begins with: probe fixture DIR [SHIFT], where SHIFT is added to owners.
func fixture(args []string) error {
	if len(args) > 1 {
		shift, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		defer func() { shiftOwners(args[0], shift) }()
	}
	r := rand.New(rand.NewSource(1))
	dir := args[0]
	for d := range 8 {
		path := filepath.Join(dir, "d"+strconv.Itoa(d))
		if d > 4 {
			path = filepath.Join(dir, "d"+strconv.Itoa(d-4), "d"+strconv.Itoa(d))
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		for f := range 8 {
			name := filepath.Join(path, "f"+strconv.Itoa(f))
			data := make([]byte, r.Intn(3)*5000+r.Intn(200))
			r.Read(data)
			if err := os.WriteFile(name, data, 0o644); err != nil {
				return err
			}
			switch f {
			case 1:
				if err := errors.Join(os.Link(name, name+".link"), os.Link(name, filepath.Join(dir, "link"+strconv.Itoa(d)))); err != nil {
					return err
				}
			case 2:
				if err := errors.Join(unix.Setxattr(name, "user.note", []byte("v"+strconv.Itoa(d)), 0), os.Chown(name, 1000, 1000), unix.Chmod(name, 0o4755)); err != nil {
					return err
				}
			case 3:
				if err := errors.Join(os.Symlink("f2", name+".sym"), os.Symlink("nowhere", name+".dead")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func shiftOwners(dir string, shift int) {
	_ = filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(p, &st) == nil && int(st.Uid) < shift {
			_ = unix.Lchown(p, int(st.Uid)+shift, int(st.Gid)+shift)
			if st.Mode&unix.S_IFMT != unix.S_IFLNK {
				_ = unix.Chmod(p, st.Mode&0o7777)
			}
		}
		return nil
	})
}

// exercise: probe exercise DIR SEED STEPS.
func exercise(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: exercise DIR SEED STEPS")
	}
	seed, err1 := strconv.ParseInt(args[1], 10, 64)
	steps, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2, os.Chdir(args[0])); err != nil {
		return err
	}
	x := &exerciser{rand.New(rand.NewSource(seed))}
	for i := range steps {
		a := actionsOnFiles[x.Intn(len(actionsOnFiles))]
		fmt.Printf("%d %s\n", i, a(x))
	}
	return manifest()
}

type exerciser struct{ *rand.Rand }

// errnoText is an error as both filesystems word it.
func errnoText(err error) string {
	if err == nil {
		return "ok"
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

// names lists what there is now, so that the steps find something to do.
func (x *exerciser) names(dirs bool) []string {
	var names []string
	_ = filepath.WalkDir(".", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() == dirs && p != "." {
			names = append(names, p)
		}
		return nil
	})
	slices.Sort(names)
	return names
}

func (x *exerciser) file() string { return x.one(x.names(false)) }
func (x *exerciser) dir() string  { return x.one(append(x.names(true), ".")) }

func (x *exerciser) one(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return names[x.Intn(len(names))]
}

func (x *exerciser) fresh() string {
	return filepath.Join(x.dir(), "n"+strconv.Itoa(x.Intn(40)))
}

func (x *exerciser) data() []byte {
	b := make([]byte, x.Intn(9000))
	x.Read(b)
	return b
}

// open opens a file and reports on what f does with it.
func (x *exerciser) open(what, name string, flags int, f func(fd int) error) string {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640)
	if err == nil {
		err = f(fd)
		unix.Close(fd)
	}
	return what + " " + name + " " + errnoText(err) + " " + content(name)
}

var actionsOnFiles = []func(*exerciser) string{
	func(x *exerciser) string {
		return x.open("create", x.fresh(), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, func(fd int) error { _, err := unix.Write(fd, x.data()); return err })
	},
	func(x *exerciser) string {
		return x.open("write", x.file(), unix.O_WRONLY, func(fd int) error { _, err := unix.Pwrite(fd, x.data(), int64(x.Intn(20000))); return err })
	},
	func(x *exerciser) string {
		return x.open("append", x.file(), unix.O_WRONLY|unix.O_APPEND, func(fd int) error { _, err := unix.Write(fd, x.data()); return err })
	},
	func(x *exerciser) string {
		return x.open("rewrite", x.file(), unix.O_RDWR|unix.O_TRUNC, func(fd int) error { _, err := unix.Write(fd, x.data()); return err })
	},
	func(x *exerciser) string {
		return x.open("truncate", x.file(), unix.O_RDWR, func(fd int) error { return unix.Ftruncate(fd, int64(x.Intn(20000))) })
	},
	func(x *exerciser) string {
		return x.open("allocate", x.file(), unix.O_RDWR, func(fd int) error {
			return errors.Join(unix.Fallocate(fd, 0, 0, int64(x.Intn(9000)+1)), unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100, 5000))
		})
	},
	func(x *exerciser) string { return x.open("mmap", x.file(), unix.O_RDWR, x.mapped) },
	func(x *exerciser) string { return x.open("locks", x.file(), unix.O_RDWR, locks) },
	func(x *exerciser) string {
		return x.open("fchmod", x.file(), unix.O_RDONLY, func(fd int) error { return unix.Fchmod(fd, uint32(x.Intn(0o10000))) })
	},
	func(x *exerciser) string {
		n, m := x.file(), uint32(x.Intn(0o10000))
		return "chmod " + n + " " + errnoText(unix.Fchmodat(unix.AT_FDCWD, n, m, 0)) + " " + describe(n)
	},
	func(x *exerciser) string {
		n := x.file()
		return "chown " + n + " " + errnoText(unix.Lchown(n, x.Intn(2000), x.Intn(2000))) + " " + describe(n)
	},
	func(x *exerciser) string {
		n := x.one(append(x.names(false), x.names(true)...))
		t := []unix.Timespec{{Sec: int64(x.Intn(1e9)), Nsec: 1}, {Sec: int64(x.Intn(1e9)), Nsec: 123456789}}
		err := unix.UtimesNanoAt(unix.AT_FDCWD, n, t, unix.AT_SYMLINK_NOFOLLOW)
		var st unix.Stat_t
		_ = unix.Lstat(n, &st)
		return "utimes " + n + " " + errnoText(err) + fmt.Sprint(st.Mtim)
	},
	func(x *exerciser) string {
		from, to := x.file(), x.one([]string{x.fresh(), x.file()})
		return "rename " + from + " " + to + " " + errnoText(unix.Rename(from, to)) + " " + content(to)
	},
	func(x *exerciser) string {
		from, to := x.dir(), x.one([]string{x.fresh(), x.dir(), x.file()})
		return "rename directory " + from + " " + to + " " + errnoText(unix.Rename(from, to))
	},
	func(x *exerciser) string {
		a, b := x.file(), x.one([]string{x.file(), x.dir(), x.fresh()})
		how := uint(x.one([]string{"a", "b"})[0]-'a') + 1 // RENAME_NOREPLACE, RENAME_EXCHANGE
		return "renameat2 " + strconv.Itoa(int(how)) + " " + a + " " + b + " " + errnoText(unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, how))
	},
	func(x *exerciser) string {
		a, b := x.file(), x.fresh()
		return "link " + a + " " + b + " " + errnoText(unix.Link(a, b)) + " " + describe(a) + " " + same(a, b)
	},
	func(x *exerciser) string {
		n := x.one([]string{x.file(), x.dir()})
		return "unlink " + n + " " + errnoText(unix.Unlink(n))
	},
	func(x *exerciser) string {
		n := x.fresh()
		return "mkdir " + n + " " + errnoText(unix.Mkdir(n, 0o2751))
	},
	func(x *exerciser) string {
		n := x.dir()
		if n == "." {
			n = x.fresh()
		}
		if x.Intn(4) == 0 {
			return "remove all " + n + " " + errnoText(os.RemoveAll(n))
		}
		return "rmdir " + n + " " + errnoText(unix.Rmdir(n))
	},
	func(x *exerciser) string {
		n := x.fresh()
		return "symlink " + n + " " + errnoText(unix.Symlink(x.file(), n)) + " " + describe(n)
	},
	func(x *exerciser) string {
		n := x.fresh()
		return "mknod " + n + " " + errnoText(unix.Mknod(n, unix.S_IFIFO|0o600, 0)) + " " + describe(n)
	},
	func(x *exerciser) string {
		n := x.one(append(x.names(false), x.names(true)...))
		key := "user." + x.one([]string{"note", "a", "b"})
		return "setxattr " + n + " " + key + " " + errnoText(unix.Lsetxattr(n, key, []byte(strconv.Itoa(x.Intn(99))), x.Intn(3))) + " " + xattrs(n)
	},
	func(x *exerciser) string {
		n := x.file()
		return "removexattr " + n + " " + errnoText(unix.Lremovexattr(n, "user."+x.one([]string{"note", "a", "b"}))) + " " + xattrs(n)
	},
	func(x *exerciser) string {
		n := x.fresh()
		fd, err := unix.Open(filepath.Dir(n), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err == nil {
			_, _ = unix.Write(fd, x.data())
			err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, n, unix.AT_SYMLINK_FOLLOW)
			unix.Close(fd)
		}
		return "tmpfile " + n + " " + errnoText(err) + " " + content(n)
	},
	func(x *exerciser) string {
		from, to := x.file(), x.fresh()
		return x.open("copy "+from, to, unix.O_CREAT|unix.O_TRUNC|unix.O_RDWR, func(fd int) error {
			in, err := unix.Open(from, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(in)
			_, err = unix.CopyFileRange(in, nil, fd, nil, 1<<20, 0)
			if err == unix.EXDEV { // then programs copy by hand (copy_file_range(2))
				var b []byte
				if b, err = os.ReadFile(from); err == nil {
					_, err = unix.Write(fd, b)
				}
			}
			return err
		})
	},
	func(x *exerciser) string {
		d := x.dir()
		entries, err := os.ReadDir(d)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name()+"/"+e.Type().String())
		}
		return "list " + d + " " + errnoText(err) + " " + strings.Join(names, " ")
	},
	// What is open stays what it is, whatever becomes of its name; and its number stays, whatever is written.
	func(x *exerciser) string {
		n := x.file()
		var before, after unix.Stat_t
		return x.open("unlinked", n, unix.O_RDWR, func(fd int) error {
			err := errors.Join(unix.Fstat(fd, &before), unix.Unlink(n))
			_, werr := unix.Pwrite(fd, []byte("still here"), 3)
			b := make([]byte, 5)
			_, rerr := unix.Pread(fd, b, 5)
			if err = errors.Join(err, werr, rerr, unix.Fstat(fd, &after)); err != nil {
				return err
			}
			if string(b) != "ill h" || before.Ino != after.Ino || after.Nlink != before.Nlink-1 {
				return fmt.Errorf("%q, inode %d then %d, links %d then %d", b, before.Ino, after.Ino, before.Nlink, after.Nlink)
			}
			return err
		})
	},
	func(x *exerciser) string {
		n := x.file()
		var before, after unix.Stat_t
		_ = unix.Lstat(n, &before)
		s := x.open("inode", n, unix.O_WRONLY|unix.O_APPEND, func(fd int) error { _, err := unix.Write(fd, []byte("x")); return err })
		_ = unix.Lstat(n, &after)
		return s + fmt.Sprintf(" same inode %v, device %v", before.Ino == after.Ino, before.Dev == after.Dev)
	},
}

// mapped writes through a shared mapping and reads it back by read(2).
func (x *exerciser) mapped(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size == 0 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return err
	}
	m, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	at := x.Intn(len(m))
	m[at] ^= 0xff
	b := make([]byte, 1)
	_, err = unix.Pread(fd, b, int64(at))
	if err == nil && b[0] != m[at] {
		err = errors.New("read(2) does not see what was mapped")
	}
	return errors.Join(err, unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
}

// locks: a second open file is kept out by each kind of lock, and let in when it is given up.
func locks(fd int) error {
	other, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(other)
	lk := func(typ int16) *unix.Flock_t { return &unix.Flock_t{Type: typ, Start: 5, Len: 10} }
	if err := errors.Join(unix.Flock(fd, unix.LOCK_EX), unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, lk(unix.F_WRLCK))); err != nil {
		return err
	}
	if err := unix.Flock(other, unix.LOCK_SH|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		return fmt.Errorf("flock beside a lock: %w", err)
	}
	if err := unix.FcntlFlock(uintptr(other), unix.F_OFD_SETLK, lk(unix.F_RDLCK)); err != unix.EAGAIN {
		return fmt.Errorf("fcntl beside a lock: %w", err)
	}
	_ = unix.Flock(fd, unix.LOCK_UN)
	_ = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, lk(unix.F_UNLCK))
	return errors.Join(unix.Flock(other, unix.LOCK_EX|unix.LOCK_NB), unix.FcntlFlock(uintptr(other), unix.F_OFD_SETLK, lk(unix.F_WRLCK)))
}
