package unify

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func snapshotsDB(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open("testdata/metadata.db.gz")
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	return b
}

// The database is one that containerd made: two images, a container of the first.
func TestCommittedSnapshots(t *testing.T) {
	b := snapshotsDB(t)
	ids, active, err := committedSnapshots(b)
	must(t, err)
	slices.Sort(ids)
	if d := cmp.Diff([]uint64{1, 2}, ids); d != "" || active != 1 {
		t.Error(d, active)
	}
	for _, bad := range [][]byte{nil, b[:100], b[:4096], make([]byte, 1<<16), bytes.Repeat([]byte{0xff}, 1<<16)} {
		if _, _, err := committedSnapshots(bad); !errors.Is(err, errBolt) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
	// Whatever is damaged, it ends, and does not crash.
	for at := 8192; at < len(b); at += 7 {
		c := bytes.Clone(b)
		c[at] ^= 0x5a
		_, _, _ = committedSnapshots(c)
	}
}

// twoLayers makes two layers with equal files, and one that is a container's own.
func twoLayers(t *testing.T, dirs []string) {
	t.Helper()
	for _, d := range dirs {
		must(t, os.MkdirAll(d, 0o755))
		sample(t, d, 0)
		// What layers may have, and trees not.
		must(t, unix.Mknod(filepath.Join(d, "gone"), unix.S_IFCHR, 0))
		must(t, unix.Setxattr(filepath.Join(d, "usr"), "trusted.overlay.opaque", []byte("y"), 0))
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Ino
}

func TestEngines(t *testing.T) {
	for name, layout := range map[string]struct {
		layers [3]string
		files  map[string]string
		lock   string
		take   func(fd int) error
		set    func(o *EngineOptions, root string)
	}{
		"containers-storage": {
			[3]string{"overlay/aaa/diff", "overlay/bbb/diff", "overlay/ccc/diff"},
			map[string]string{
				"overlay-layers/layers.lock":         "",
				"overlay-layers/layers.json":         `[{"id":"aaa"},{"id":"bbb"},{"id":"ccc"},{"id":"ddd","flags":{"incomplete":true}}]`,
				"overlay-containers/containers.json": `[{"id":"x","layer":"ccc"}]`,
			},
			"overlay-layers/layers.lock", posixLock,
			func(o *EngineOptions, root string) { o.ContainersStorage = root },
		},
		"containerd": {
			[3]string{"io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs", "io.containerd.snapshotter.v1.overlayfs/snapshots/2/fs",
				"io.containerd.snapshotter.v1.overlayfs/snapshots/3/fs"},
			map[string]string{"io.containerd.snapshotter.v1.overlayfs/metadata.db": string(snapshotsDB(t))},
			"io.containerd.snapshotter.v1.overlayfs/metadata.db", flock,
			func(o *EngineOptions, root string) { o.Containerd = root },
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(needPlace(t), "root")
			var dirs []string
			for _, l := range layout.layers {
				dirs = append(dirs, filepath.Join(root, l))
			}
			twoLayers(t, dirs)
			for f, text := range layout.files {
				p := filepath.Join(root, f)
				must(t, os.MkdirAll(filepath.Dir(p), 0o755))
				must(t, os.WriteFile(p, []byte(text), 0o600))
			}
			var was [][]string
			for _, d := range dirs {
				was = append(was, manifest(t, d))
			}
			o := &EngineOptions{Store: filepath.Join(filepath.Dir(root), "store"), Least: 1, DryRun: true}
			layout.set(o, root)

			held, err := lockFile(filepath.Join(root, layout.lock), layout.take)
			must(t, err)
			if _, err := UnifyEngine(o); err == nil || !strings.Contains(err.Error(), "the engine is at work") {
				t.Errorf("with the engine's lock held: %v", err)
			}
			held()

			res, err := UnifyEngine(o)
			must(t, err)
			for i, d := range dirs {
				same(t, d, was[i])
			}
			if res.Saved <= 0 || inode(t, dirs[0]+"/usr/lib/f5") == inode(t, dirs[1]+"/usr/lib/f5") {
				t.Errorf("dry run: %+v", res)
			}
			o.DryRun = false
			real, err := UnifyEngine(o)
			must(t, err)
			if real.Saved != res.Saved {
				t.Errorf("saved %d, the dry run said %d", real.Saved, res.Saved)
			}
			for i, d := range dirs {
				same2(t, d, was[i])
			}
			f := "/usr/lib/f5"
			if inode(t, dirs[0]+f) != inode(t, dirs[1]+f) || inode(t, dirs[0]+f) == inode(t, dirs[2]+f) {
				t.Error("the committed layers don't share, or the container's own one does")
			}
			if _, err := os.Stat(o.Store); !errors.Is(err, os.ErrNotExist) {
				t.Error("the store for work in progress is left:", err)
			}
		})
	}
	for _, o := range []*EngineOptions{{ContainersStorage: t.TempDir()}, {Containerd: t.TempDir()}} {
		if _, err := UnifyEngine(o); err == nil || !strings.Contains(err.Error(), "is no ") {
			t.Errorf("an empty directory: %v", err)
		}
	}
}

// same2 is same, but names may be one inode now.
func same2(t *testing.T, root string, want []string) {
	t.Helper()
	got := manifest(t, root)
	for i := range want {
		want[i] = linkPart.ReplaceAllString(want[i], "")
	}
	for i := range got {
		got[i] = linkPart.ReplaceAllString(got[i], "")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s changed (-was +is):\n%s", root, d)
	}
}
