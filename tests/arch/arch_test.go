// Package arch checks what the compiler does not: which package may import
// which, and what the hot binary may link.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vsrun/vsrun/tests/harness"
)

const module = "github.com/vsrun/vsrun"

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	CgoFiles   []string
	Standard   bool
}

// list asks the go command, with the flags that the hot binary is built with.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append([]string{"list", "-e", "-tags", "netgo,osusergo",
		"-json=ImportPath,Imports,Deps,CgoFiles,Standard"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
}

// local returns a package's path below the module, and whether it is ours.
func local(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// The layers, from the top down: a package may import what stands below its
// own layer, and its own subfolders. What is not listed is not bound.
var layers = [][]string{
	{"."},
	{"libvserver/cli"},
	{"libvserver"},
	{"libvserver/launch", "libvserver/doctor"},
	{"libvserver/plan", "libvserver/state", "libvserver/cgroup", "libvserver/seccomp", "libvserver/console", "libvserver/criu", "libvserver/netcontext", "libvserver/unify", "hooks"},
	{"libvserver/host", "libvserver/log", "libvserver/helper", "libvserver/bpf", "libvserver/fault"},
	{"spec"},
	{"spec/wire"},
}

// layerOf returns the layer of the longest entry that holds path, or -1.
func layerOf(path string) (layer int, entry string) {
	layer = -1
	for i, names := range layers {
		for _, n := range names {
			// libvserver and . stand for themselves: their subfolders have layers of their own.
			match := path == n || n != "." && n != "libvserver" && n != "spec" && under(path, n)
			if match && len(n) >= len(entry) {
				layer, entry = i, n
			}
		}
	}
	return layer, entry
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range list(t, "./...") {
		from, ok := local(p.ImportPath)
		if !ok {
			continue
		}
		fromLayer, fromEntry := layerOf(from)
		for _, imp := range p.Imports {
			to, ok := local(imp)
			if !ok {
				continue
			}
			if under(to, "tests") && !under(from, "tests") {
				t.Errorf("%s imports %s: the product does not import its tests", from, to)
			}
			toLayer, toEntry := layerOf(to)
			if fromLayer < 0 || toLayer < 0 || fromEntry == toEntry || under(to, from) {
				continue
			}
			if toLayer <= fromLayer {
				t.Errorf("%s imports %s: imports go down only", from, to)
			}
		}
	}
}

// What a package must not reach, neither itself nor through another one.
var unreachable = []struct{ from, to, why string }{
	{"libvserver/plan", "libvserver/launch", "a plan is data: it does not know its executor"},
	{"spec", "libvserver", "spec imports nothing of ours but spec/wire"},
	{"tests/harness", "libvserver", "the tests must run against any runtime"},
	{"tests/integration", "libvserver", "the tests must run against any runtime"},
}

func TestUnreachable(t *testing.T) {
	pkgs := list(t, "-test", "./...")
	for _, rule := range unreachable {
		for _, p := range pkgs {
			from, ok := local(p.ImportPath)
			if !ok || !under(from, rule.from) || strings.Contains(p.ImportPath, "[") ||
				strings.HasSuffix(p.ImportPath, ".test") && !under(rule.from, "tests") {
				continue
			}
			for _, d := range p.Deps {
				if to, ok := local(d); ok && under(to, rule.to) && !under(to, rule.from) {
					t.Errorf("%s reaches %s: %s", from, to, rule.why)
				}
			}
		}
	}
}

// The executor compiles a plan's steps; what config.json said is none of its
// business (it reaches spec through plan's types at most).
func TestLaunchKnowsNoSpec(t *testing.T) {
	for _, p := range list(t, "./libvserver/launch/...") {
		for _, imp := range p.Imports {
			if to, ok := local(imp); ok && under(to, "spec") {
				t.Errorf("%s imports %s", p.ImportPath, to)
			}
		}
	}
}

// What must not be linked into the hot binary: each of these costs time or
// memory at every start, or is the wrong tool in a runtime. A name that ends in
// a slash stands for all below it.
var banned = []string{"crypto", "crypto/", "net", "net/", "vendor/", "encoding/base64", "encoding/gob", "encoding/json", "encoding/xml",
	"text/template", "html/", "regexp", "log", "log/", "os/exec", "os/user", "math/big", "math/rand", "math/rand/", "io/ioutil",
	"unique", "go/", "plugin", "runtime/cgo", "runtime/pprof", "testing",
	"github.com/opencontainers/cgroups", "github.com/opencontainers/cgroups/", "github.com/opencontainers/selinux/",
	"github.com/sirupsen/", "github.com/coreos/", "github.com/godbus/", "github.com/cilium/", "github.com/moby/", "github.com/cyphar/",
	"github.com/urfave/", "github.com/seccomp/", "github.com/checkpoint-restore/", "github.com/aperturerobotics/",
	"github.com/vsrun/vsrun/libvserver/cgroup/job", "github.com/vsrun/vsrun/libvserver/criu/job", "github.com/vsrun/vsrun/libvserver/unify",
	"github.com/vsrun/vsrun/libvserver/unify/job", "github.com/vsrun/vsrun/libvserver/netcontext/job"}

func isBanned(path string) bool {
	for _, b := range banned {
		if path == b || strings.HasSuffix(b, "/") && strings.HasPrefix(path, b) {
			return true
		}
	}
	return false
}

func TestHotBinaryLinks(t *testing.T) {
	root := list(t, "-deps", ".")
	if len(root) < 10 {
		t.Skip("there is no main package yet")
	}
	for _, p := range root {
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
		if isBanned(p.ImportPath) {
			t.Errorf("the hot binary links %s, by way of %s", p.ImportPath, strings.Join(chain(root, p.ImportPath), " ← "))
		}
	}
}

func TestIsBanned(t *testing.T) {
	for path, want := range map[string]bool{"net": true, "net/url": true, "network": false, "crypto/sha256": true, "encoding": false,
		"encoding/json": true, "math": false, "math/bits": false, "golang.org/x/sys/unix": false,
		"github.com/opencontainers/cgroups/fs2": true, "github.com/opencontainers/runtime-spec/specs-go": false} {
		if got := isBanned(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// chain returns one way from a package up to main.
func chain(pkgs []pkg, to string) []string {
	way := []string{to}
	for len(way) < 10 {
		found := ""
		for _, p := range pkgs {
			if slices.Contains(p.Imports, way[len(way)-1]) && !slices.Contains(way, p.ImportPath) {
				if found == "" || !p.Standard {
					found = p.ImportPath
				}
			}
		}
		if found == "" {
			break
		}
		way = append(way, found)
		if found == module {
			break
		}
	}
	return way
}

func TestLayers(t *testing.T) {
	for path, want := range map[string]int{".": 0, "libvserver": 2, "libvserver/plan/golden": 4, "spec": 6,
		"spec/wire": 7, "tests/arch": -1, "libvserver/unknown": -1} {
		if got, _ := layerOf(path); got != want {
			t.Errorf("layer of %s = %d, want %d", path, got, want)
		}
	}
}
