package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckState(t *testing.T) {
	const good = `{"ociVersion":"1.3.0","id":"x","status":"running","bundle":"/b","pid":1,"annotations":{"a":"b"},"more":[1]}`
	for _, edit := range [][2]string{{"", ""}, {`"running"`, `"paused"`}, {`,"pid":1`, ``}, {`{"a":"b"}`, `{}`}} {
		if err := CheckState(strings.Replace(good, edit[0], edit[1], 1)); err != nil {
			t.Error(err)
		}
	}
	for _, edit := range [][2]string{{`"running"`, `"runing"`}, {`"pid":1`, `"pid":-1`}, {`"pid":1`, `"pid":"1"`}, {`"pid":1`, `"pid":1.5`}, {`"id":"x",`, ``}, {`"1.3.0"`, `1`},
		{`"bundle":"/b",`, ``}, {`"b"}`, `1}`}, {`{"a":"b"}`, `[]`}, {`}`, ``}} {
		if err := CheckState(strings.Replace(good, edit[0], edit[1], 1)); err == nil {
			t.Errorf("%v: no error", edit)
		}
	}
	if err := CheckState(`[]`); err == nil {
		t.Error("an array is no state")
	}
}

// The schemas are those of the module.
func TestSchemasAreTheSpecs(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Skip("needs go and runtime-spec's module: ", err)
	}
	for _, name := range []string{"state-schema.json", "defs.json"} {
		want, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "schema", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := schemas.ReadFile("schema/" + name)
		if err != nil || string(got) != string(want) {
			t.Errorf("schema/%s is not the module's: %v", name, err)
		}
	}
}
