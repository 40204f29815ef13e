package conformance

import (
	// The suite's programs are only built, not imported. This import keeps what
	// they need in go.mod and go.sum; `go mod tidy` would drop it.
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
