// Package spec loads, checks and completes an OCI bundle's config.json
// (runtime-spec 1.3): Load and Parse give a Bundle whose Spec has no fault that
// can be seen without the host, or an error that lists all the faults, each
// with its JSON path. It also reads the org.linux-vserver.* annotations, knows
// the names that a config may use (capabilities, resource limits, sysctls, CPU
// lists), and writes the template of "vsrun spec".
//
// It stands on the hot path of every command: it decodes by generated code (see
// internal/gen) and must not import encoding/json, fmt or reflect, nor run
// anything at init. It imports nothing of this module but spec/wire and
// spec/mountopt, changes nothing on the host, and reads no more of it than the
// file, whether the root directory exists, and whose network namespace it is
// that sysctls are set in.
package spec

//go:generate go run ./internal/gen
