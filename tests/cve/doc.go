// Package cve tries the known attacks on OCI runtimes by the command line, with harmless probes: the victims are files
// and folders of the test's own. Each test names who fell for it when it was tried, which is the proof that it can bite:
// an old peer, or vsrun weakened by the mutation in bites_test.go that takes the defence away (`make cve-bites`).
// RUNTIME=runc (or a path) runs the same attacks against another runtime; what it falls for fails. Do that in a throwaway
// virtual machine only: a runtime that falls for one is let at the machine.
//
// It must not import anything of the runtime.
package cve
