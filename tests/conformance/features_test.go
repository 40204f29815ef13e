package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// features is what TestFeaturesAreTrue reads of the document (features.md, features-linux.md).
type features struct {
	OCIVersionMin, OCIVersionMax       string
	Hooks, MountOptions                []string
	PotentiallyUnsafeConfigAnnotations []string
	Linux                              struct {
		Namespaces, Capabilities []string
		Seccomp                  struct {
			Actions, Operators, Archs, KnownFlags, SupportedFlags []string
		}
		MemoryPolicy struct{ Modes, Flags []string }
	}
}

// TestFeaturesAreTrue holds the runtime to its promises: whatever the document lists is accepted in a configuration, and
// what no document lists is not.
func TestFeaturesAreTrue(t *testing.T) {
	rt := findRuntime(t)
	if rt.name != "vsrun" {
		t.Skipf("%s has no command that only checks a bundle", rt.name)
	}
	out, err := exec.Command(rt.path, "features").Output()
	if err != nil {
		t.Fatal(err)
	}
	var f features
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir()
	if err := os.Mkdir(filepath.Join(bundle, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	accepts := func(what, value string, change func(c map[string]any)) {
		t.Helper()
		_, complaints, ok := rt.explain(t, bundle, change)
		if !ok || strings.Contains(complaints, value) && !strings.Contains(complaints, "not granted to the runtime") {
			t.Errorf("%s %q is listed, and not taken: %s", what, value, complaints)
		}
	}
	refuses := func(what string, change func(c map[string]any)) {
		t.Helper()
		if steps, complaints, ok := rt.explain(t, bundle, change); ok && complaints == "" {
			t.Errorf("%s is taken without a word:\n%s", what, steps)
		}
	}
	linux := func(c map[string]any) map[string]any { return c["linux"].(map[string]any) }
	process := func(c map[string]any) map[string]any { return c["process"].(map[string]any) }

	for _, v := range []string{f.OCIVersionMin, f.OCIVersionMax} {
		accepts("version", v, func(c map[string]any) { c["ociVersion"] = v })
	}
	refuses("version 2.0.0", func(c map[string]any) { c["ociVersion"] = "2.0.0" })

	for _, h := range f.Hooks {
		accepts("hook", h, func(c map[string]any) {
			c["hooks"] = map[string]any{h: []any{map[string]any{"path": "/bin/true"}}}
		})
		refuses("hook "+h+" without a path", func(c map[string]any) {
			c["hooks"] = map[string]any{h: []any{map[string]any{"args": []string{"x"}}}}
		})
	}
	// What these can do to the host, an engine must know before it passes a user's annotations on.
	for _, prefix := range []string{"org.linux-vserver.", "org.systemd.property.", "org.criu.config", "run.oci."} {
		if !slices.Contains(f.PotentiallyUnsafeConfigAnnotations, prefix) {
			t.Errorf("annotations %s* have effects, and are not listed as unsafe", prefix)
		}
	}

	if len(f.Hooks) != 6 {
		t.Errorf("hooks %q", f.Hooks)
	}

	mount := func(option string) func(c map[string]any) {
		return func(c map[string]any) {
			m := map[string]any{"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": []string{option}}
			if slices.Contains([]string{"bind", "rbind", "idmap", "ridmap", "copy-symlink", "src-nofollow", "dest-nofollow"}, option) {
				m["type"], m["source"], m["options"] = "bind", "/tmp", []string{"bind", option}
			}
			if strings.HasSuffix(option, "idmap") {
				ids := []any{map[string]any{"containerID": 0, "hostID": 1, "size": 1}}
				m["uidMappings"], m["gidMappings"] = ids, ids
			}
			c["mounts"] = []any{m}
		}
	}
	for _, o := range f.MountOptions {
		accepts("mount option", o, mount(o))
	}

	for _, n := range f.Linux.Namespaces {
		accepts("namespace", n, func(c map[string]any) {
			if n == "mount" {
				return
			}
			linux(c)["namespaces"] = append(linux(c)["namespaces"].([]any), map[string]any{"type": n})
			if n == "user" {
				ids := []any{map[string]any{"containerID": 0, "hostID": 1, "size": 1}}
				linux(c)["uidMappings"], linux(c)["gidMappings"] = ids, ids
			}
		})
	}
	if len(f.Linux.Namespaces) != 8 {
		t.Errorf("namespaces %q", f.Linux.Namespaces)
	}
	refuses("an unknown namespace", func(c map[string]any) {
		linux(c)["namespaces"] = append(linux(c)["namespaces"].([]any), map[string]any{"type": "nosuch"})
	})

	for _, name := range f.Linux.Capabilities {
		accepts("capability", name, func(c map[string]any) { process(c)["capabilities"] = map[string]any{"bounding": []string{name}} })
	}
	refuses("an unknown capability", func(c map[string]any) {
		process(c)["capabilities"] = map[string]any{"bounding": []string{"CAP_NOSUCH"}}
	})

	seccomp := func(change func(s, call map[string]any)) func(c map[string]any) {
		return func(c map[string]any) {
			call := map[string]any{"names": []string{"sync"}, "action": "SCMP_ACT_ERRNO"}
			s := map[string]any{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nosuch", "syscalls": []any{call}}
			change(s, call)
			linux(c)["seccomp"] = s
		}
	}
	lists := []struct {
		what   string
		values []string
		change func(value string) func(s, call map[string]any)
	}{
		{"seccomp action", f.Linux.Seccomp.Actions, func(v string) func(s, call map[string]any) {
			return func(_, call map[string]any) { call["action"] = v }
		}},
		{"seccomp operator", f.Linux.Seccomp.Operators, func(v string) func(s, call map[string]any) {
			return func(_, call map[string]any) {
				call["args"] = []any{map[string]any{"index": 0, "value": 1, "op": v}}
			}
		}},
		{"seccomp architecture", f.Linux.Seccomp.Archs, func(v string) func(s, call map[string]any) {
			return func(s, _ map[string]any) { s["architectures"] = []string{v} }
		}},
		{"seccomp flag", f.Linux.Seccomp.KnownFlags, func(v string) func(s, call map[string]any) {
			return func(s, _ map[string]any) { s["flags"] = []string{v} }
		}},
	}
	for _, l := range lists {
		if len(l.values) == 0 {
			t.Errorf("no %s is listed", l.what)
		}
		for _, v := range l.values {
			accepts(l.what, v, seccomp(l.change(v)))
		}
		refuses("an unknown "+l.what, seccomp(l.change("SCMP_NOSUCH")))
	}
	for _, v := range f.Linux.Seccomp.SupportedFlags {
		if !slices.Contains(f.Linux.Seccomp.KnownFlags, v) {
			t.Errorf("seccomp flag %q is supported, and not known", v)
		}
	}

	policy := func(mode, flag string) func(c map[string]any) {
		return func(c map[string]any) {
			p := map[string]any{"mode": mode}
			if mode != "MPOL_DEFAULT" && mode != "MPOL_LOCAL" {
				p["nodes"] = "0"
			}
			if flag != "" {
				p["flags"] = []string{flag}
			}
			linux(c)["memoryPolicy"] = p
		}
	}
	for _, m := range f.Linux.MemoryPolicy.Modes {
		accepts("memory policy", m, policy(m, ""))
	}
	for _, v := range f.Linux.MemoryPolicy.Flags {
		accepts("memory policy's flag", v, policy("MPOL_BIND", v))
	}
	refuses("an unknown memory policy", policy("MPOL_NOSUCH", ""))
	refuses("an unknown flag of a memory policy", policy("MPOL_BIND", "MPOL_F_NOSUCH"))
}

// explain makes a configuration with changes, and returns the steps and the complaints of the command explain.
func (rt *runtimeUnderTest) explain(t *testing.T, bundle string, change func(c map[string]any)) (steps, complaints string, ok bool) {
	t.Helper()
	c := map[string]any{
		"ociVersion": "1.0.0", "root": map[string]any{"path": "rootfs"},
		"process": map[string]any{"cwd": "/", "args": []string{"/bin/true"}, "user": map[string]any{"uid": 0, "gid": 0}},
		"linux":   map[string]any{"namespaces": []any{map[string]any{"type": "mount"}}},
	}
	change(c)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	cmd := exec.Command(rt.path, "explain", bundle)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	steps, complaints = stdout.String(), stderr.String()
	if _, warnings, found := strings.Cut(steps, "warning: "); found {
		complaints += warnings
	}
	return steps, complaints, err == nil
}
