package features

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// TestJSON: what is printed is the document.
func TestJSON(t *testing.T) {
	want := Known(Build{"1.2.3", "abc", "2.5.4", "7"})
	text := AppendJSON(nil, want)
	var got features.Features
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, &got); d != "" {
		t.Error(d)
	}
	indented, err := json.MarshalIndent(want, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(indented)+"\n", string(text)); d != "" {
		t.Error(d)
	}
}

// TestEngines: what containerd, CRI-O and Docker look for.
func TestEngines(t *testing.T) {
	f := Known(Build{})
	if !slices.Contains(f.MountOptions, "rro") {
		t.Error("no rro: recursive read-only mounts would be off")
	}
	if !*f.Linux.MountExtensions.IDMap.Enabled {
		t.Error("no idmap: pods with user namespaces would be off")
	}
	if len(f.Annotations) != 0 {
		t.Errorf("annotations without a value: %v", f.Annotations)
	}
	for name, list := range map[string][]string{
		"mount options": f.MountOptions, "namespaces": f.Linux.Namespaces, "capabilities": f.Linux.Capabilities,
		"actions": f.Linux.Seccomp.Actions, "flags": f.Linux.Seccomp.KnownFlags,
	} {
		if len(list) == 0 {
			t.Errorf("no %s", name)
		}
	}
	for _, flag := range f.Linux.Seccomp.SupportedFlags {
		if !slices.Contains(f.Linux.Seccomp.KnownFlags, flag) {
			t.Errorf("%s is supported, but not known", flag)
		}
	}
}
