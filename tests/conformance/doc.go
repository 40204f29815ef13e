// Package conformance runs the OCI validation suite (opencontainers/runtime-tools)
// against a runtime, and checks what the runtime prints by the JSON schemas of
// runtime-spec. It is a module of its own, so that what it needs for testing
// never comes near the runtime's own dependencies.
//
// expect_test.go says what each program of the suite shall do, and why; a run
// fails when a program does worse, and when it does better. RUNTIME=runc (or a
// path) runs the suite against another runtime: that prints the same table,
// and holds it to nothing.
//
// It must not import anything of the runtime.
package conformance
