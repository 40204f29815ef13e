package libvserver

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu"
	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
)

func TestSplitHostPort(t *testing.T) {
	for in, want := range map[string]struct {
		host string
		port int
	}{
		"127.0.0.1:27": {"127.0.0.1", 27}, "host:65535": {"host", 65535}, "[::1]:9": {"::1", 9},
	} {
		if host, port, ok := splitHostPort(in); !ok || host != want.host || port != want.port {
			t.Errorf("%q: %q, %d, %v", in, host, port, ok)
		}
	}
	for _, in := range []string{"", "x", ":1", "x:", "x:0", "x:65536", "x:99999999999999999999", "::1:9", "[]:1", "x:-1", "x:1x"} {
		if host, port, ok := splitHostPort(in); ok {
			t.Errorf("%q: %q, %d", in, host, port)
		}
	}
}

func openRoot(t *testing.T, dir string) int {
	t.Helper()
	fd, err := openDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestResolveIn(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"run", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"var/run": "/run", "out": "../../../..", "var/abs": "/var/lib"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root := openRoot(t, dir)
	for in, want := range map[string]string{
		"/": "/", "": "/", "/run": "/run", "/var/run": "/run", "/var/run/x/y": "/run/x/y", "/out": "/", "/out/run": "/run",
		"/var/abs/../run": "/run", "/none/at/all": "/none/at/all", "/../../run": "/run",
	} {
		if got := resolveIn(root, in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMakeIn(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, dir)
	for _, tc := range []struct {
		name string
		file bool
	}{{"/a/b/c", false}, {"/a/b/file", true}, {"/a/b/file", true}, {"/", false}} {
		fd, err := makeIn(root, tc.name, tc.file)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		unix.Close(fd)
		st, err := os.Stat(filepath.Join(dir, tc.name))
		if err != nil || st.IsDir() == tc.file {
			t.Errorf("%s: %v, %v", tc.name, st, err)
		}
	}
	if fd, err := makeIn(root, "/link/x", false); err == nil {
		unix.Close(fd)
	}
	if l, err := os.ReadDir(outside); err != nil || len(l) != 0 {
		t.Errorf("made outside of the root: %v, %v", l, err)
	}
}

func TestReadMounts(t *testing.T) {
	list, err := host.Mounts("self")
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	if !isMountPoint(list, "/") || !isMountPoint(list, "/proc") || isMountPoint(list, "/none") {
		t.Errorf("%+v", list)
	}
}

// mounted is a plan with one of each kind.
func mounted(clone ...plan.Namespace) *plan.Plan {
	return &plan.Plan{Rootfs: "/r", Clone: plan.Clone{New: clone}, Steps: []plan.Step{
		plan.Mount{Origin: "mounts[0]", Kind: plan.MountFS, Type: "tmpfs", Target: "/dev"},
		plan.Mount{Origin: "mounts[1]", Kind: plan.MountBind, Source: "/host/a", Target: "/a", Recursive: true, Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOATIME},
		plan.Mount{Origin: "mounts[2]", Kind: plan.MountBind, Source: "/host/b", Target: "/a/b", IDMap: &plan.MountIDMap{}},
		plan.Device{Path: "/dev/null"},
		plan.MaskPath{Path: "/proc/keys"},
		plan.MaskPath{Path: "/proc/acpi"},
		plan.ReadonlyRoot{Origin: "root.readonly"},
	}}
}

func TestOuterMounts(t *testing.T) {
	from := func(p *plan.Plan) (list []string) {
		for _, m := range outerMounts(p, "/dir") {
			list = append(list, m.target+" "+m.from)
		}
		return list
	}
	want := []string{"/a /host/a", "/a/b /dir/source1", "/dev/null /dev/null", "/proc/keys /dev/null", "/proc/acpi /dev/null", "/ "}
	if d := cmp.Diff(want, from(mounted())); d != "" {
		t.Error(d)
	}
	want[0] = "/a /dir/source0"
	if d := cmp.Diff(want, from(mounted(plan.Namespace{Flag: unix.CLONE_NEWUSER}))); d != "" {
		t.Error("in a user namespace:", d)
	}
	list := outerMounts(mounted(), "")
	if list[0].flags != unix.MOUNT_ATTR_RDONLY || list[5].flags != unix.MOUNT_ATTR_RDONLY || !list[5].root() {
		t.Errorf("attributes: %+v", list)
	}
}

func TestMountNames(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/b", "a/sub", "dev", "proc/acpi"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "proc/keys"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, dir)
	mounts := []host.Mount{{Point: "/"}, {Point: "/a"}, {Point: "/a/sub"}, {Point: "/a/b"}, {Point: "/proc/keys"}, {Point: "/proc/acpi"}}
	got := dumpMounts(outerMounts(mounted(), ""), root, mounts)
	want := []proto.Pair{{Key: "/a", Val: "/a"}, {Key: "/a/b", Val: "/a/b"}, {Key: "/dev/null", Val: "/dev/null"}, {Key: "/proc/keys", Val: "/dev/null"}, {Key: "/a/sub", Val: "/a/sub"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("dump:", d)
	}
	// Each name of the dump has a source.
	back, err := restoreMounts(outerMounts(mounted(), "/dir"), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []proto.Pair{{Key: "/a", Val: "/host/a"}, {Key: "/a/b", Val: "/dir/source1"}, {Key: "/dev/null", Val: "/dev/null"}} {
		if !slices.Contains(back, w) {
			t.Errorf("restore: no %v in %v", w, back)
		}
	}
}

func TestStreams(t *testing.T) {
	dir := t.TempDir()
	if _, err := inherited(dir); err == nil || !strings.Contains(err.Error(), "there is no checkpoint in "+dir) {
		t.Errorf("no file: %v", err)
	}
	file := filepath.Join(dir, descriptorsFile)
	for in, want := range map[string][]proto.InheritFD{
		// As runc writes it.
		`["/dev/null","pipe:[1]","pipe:[2]"]`:           {{Key: "pipe:[1]", FD: 1}, {Key: "pipe:[2]", FD: 2}},
		`["file[1a:5]","pipe:[1]","pipe:[1]"]`:          {{Key: "file[1a:5]", FD: 0}, {Key: "pipe:[1]", FD: 1}},
		`["tty[8800:18]","/a","socket:[5]"]`:            {{Key: "tty[8800:18]", FD: 0}},
		`["pipe:[1]","pipe:[2]","pipe:[3]","pipe:[4]"]`: {{Key: "pipe:[1]", FD: 0}, {Key: "pipe:[2]", FD: 1}, {Key: "pipe:[3]", FD: 2}},
		`null`: nil, `[]`: nil,
	} {
		if err := os.WriteFile(file, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := inherited(dir)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %s %v", in, d, err)
		}
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := inherited(dir); err == nil {
		t.Error("nonsense passed")
	}
	s := streams{names: []string{"/dev/null", "pipe:[7]", "file[1:2]"}}
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := inherited(dir); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestExternalFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inside := []host.Mount{{ID: 26}}
	if got := externalFile(file, 26, inside); got != "" {
		t.Errorf("a file of the container: %q", got)
	}
	if got := externalFile(file, 27, inside); !strings.HasPrefix(got, "file[1b:") {
		t.Errorf("a file of the host: %q", got)
	}
	if got := externalFile(os.DevNull, 27, inside); !strings.HasPrefix(got, "file[1b:") {
		t.Errorf("the null device: %q", got)
	}
	if got := externalFile(t.TempDir(), 27, inside); got != "" {
		t.Errorf("a directory: %q", got)
	}
	if got := externalFile("/dev/ptmx", 27, inside); !strings.HasPrefix(got, "tty[") {
		t.Errorf("a terminal: %q", got)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	own, err := host.Mounts("self")
	if err != nil {
		t.Fatal(err)
	}
	id := fdMount("self", int(f.Fd()))
	if !slices.ContainsFunc(own, func(m host.Mount) bool { return m.ID == id }) {
		t.Errorf("mount %d of an open file is none of %v", id, own)
	}
	if fdMount("self", 1<<20) != 0 {
		t.Error("a descriptor that is not open has a mount")
	}
}

func TestOpenDirsFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []CriuOptions{{ImagePath: file + "/images"}, {ImagePath: file}, {ImagePath: dir, WorkPath: file + "/work"}} {
		if _, err := o.openDirs("log", true); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestCriuConfig(t *testing.T) {
	for _, tc := range []struct {
		annotations map[string]string
		want        string
	}{
		{map[string]string{"org.criu.config": "/x"}, "/x"},
		{map[string]string{"org.criu.config": ""}, ""},
	} {
		if got := criuConfig(&state.Record{Annotations: tc.annotations}); got != tc.want {
			t.Errorf("%v: %q", tc.annotations, got)
		}
	}
	if got := criuConfig(&state.Record{}); !strings.HasPrefix(got, "/etc/criu/") {
		t.Errorf("default: %q", got)
	}
}

func TestExplainCriu(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dump.log")
	if err := os.WriteFile(file, []byte("(00.1) Error (a.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: x\n(00.2) Error (b.c:2): the cause\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := explainCriu(&criu.Failure{Type: "DUMP", Message: "rlimit: Can't setup RLIMIT_NOFILE"}, file, "")
	if want := "criu failed: type DUMP errno 0: the cause (log file: " + file + ")"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	err = explainCriu(&criu.Failure{}, file+".none", "first\nlast")
	if want := "criu failed: last (log file: " + file + ".none)"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if err := explainCriu(os.ErrClosed, file, ""); err != os.ErrClosed {
		t.Errorf("another error: %v", err)
	}
}

func TestVersionText(t *testing.T) {
	if got := versionText(31701); got != "3.17.1" {
		t.Errorf("%q", got)
	}
	if needCriu(31700, 31600, "x") != nil || needCriu(31500, 31600, "x") == nil {
		t.Error("needCriu")
	}
}
