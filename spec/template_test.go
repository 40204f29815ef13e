package spec

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Template writes what runc's "spec" does: compared with the runc of this
// machine, but for the version, the host name and the inheritable and ambient sets, which
// newer versions of runc leave out.
func TestTemplateAsRunc(t *testing.T) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs runc to compare with")
	}
	for _, rootless := range []bool{false, true} {
		dir := t.TempDir()
		cmd := exec.Command(runc, "spec", "--bundle", dir)
		if rootless {
			cmd.Args = append(cmd.Args, "--rootless")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text := readAll(t, filepath.Join(dir, ConfigFile))
		want := parseTree(t, string(text)).(map[string]any)
		got := Template(TemplateOptions{
			Rootless: rootless,
			UID:      uint32(os.Geteuid()),
			GID:      uint32(os.Getegid()),
			// runc lists it where cgroup v2 is the only one.
			CgroupNamespace: listsCgroup(t, text),
		})
		want["ociVersion"], want["hostname"] = "1.3.0", "vsrun"
		caps := want["process"].(map[string]any)["capabilities"].(map[string]any)
		delete(caps, "ambient")
		delete(caps, "inheritable")
		if diff := cmp.Diff(want, parseTree(t, string(got))); diff != "" {
			t.Errorf("rootless %v: -runc +ours\n%s", rootless, diff)
		}
	}
}

func listsCgroup(t *testing.T, text []byte) bool {
	t.Helper()
	b, err := Parse(text, "")
	if err != nil {
		t.Fatal(err)
	}
	_, listed := Namespace(b.Spec, "cgroup")
	return listed
}

// The template is sound and laid out with tabs, as runc's is.
func TestTemplate(t *testing.T) {
	for _, o := range []TemplateOptions{{}, {CgroupNamespace: true}, {Rootless: true, UID: 1000, GID: 100}, {Rootless: true, CgroupNamespace: true}} {
		text := Template(o)
		b, err := Parse(text, "/bundle")
		if err != nil {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		if len(b.Warnings) > 0 {
			t.Errorf("%+v: %q", o, b.Warnings)
		}
		want, err := json.MarshalIndent(b.Spec, "", "\t")
		if err != nil || string(want) != string(text) {
			t.Errorf("%+v: not laid out as encoding/json does: %v\n%s", o, err, text)
		}
		if _, listed := Namespace(b.Spec, "cgroup"); listed != o.CgroupNamespace {
			t.Errorf("%+v: cgroup namespace %v", o, listed)
		}
		if o.Rootless && (b.Spec.Linux.UIDMappings[0].HostID != o.UID || b.Spec.Linux.GIDMappings[0].HostID != o.GID) {
			t.Errorf("%+v: mappings %v %v", o, b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings)
		}
	}
}
