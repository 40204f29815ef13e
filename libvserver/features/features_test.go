package features

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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

// TestUnsafeAnnotations: whatever annotation the code heeds an engine must not take from its users unasked.
func TestUnsafeAnnotations(t *testing.T) {
	unsafe := Known(Build{}).PotentiallyUnsafeConfigAnnotations
	names := regexp.MustCompile("\"((?:org|run|io|com)\\.[a-z-]+\\.[a-z][\\w.-]*)\"")
	told := []string{annotationCheckpoint, annotationVersion, annotationCommit, annotationLandlock, annotationLibseccomp} // of the document itself
	var heeded []string
	for _, dir := range []string{"../../libvserver", "../../spec", "../../hooks"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if !strings.Contains(string(text), "nnotations") {
				return err
			}
			for _, m := range names.FindAllStringSubmatch(string(text), -1) {
				if !slices.Contains(told, m[1]) && !slices.Contains(unsafe, m[1]) {
					heeded = append(heeded, m[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(heeded) == 0 {
		t.Error("found none: the code has changed, and this test with it")
	}
	for _, name := range heeded {
		if !slices.ContainsFunc(unsafe, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			t.Errorf("annotation %s has effects, and features does not list it as unsafe", name)
		}
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
	if d := cmp.Diff(map[string]string{"org.opencontainers.runc.checkpoint.enabled": "true"}, f.Annotations); d != "" {
		t.Errorf("annotations without a value, or none of checkpoints: %s", d)
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
