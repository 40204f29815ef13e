package unify

import (
	"fmt"
	"path"
	"strings"
)

// DefaultExcludes are vhashify's: what differs from guest to guest or must not be shared in place. They apply to the
// links layout; in the objects layout nothing is ever shared in place, so nothing has to be left out.
var DefaultExcludes = []string{"/.rpmdb", "/dev", "/etc/*", "/home", "/proc", "/mnt", "/root/*", "/selinux", "/sys", "/tmp", "/var", "/*/ls-R"}

// excludes is a list of patterns. The first that matches decides.
type excludes struct {
	rules []rule
}

type rule struct {
	include  bool
	anchored bool // it starts at the tree's root
	parts    []string
}

// newExcludes reads patterns: "-PATTERN", "~PATTERN" or "PATTERN" leaves out, "+PATTERN" takes in. A pattern that begins
// with / starts at the tree's root, any other matches at any depth; * and ? match within one name (path.Match). What is
// below a directory that matches is matched, too.
func newExcludes(patterns []string) (*excludes, error) {
	ex := &excludes{}
	for _, p := range patterns {
		var r rule
		text := p
		switch {
		case strings.HasPrefix(p, "+"):
			r.include, text = true, p[1:]
		case strings.HasPrefix(p, "-"), strings.HasPrefix(p, "~"):
			text = p[1:]
		}
		r.anchored = strings.HasPrefix(text, "/")
		text = strings.Trim(text, "/")
		if text == "" {
			return nil, fmt.Errorf("exclude pattern %q: there is no name in it", p)
		}
		r.parts = strings.Split(text, "/")
		for _, part := range r.parts {
			if _, err := path.Match(part, ""); err != nil {
				return nil, fmt.Errorf("exclude pattern %q: %w", p, err)
			}
		}
		ex.rules = append(ex.rules, r)
	}
	return ex, nil
}

// match says whether the file called name in d is left out.
func (ex *excludes) match(d *dir, name string) bool {
	if ex == nil || len(ex.rules) == 0 {
		return false
	}
	parts := append(strings.Split(d.path, "/"), name)
	if d.path == "" {
		parts = parts[1:]
	}
	for i := range ex.rules {
		if r := &ex.rules[i]; r.match(parts) {
			return !r.include
		}
	}
	return false
}

func (r *rule) match(parts []string) bool {
	last := len(parts) - len(r.parts)
	if r.anchored {
		last = min(last, 0)
	}
	for at := 0; at <= last; at++ {
		all := true
		for i, p := range r.parts {
			if ok, _ := path.Match(p, parts[at+i]); !ok {
				all = false
				break
			}
		}
		if all {
			return true
		}
	}
	return false
}
