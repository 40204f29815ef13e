package spec

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// base is a sound configuration with something of most sections in it.
const base = `{
	"ociVersion": "1.3.0",
	"process": {
		"user": {"uid": 0, "gid": 0},
		"args": ["sh", "-c", "true"],
		"env": ["PATH=/bin"],
		"cwd": "/",
		"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
	},
	"root": {"path": "rootfs"},
	"hostname": "h",
	"mounts": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/data", "source": "/srv", "options": ["rbind", "ro"]},
		{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k"]}
	],
	"linux": {
		"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
		"resources": {"devices": [{"allow": false, "access": "rwm"}]}
	}
}`

// change applies edits to a document: "path=JSON" sets a value, "-path" removes
// one; "path+=JSON" appends to an array. Missing objects are made.
func change(t *testing.T, doc string, edits ...string) []byte {
	t.Helper()
	tree := parseTree(t, doc)
	for _, e := range edits {
		if path, ok := strings.CutPrefix(e, "-"); ok {
			tree = put(t, tree, steps(path), nil, true)
			continue
		}
		path, text, _ := strings.Cut(e, "=")
		val := parseTree(t, text)
		if p, ok := strings.CutSuffix(path, "+"); ok {
			path = p + "[+]"
		}
		tree = put(t, tree, steps(path), val, false)
	}
	return marshal(t, tree)
}

func parseTree(t *testing.T, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// steps splits a path: a.b[2]["c.d"].
func steps(path string) (out []string) {
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, `["`):
			k, rest, _ := strings.Cut(path[2:], `"]`)
			out, path = append(out, k), rest
		case path[0] == '[':
			i, rest, _ := strings.Cut(path[1:], "]")
			out, path = append(out, "#"+i), rest
		default:
			n := strings.IndexAny(path, ".[")
			if n < 0 {
				n = len(path)
			}
			out, path = append(out, path[:n]), path[n:]
		}
	}
	return out
}

func put(t *testing.T, v any, path []string, val any, remove bool) any {
	if len(path) == 0 {
		return val
	}
	if i, ok := strings.CutPrefix(path[0], "#"); ok {
		a, _ := v.([]any)
		n := len(a)
		if i != "+" {
			var err error
			if n, err = strconv.Atoi(i); err != nil {
				t.Fatal(err)
			}
		}
		if n == len(a) {
			a = append(a, nil)
		}
		a[n] = put(t, a[n], path[1:], val, remove)
		return a
	}
	m, _ := v.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	if remove && len(path) == 1 {
		if _, ok := m[path[0]]; !ok {
			t.Fatalf("nothing to remove at %v", path)
		}
		delete(m, path[0])
		return m
	}
	m[path[0]] = put(t, m[path[0]], path[1:], val, remove)
	return m
}

// faultsOf lists the faults of an error as "path: msg", one a line.
func faultsOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var f Faults
	if !errors.As(err, &f) {
		return err.Error()
	}
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Path + ": " + f[i].Msg
	}
	return strings.Join(lines, "\n")
}

// checkTest is a change to base, and the faults that come of it, "" for none.
type checkTest struct {
	edits string // split at " ;; "
	want  string // lines
}

func runChecks(t *testing.T, tests []checkTest) {
	t.Helper()
	for _, tt := range tests {
		in := change(t, base, strings.Split(tt.edits, " ;; ")...)
		_, err := Parse(in, "/bundle")
		if got := faultsOf(t, err); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.edits, got, tt.want)
		}
	}
}

// runWarnings is runChecks for warnings of a configuration without faults.
func runWarnings(t *testing.T, tests []checkTest) {
	t.Helper()
	for _, tt := range tests {
		b, err := Parse(change(t, base, strings.Split(tt.edits, " ;; ")...), "/bundle")
		if err != nil {
			t.Errorf("%s: %v", tt.edits, err)
		} else if got := strings.Join(b.Warnings, "\n"); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.edits, got, tt.want)
		}
	}
}

func TestSoundConfigs(t *testing.T) {
	b, err := Parse([]byte(base), "/bundle")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Warnings) > 0 {
		t.Errorf("warnings: %q", b.Warnings)
	}
	for _, name := range configs(t) {
		if _, err := Parse(readAll(t, name), "/bundle"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, in := range []string{
		`{"ociVersion":"1.0.0","root":{"path":"rootfs"}}`,                                                // runtime-spec's minimal.json
		`{"ociVersion":"1.0.0","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"],"user":{}}}`,  // minimal-for-start.json
		`{"ociVersion":"1.0.0","root":{"path":"rootfs"},"linux":{},"unknown":1,"hooks":{},"mounts":[]}`,  //
		`{"OCIVERSION":"1.0.0","Root":{"PATH":"rootfs"},"process":null,"linux":null,"annotations":null}`, //
	} {
		if _, err := Parse([]byte(in), "/bundle"); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, v := range []string{"1.0.0", "1.0.2", "1.0.2-dev", "1.1.0-rc.1", "1.1.0+dev", "1.2.1", "1.3.0", "1.3.0-rc.1+build.5", "1.3.7", "1.0.0-alpha.-.0a.x-y", "1.2.3+001"} {
		runChecks(t, []checkTest{{`ociVersion="` + v + `"`, ""}})
	}
	for _, v := range []string{"1.4.0", "2.0.0", "0.5.0-dev", "1.99999999999999999999.0", "10.0.0"} {
		runChecks(t, []checkTest{{`ociVersion="` + v + `"`, "ociVersion: version " + v + " is not supported (supported: 1.0.0 to 1.3.0)"}})
	}
	for _, v := range []string{"invalid", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.0-", "1.0.0+", "01.0.0", "1.00.0", "1.0.0-01", "1.0.0-a..b", "1.0.0-é", "1.0.0+a_b", " 1.0.0", "1.0.x", "-1.0.0"} {
		runChecks(t, []checkTest{{`ociVersion="` + v + `"`, "ociVersion: must be a version as SemVer 2.0 defines it, like 1.3.0 (got " + strconv.Quote(v) + ")"}})
	}
	runChecks(t, []checkTest{{`-ociVersion`, "ociVersion: is required"}})
}

func TestRootAndNames(t *testing.T) {
	long := strings.Repeat("n", 65)
	runChecks(t, []checkTest{
		{`-root`, `root: is required`},
		{`root=null`, `root: is required`},
		{`-root.path`, `root.path: is required`},
		{`root.path="a\u0000b"`, `root.path: must not contain a NUL byte (got "a\x00b")`},
		{`root.readonly=true`, ``},
		{`root.readonly=true ;; linux.namespaces=[{"type":"uts"}]`, `root.readonly: needs a mount namespace in linux.namespaces`},
		{`hostname="` + long[1:] + `" ;; domainname="` + long[1:] + `"`, ``},
		{`hostname="` + long + `"`, `hostname: must not be longer than 64 bytes (got 65)`},
		{`domainname="` + long + `"`, `domainname: must not be longer than 64 bytes (got 65)`},
		{`hostname="a\u0000"`, `hostname: must not contain a NUL byte (got "a\x00")`},
		{`domainname="d" ;; linux.namespaces=[{"type":"mount"}]`, "hostname: needs a uts namespace in linux.namespaces\ndomainname: needs a uts namespace in linux.namespaces"},
		{`-linux ;; -mounts`, `hostname: needs a uts namespace in linux.namespaces`},
	})
}

// All faults of a configuration in one error of one line.
func TestAllFaultsTogether(t *testing.T) {
	in := change(t, base, `process.cwd="x"`, `process.rlimits[1].type="RLIMIT_X"`, `mounts[2].destination=""`, `linux.namespaces[0].type="pod"`, `process.rlimits[0].soft="many"`, `process.args={}`)
	_, err := Parse(in, "/bundle")
	want := `config.json: 6 faults: process.args: must be an array (got an object); ` +
		`process.rlimits[0].soft: must be a whole number (got "many"); ` +
		`linux.namespaces[0].type: unknown namespace type "pod" (did you mean "pid"?); ` +
		`mounts[2].destination: is required; ` +
		`process.cwd: must be an absolute path (got "x"); ` +
		`process.rlimits[1].type: unknown rlimit "RLIMIT_X"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = Parse(change(t, base, `process.cwd="x\ny"`), "/bundle")
	if want := `config.json: process.cwd: must be an absolute path (got "x\ny")`; err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestBrokenDocuments(t *testing.T) {
	for _, tt := range []checkTest{
		{``, `config.json: line 1, column 1: expected a value, found end of input`},
		{`null`, `config.json: must be an object (got null)`},
		{`[]`, `config.json: must be an object (got an array)`},
		{"{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\"args\": [\"a\", b]}}", `config.json: line 3, column 28: expected a value, found 'b' (in process.args[1])`},
		{base + "}", `config.json: line 21, column 2: unexpected '}' after the end of the document`},
	} {
		_, err := Parse([]byte(tt.edits), "/bundle")
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.edits, err, tt.want)
		}
	}
	_, err := Parse([]byte("{\n x"), "/bundle")
	var se *SyntaxError
	if !errors.As(err, &se) || se.Line != 2 || se.Column != 2 {
		t.Errorf("%v is no SyntaxError with a place", err)
	}
}

func nsType(s string) specs.LinuxNamespaceType { return specs.LinuxNamespaceType(s) }

// resourcesOf gives linux.resources of a configuration.
func resourcesOf(t *testing.T, doc []byte) []byte {
	t.Helper()
	var s struct {
		Linux struct{ Resources json.RawMessage }
	}
	if err := json.Unmarshal(doc, &s); err != nil {
		t.Fatal(err)
	}
	return s.Linux.Resources
}
