// Package cve tries the known attacks on OCI runtimes by the command line, with harmless probes: the victims are files
// and folders of the test's own. Each test names the peer that fell for it when it was tried, which is the proof that it
// can bite; where no peer of the field at hand does, the test says what else showed it. RUNTIME=runc (or a path) runs the
// same attacks against another runtime; what it falls for fails.
//
// It must not import anything of the runtime.
package cve
