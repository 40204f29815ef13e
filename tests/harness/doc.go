// Package harness drives an OCI runtime by its command line, for the
// integration tests and the benchmarks: it makes bundles, edits config.json,
// gives a runtime a private pure cgroup2 layout, plays the far side of a
// terminal or of a console socket, and looks for what a test left behind.
//
// It imports nothing of the runtime, so whatever is built on it runs against
// any runtime that takes runc's command line.
package harness
