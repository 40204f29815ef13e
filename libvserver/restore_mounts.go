package libvserver

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// privateDir is a directory with things that only CRIU sees: the root filesystem, and what else of the host's it gets in
// another form. It asks for a root that is a mount below a directory that nothing covers. Partly it works as the
// container's root, so everybody may pass. To the host the directory is always empty.
const privateDir = "/run/vsrun-criu"

// prepareMounts makes a mount namespace for the calling thread, with what CRIU asks for.
func (s *restoration) prepareMounts(o *proto.Options) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make all mounts slaves: %w", err)
	}
	root, err := unix.Open(s.plan.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("root.path: %w", &os.PathError{Op: "open", Path: s.plan.Rootfs, Err: err})
	}
	err = mountPoints(root, s.plan)
	unix.Close(root)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", privateDir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", privateDir, err)
	}
	o.Root = filepath.Join(privateDir, "root")
	if err := os.Mkdir(o.Root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(s.plan.Rootfs, o.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("root.path: bind %s: %w", s.plan.Rootfs, err)
	}
	for i := range s.outer {
		if m := &s.outer[i]; m.from != m.source {
			if err := bindMapped(m.source, m.from, m.deep, m.idmap); err != nil {
				return fmt.Errorf("%s: %w", m.at, err)
			}
		}
	}
	if err := bindMapped(s.notifyPath(), filepath.Join(privateDir, notifyDir), false, nil); err != nil {
		return err
	}
	if err := s.dirs.open(); err != nil {
		return err
	}
	if s.plan.Clone.Has(unix.CLONE_NEWUSER) {
		if err := s.shareImages(); err != nil {
			return fmt.Errorf("--image-path: let the container's root read the images: %w", err)
		}
	}
	s.dirs.tell(o)
	return nil
}

// shareImages makes the images belong to the container's root as well as the host's: in a user namespace CRIU reads some
// of them as that.
func (s *restoration) shareImages() error {
	ids := &plan.MountIDMap{UIDs: mapsRoot(s.plan.Clone.UIDs), GIDs: mapsRoot(s.plan.Clone.GIDs)}
	if len(ids.UIDs) == 0 || len(ids.GIDs) == 0 {
		return nil
	}
	if s.dirs.workFD < 0 { // what CRIU writes is root's
		var err error
		if s.dirs.workFD, err = openDirectory(s.dirs.work); err != nil {
			return err
		}
	}
	to := filepath.Join(privateDir, "images")
	if err := bindMapped(s.dirs.images, to, false, ids); err != nil {
		return err
	}
	unix.Close(s.dirs.imagesFD)
	var err error
	s.dirs.imagesFD, err = openDirectory(to)
	return err
}

func (s *restoration) notifyPath() string { return filepath.Join(s.dir.Path(), notifyDir) }

// mapsRoot maps the host's root to a container's.
func mapsRoot(maps []plan.IDMap) []plan.IDMap {
	for _, m := range maps {
		if m.Container == 0 && m.Size > 0 {
			return []plan.IDMap{{Container: 0, Host: m.Host, Size: 1}}
		}
	}
	return nil
}

// bindMapped mounts what is at from on a new file or directory to, with mapped ids unless they are nil.
func bindMapped(from, to string, deep bool, ids *plan.MountIDMap) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, flags)
	if err != nil {
		return fmt.Errorf("open_tree %s: %w", from, err)
	}
	defer unix.Close(fd)
	if ids != nil {
		if err := launch.IDMap(fd, ids); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("fstat %s: %w", from, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.Mkdir(to, 0o755)
	} else {
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount to %s: %w", to, err)
	}
	return nil
}
