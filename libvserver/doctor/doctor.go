// Package doctor examines the host for the command `vsrun doctor`: what vsrun
// needs and what it can use, what of that is missing, and what to do about it.
//
// Unlike the probes of package host it tries things out, with throwaway files,
// children and mounts, all of which it removes. It may be slow. It must not be
// used by any other command, and changes nothing that lasts.
package doctor

import (
	"io"
	"os"
)

// Options say what to examine.
type Options struct {
	Root  string // the state directory (state.Store.Root)
	Store string // the directory of the object store and the guests' layers; "" leaves it out
	JSON  bool
}

// Verdict is the outcome of a check.
type Verdict uint8

// The verdicts.
const (
	OK      Verdict = iota
	Lacking         // something optional is missing: some bundles can't run
	Failed          // something needed is missing: no bundle can run
)

// String returns "ok", "lacking" or "failed".
func (v Verdict) String() string {
	switch v {
	case OK:
		return "ok"
	case Lacking:
		return "lacking"
	default:
		return "failed"
	}
}

// Check is one line of the report.
type Check struct {
	Section string
	Name    string
	Verdict Verdict
	Detail  string // what was found
	Since   string // the first Linux version that has it, if it is the kernel's
	Advice  string // what is lost without it, and what to do
}

// Run examines the host and writes the report to w. ok tells whether a plain
// bundle, as `vsrun spec` writes it, can run.
func Run(w io.Writer, o Options) (ok bool, err error) {
	checks := examine(o)
	ok = true
	for i := range checks {
		ok = ok && checks[i].Verdict != Failed
	}
	var out []byte
	if o.JSON {
		out = appendJSON(nil, checks, ok)
	} else {
		out = appendText(nil, checks, ok)
	}
	_, err = w.Write(out)
	return ok, err
}

func examine(o Options) []Check {
	e := &examiner{privileged: os.Geteuid() == 0}
	e.kernel()
	e.namespaces()
	e.cgroups()
	e.network()
	e.capabilities()
	e.seccomp()
	e.lsm()
	e.filesystems(o)
	e.contexts()
	e.limits()
	return e.checks
}

// examiner collects checks.
type examiner struct {
	section    string
	checks     []Check
	privileged bool // euid 0
}

// add adds a check to the current section.
func (e *examiner) add(c Check) {
	c.Section = e.section
	e.checks = append(e.checks, c)
}

// ok adds a good one.
func (e *examiner) ok(name, detail string) { e.add(Check{Name: name, Detail: detail}) }

// lacking adds a check of something optional that is missing.
func (e *examiner) lacking(name, detail, advice string) {
	e.add(Check{Name: name, Verdict: Lacking, Detail: detail, Advice: advice})
}

// failed adds a check of something needed that is missing.
func (e *examiner) failed(name, detail, advice string) {
	e.add(Check{Name: name, Verdict: Failed, Detail: detail, Advice: advice})
}
