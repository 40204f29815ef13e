package plan

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

// Landlock confines the process and all that come from it (landlock(7)). It comes when every mount is made, since it
// forbids to make more, and while the process has the privilege for it.
type Landlock struct {
	Origin
	spec.LandlockRuleset
	// Preserve is how many descriptors from 3 on are the program's. It may open what they and the standard streams are once
	// more (/dev/stdout), as they are open: for reading, for writing or both.
	Preserve int
	// Own: the ruleset is the one that is built in.
	Own bool
}

func (s Landlock) String() string {
	var b strings.Builder
	b.WriteString("confine the process with Landlock")
	if s.Own {
		b.WriteString(" to write nowhere but in its own root")
	} else {
		b.WriteString(", handling " + strconv.Itoa(ones(s.FS)+ones(s.Net)) + " rights by " + strconv.Itoa(len(s.Paths)+len(s.Ports)) + " rules")
	}
	if s.Scoped&unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET != 0 {
		b.WriteString(", to connect to no abstract socket of others")
	}
	if s.Scoped&unix.LANDLOCK_SCOPE_SIGNAL != 0 {
		b.WriteString(", to signal none but its own")
	}
	return b.String()
}

func ones(bits uint64) (n int) {
	for ; bits != 0; bits &= bits - 1 {
		n++
	}
	return n
}

// LandlockFacts are what the plan has to know where a bundle asks for Landlock.
type LandlockFacts struct {
	// ABI is the version of the kernel's Landlock, 0 if there is none: then Missing says why.
	ABI     int
	Missing string
	// Ruleset is the one of the bundle's own file, nil for the one that is built in.
	Ruleset *spec.LandlockRuleset
}

// landlockWrites are the rights to change files.
const landlockWrites = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
	unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
	unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
	unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER

// landlock adds the step if the bundle asks for it.
//
// Signals and abstract sockets are confined where no namespace does it, be it one of the container's own or of its pod:
// a process that exec brings is in a domain of its own, as there is no joining one, and could else not signal those of the
// container.
func (b *builder) landlock(hasPid, hasNet bool) {
	if !b.b.VServer.Landlock.On {
		return
	}
	at := Origin(spec.AnnotationPath("landlock"))
	f := b.facts.Landlock
	if f == nil {
		f = &LandlockFacts{}
	}
	s := Landlock{Origin: at, Preserve: b.opt.PreserveFDs}
	if f.Ruleset != nil {
		s.LandlockRuleset = *f.Ruleset
	} else {
		s.Own, s.FS = true, landlockWrites
		if f.ABI >= 3 {
			s.FS |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
		}
		if f.ABI >= 5 {
			s.FS |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
		}
		if f.ABI >= 6 && !hasPid {
			s.Scoped |= unix.LANDLOCK_SCOPE_SIGNAL
		}
		if f.ABI >= 6 && !hasNet {
			s.Scoped |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		}
		s.Paths = []spec.LandlockPath{{Allowed: s.FS, Path: "/"}}
	}
	need, since := s.LandlockABI()
	switch {
	case f.ABI == 0:
		b.fault(string(at), f.Missing)
	case f.ABI < need:
		b.fault(string(at), "needs version "+strconv.Itoa(need)+" of Landlock's interface, which Linux has since "+since+"; this kernel has version "+strconv.Itoa(f.ABI))
	}
	b.add(s)
}
