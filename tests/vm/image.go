package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// buildLimit is for the download and the unpacking of some 400 packages.
const buildLimit = 30 * time.Minute

// image is the machine's disks, kernel and initrd in the cache.
type image struct{ dir string }

func (i image) path(name string) string { return filepath.Join(i.dir, name) }

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "vsrun")
	return dir, os.MkdirAll(dir, 0o755)
}

// findImage returns the image of this tree's recipe, and builds it if it is not in the cache. Two at once build one.
func findImage(ctx context.Context, root string) (image, error) {
	recipe := filepath.Join(root, "tests/vm/image")
	// A saved state belongs to one machine and one qemu.
	qemu, err := output(ctx, "", "qemu-system-x86_64", "--version")
	if err != nil {
		return image{}, fmt.Errorf("%w: apt-get install qemu-system-x86", err)
	}
	sum, err := digest(recipe, filepath.Join(root, "tests/vm/qemu.go"), qemu)
	if err != nil {
		return image{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return image{}, err
	}
	img := image{filepath.Join(cache, "vm-"+sum[:16])}
	lock, err := lockFile(filepath.Join(cache, "vm.lock"))
	if err != nil {
		return image{}, err
	}
	defer lock.Close()
	if _, err := os.Stat(img.dir); err == nil {
		return img, nil
	}
	return img, img.build(ctx, recipe)
}

func (i image) build(ctx context.Context, recipe string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(i.dir), "vm-building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // a no-op after the rename
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	fmt.Fprintf(os.Stderr, "vm: building the machine's disks in %s (limit %v)\n", i.dir, buildLimit)
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	log := filepath.Join(filepath.Dir(i.dir), "vm-build.log")
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	// Its mounts are seen by itself alone, and go with it, however it ends.
	cmd := exec.CommandContext(ctx, "unshare", "-m", "--propagation", "private", "bash", filepath.Join(recipe, "build.sh"), tmp)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("the machine's disks can't be built: %w; the end of %s:\n%s", err, log, tail(log, 20))
	}
	if err := saveState(ctx, image{tmp}); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "vm: built in %v\n", time.Since(begin).Round(time.Second))
	return os.Rename(tmp, i.dir)
}

// digest is the recipe's, names, modes and texts, and that of what else the image depends on.
func digest(dir, machine, qemu string) (string, error) {
	h := sha256.New()
	text, err := os.ReadFile(machine)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%s\n%s\n", qemu, text)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		fmt.Fprintf(h, "%s %v %d\n", rel, info.Mode()&0o100 != 0, len(data))
		h.Write(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// lockFile waits for an exclusive lock; closing the file gives it back.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// tail is the last lines of a file, for errors.
func tail(name string, lines int) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
