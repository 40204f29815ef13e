package plan

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/spec"
)

// onTree lets every root filesystem be a unified tree.
func onTree(f *Facts) *Facts {
	f.Tree = func(string) (*Tree, error) {
		return &Tree{Lower: "/store/trees/abc", Data: "/store/objects", Verity: "on", Store: "/store"}, nil
	}
	return f
}

func TestOverlayFaults(t *testing.T) {
	read := func(name string, edits ...string) *spec.Bundle {
		raw, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		b, err := spec.Parse([]byte(strings.NewReplacer(edits...).Replace(string(raw))), "/bundle")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := host(unified)
	plain.Tree = func(string) (*Tree, error) { return nil, nil }
	broken := host(unified)
	broken.Tree = func(string) (*Tree, error) { return nil, errors.New("broken unified tree: why") }
	poor := onTree(user())
	const mountns = `"type": "mount"`
	for _, tt := range []struct {
		b     *spec.Bundle
		facts *Facts
		want  string
	}{
		{read("unified"), plain, `annotations["org.linux-vserver.rootfs"]: root.path is not a unified tree ("vsrun unify" makes it one)`},
		{read("unified-userns"), plain, `2 faults: annotations["org.linux-vserver.rootfs.upper"]: needs a unified tree in root.path: a plain one has no layer of the container's own; ` +
			`annotations["org.linux-vserver.rootfs.keep"]: needs a unified tree in root.path: a plain one has no layer of the container's own`},
		{read("default"), broken, `root.path: broken unified tree: why`},
		{read("default", mountns, mountns+`, "path": "/proc/1/ns/mnt"`), onTree(host(unified)), `root.path: is a unified tree, which needs a new mount namespace in linux.namespaces`},
		{read("rootless", `"ociVersion"`, `"annotations":{"org.linux-vserver.rootfs":"unified"},"ociVersion"`), poor,
			`annotations["org.linux-vserver.rootfs"]: a unified tree needs the host's root: what it is made of is root's alone to read`},
	} {
		_, err := Build(tt.b, tt.facts, &Options{ID: "ID", Wait: true})
		if err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

func TestMapTree(t *testing.T) {
	ids := []IDMap{{0, 100000, 65536}, {70000, 300000, 10}}
	for owner, mapped := range map[uint32]bool{0: true, 99999: true, 100000: false, 165535: false, 165536: true, 300009: false, 300010: true, 4294967295: true} {
		m := mapTree(owner, ids, ids)
		if (m != nil) != mapped {
			t.Errorf("%d: %v", owner, m)
		}
		if m != nil && cmp.Diff(ids, m.UIDs) != "" {
			t.Error(m)
		}
	}
}
