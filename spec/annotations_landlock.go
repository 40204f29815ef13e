package spec

import "strings"

// Landlock is what org.linux-vserver.landlock asks for: "true" confines the
// container to writing below its own root, a path names a file with a ruleset
// of its own (ParseLandlock).
type Landlock struct {
	On   bool
	File string // "" for the ruleset that is built in; relative to the bundle, if not absolute
}

var landlockAnnotations = [...]annotation{
	{"landlock", func(x *Extension, _, value string) string { return x.Landlock.set(value) }},
}

// set reads the annotation's value and says what is wrong with it.
func (l *Landlock) set(value string) (msg string) {
	switch {
	case value == "true":
		*l = Landlock{On: true}
	case value == "false":
		*l = Landlock{}
	case strings.Contains(value, "/") && strings.IndexByte(value, 0) < 0:
		*l = Landlock{On: true, File: value}
	default:
		return `must be "true", "false", or the path of a ruleset file, with a slash in it (got ` + quote(value) + ")"
	}
	return ""
}
