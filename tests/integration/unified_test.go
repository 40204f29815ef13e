package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

// unified makes the bundle's root filesystem a unified tree, and returns the store.
func (p *place) unified(trees ...string) (store string) {
	p.t.Helper()
	return p.unifiedAs("auto", trees...)
}

func (p *place) unifiedAs(layout string, trees ...string) (store string) {
	p.t.Helper()
	store = filepath.Join(p.dir, "store")
	args := append([]string{"unify", "--store", store, "--layout", layout, "--no-default-excludes"}, trees...)
	if len(trees) == 0 {
		args = append(args, filepath.Join(p.bundle(), "rootfs"))
	}
	if r := p.try(args...); r.Code != 0 {
		if strings.Contains(r.Stderr, "not supported") {
			p.t.Skip(r.Stderr)
		}
		p.t.Fatal(r.Stderr)
	}
	return store
}

// uppers are the layers of containers in a store.
func uppers(store string) []string {
	left, _ := filepath.Glob(store + "/uppers/*/*")
	return left
}

// The runtime is killed at random moments while it makes and removes containers on a unified tree: delete --force leaves
// nothing of their own layers, and the tree is as it was. VSRUN_TEST_KILLS is how often each verb is killed.
func TestUnifiedKilled(t *testing.T) {
	needRuntime(t, "runc", "crun")
	for _, layout := range []string{"objects", "links"} {
		t.Run(layout, func(t *testing.T) {
			// It writes, so that there is something to be removed.
			p := newPlace(t, "sh:echo new > /etc/new; rm /etc/group; echo more >> /etc/passwd; mkdir /srv; exec /bin/probe trap", "root.readonly=false")
			rootfs := filepath.Join(p.bundle(), "rootfs")
			before := snapshot(t, rootfs)
			store := p.unifiedAs(layout)
			p.killedAtAnyMoment([]string{"create", "delete"}, harness.EnvInt("VSRUN_TEST_KILLS", 15), func() []string { return uppers(store) })
			p.must("store", "--store", store, "verify")
			p.must("ununify", rootfs)
			if after := snapshot(t, rootfs); after != before {
				t.Errorf("the tree has changed:\n%s\nwas\n%s", after, before)
			}
			p.must("store", "--store", store, "gc")
			if left := uppers(store); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// snapshot is what a tree consists of.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d:%d", strings.TrimPrefix(path, dir), st.Mode, st.Uid, st.Gid)
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %d %x", st.Size, st.Mtim.Nano(), hashOf(data))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func hashOf(data []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, c := range data {
		sum = (sum ^ uint64(c)) * 1099511628211 // FNV-1a
	}
	return sum
}

// used counts the blocks of a tree, each inode once, in bytes.
func used(t *testing.T, seen map[uint64]bool, dirs ...string) (bytes int64) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			if !seen[st.Ino] {
				seen[st.Ino] = true
				bytes += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return bytes
}

// Ten guests of one tree cost the disk little more than one, and the page cache nothing more: neither if each has a tree of
// its own, with other owners and modes.
func TestTenGuests(t *testing.T) {
	needRuntime(t, "runc", "crun")
	const guests, files, size = 10, 8, 4 << 20
	p := newPlace(t, "args:/bin/probe trap", "root.readonly=false")
	rootfs := filepath.Join(p.bundle(), "rootfs")
	if err := os.Mkdir(filepath.Join(rootfs, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewSource(1))
	for i := range files {
		data := make([]byte, size)
		r.Read(data)
		if err := os.WriteFile(filepath.Join(rootfs, "data", strconv.Itoa(i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one := used(t, map[uint64]bool{}, rootfs)
	trees := []string{rootfs}
	for g := 1; g < guests; g++ {
		tree := filepath.Join(p.dir, "tree"+strconv.Itoa(g))
		if err := copyTree(rootfs, tree); err != nil {
			t.Fatal(err)
		}
		if g > guests/2 { // owners and modes of its own
			for i := range files {
				name := filepath.Join(tree, "data", strconv.Itoa(i))
				if err := os.Chown(name, g, g); err != nil {
					t.Fatal(err)
				}
				if err := unix.Chmod(name, 0o4711); err != nil {
					t.Fatal(err)
				}
			}
		}
		trees = append(trees, tree)
	}
	store := p.unified(trees...)
	seen := map[uint64]bool{}
	all := used(t, seen, append([]string{store}, trees...)...)
	if all > one*105/100 {
		t.Errorf("disk: %d guests take %d bytes, one %d: %.3f times that, want 1.05 at most", guests, all, one, float64(all)/float64(one))
	}
	ids := make([]string, guests)
	for g, tree := range trees {
		ids[g] = p.tag + "." + strconv.Itoa(g)
		dir := filepath.Join(p.dir, "b"+strconv.Itoa(g))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		config, err := os.ReadFile(filepath.Join(p.bundle(), "config.json"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
		}
		if err == nil {
			err = harness.EditFile(filepath.Join(dir, "config.json"), "root.path="+tree, `process.capabilities={"bounding":["CAP_DAC_OVERRIDE"],"effective":["CAP_DAC_OVERRIDE"],"permitted":["CAP_DAC_OVERRIDE"]}`)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.must("run", "-d", "-b", dir, ids[g])
		defer p.must("delete", "--force", ids[g])
	}
	more := used(t, seen, store) / guests
	if more > one*5/1000 {
		t.Errorf("disk: a guest that runs takes %d bytes more, %.2f %% of one, want 0.5 at most", more, 100*float64(more)/float64(one))
	}

	// The pages of the objects are evicted, one guest reads them, and they are there for all.
	for name := range objects(t, store, size) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Sync()
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
	}
	const pages = files * size / 4096
	list := func() (names []string) {
		for i := range files {
			names = append(names, "/data/"+strconv.Itoa(i))
		}
		return names
	}()
	resident := func(g int) int {
		res := p.must(append([]string{"exec", ids[g], "/bin/probe", "pages"}, list...)...)
		return countPages(t, res.Stdout)
	}
	if n := resident(3); n > pages/10 {
		t.Logf("%d of %d pages could not be evicted", n, pages)
	}
	read := func(g int) {
		p.must(append([]string{"exec", ids[g], "sh", "-c", `cat "$@" >/dev/null`, "sh"}, list...)...)
	}
	read(0)
	for g := range guests {
		if n := resident(g); n < pages*99/100 {
			t.Errorf("page cache: guest %d has %d of %d pages that guest 0 has read", g, n, pages)
		}
	}
	for g := range guests {
		read(g)
	}
	// What ten have read is in memory once: in the objects, and nowhere else.
	cached := 0
	for name := range objects(t, store, size) {
		cached += hostPages(t, name)
	}
	for _, tree := range trees[:1] {
		metas, _ := filepath.Glob(store + "/trees/*/data/*")
		for _, m := range append(metas, filepath.Join(tree, "data")) {
			if st, err := os.Stat(m); err == nil && st.Mode().IsRegular() {
				cached += hostPages(t, m)
			}
		}
	}
	if cached > pages*101/100 {
		t.Errorf("page cache: %d pages for %d guests, %d for one", cached, guests, pages)
	}
	fmt.Printf("note: %d guests: disk %.3f times one, page cache %.3f times; each that runs takes %d KiB more\n", guests, float64(all)/float64(one), float64(cached)/pages, more>>10)
}

// objects are the store's files of a size.
func objects(t *testing.T, store string, size int64) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	names, _ := filepath.Glob(store + "/objects/*/*")
	for _, n := range names {
		if st, err := os.Stat(n); err == nil && st.Size() == size {
			found[n] = true
		}
	}
	if len(found) == 0 {
		t.Fatal("no objects")
	}
	return found
}

func hostPages(t *testing.T, name string) int {
	t.Helper()
	res, err := rt.Run(harness.Call{Path: probe, Args: []string{"pages", name}})
	if err != nil || res.Code != 0 {
		t.Fatal(err, res.Stderr)
	}
	return countPages(t, res.Stdout)
}

func countPages(t *testing.T, out string) (n int) {
	t.Helper()
	for line := range strings.Lines(out) {
		v, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			t.Fatal(out)
		}
		n += v
	}
	return n
}

func copyTree(from, to string) error {
	res, err := rt.Run(harness.Call{Path: "/bin/cp", Args: []string{"-a", from, to}})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("cp: %s", res.Stderr)
	}
	return err
}

// A context with disk limits sees them as the size of its filesystem, and can't go beyond; nor can its root leave them.
func TestDiskLimits(t *testing.T) {
	needRuntime(t, "runc", "crun")
	for fs, mkfs := range map[string][]string{"ext4": {"mkfs.ext4", "-q", "-O", "quota,project"}, "xfs": {"mkfs.xfs", "-q"}} {
		t.Run(fs, func(t *testing.T) {
			_, at := loop(t, mkfs, "prjquota", "project quotas")
			diskLimits(t, at)
		})
	}
}

// loop makes a filesystem in a file and mounts it for the time of a test. needs is what the kernel may lack.
func loop(t *testing.T, mkfs []string, option, needs string) (image, at string) {
	t.Helper()
	dir := t.TempDir()
	image, at = filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(512<<20), f.Close(), os.Mkdir(at, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Skipf("needs %s: %v %s", mkfs[0], err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop,"+option, image, at).CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with %s: %s", needs, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	return image, at
}

func diskLimits(t *testing.T, where string) {
	dir, err := os.MkdirTemp(where, "vsrun-quota")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const script = `df -k / | tail -n 1; df -i / | tail -n 1; dd if=/dev/zero of=/big bs=64k count=1000; wc -c < /big; rm /big; i=0; while echo > /etc/f$i; do i=$((i+1)); done; echo files $i; rm /etc/f*; probe leavequota /etc; probe leavequota /etc/passwd`
	p := newPlace(t, "args:/bin/probe trap", "root.readonly=false", "sh:"+script, "root.path="+dir+"/tree",
		`annotations={"org.linux-vserver.rootfs":"unified","org.linux-vserver.context.xid":"4711","org.linux-vserver.disk.space":"20M","org.linux-vserver.disk.inodes":"60"}`)
	if err := copyTree(filepath.Join(p.bundle(), "rootfs"), dir+"/tree"); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	p.must("unify", "--store", dir+"/store", dir+"/tree")
	res := p.must("run", "-b", p.bundle(), p.tag)
	t.Log(res.Stdout, res.Stderr)
	lines := strings.Split(strings.TrimSpace(res.Stdout), "\n")
	if len(lines) != 12 {
		t.Fatalf("%d lines", len(lines))
	}
	if f := strings.Fields(lines[0]); f[1] != "20480" {
		t.Errorf("df: %q", lines[0])
	}
	if f := strings.Fields(lines[1]); f[1] != "60" {
		t.Errorf("df -i: %q", lines[1])
	}
	if n, _ := strconv.Atoi(lines[2]); n < 19<<20 || n > 20<<20 {
		t.Errorf("%s bytes could be written, with a limit of 20 MiB", lines[2])
	}
	if n, _ := strconv.Atoi(strings.TrimPrefix(lines[3], "files ")); n < 20 || n > 60 {
		t.Errorf("%s could be made, with a limit of 60", lines[3])
	}
	if !strings.Contains(res.Stderr, "Disk quota exceeded") && !strings.Contains(res.Stderr, "No space left") && !strings.Contains(res.Stderr, "Quota exceeded") {
		t.Errorf("errors: %q", res.Stderr)
	}
	for _, l := range lines[4:] {
		if name, got, _ := strings.Cut(l, " "); name != "get" && got != "EPERM" {
			t.Errorf("%s: want EPERM", l)
		}
	}

	// The limits are those of stat, and go with the container.
	if err := harness.EditFile(p.bundle()+"/config.json", "args:/bin/probe trap"); err != nil {
		t.Fatal(err)
	}
	p.must("run", "-d", "-b", p.bundle(), p.tag)
	var report []struct {
		Xid    int
		Limits []struct {
			Name          string
			Current, Hard int64
		}
	}
	if err := json.Unmarshal([]byte(p.must("stat", "--limits", "-f", "json", p.tag).Stdout), &report); err != nil || len(report) != 1 || report[0].Xid != 4711 {
		t.Fatal(err, report)
	}
	limits := map[string]int64{}
	for _, l := range report[0].Limits {
		limits[l.Name] = l.Hard
	}
	if limits["disk.space"] != 20<<20 || limits["disk.inodes"] != 60 {
		t.Error(report)
	}
	p.must("delete", "--force", p.tag)
	if err := harness.EditFile(p.bundle()+"/config.json", `annotations={"org.linux-vserver.context.xid":"4711"}`, "sh:df -k / | tail -n 1; dd if=/dev/zero of=/big bs=64k count=500; wc -c < /big"); err != nil {
		t.Fatal(err)
	}
	if out := p.must("run", "-b", p.bundle(), p.tag).Stdout; !strings.HasSuffix(out, "\n32768000\n") {
		t.Errorf("without a limit: %s", out)
	}

	// In a user namespace, too, and by root of it.
	if err := harness.EditFile(p.bundle()+"/config.json", `annotations={"org.linux-vserver.disk.space":"10M"}`, `linux.namespaces+={"type":"user"}`,
		`linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`, `linux.gidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`,
		"sh:df -k / | tail -n 1; dd if=/dev/zero of=/big bs=64k count=1000; wc -c < /big; rm /big; echo > /x; probe leavequota /x"); err != nil {
		t.Fatal(err)
	}
	res = p.must("run", "-b", p.bundle(), p.tag)
	t.Log(res.Stdout, res.Stderr)
	lines = strings.Split(strings.TrimSpace(res.Stdout), "\n")
	if n, _ := strconv.Atoi(lines[1]); n < 9<<20 || n > 10<<20 || strings.Fields(lines[0])[1] != "10240" {
		t.Errorf("in a user namespace: %q", lines)
	}
	for _, l := range lines[2:] {
		if strings.HasPrefix(l, "project ok") {
			t.Error("root of a user namespace can leave the project")
		}
	}
	if left := uppers(dir + "/store"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	p.noLeaks()
}
