package unify

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

func plainTree(t *testing.T, root string) []string {
	t.Helper()
	must(t, os.MkdirAll(root, 0o755))
	sample(t, root, 0)
	return manifest(t, root)
}

// What can't be unified is an error that says why, and is as it was.
func TestRefuse(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, dir, root string) *Options
		want    string
	}{
		"nothing":    {func(*testing.T, string, string) *Options { return &Options{Trees: []string{"/nonexistent/tree"}} }, "no such file"},
		"a file":     {func(_ *testing.T, _, root string) *Options { return &Options{Trees: []string{root + "/etc/passwd"}} }, "not a directory"},
		"the host":   {func(*testing.T, string, string) *Options { return &Options{Trees: []string{"/"}} }, "the host's own root"},
		"twice":      {func(_ *testing.T, _, root string) *Options { return &Options{Trees: []string{root, root + "/"}} }, "not two separate trees"},
		"in another": {func(_ *testing.T, _, root string) *Options { return &Options{Trees: []string{root, root + "/usr"}} }, "not two separate trees"},
		"store inside": {func(_ *testing.T, _, root string) *Options {
			return &Options{Trees: []string{root}, Store: root + "/srv/store"}
		}, "is in the tree"},
		"other filesystem": {func(t *testing.T, dir, root string) *Options {
			at := filepath.Join(dir, "tmpfs")
			must(t, os.Mkdir(at, 0o755))
			must(t, unix.Mount("none", at, "tmpfs", 0, ""))
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			return &Options{Trees: []string{root}, Store: at + "/store"}
		}, "another filesystem"},
		"read-only": {func(t *testing.T, dir, root string) *Options {
			at := filepath.Join(dir, "ro")
			must(t, os.Mkdir(at, 0o755))
			must(t, unix.Mount(dir, at, "", unix.MS_BIND, ""))
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			must(t, unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			return &Options{Trees: []string{at + "/tree"}, Store: dir + "/store"}
		}, "mount"},
		"a mount inside": {func(t *testing.T, _, root string) *Options {
			must(t, unix.Mount("none", root+"/empty-dir", "tmpfs", 0, ""))
			t.Cleanup(func() { _ = unix.Unmount(root+"/empty-dir", unix.MNT_DETACH) })
			return &Options{Trees: []string{root}}
		}, "something is mounted there"},
		"a file mounted inside": {func(t *testing.T, _, root string) *Options {
			must(t, unix.Mount(root+"/etc/passwd", root+"/empty", "", unix.MS_BIND, ""))
			t.Cleanup(func() { _ = unix.Unmount(root+"/empty", unix.MNT_DETACH) })
			return &Options{Trees: []string{root}}
		}, "mounted"},
		"a mount point": {func(t *testing.T, _, root string) *Options {
			must(t, unix.Mount(root, root, "", unix.MS_BIND, ""))
			t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
			return &Options{Trees: []string{root}}
		}, "mount point"},
		"mounted elsewhere": {func(t *testing.T, dir, root string) *Options {
			at := filepath.Join(dir, "bind")
			must(t, os.Mkdir(at, 0o755))
			must(t, unix.Mount(root, at, "", unix.MS_BIND, ""))
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			return &Options{Trees: []string{root}}
		}, "is a container running in it?"},
		"an upper layer": {func(t *testing.T, dir, root string) *Options {
			for _, d := range []string{"lower", "work", "merged"} {
				must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
			}
			at := filepath.Join(dir, "merged")
			must(t, unix.Mount("overlay", at, "overlay", 0, fmt.Sprintf("lowerdir=%s/lower,upperdir=%s,workdir=%s/work", dir, root, dir)))
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			return &Options{Trees: []string{root}}
		}, "is the upper layer of the overlay"},
		"a lower layer": {func(t *testing.T, dir, root string) *Options {
			overlayOf(t, dir, root)
			return &Options{Trees: []string{root}}
		}, "is a lower layer of the overlay"},
		"a lower layer inside": {func(t *testing.T, dir, root string) *Options {
			overlayOf(t, dir, root+"/usr")
			return &Options{Trees: []string{root}}
		}, "is a lower layer of the overlay"},
		"in an upper layer": {func(t *testing.T, dir, root string) *Options {
			at := t.TempDir()
			must(t, unix.Mount("overlay", at, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", t.TempDir(), dir, t.TempDir())))
			t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			return &Options{Trees: []string{root}}
		}, "is the upper layer of the overlay"},
		"whiteout": {func(t *testing.T, _, root string) *Options {
			must(t, unix.Mknod(root+"/srv/gone", unix.S_IFCHR, 0))
			return &Options{Trees: []string{root}}
		}, "is a layer of an overlay"},
		"overlay attribute": {func(t *testing.T, _, root string) *Options {
			must(t, unix.Setxattr(root+"/usr", "trusted.overlay.opaque", []byte("y"), 0))
			return &Options{Trees: []string{root}}
		}, "is a layer of an overlay"},
		"overlay attribute of a file": {func(t *testing.T, _, root string) *Options {
			must(t, unix.Setxattr(root+"/usr/lib/f5", "trusted.overlay.origin", []byte("y"), 0))
			return &Options{Trees: []string{root}}
		}, "is a layer of an overlay"},
		"immutable": {func(t *testing.T, _, root string) *Options {
			if out, err := exec.Command("chattr", "+i", root+"/etc/passwd").CombinedOutput(); err != nil {
				t.Skipf("needs chattr +i: %v %s", err, out)
			}
			t.Cleanup(func() { _ = exec.Command("chattr", "-i", root+"/etc/passwd").Run() })
			return &Options{Trees: []string{root}}
		}, "chattr -i"},
		"no store": {func(t *testing.T, dir, root string) *Options {
			must(t, os.MkdirAll(dir+"/store", 0o755))
			must(t, os.WriteFile(dir+"/store/important", nil, 0o600))
			return &Options{Trees: []string{root}}
		}, "neither empty nor an object store"},
		"a store that others can write to": {func(t *testing.T, dir, root string) *Options {
			s, err := OpenStore(dir+"/store", true)
			must(t, err)
			s.Close()
			must(t, os.Chmod(dir+"/store", 0o777))
			return &Options{Trees: []string{root}}
		}, "others than root can write"},
		"a store with a colon": {func(t *testing.T, dir, root string) *Options {
			return &Options{Trees: []string{root}, Store: dir + "/a:b"}
		}, "colon"},
		"bad pattern": {func(t *testing.T, dir, root string) *Options {
			return &Options{Trees: []string{root}, Exclude: []string{"a[b"}}
		}, "syntax error in pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := needPlace(t)
			root := filepath.Join(dir, "tree")
			plainTree(t, root)
			o := tc.prepare(t, dir, root)
			if o.Store == "" {
				o.Store = filepath.Join(dir, "store")
			}
			o.Layout, o.Least, o.Seal = tree.LayoutObjects, 1, SealNone
			was := manifest(t, root)
			_, err := Unify(o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			same(t, root, was)
		})
	}
}

// A filesystem that is full in the middle of it.
func TestFullDisk(t *testing.T) {
	dir := needPlace(t)
	at := filepath.Join(dir, "small")
	must(t, os.Mkdir(at, 0o755))
	must(t, unix.Mount("none", at, "tmpfs", 0, "size=400m"))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	if err := unix.Setxattr(at, tree.Attr+"x", nil, 0); err != nil {
		t.Skip("needs trusted attributes on tmpfs: ", err)
	}
	root := filepath.Join(at, "tree")
	was := plainTree(t, root)
	o := &Options{Trees: []string{root}, Store: filepath.Join(at, "store"), Layout: tree.LayoutObjects, Least: 1, Seal: SealNone}
	// limit leaves so many inodes and blocks.
	limit := func(inodes, blocks uint64) {
		t.Helper()
		var fs unix.Statfs_t
		must(t, unix.Statfs(at, &fs))
		used := fs.Files - fs.Ffree
		must(t, unix.Mount("none", at, "", unix.MS_REMOUNT, fmt.Sprintf("nr_inodes=%d,size=%d", used+inodes, (fs.Blocks-fs.Bfree+blocks)*4096)))
	}
	for _, inodes := range []uint64{2, 20, 60, 100} {
		limit(inodes, 10_000)
		if _, err := Unify(o); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("with %d inodes left: %v, want no space left on device", inodes, err)
		}
		same(t, root, was)
	}
	limit(10_000, 10_000)
	_, err := Unify(o)
	must(t, err)
	// No room to go back: it stays unified, and whole.
	limit(10_000, 100)
	if _, err := Ununify(&UnunifyOptions{Trees: []string{root}}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("error %v, want no space left on device", err)
	}
	unified(t, root)
	limit(10_000, 50_000)
	_, err = Ununify(&UnunifyOptions{Trees: []string{root}})
	must(t, err)
	same(t, root, was)
}

// A file that somebody has open for writing is left alone, reported, and goes on being written to.
func TestWriter(t *testing.T) {
	for _, layout := range []tree.Layout{tree.LayoutObjects, tree.LayoutLinks} {
		t.Run(layout.String(), func(t *testing.T) {
			dir := needPlace(t)
			a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
			plainTree(t, a)
			plainTree(t, b)
			store := filepath.Join(dir, "store")
			f, err := os.OpenFile(a+"/usr/lib/f6", os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			res, err := Unify(&Options{Trees: []string{a, b}, Store: store, Layout: layout, Least: 1, Seal: SealNone, NoDefault: true})
			must(t, err)
			found := false
			for _, k := range res.Trees[0].Kept {
				found = found || k.Path == "usr/lib/f6" && k.Reason == busy.String()
			}
			if !found {
				t.Errorf("%+v does not say that usr/lib/f6 was left alone", res.Trees[0].Kept)
			}
			_, err = f.WriteAt([]byte("written later"), 0)
			must(t, err)
			for _, p := range []string{a, b} {
				_, err := Ununify(&UnunifyOptions{Trees: []string{p}})
				must(t, err)
				got, err := os.ReadFile(p + "/usr/lib/f6")
				must(t, err)
				if later := strings.HasPrefix(string(got), "written later"); later != (p == a) {
					t.Errorf("%s: written later: %v", p, later)
				}
			}
		})
	}
}

// overlayOf mounts an overlay over a directory for the time of a test.
func overlayOf(t *testing.T, dir, lower string) {
	t.Helper()
	for _, d := range []string{"ov-upper", "ov-work", "ov-merged"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	at := filepath.Join(dir, "ov-merged")
	must(t, unix.Mount("overlay", at, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/ov-upper,workdir=%s/ov-work", lower, dir, dir)))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// An overlay of a directory somewhere above a tree, as of the host's root, is no reason to refuse it, and shows it as it was or is.
func TestBelowLowerLayer(t *testing.T) {
	dir := needPlace(t)
	mountTreeOrSkip(t, dir)
	trees, root := filepath.Join(dir, "trees"), filepath.Join(dir, "trees/a")
	must(t, os.MkdirAll(root, 0o755))
	was := plainTree(t, root)
	overlayOf(t, dir, trees)
	_, err := Unify(&Options{Trees: []string{root}, Store: filepath.Join(dir, "store"), Layout: tree.LayoutObjects, Least: 1, Seal: SealNone})
	must(t, err)
	_, err = os.Stat(filepath.Join(dir, "ov-merged/a"))
	must(t, err)
	_, err = Ununify(&UnunifyOptions{Trees: []string{root}})
	must(t, err)
	same(t, root, was)
}

// A tree in which something changes all the time, until it stops: nothing that was written is lost.
func TestChangesMeanwhile(t *testing.T) {
	dir := needPlace(t)
	root := filepath.Join(dir, "tree")
	plainTree(t, root)
	stop := make(chan struct{})
	wrote := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				wrote <- n
				return
			default:
			}
			// By path: it fails once the tree is a unified one.
			if os.WriteFile(fmt.Sprintf("%s/srv/new%d", root, n), []byte("new"), 0o600) == nil {
				n++
			}
			time.Sleep(200 * time.Microsecond)
		}
	}()
	o := &Options{Trees: []string{root}, Store: filepath.Join(dir, "store"), Layout: tree.LayoutObjects, Least: 1, Seal: SealNone}
	_, err := Unify(o)
	close(stop)
	n := <-wrote
	if err == nil {
		_, err := Ununify(&UnunifyOptions{Trees: []string{root}})
		must(t, err)
	} else if !strings.Contains(err.Error(), "is left as it was") {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := os.Stat(fmt.Sprintf("%s/srv/new%d", root, i)); err != nil {
			t.Fatalf("of %d files, one is lost: %v", n, err)
		}
	}
	t.Logf("%d files, unify: %v", n, err)
}

// A path that no system call takes is refused before anything is made, in a line that can be read.
func TestDeep(t *testing.T) {
	for length, name := range map[int]string{4080: "a name that is long enough", 5000: "x"} {
		dir := needPlace(t)
		root, store := filepath.Join(dir, "tree"), filepath.Join(dir, "store")
		must(t, os.Mkdir(root, 0o755))
		fd, err := openDir(root)
		must(t, err)
		for at := -1; at < length; {
			part := strings.Repeat("d", min(200, length-at-1))
			must(t, mkdirAt(fd, part, 0o755))
			sub, err := openBeneath(fd, part, readDir)
			must(t, err)
			closeFd(fd)
			fd, at = sub, at+1+len(part)
		}
		must(t, unix.Symlinkat("x", fd, name))
		closeFd(fd)
		for _, layout := range []tree.Layout{tree.LayoutObjects, tree.LayoutLinks} {
			_, err := Unify(&Options{Trees: []string{root}, Store: store, Layout: layout, Least: 1, Seal: SealNone})
			if err == nil || !strings.Contains(err.Error(), "more than 4095 bytes") || len(err.Error()) > 300 {
				t.Errorf("%d bytes: %v", length, err)
			}
			if tr, err := tree.Read(root); tr != nil || err != nil {
				t.Errorf("%d bytes: %+v %v", length, tr, err)
			}
			if _, err := os.Lstat(store); err == nil {
				t.Error("the store is left")
			}
		}
	}
}
