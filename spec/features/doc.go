// Package features writes the document of "vsrun features" (features.md and
// features-linux.md of runtime-spec 1.3).
//
// It holds the writer alone: what the document says is put together by its
// caller, from what each package reports of itself. It must not probe the host
// nor import encoding/json, fmt or reflect.
package features

import (
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/vsrun/vsrun/spec/wire"
)

// Document returns f as runc prints it: indented by four spaces, with a newline
// at the end.
func Document(f *features.Features) []byte {
	w := wire.NewWriter(nil, "    ")
	w.EscapeHTML = true // as encoding/json does
	EncodeFeatures(w, f)
	return append(w.Bytes(), '\n')
}
