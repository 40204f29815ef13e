package spec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bundle makes a bundle with a root directory and a configuration, and returns
// its directory without symlinks.
func bundle(t *testing.T, config []byte) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, ConfigFile), config)
	return dir
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := bundle(t, []byte(base))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, link, dir + "/.", link + "/rootfs/.."} {
		b, err := Load(name, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b.Dir != dir || string(b.Raw) != base || b.Spec.Hostname != "h" || b.Rootfs() != dir+"/rootfs" {
			t.Errorf("%s: %+v", name, b)
		}
		if got := b.Abs("/x/../y"); got != "/y" {
			t.Errorf("Abs: %s", got)
		}
	}
	t.Chdir(dir)
	for _, name := range []string{"", ".", "rootfs/.."} {
		if b, err := Load(name, "config.json"); err != nil || b.Dir != dir {
			t.Errorf("%q: %v, %v", name, b, err)
		}
	}
	// Another file is not the bundle's: it is relative to where we are.
	other := t.TempDir()
	t.Chdir(other)
	write(t, "other.json", change(t, base, `hostname="other"`))
	if b, err := Load(dir, "other.json"); err != nil || b.Dir != dir || b.Spec.Hostname != "other" {
		t.Error(b, err)
	}
	if b, err := Load(dir, filepath.Join(other, "other.json")); err != nil || b.Spec.Hostname != "other" {
		t.Error(b, err)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := bundle(t, []byte(base))
	write(t, filepath.Join(dir, "broken.json"), []byte("{\n\t\"root\": [,]\n}"))
	write(t, filepath.Join(dir, "bad.json"), change(t, base, `process.cwd="x"`, `root.path="nosuch"`))
	write(t, filepath.Join(dir, "file.json"), change(t, base, `root.path="file.json"`))
	write(t, filepath.Join(dir, "empty.json"), nil)
	empty := t.TempDir()
	emptyDir, err := filepath.EvalSymlinks(empty)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	tests := []struct {
		bundle, file, want string
		is                 error
	}{
		{"/nosuch/bundle", "", "open bundle /nosuch/bundle: no such file or directory", fs.ErrNotExist},
		{dir + "/config.json", "", "open bundle " + dir + "/config.json: not a directory", unix.ENOTDIR},
		{empty, "", "JSON specification file config.json not found in bundle " + emptyDir, fs.ErrNotExist},
		{dir, "nosuch.json", "JSON specification file nosuch.json not found", fs.ErrNotExist},
		{dir, "rootfs", "rootfs: not a regular file", nil},
		{dir, "config.json/x", "config.json/x: open: not a directory", unix.ENOTDIR},
		{dir, "broken.json", "broken.json: line 2, column 11: expected a value, found ',' (in root[0])", nil},
		{dir, "bad.json", `bad.json: 2 faults: root.path: stat ` + dir + `/nosuch: no such file or directory; process.cwd: must be an absolute path (got "x")`, nil},
		{dir, "file.json", "file.json: root.path: " + dir + "/file.json is not a directory", nil},
		{dir, "empty.json", "empty.json: line 1, column 1: expected a value, found end of input", nil},
	}
	for _, tt := range tests {
		_, err := Load(tt.bundle, tt.file)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s, %s:\ngot  %v\nwant %s", tt.bundle, tt.file, err, tt.want)
		}
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s, %s: %v is not %v", tt.bundle, tt.file, err, tt.is)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s, %s: error of several lines", tt.bundle, tt.file)
		}
	}
	var f Faults
	if _, err := Load(dir, "bad.json"); !errors.As(err, &f) || len(f) != 2 || f[0].Path != "root.path" {
		t.Errorf("no Faults in %v", err)
	}
}

// A file that has another size than stat says, or has grown, is read whole.
func TestReadFileOfUnknownSize(t *testing.T) {
	got, err := readFile(unix.AT_FDCWD, "/proc/self/mountinfo")
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	want, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || string(got) != string(want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

func TestLoadSysctlOfJoinedNetwork(t *testing.T) {
	const sysctl = `linux.sysctl={"net.ipv4.ip_forward":"1"}`
	dir := bundle(t, change(t, base, sysctl, `linux.namespaces[1].path="/proc/self/ns/net"`))
	_, err := Load(dir, "")
	want := `config.json: linux.sysctl["net.ipv4.ip_forward"]: is not allowed: the network namespace to join is the host's`
	if err == nil || err.Error() != want {
		t.Errorf("own namespace: got %v", err)
	}
	for _, edit := range []string{`linux.namespaces[1].path="/proc/self/ns/uts"`, `linux.namespaces[1].path="/nosuch"`, `linux.namespaces[1]={"type":"network"}`} {
		write(t, filepath.Join(dir, ConfigFile), change(t, base, sysctl, edit))
		if _, err := Load(dir, ""); err != nil {
			t.Errorf("%s: %v", edit, err)
		}
	}
}
