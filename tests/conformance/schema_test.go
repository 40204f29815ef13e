package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const specModule = "github.com/opencontainers/runtime-spec"

// loader reads the schemas of runtime-spec. Closed ones allow no property that they do not name.
type loader struct {
	closed bool
}

// forgotten is what features-linux.md of 1.3 defines and its schema does not.
var forgotten = map[string]string{
	"linux.memoryPolicy": `{"type": "object", "properties": {
		"modes": {"type": "array", "items": {"type": "string", "pattern": "^MPOL_[A-Z_]+$"}},
		"flags": {"type": "array", "items": {"type": "string", "pattern": "^MPOL_F_[A-Z_]+$"}}}}`,
	"linux.intelRdt.schemata":   `{"type": "boolean"}`,
	"linux.intelRdt.monitoring": `{"type": "boolean"}`,
}

func addForgotten(doc any) error {
	for path, text := range forgotten {
		at, _ := doc.(map[string]any)
		keys := strings.Split(path, ".")
		for i, k := range keys {
			if i > 0 {
				at, _ = at["properties"].(map[string]any)
			}
			if i < len(keys)-1 {
				at, _ = at[k].(map[string]any)
			}
		}
		last := keys[len(keys)-1]
		if at == nil || at[last] != nil {
			return fmt.Errorf("the schema has %s now, or nothing to have it in", path)
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		at[last] = v
	}
	return nil
}

func (l loader) Load(url string) (any, error) {
	f, err := os.Open(strings.TrimPrefix(url, "file://"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err == nil && filepath.Base(f.Name()) == "features-linux.json" {
		err = addForgotten(doc)
	}
	mend(doc, l.closed)
	return doc, err
}

// mend corrects references that lack a slash, which strict readers do not find. If asked to, it forbids other properties
// in every schema that lists some.
func mend(v any, closed bool) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			v["$ref"] = strings.Replace(ref, "#definitions", "#/definitions", 1)
		}
		if _, lists := v["properties"].(map[string]any); closed && lists && v["type"] == "object" && v["patternProperties"] == nil && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			mend(child, closed)
		}
	case []any:
		for _, child := range v {
			mend(child, closed)
		}
	}
}

func schema(t *testing.T, name string, closed bool) *jsonschema.Schema {
	t.Helper()
	dir, err := moduleDir(specModule)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4) // the parts do not name it, the documents do
	c.UseLoader(loader{closed})
	s, err := c.Compile("file://" + filepath.Join(dir, "schema", name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, document string) error {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// TestSchemas proves the means: the spec's own examples, good and bad.
func TestSchemas(t *testing.T) {
	dir, err := moduleDir(specModule)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"config", "state", "features"} {
		s := schema(t, kind+"-schema.json", false)
		for _, f := range examples(t, filepath.Join(dir, "schema/test", kind, "*/*.json")) {
			bad := filepath.Base(filepath.Dir(f)) == "bad"
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(s, string(data)); (err != nil) != bad {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
	if err := validate(schema(t, "features-schema.json", true), `{"ociVersionMin":"1.0.0","ociVersionMax":"1.3.0","x":1}`); err == nil {
		t.Error("a closed schema allows an unknown property")
	}
}

func examples(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples in %s: %v", pattern, err)
	}
	return files
}

// TestFeaturesSchema: features.md wants no property that the spec does not define.
func TestFeaturesSchema(t *testing.T) {
	rt := findRuntime(t)
	out, err := exec.Command(rt.path, "features").Output()
	if err != nil {
		rt.lacks(t, "features: %v", err)
	}
	s := schema(t, "features-schema.json", true)
	if err := validate(s, string(out)); err != nil {
		rt.lacks(t, "%v\n%s", err, out)
	}
}

// TestTemplateSchema: what `spec` writes is a valid configuration.
func TestTemplateSchema(t *testing.T) {
	rt := findRuntime(t)
	s := schema(t, "config-schema.json", true)
	for _, args := range [][]string{{"spec"}, {"spec", "--rootless"}} {
		dir := t.TempDir()
		cmd := exec.Command(rt.path, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			rt.lacks(t, "%v: %v: %s", args, err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(s, string(data)); err != nil {
			t.Errorf("%v: %v\n%s", args, err, data)
		}
	}
}

// mendExample makes good examples real: a text, and what to put in its place.
var mendExample = map[string][][2]string{
	// A version from before 1.0, and labels that need security modules which the host may lack.
	"good/spec-example.json": {
		{`"0.5.0-dev"`, `"1.0.0"`},
		{`"acme_secure_profile"`, `""`},
		{`"system_u:system_r:svirt_lxc_net_t:s0:c124,c675"`, `""`},
		{`"system_u:object_r:svirt_sandbox_file_t:s0:c715,c811"`, `""`},
	},
	// Without a network namespace of its own there is nothing to move a device into.
	"good/linux-netdevice.json": {{`"linux": {`, `"linux": {"namespaces": [{"type": "network"}],`}},
}

// TestConfigExamples: the spec's examples of bad configurations are refused, the good ones of this platform are not.
func TestConfigExamples(t *testing.T) {
	rt := findRuntime(t)
	if rt.name != "vsrun" {
		t.Skipf("%s has no command that only checks a bundle", rt.name)
	}
	dir, err := moduleDir(specModule)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range examples(t, filepath.Join(dir, "schema/test/config/*/*.json")) {
		name := filepath.Base(filepath.Dir(f)) + "/" + filepath.Base(f)
		if strings.Contains(name, "freebsd") || strings.Contains(name, "zos") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range mendExample[name] {
				if !strings.Contains(string(data), m[0]) {
					t.Fatalf("no %s in the example", m[0])
				}
				data = []byte(strings.Replace(string(data), m[0], m[1], 1))
			}
			bundle := t.TempDir()
			if err := os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(rt.path, "explain", bundle).CombinedOutput()
			bad := strings.HasPrefix(name, "bad/")
			if bad && err == nil {
				t.Errorf("accepted:\n%s", out)
			}
			if !bad && err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if bad && !strings.Contains(string(out), "config.json") {
				t.Errorf("the error does not say that it is config.json's:\n%s", out)
			}
		})
	}
}

// lacks fails the test for vsrun, and skips it for the others.
func (rt *runtimeUnderTest) lacks(t *testing.T, format string, args ...any) {
	t.Helper()
	if rt.name == "vsrun" {
		t.Fatalf(format, args...)
	}
	t.Skipf(rt.name+" does otherwise: "+format, args...)
}

// TestStateSchema checks every state document of a container's life: what `state` prints, and what hooks read.
func TestStateSchema(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a container")
	}
	rt := findRuntime(t)
	s := schema(t, "state-schema.json", false)
	for _, annotations := range []string{"", `"annotations": {"org.example.key": "value, \"quoted\" é", "empty": ""},`} {
		name := "plain"
		if annotations != "" {
			name = "annotations"
		}
		t.Run(name, func(t *testing.T) {
			bundle := stateBundle(t, annotations)
			id := "schema-" + name + "-" + filepath.Base(filepath.Dir(bundle))
			root := filepath.Join(filepath.Dir(bundle), "root")
			call := func(args ...string) string {
				t.Helper()
				cmd := exec.Command(rt.path, append([]string{"--root", root}, args...)...)
				// The container keeps the output open: a file, not a pipe.
				out, err := os.Create(filepath.Join(filepath.Dir(bundle), "output"))
				if err != nil {
					t.Fatal(err)
				}
				defer out.Close()
				cmd.Stdout, cmd.Stderr = out, out
				err = cmd.Run()
				text, _ := os.ReadFile(out.Name())
				if err != nil {
					rt.lacks(t, "%v: %v: %s", args, err, text)
				}
				return string(text)
			}
			check := func(from, document, status string, pid bool) {
				t.Helper()
				if err := validate(s, document); err != nil {
					rt.lacks(t, "%s: %v\n%s", from, err, document)
				}
				var st struct {
					OCIVersion, ID, Status, Bundle string
					Pid                            int
					Annotations                    map[string]string
				}
				if err := json.Unmarshal([]byte(document), &st); err != nil {
					t.Fatal(err)
				}
				if st.ID != id || st.Bundle != bundle || status != "" && st.Status != status || (st.Pid != 0) != pid {
					rt.lacks(t, "%s: want id %s, bundle %s, status %s, a pid: %v; got\n%s", from, id, bundle, status, pid, document)
				}
				if annotations != "" && st.Annotations["org.example.key"] != `value, "quoted" é` {
					t.Errorf("%s: annotations %q", from, st.Annotations)
				}
			}
			defer func() { _ = exec.Command(rt.path, "--root", root, "delete", "--force", id).Run() }()
			call("create", "--bundle", bundle, id)
			check("created", call("state", id), "created", true)
			call("start", id)
			check("running", call("state", id), "running", true)
			call("kill", id, "KILL")
			stopped := ""
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && !strings.Contains(stopped, "stopped"); time.Sleep(10 * time.Millisecond) {
				stopped = call("state", id)
			}
			check("stopped", stopped, "stopped", false)
			call("delete", id)
			for kind, pid := range map[string]bool{"prestart": true, "createRuntime": true, "createContainer": true,
				"startContainer": true, "poststart": true, "poststop": false} {
				data, err := os.ReadFile(filepath.Join(bundle, "rootfs", kind+".json"))
				if err != nil {
					rt.lacks(t, "%v", err)
				}
				check(kind, string(data), "", pid)
			}
		})
	}
}

// stateBundle makes a bundle with one hook of each kind, which writes down what it reads.
func stateBundle(t *testing.T, annotations string) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox: a root filesystem to run")
	}
	// Not t.TempDir: its names are too long for some runtimes' sockets.
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bundle := filepath.Join(dir, "bundle")
	for _, d := range []string{"bin", "proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(bundle, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "rootfs/bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	hook := func(kind, sh, file string) string {
		return fmt.Sprintf(`%q: [{"path": %q, "args": ["busybox", "sh", "-c", %q]}]`, kind, sh, "exec cat > "+file)
	}
	rootfs := filepath.Join(bundle, "rootfs")
	var hooks []string
	for _, kind := range []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"} {
		hooks = append(hooks, hook(kind, filepath.Join(rootfs, "bin/busybox"), filepath.Join(rootfs, kind+".json")))
	}
	hooks = append(hooks, hook("startContainer", "/bin/busybox", "/startContainer.json"))
	config := `{
	"ociVersion": "1.0.2",
	"process": {"cwd": "/", "args": ["/bin/busybox", "sleep", "60"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
	"root": {"path": "rootfs"},
	` + annotations + `
	"hooks": {` + strings.Join(hooks, ", ") + `},
	"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
	"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]}
}`
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return bundle
}
