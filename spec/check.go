package spec

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// checker collects what is wrong with a configuration. Each section has its
// checks in a file of its own. What only the host can tell (a namespace file's
// type, a missing mount source) is not checked here.
type checker struct {
	spec     *specs.Spec
	host     bool // may look at the host
	ns       namespaceSet
	faults   Faults
	warnings []string
}

// fault and faultAt add to what is wrong, warn to what is to be logged.
func (c *checker) fault(path, msg string) {
	c.faults = append(c.faults, Fault{path, msg})
}

func (c *checker) faultAt(l loc, msg string) { c.fault(l.String(), msg) }

func (c *checker) warn(l loc, msg string) {
	c.warnings = append(c.warnings, l.String()+": "+msg)
}

// config checks b.Spec, in the order in which runtime-spec describes it.
func (c *checker) config(b *Bundle) {
	s := b.Spec
	c.version(s.Version)
	// Much of what follows depends on the namespaces.
	if s.Linux != nil {
		c.namespaces(s.Linux)
	}
	c.root(b)
	c.mounts(s.Mounts)
	if s.Process != nil {
		c.process(s.Process)
		c.processIDs(s.Process)
	}
	c.names(s)
	c.hooks(s.Hooks)
	if s.Linux != nil {
		c.linux(s.Linux)
	}
	c.annotations(s.Annotations, &b.VServer)
}

// nul reports a string that the kernel would cut short.
func (c *checker) nul(l loc, s string) {
	if strings.IndexByte(s, 0) >= 0 {
		c.faultAt(l, "must not contain a NUL byte (got "+quote(s)+")")
	}
}

// absolute checks a path that is required and absolute.
func (c *checker) absolute(l loc, s string) {
	switch {
	case s == "":
		c.faultAt(l, "is required")
	case s[0] != '/':
		c.faultAt(l, "must be an absolute path (got "+quote(s)+")")
	}
	c.nul(l, s)
}

// known checks a string that must be one of names.
func (c *checker) known(l loc, what, s string, names []string) {
	for _, n := range names {
		if s == n {
			return
		}
	}
	if s == "" {
		c.faultAt(l, "is required")
		return
	}
	c.unknown(l, what, s, names)
}

// unknown reports a string that is none of names.
func (c *checker) unknown(l loc, what, s string, names []string) {
	msg := "unknown " + what + " " + quote(s)
	if near := nearest(s, names); near != "" {
		msg += " (did you mean " + quote(near) + "?)"
	} else if len(names) <= 10 {
		msg += " (known: " + strings.Join(names, ", ") + ")"
	}
	c.faultAt(l, msg)
}

// between checks that v is one of lo to hi.
func (c *checker) between(l loc, v, lo, hi int64) {
	if v < lo || v > hi {
		c.faultAt(l, "must be from "+strconv.FormatInt(lo, 10)+" to "+strconv.FormatInt(hi, 10)+" (got "+strconv.FormatInt(v, 10)+")")
	}
}

// atLeast checks that v, if set, is not less than lo.
func (c *checker) atLeast(l loc, v *int64, lo int64) {
	if v != nil && *v < lo {
		c.faultAt(l, "must not be less than "+strconv.FormatInt(lo, 10)+" (got "+strconv.FormatInt(*v, 10)+")")
	}
}
