package spec

import (
	"slices"
	"strconv"
	"strings"
)

// VServerPrefix is what the annotations begin with that this runtime gives a
// meaning to.
const VServerPrefix = "org.linux-vserver."

// Extension is what the org.linux-vserver.* annotations ask for. The zero value
// is that of a configuration without them. Each topic has a file of its own,
// annotations_*.go, with its type, its table and its checks.
type Extension struct {
	// XID is the context id, MinXID to MaxXID (context.xid); 0 asks for a
	// dynamic one.
	XID     uint32
	Flags   Flags // context.flags
	Rootfs  Rootfs
	Disk    Disk
	Sched   Sched
	Rlimits ContextLimits
	Net     Net
	// Landlock confines the container's processes.
	Landlock Landlock
}

// annotation is an annotation that means something.
type annotation struct {
	name string // without VServerPrefix
	// set takes its value and says what is wrong with it; "" if nothing is.
	// name is that of the annotation itself or, where more than one shares a
	// function, what tells them apart.
	set func(x *Extension, name, value string) (msg string)
}

// annotationTables are the annotations by topic. It is a function because a
// variable would cost every start of the program.
func annotationTables() [7][]annotation {
	return [...][]annotation{contextAnnotations[:], rootfsAnnotations[:], diskAnnotations[:], schedAnnotations[:], rlimitAnnotations[:], netAnnotations[:], landlockAnnotations[:]}
}

// annotationChecks are run after all annotations were read, if there are any
// of ours: what they ask for of each other and of the rest of the
// configuration.
func (c *checker) annotationChecks(x *Extension) {
	c.checkContext(x)
	c.checkRootfs(x)
	c.checkDisk(x)
	c.checkSched(x)
	c.checkRlimits(x)
	c.checkNet(x)
}

// annotations checks annotations and reads our own into x.
func (c *checker) annotations(a map[string]string, x *Extension) {
	if len(a) == 0 {
		return
	}
	var own []string
	for k := range a {
		if k == "" {
			c.fault("annotations", "a key must not be empty")
		}
		if strings.HasPrefix(k, VServerPrefix) {
			own = append(own, k)
		}
	}
	if len(own) == 0 {
		return
	}
	slices.Sort(own)
	faults := len(c.faults)
	for _, k := range own {
		name := k[len(VServerPrefix):]
		e := findAnnotation(name)
		if e == nil { // an unknown key must not be an error (config.md, "Annotations")
			c.warn(top(key("annotations", k)), unknownAnnotation(name))
			continue
		}
		if msg := e.set(x, name, a[k]); msg != "" {
			c.fault(key("annotations", k), msg)
		}
	}
	if len(c.faults) == faults {
		c.annotationChecks(x)
	}
}

// AnnotationPath is the place of one of our annotations in config.json, for messages: annotations["org.linux-vserver.NAME"].
func AnnotationPath(name string) string { return key("annotations", VServerPrefix+name) }

// annotationFault notes what is wrong with one of our annotations.
func (c *checker) annotationFault(name, msg string) { c.fault(AnnotationPath(name), msg) }

// findAnnotation looks up an annotation; nil if there is no such one.
func findAnnotation(name string) *annotation {
	for _, t := range annotationTables() {
		for i := range t {
			if t[i].name == name {
				return &t[i]
			}
		}
	}
	return findRlimit(name)
}

// Annotations are the names of all annotations that mean something, without
// VServerPrefix.
func Annotations() []string {
	var names []string
	for _, t := range annotationTables() {
		for i := range t {
			names = append(names, t[i].name)
		}
	}
	return names
}

func unknownAnnotation(name string) string {
	const msg = "unknown annotation, ignored"
	names := Annotations()
	if near := nearest(name, names); near != "" {
		return msg + " (did you mean " + quote(VServerPrefix+near) + "?)"
	}
	if topic, _, ok := strings.Cut(name, "."); ok {
		names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, topic+".") })
		if len(names) > 0 {
			return msg + " (known: " + VServerPrefix + strings.Join(names, ", "+VServerPrefix) + ")"
		}
	}
	return msg
}

// number reads a decimal number from lo to hi.
func number(value string, lo, hi uint64, to *uint64) (msg string) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < lo || n > hi {
		return "must be a number from " + strconv.FormatUint(lo, 10) + " to " + strconv.FormatUint(hi, 10) + " (got " + quote(value) + ")"
	}
	*to = n
	return ""
}

// size reads a number of unit bytes each, or one of bytes with the suffix K,
// M, G or T (powers of 1024).
func size(value string, unit uint64, to *uint64) (msg string) {
	digits := value
	if n := len(value); n > 0 {
		shift := uint(0)
		switch value[n-1] {
		case 'K', 'k':
			shift = 10
		case 'M', 'm':
			shift = 20
		case 'G', 'g':
			shift = 30
		case 'T', 't':
			shift = 40
		}
		if shift > 0 {
			digits, unit = value[:n-1], 1<<shift
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > uint64(1<<62)/unit {
		return "must be a size, like 4096, 20M or 1G (got " + quote(value) + ")"
	}
	*to = n * unit
	return ""
}

// boolean reads true or false.
func boolean(value string, to *bool) (msg string) {
	switch value {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		return "must be true or false (got " + quote(value) + ")"
	}
	return ""
}
