package conformance

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMusts holds spec/MUSTS.md to the truth: what a line names as its proof exists, and a line without any says so.
func TestMusts(t *testing.T) { checkProofs(t, "spec/MUSTS.md", 90) }

// TestEngineContract holds tests/engines/CONTRACT.md to the same.
func TestEngineContract(t *testing.T) { checkProofs(t, "tests/engines/CONTRACT.md", 50) }

// checkProofs reads a file whose tables name the proofs of at least so many lines.
func checkProofs(t *testing.T, file string, least int) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]row{}
	for _, r := range table {
		programs[r.name] = r
	}
	name := regexp.MustCompile("`(suite|script|go|engine):([^`]+)`")
	line := regexp.MustCompile(`^\| ([A-Z]\d+) \|`)
	seen := map[string]bool{}
	for text := range strings.Lines(string(data)) {
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		if seen[m[1]] {
			t.Errorf("%s: twice", m[1])
		}
		seen[m[1]] = true
		columns := strings.Split(strings.TrimSuffix(strings.TrimSpace(text), "|"), " | ")
		proof := columns[len(columns)-1]
		found := name.FindAllStringSubmatch(proof, -1)
		if len(found) == 0 && !strings.Contains(proof, "not yet") && !strings.Contains(proof, "not the runtime's") {
			t.Errorf("%s: no proof, and not said to be missing", m[1])
		}
		for _, f := range found {
			if why := missing(root, f[1], f[2], programs); why != "" {
				t.Errorf("%s: %s", m[1], why)
			}
		}
	}
	if len(seen) < least {
		t.Errorf("only %d lines", len(seen))
	}
}

// missing says why a proof is none, or "".
func missing(root, kind, name string, programs map[string]row) string {
	switch kind {
	case "suite":
		r, ok := programs[name]
		if !ok {
			return "the suite has no program " + name
		}
		if r.v1.out != "" && r.v2.out != "" {
			return "the suite's " + name + " is out everywhere"
		}
	case "script":
		if _, err := os.Stat(filepath.Join(root, "tests/integration/testdata/script", name+".txtar")); err != nil {
			return err.Error()
		}
	case "engine":
		if _, err := os.Stat(filepath.Join(root, "tests/engines", name+".sh")); err != nil {
			return err.Error()
		}
	case "go":
		dot := strings.LastIndexByte(name, '.')
		if dot < 0 {
			return name + " is not of the form PACKAGE.TestNAME"
		}
		files, _ := filepath.Glob(filepath.Join(root, name[:dot], "*_test.go"))
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err == nil && strings.Contains(string(text), "\nfunc "+name[dot+1:]+"(t *testing.T)") {
				return ""
			}
		}
		return "no test " + name[dot+1:] + " in " + name[:dot]
	}
	return ""
}
