package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/quota"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
	"github.com/vsrun/vsrun/spec"
)

// What a container on a unified tree writes goes to a directory of its own, which is made at create and removed at delete
// (or left behind, if it is to be kept). Where it is stands in the record before it is made, so that whoever finds the
// container after a crash can remove it.
//
// Two directories are told apart: the private one, always in the tree's store, which holds a reference to the tree for as
// long as the container lives, and the one of the upper layer, which is the same unless rootfs.upper says otherwise.

const (
	refName  = "ref"  // in the private directory: a hard link that counts as one more tree
	keptName = "kept" // below tree.Uppers: upper layers that are kept, by container id
)

// errQuota is wrapped by what concerns disk limits.
var errQuota = errors.New("quota")

// upperRecord is what a container's record has of its upper layer.
type upperRecord struct {
	Private string // the directory in the store
	Dir     string // that of the upper layer; "" in memory
	Keep    bool
	Limited bool // Dir has a quota
	Made    bool // Dir was not there before
}

// lookAtTree is plan.Facts.Tree.
func lookAtTree(path string) (*plan.Tree, error) {
	t, err := tree.Read(path)
	if t == nil || err != nil {
		return nil, err
	}
	lower, data, err := t.Open(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(lower)
	if data >= 0 {
		unix.Close(data)
	}
	var st unix.Stat_t
	if err := unix.Fstat(lower, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: t.Lower(path), Err: err}
	}
	return &plan.Tree{Lower: t.Lower(path), Data: t.Data(), Verity: t.Verity.Option(), Store: t.Store, UID: st.Uid}, nil
}

// placeUpper decides where the upper layer is to be, and checks what is there already. It makes nothing.
func (n *creation) placeUpper() error {
	o := n.plan.Overlay
	if o == nil {
		return nil
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	u := &n.hooks.Upper
	uppers := o.Store + "/" + tree.Uppers + "/"
	u.Private = uppers + boot + "/" + strconv.FormatUint(uint64(n.rec.Xid), 10) + "." + strconv.FormatInt(time.Now().UnixNano(), 36)
	u.Keep, u.Limited = o.Keep, o.Limited() && !o.Tmpfs
	switch {
	case o.Tmpfs:
	case o.Upper != "":
		u.Dir = o.Upper
	case o.Keep:
		u.Dir = uppers + keptName + "/" + n.o.ID
	default:
		u.Dir = u.Private
	}
	o.Dir = u.Dir
	if u.Dir == "" || u.Dir == u.Private {
		return nil
	}
	var st unix.Stat_t
	err = unix.Lstat(u.Dir, &st)
	u.Made = err == unix.ENOENT
	there := 0
	for _, name := range [...]string{launch.UpperName, launch.WorkName} {
		switch err := unix.Lstat(u.Dir+"/"+name, &st); err {
		case nil:
			there++
		case unix.ENOENT:
		default:
			u.Dir = ""
			return fmt.Errorf("%s: %w", spec.AnnotationPath("rootfs.upper"), &os.PathError{Op: "lstat", Path: o.Dir + "/" + name, Err: err})
		}
	}
	// What somebody else has made is neither used nor, when the container goes, removed: only a layer that was kept has both.
	if there > 0 && (!o.Keep || there < 2) {
		u.Dir = ""
		return fmt.Errorf("%s: %s has a directory %s or %s already (rootfs.keep=true goes on with a layer that has both)",
			spec.AnnotationPath("rootfs.upper"), o.Dir, launch.UpperName, launch.WorkName)
	}
	n.upperThere = there == 2
	if u.Limited && o.Keep && n.bundle.VServer.XID == 0 {
		return fmt.Errorf("%s: the limits of what is kept belong to a context id: context.xid must give one", o.DiskAt)
	}
	return nil
}

// upperFirst tells if the upper layer has to be there before the container's process is: where that gets it by a descriptor, or
// gets the whole overlay. Else it is made while the process makes its namespaces.
func (n *creation) upperFirst() bool {
	o := n.plan.Overlay
	return o != nil && (o.Tmpfs || o.FromParent)
}

// makeUpper makes the directories of the upper layer, with the tree's root's own attributes.
func (n *creation) makeUpper() error {
	o := n.plan.Overlay
	if o == nil {
		return nil
	}
	u := &n.hooks.Upper
	if err := n.makePrivate(); err != nil {
		return fmt.Errorf("%s: make the container's directory in the tree's store: %w", o.Origin, err)
	}
	if err := n.makeLayer(o, u); err != nil {
		if errors.Is(err, errQuota) {
			return fmt.Errorf("%s: %w", o.DiskAt, err)
		}
		return fmt.Errorf("%s: make the container's own layer: %w", o.UpperAt, err)
	}
	return nil
}

// makeLayer makes the directories upper and work and opens the one they are in.
func (n *creation) makeLayer(o *plan.Overlay, u *upperRecord) (err error) {
	if o.Tmpfs {
		o.FD, err = tmpfsLayer(o)
	} else {
		o.FD, err = n.layerDir(o, u)
	}
	if err != nil || n.upperThere {
		return err
	}
	if u.Limited {
		l := quota.Limits{Space: o.Space, Inodes: o.Inodes}
		if n.rec.Xid == 0 {
			return fmt.Errorf("%w: the container has no context id", errQuota)
		}
		if err := quota.Set(o.FD, n.rec.Xid, l); err != nil {
			return fmt.Errorf("%w of %s: %w", errQuota, o.Dir, err)
		}
	}
	if err := unix.Mkdirat(o.FD, launch.WorkName, 0o700); err != nil {
		if err == unix.EEXIST && u.Dir != u.Private {
			u.Dir = "" // it is somebody else's: the undoing of this launch must not remove it
		}
		return &os.PathError{Op: "mkdir", Path: o.Dir + "/" + launch.WorkName, Err: err}
	}
	return copyRoot(o)
}

// layerDir makes and opens the directory of an upper layer on disk.
func (n *creation) layerDir(o *plan.Overlay, u *upperRecord) (int, error) {
	if u.Dir != u.Private {
		if o.Upper == "" {
			_ = unix.Mkdir(filepath.Dir(u.Dir), 0o700)
		}
		if err := unix.Mkdir(u.Dir, 0o700); err != nil && err != unix.EEXIST {
			return -1, &os.PathError{Op: "mkdir", Path: u.Dir, Err: err}
		}
	}
	fd, err := unix.Open(u.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: u.Dir, Err: err}
	}
	if n.upperThere && u.Limited {
		if p := quota.Project(fd); p != n.rec.Xid {
			unix.Close(fd)
			return -1, fmt.Errorf("%w: what is kept in %s has that of project %d, not of context id %d", errQuota, u.Dir, p, n.rec.Xid)
		}
		if err := quota.SetLimits(fd, n.rec.Xid, quota.Limits{Space: o.Space, Inodes: o.Inodes}); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("%w of %s: %w", errQuota, u.Dir, err)
		}
	}
	return fd, nil
}

// tmpfsLayer makes a tmpfs for the upper layer, with the limits that a quota would have on disk.
func tmpfsLayer(o *plan.Overlay) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen tmpfs", err)
	}
	defer unix.Close(fs)
	opts := [][2]string{{"source", "tmpfs"}, {"mode", "700"}}
	if o.Space != 0 {
		opts = append(opts, [2]string{"size", strconv.FormatUint(o.Space, 10)})
	}
	if o.Inodes != 0 {
		opts = append(opts, [2]string{"nr_inodes", strconv.FormatUint(o.Inodes, 10)})
	}
	for _, opt := range opts {
		if err := unix.FsconfigSetString(fs, opt[0], opt[1]); err != nil {
			return -1, fmt.Errorf("tmpfs: option %s=%s: %w", opt[0], opt[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("tmpfs: create: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("fsmount tmpfs", err)
	}
	return fd, nil
}

// copyRoot makes the upper layer's directory with what the overlay's root takes from it: owner, mode, times and extended
// attributes of the tree's root.
func copyRoot(o *plan.Overlay) error {
	var st unix.Stat_t
	if err := unix.Stat(o.Lower, &st); err != nil {
		return &os.PathError{Op: "stat", Path: o.Lower, Err: err}
	}
	if err := unix.Mkdirat(o.FD, launch.UpperName, st.Mode&0o777); err != nil {
		return &os.PathError{Op: "mkdir", Path: o.Dir + "/" + launch.UpperName, Err: err}
	}
	fd, err := unix.Openat(o.FD, launch.UpperName, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: o.Dir + "/" + launch.UpperName, Err: err}
	}
	defer unix.Close(fd)
	if st.Uid|st.Gid != 0 {
		if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
			return &os.PathError{Op: "chown", Path: o.Dir + "/" + launch.UpperName, Err: err}
		}
	}
	if err := copyXattrs(o.Lower, fd); err != nil {
		return err
	}
	// The mode comes last: a process may be without CAP_FSETID. Mostly it is right already.
	var made unix.Stat_t
	if err := unix.Fstat(fd, &made); err != nil {
		return &os.PathError{Op: "stat", Path: o.Dir + "/" + launch.UpperName, Err: err}
	}
	if made.Mode != st.Mode {
		if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: o.Dir + "/" + launch.UpperName, Err: err}
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+itoa(fd), times, 0); err != nil {
		return &os.PathError{Op: "utimensat", Path: o.Dir + "/" + launch.UpperName, Err: err}
	}
	return nil
}

// copyXattrs copies extended attributes but those of overlayfs itself.
func copyXattrs(from string, to int) error {
	buf := make([]byte, 1024)
	size, err := unix.Listxattr(from, buf)
	if err == unix.ERANGE {
		buf = make([]byte, 65536) // XATTR_LIST_MAX
		size, err = unix.Listxattr(from, buf)
	}
	if err == unix.EOPNOTSUPP || size == 0 {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "listxattr", Path: from, Err: err}
	}
	value := []byte(nil)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:size]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		if value == nil {
			value = make([]byte, 65536) // XATTR_SIZE_MAX
		}
		size, err := unix.Getxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:size], 0)
		}
		if err != nil {
			return fmt.Errorf("copy the extended attribute %s of %s: %w", name, from, err)
		}
	}
	return nil
}

// undoUpper removes the upper layer of a container that could not be made, also one that is kept if it is new.
func (n *creation) undoUpper() error {
	u := n.hooks.Upper
	u.Keep = u.Keep && n.upperThere
	return removeUpper(&u, n.rec.Xid)
}

// removeUpper removes what a container has written, or leaves it if it is kept, and gives up the tree. It can be repeated.
func removeUpper(u *upperRecord, xid uint32) error {
	if u.Private == "" {
		return nil
	}
	if u.Limited && !u.Keep {
		// Whoever has the id next is not to have the limits. What can't be found has none.
		if fd, err := unix.Open(u.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			if err := quota.SetLimits(fd, xid, quota.Limits{}); err != nil {
				log.Debugf("%v", err) // it may not have come to that
			}
			unix.Close(fd)
		}
	}
	if u.Dir != "" && u.Dir != u.Private && !u.Keep {
		for _, name := range [...]string{launch.WorkName, launch.UpperName} {
			if err := host.RemoveTree(u.Dir + "/" + name); err != nil {
				return fmt.Errorf("remove what the container has written: %w", err)
			}
		}
		if u.Made {
			if err := unix.Rmdir(u.Dir); err != nil && err != unix.ENOENT && err != unix.ENOTEMPTY {
				log.Warnf("%v", &os.PathError{Op: "rmdir", Path: u.Dir, Err: err})
			}
		}
	}
	if err := host.RemoveTree(u.Private); err != nil {
		return fmt.Errorf("remove what the container has written: %w", err)
	}
	return nil
}
