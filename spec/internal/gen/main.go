// Command gen writes the decoders and encoders of the runtime-spec's types:
// spec/zz_decode.go, spec/zz_encode.go and spec/features/zz_encode.go. It
// reflects over the types, so that no field can be forgotten, and so that the
// programs that use its output need not reflect.
//
// Usage, from the spec folder: go run ./internal/gen
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// roots are the documents that are read and written on their own. They and all
// types they hold get functions; theirs are exported.
var roots = []reflect.Type{
	reflect.TypeFor[specs.Spec](),
	reflect.TypeFor[specs.Process](),
	reflect.TypeFor[specs.LinuxResources](),
	reflect.TypeFor[specs.LinuxSeccomp](),
	reflect.TypeFor[specs.Hooks](),
	reflect.TypeFor[specs.State](),
	reflect.TypeFor[specs.ContainerProcessState](),
}

// generate returns the files to write, by name relative to dir.
func generate() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, f := range []struct {
		name, pkg, alias string
		encode           bool
		roots            []reflect.Type
	}{
		{"zz_decode.go", "spec", "specs", false, roots},
		{"zz_encode.go", "spec", "specs", true, roots},
		{"features/zz_encode.go", "features", "features", true, []reflect.Type{reflect.TypeFor[features.Features]()}},
	} {
		src, err := emit(f.pkg, f.alias, f.roots, f.encode)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		files[f.name] = src
	}
	return files, nil
}

func main() {
	files, err := generate()
	if err == nil {
		for name, src := range files {
			if err = os.WriteFile(filepath.FromSlash(name), src, 0o666); err != nil {
				break
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}
