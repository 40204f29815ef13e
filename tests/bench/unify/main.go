// Unify compares vsrun unify with the tools that link equal files: util-linux' hardlink, jdupes, rdfind. Every tool gets a
// fresh copy of the same four guests, on the disk and in the page cache; the tools take turns, round after round, and the
// table shows medians and how many times hardlink's figure each is.
//
//	unify [-n ROUNDS] [-small] [-base DIR] [-dir DIR] [-tools NAMES] [-prefix COMMAND]
//
// The guests are copies of one Debian root filesystem of about 1.1 GB (made with mmdebstrap once, or -base); with -small, of one
// of 0.2 GB. Guests two to
// four have 1 % of the files in usr/share changed in content, 2 % of the shared libraries with mode 600; every guest has a
// machine-id, a host name and 20 MB of random data of its own.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

const guests = 4

// packages make the base about as large as a server is.
const packages = "gcc,g++,git,vim,python3-dev,perl-doc,linux-image-amd64,locales"

func main() {
	rounds := flag.Int("n", 1, "rounds")
	base := flag.String("base", "", "root filesystem to make the guests of (default: a Debian one, made once)")
	dir := flag.String("dir", "", "where to work, 12 GB (default: the cache directory)")
	small := flag.Bool("small", false, "guests of 0.2 GB instead of 1.1 GB: a minimal Debian")
	prefix := flag.String("prefix", "", "a command that runs each first run of a tool, say one that keeps the machine quiet")
	tools := flag.String("tools", "hardlink,jdupes,rdfind,objects,links", "what to compare")
	flag.Parse()
	b := &bench{rounds: *rounds, base: *base, dir: *dir, small: *small, prefix: strings.Fields(*prefix)}
	if err := b.run(strings.Split(*tools, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench unify:", err)
		os.Exit(1)
	}
}

type bench struct {
	rounds    int
	base, dir string
	small     bool
	prefix    []string
}

// figure is one run of one tool.
type figure struct {
	wall, user, sys time.Duration
	disk            int64 // bytes on disk after it
}

type row struct {
	name, compares string
	command        func(work string) []string
	figures        []figure
}

func rows(vsrun string, names []string) []*row {
	list := func(work string) (trees []string) {
		for i := range guests {
			trees = append(trees, guest(work, i))
		}
		return trees
	}
	unify := func(layout string) func(work string) []string {
		return func(work string) []string {
			return append([]string{vsrun, "unify", "--store", work + "/store", "--layout", layout, "--no-default-excludes", "--seal", "none"}, list(work)...)
		}
	}
	all := []*row{
		{name: "hardlink", compares: "content, mode, owner", command: func(w string) []string { return []string{"hardlink", "-t", w} }},
		{name: "jdupes", compares: "content, every byte", command: func(w string) []string { return []string{"jdupes", "-q", "-r", "-L", w} }},
		{name: "rdfind", compares: "content", command: func(w string) []string {
			return []string{"rdfind", "-makehardlinks", "true", "-makeresultsfile", "false", "-checksum", "sha256", w}
		}},
		{name: "objects", compares: "content, every byte", command: unify("objects")},
		{name: "links", compares: "content, mode, owner, mtime, attributes", command: unify("links")},
	}
	return slices.DeleteFunc(all, func(r *row) bool {
		if !slices.Contains(names, r.name) {
			return true
		}
		if _, err := exec.LookPath(r.command("/")[0]); err != nil {
			fmt.Fprintf(os.Stderr, "bench unify: %s is left out: %v\n", r.name, err)
			return true
		}
		return false
	})
}

func guest(work string, i int) string { return filepath.Join(work, fmt.Sprint("guest", i+1)) }

func (b *bench) run(names []string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	root, err := harness.RepoRoot()
	if err != nil {
		return err
	}
	if b.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		b.dir = filepath.Join(cache, "vsrun", "bench-unify")
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	if b.base == "" {
		if err := b.debian(); err != nil {
			return err
		}
	}
	templates, work := filepath.Join(b.dir, "guests"), filepath.Join(b.dir, "work")
	defer os.RemoveAll(work)
	defer os.RemoveAll(templates)
	if err := makeGuests(b.base, templates); err != nil {
		return err
	}
	all := rows(filepath.Join(root, "vsrun"), names)
	var more []*row // what only some tools do, after their first run
	later := func(name, compares string) *row {
		for _, r := range more {
			if r.name == name {
				return r
			}
		}
		r := &row{name: name, compares: compares}
		more = append(more, r)
		return r
	}
	var before int64
	for range b.rounds {
		for _, r := range all {
			if before, err = fresh(templates, work); err != nil {
				return err
			}
			line := r.command(work)
			if err := r.measure(append(b.prefix[:len(b.prefix):len(b.prefix)], line...), work); err != nil {
				return err
			}
			if r.name != "hardlink" && r.name != "objects" {
				continue
			}
			if err := later(r.name+", again", "nothing changed").measure(line, work); err != nil {
				return err
			}
			extra := filepath.Join(work, "one-more")
			if err := copyTree(guest(templates, 0), extra); err != nil {
				return err
			}
			syscall.Sync()
			if err := read(extra); err != nil {
				return err
			}
			if r.name == "objects" { // of the others it is told nothing
				line = append(line[:len(line)-guests:len(line)-guests], extra)
			}
			if err := later(r.name+", one more", "a plain copy of the first guest").measure(line, work); err != nil {
				return err
			}
			if r.name != "objects" {
				continue
			}
			clone := filepath.Join(work, "clone")
			if err := copyTree(guest(work, 0), clone); err != nil {
				return err
			}
			if err := later("objects, a clone", "cp -a of a unified guest").measure(append(line[:len(line)-1:len(line)-1], clone), work); err != nil {
				return err
			}
		}
	}
	show(append(all, more...), before)
	return nil
}

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

func (r *row) measure(command []string, work string) error {
	cmd := exec.Command(command[0], command[1:]...)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	begun := time.Now()
	err := cmd.Run()
	wall := time.Since(begun)
	if err != nil {
		return fmt.Errorf("%s: %w: %.2000s", strings.Join(command[:2], " "), err, text.String())
	}
	disk, err := diskUse(work)
	r.figures = append(r.figures, figure{wall, cmd.ProcessState.UserTime(), cmd.ProcessState.SystemTime(), disk})
	return err
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

func median[T cmp.Ordered](list []figure, of func(f *figure) T) T {
	var values []T
	for i := range list {
		values = append(values, of(&list[i]))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func show(all []*row, before int64) {
	wall := func(r *row) float64 { return median(r.figures, func(f *figure) float64 { return f.wall.Seconds() }) }
	cpu := func(r *row) float64 {
		return median(r.figures, func(f *figure) float64 { return (f.user + f.sys).Seconds() })
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("sharing of equal files: %d guests, %d MB on disk; load %.4s at the end\n", guests, before/1e6, load)
	fmt.Printf("%-18s %-40s %9s %8s %8s %8s %6s %6s\n", "TOOL", "COMPARES", "RESULT MB", "WALL s", "USER s", "SYS s", "WALL x", "CPU x")
	for _, r := range all {
		fmt.Printf("%-18s %-40s %9d %8.2f %8.2f %8.2f %6.2f %6.2f\n", r.name, r.compares, median(r.figures, func(f *figure) int64 { return f.disk })/1e6,
			wall(r), median(r.figures, func(f *figure) float64 { return f.user.Seconds() }), median(r.figures, func(f *figure) float64 { return f.sys.Seconds() }),
			wall(r)/wall(all[0]), cpu(r)/cpu(all[0]))
	}
}
