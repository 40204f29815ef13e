package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const guests = 4

// packages make the base about as large as a server is.
const packages = "gcc,g++,git,vim,python3-dev,perl-doc,linux-image-amd64,locales"

func guest(work string, i int) string { return filepath.Join(work, fmt.Sprint("guest", i+1)) }

// debian makes the base, unless it is there.
func (b *bench) debian() error {
	variant, include := "important", packages
	b.base = filepath.Join(b.dir, "base")
	if b.small {
		variant, include = "minbase", "perl"
		b.base += "-small"
	}
	base := b.base
	if _, err := os.Stat(filepath.Join(base, "etc/debian_version")); err == nil {
		return nil
	}
	fmt.Fprintln(os.Stderr, "bench unify: making a Debian root filesystem in", base)
	temp := base + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	args := append([]string{"--quiet", "--mode=root", "--variant=" + variant, "--include=" + include}, hostApt()...)
	out, err := exec.Command("mmdebstrap", append(args, "stable", temp, mirror())...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mmdebstrap: %w: %s", err, out)
	}
	for _, d := range []string{"proc", "sys", "dev", "var/cache"} {
		list, err := os.ReadDir(filepath.Join(temp, d))
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := os.RemoveAll(filepath.Join(temp, d, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Rename(temp, base)
}

// mirror is the Debian mirror of the host's own apt, else the usual one.
func mirror() string {
	out, _ := exec.Command("apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages").Output()
	for line := range strings.Lines(string(out)) {
		if uri, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian|Debian|"); ok {
			return uri
		}
	}
	return "http://deb.debian.org/debian"
}

// hostApt tells mmdebstrap how the host's apt reaches its mirror.
func hostApt() (options []string) {
	out, _ := exec.Command("apt-config", "dump").Output()
	for line := range strings.Lines(string(out)) {
		l := strings.ToLower(line)
		if (strings.HasPrefix(l, "acquire::http") || strings.HasPrefix(l, "acquire::check-valid-until")) && !strings.Contains(line, `""`) {
			options = append(options, "--aptopt="+strings.TrimSuffix(strings.TrimSpace(line), ";"))
		}
	}
	return options
}

func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", "--reflink=never", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

func makeGuests(base, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(7, 7))
	for i := range guests {
		g := guest(dir, i)
		if err := copyTree(base, g); err != nil {
			return err
		}
		if i > 0 {
			if err := differ(g, byte(i), random); err != nil {
				return err
			}
		}
		data := make([]byte, 20<<20)
		for k := range data {
			data[k] = byte(random.Uint32())
		}
		for name, b := range map[string][]byte{"etc/machine-id": fmt.Appendf(nil, "%032x\n", random.Uint64()), "etc/hostname": fmt.Appendf(nil, "guest%d\n", i),
			"var/lib/data.db": data} {
			if err := os.WriteFile(filepath.Join(g, name), b, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// differ changes what guests of one origin come to differ in.
func differ(root string, by byte, random *rand.Rand) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		switch r := random.Float64(); {
		case strings.Contains(path, "/usr/share/") && r < 0.01:
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			var b [1]byte
			if n, _ := f.ReadAt(b[:], 0); n == 0 {
				return nil
			}
			_, err = f.WriteAt([]byte{b[0] ^ by}, 0)
			return err
		case strings.Contains(filepath.Base(path), ".so") && r < 0.02:
			return os.Chmod(path, 0o600)
		}
		return nil
	})
}

// fresh makes the copies that a tool works on, and returns what they take.
func fresh(templates, work string) (int64, error) {
	if err := os.RemoveAll(work); err != nil {
		return 0, err
	}
	if err := copyTree(templates, work); err != nil {
		return 0, err
	}
	syscall.Sync()
	if err := read(work); err != nil {
		return 0, err
	}
	return diskUse(work)
}

// read brings a directory into the page cache.
func read(dir string) error {
	if out, err := exec.Command("sh", "-c", `find "$1" -type f -exec cat {} + >/dev/null`, "sh", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("read %s: %w: %s", dir, err, out)
	}
	return nil
}

// plain makes a copy of the first guest, on the disk and in the page cache.
func (b *bench) plain(to string) error {
	if err := copyTree(guest(b.templates, 0), to); err != nil {
		return err
	}
	syscall.Sync()
	return read(to)
}

// diskUse counts every inode once.
func diskUse(dir string) (sum int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); !seen[st.Ino] {
			seen[st.Ino] = true
			sum += st.Blocks * 512
		}
		return nil
	})
	return sum, err
}
