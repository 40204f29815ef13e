package libvserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

// shareImages lets CRIU read the images as the container's root, which it partly is in a user namespace, as well as the
// host's.
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
	if err := shareDir(s.dirs.images, to, ids); err != nil {
		return err
	}
	// CRIU goes on reading them when it has done away with this mount namespace: a tree that is in none.
	fd, err := unix.OpenTree(unix.AT_FDCWD, to, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("open_tree %s: %w", to, err)
	}
	defer unix.Close(fd)
	unix.Close(s.dirs.imagesFD)
	s.dirs.imagesFD, err = unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// shareDir makes a directory of the images in another, and of those of the dumps before it. Each belongs to the container's
// root. But the time namespace's is for everybody: CRIU reads it in a process that may still be the host's root without any
// privilege, while the maps of the new user namespace are not yet written. So all may pass the directory, too.
func shareDir(from, to string, ids *plan.MountIDMap) error {
	owned := to + ".owned"
	if err := bindMapped(from, owned, false, ids); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(to, 0o755); err != nil { // whatever the umask
		return err
	}
	list, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := e.Name()
		switch {
		case name == "parent" && e.Type() == os.ModeSymlink:
			err = shareDir(filepath.Join(from, name), filepath.Join(to, name), ids)
		case !e.Type().IsRegular() || !strings.HasSuffix(name, ".img"):
			continue
		case strings.HasPrefix(name, "timens-"):
			var text []byte
			if text, err = os.ReadFile(filepath.Join(from, name)); err == nil {
				if err = os.WriteFile(filepath.Join(to, name), text, 0o644); err == nil {
					err = os.Chmod(filepath.Join(to, name), 0o644)
				}
			}
		default:
			err = bindMapped(filepath.Join(owned, name), filepath.Join(to, name), false, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
