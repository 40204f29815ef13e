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
// is that of a configuration without them.
type Extension struct {
	// XID is the context id, MinXID to MaxXID (org.linux-vserver.context.xid);
	// 0 asks for a dynamic one.
	XID uint32
}

// Static context ids. Higher ones are given out dynamically, as Linux-VServer
// did; 0 is the host and 1 was the spectator context.
const (
	MinXID = 2
	MaxXID = 49151
)

// vserverKeys are the known annotations without their prefix, in order.
var vserverKeys = [...]string{"context.xid"}

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
	slices.Sort(own)
	for _, k := range own {
		msg, known := x.set(k[len(VServerPrefix):], a[k])
		switch {
		case !known: // an unknown key must not be an error (config.md, "Annotations")
			c.warn(top(key("annotations", k)), unknownAnnotation(k[len(VServerPrefix):]))
		case msg != "":
			c.fault(key("annotations", k), msg)
		}
	}
}

// set takes one annotation and says what is wrong with it, and whether there is such a one.
func (x *Extension) set(name, value string) (msg string, known bool) {
	switch name {
	case "context.xid":
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n < MinXID || n > MaxXID {
			return "must be a number from " + strconv.Itoa(MinXID) + " to " + strconv.Itoa(MaxXID) + " (got " + quote(value) + ")", true
		}
		x.XID = uint32(n)
		return "", true
	}
	return "", false
}

func unknownAnnotation(name string) string {
	msg := "unknown annotation, ignored"
	if near := nearest(name, vserverKeys[:]); near != "" {
		msg += " (did you mean " + quote(VServerPrefix+near) + "?)"
	} else {
		msg += " (known: " + VServerPrefix + strings.Join(vserverKeys[:], ", "+VServerPrefix) + ")"
	}
	return msg
}
