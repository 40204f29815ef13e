package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/quota"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

func (e *examiner) filesystems(o Options) {
	e.section = "state directory"
	if dir, ok := e.directory(o.Root); ok {
		e.space(dir)
	}
	if o.Store == "" {
		return
	}
	e.section = "store"
	if dir, ok := e.directory(o.Store); ok {
		e.space(dir)
		e.store(dir)
	}
}

// directory checks that files can be made in a directory, or in the first of
// its parents that exists.
func (e *examiner) directory(path string) (dir string, ok bool) {
	dir = path
	for {
		st, err := os.Stat(dir)
		if err == nil && !st.IsDir() {
			e.failed(path, dir+" is no directory", "remove it, or choose another directory")
			return "", false
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			e.failed(path, err.Error(), "choose another directory")
			return "", false
		}
		dir = filepath.Dir(dir)
	}
	fs, readOnly, err := host.Filesystem(dir)
	switch {
	case err != nil:
		e.failed(path, err.Error(), "choose another directory")
		return "", false
	case readOnly:
		e.failed(path, "on "+fs+", mounted read-only", "mount it read-write, or choose another directory (--root)")
		return "", false
	}
	detail := "on " + fs
	if dir != path {
		detail += ", to be made in " + dir
	}
	tmp, err := os.MkdirTemp(dir, ".vsrun-doctor-")
	if err != nil {
		e.failed(path, detail+": "+errno(err), "choose another directory: --root, or XDG_RUNTIME_DIR")
		return "", false
	}
	_ = os.Remove(tmp)
	e.ok(path, detail)
	return dir, true
}

// errno returns what went wrong, without the path of the throwaway directory.
func errno(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// space checks that there is some room left.
func (e *examiner) space(dir string) {
	const least = 16 << 20
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	switch {
	case free < least:
		e.lacking("free space", fmt.Sprintf("%d KiB", free>>10), "create fails when no state can be written: make room")
	case st.Files > 0 && st.Ffree < 100:
		e.lacking("free inodes", fmt.Sprint(st.Ffree), "create fails when no state can be written: make room")
	default:
		e.ok("free space", fmt.Sprintf("%d MiB", free>>20))
	}
}

// store checks what the unified rootfs can use of a filesystem.
func (e *examiner) store(dir string) {
	if !e.privileged {
		e.lacking("overlay, id maps and fs-verity", "only root can try", "run vsrun doctor as root")
		return
	}
	e.layout(host.TryOverlayDataOnly(dir), host.TryOverlay(dir))
	try := func(name, since string, err error, advice string) {
		c := Check{Name: name, Since: since, Advice: advice}
		if err != nil {
			c.Verdict, c.Detail = Lacking, err.Error()
		}
		e.add(c)
	}
	try("idmapped mounts", host.IdmappedMounts.Since, host.TryIdmap(dir),
		"guests with a user namespace need files of their own ids")
	try("fs-verity", "5.4", host.TryVerity(dir),
		"unified files are protected by read-only mounts alone; ext4: tune2fs -O verity DEVICE (and CONFIG_FS_VERITY)")
	try("project quotas", host.QuotactlFd.Since, quota.CheckDir(dir), "no disk limits for guests here (org.linux-vserver.disk.*)")
}

// layout says in which layout unify makes trees here, and why, of what the probes say.
func (e *examiner) layout(dataOnly, layers error) {
	plain := Check{Name: "overlay layers", Since: host.Overlay.Since}
	if layers != nil {
		plain.Verdict, plain.Detail = Lacking, layers.Error()
		plain.Advice = "no copy-on-write roots here: put the store on ext4, xfs or btrfs"
	}
	e.add(plain)
	c := Check{Name: "overlay with data-only layers", Since: host.OverlayDataOnlySince, Detail: "unify makes trees of the layout objects"}
	if dataOnly != nil {
		c.Verdict, c.Detail = Lacking, dataOnly.Error()
	}
	switch l, err := tree.LayoutFor(dataOnly, layers); {
	case err != nil:
		c.Advice = "no container can run on a unified tree here"
	case l == tree.LayoutLinks:
		c.Advice = "unify makes trees of the layout links: what is equal in owner, mode and times, too, is shared, by hard links"
	}
	e.add(c)
}
