package spec

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec/wire"
)

// LandlockRuleset is what a process is confined to (landlock(7)). What FS and
// Net hold is denied but where a rule allows it; what they don't hold is none
// of Landlock's business.
type LandlockRuleset struct {
	FS     uint64 // LANDLOCK_ACCESS_FS_*
	Net    uint64 // LANDLOCK_ACCESS_NET_*
	Scoped uint64 // LANDLOCK_SCOPE_*
	Paths  []LandlockPath
	Ports  []LandlockPort
}

// LandlockPath allows access to a file, or to all that is beneath a directory.
type LandlockPath struct {
	Allowed uint64
	Path    string // absolute, in the container
}

// LandlockPort allows the use of a TCP port.
type LandlockPort struct {
	Allowed uint64
	Port    uint64
}

// LandlockFileRights are those that a rule of a file can have; the others are
// of directories.
const LandlockFileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
	unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

// The names of rights, in the order of their bits: those of linux/landlock.h in
// small letters, as other configuration formats have them (landlockconfig).
func landlockFS() []string {
	return []string{"execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir", "make_reg",
		"make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev"}
}

func landlockNet() []string { return []string{"bind_tcp", "connect_tcp"} }

func landlockScopes() []string { return []string{"abstract_unix_socket", "signal"} }

// LandlockABI is the version of Landlock's interface that knows all that a
// ruleset holds, and the first kernel with it. Below 2 there is nothing: until
// then every rename between directories was forbidden.
func (s *LandlockRuleset) LandlockABI() (abi int, since string) {
	switch {
	case s.Scoped != 0:
		return 6, "6.12"
	case s.FS&unix.LANDLOCK_ACCESS_FS_IOCTL_DEV != 0:
		return 5, "6.10"
	case s.Net != 0:
		return 4, "6.7"
	case s.FS&unix.LANDLOCK_ACCESS_FS_TRUNCATE != 0:
		return 3, "6.2"
	}
	return 2, "5.19"
}

// ParseLandlock reads and checks a ruleset file: the format of the landlockconfig
// library, as far as it has no variables and no groups of rights.
//
//	{"ruleset":     [{"handledAccessFs": ["write_file", …], "handledAccessNet": ["bind_tcp"], "scoped": ["signal"]}],
//	 "pathBeneath": [{"allowedAccess": ["write_file"], "parent": ["/var/lib"]}],
//	 "netPort":     [{"allowedAccess": ["bind_tcp"], "port": [80]}]}
//
// A member that is not known is a fault: what is left out would not be enforced.
func ParseLandlock(raw []byte) (*LandlockRuleset, error) {
	d := landlockDecoder{r: wire.NewReader(raw)}
	if d.r.Null() {
		d.r.Fault(0, "must be an object (got null)")
	} else {
		d.members("a ruleset", []string{"ruleset", "pathBeneath", "netPort"}, d.section)
	}
	faults, err := decodeErrors(d.r, raw, "")
	if err != nil {
		return nil, err
	}
	s := &d.set
	if len(faults) == 0 && s.FS|s.Net|s.Scoped == 0 {
		faults = append(faults, Fault{"ruleset", "nothing is handled, so nothing would be confined"})
	}
	for i, p := range s.Paths {
		if over := p.Allowed &^ s.FS; over != 0 && len(faults) == 0 {
			faults = append(faults, Fault{"pathBeneath", quote(p.Path) + " is allowed what handledAccessFs has not: " + landlockName(landlockFS(), over)})
		}
		s.Paths[i].Allowed &= s.FS
	}
	for _, p := range s.Ports {
		if over := p.Allowed &^ s.Net; over != 0 && len(faults) == 0 {
			faults = append(faults, Fault{"netPort", "port " + strconv.FormatUint(p.Port, 10) + " is allowed what handledAccessNet has not: " + landlockName(landlockNet(), over)})
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return s, nil
}

// landlockName is the name of the lowest bit.
func landlockName(names []string, bits uint64) string {
	for i, n := range names {
		if bits&(1<<i) != 0 {
			return n
		}
	}
	return ""
}

type landlockDecoder struct {
	r   *wire.Reader
	set LandlockRuleset
}

// members reads an object; a member of another name is a fault.
func (d *landlockDecoder) members(what string, names []string, f func(key string)) {
	d.r.Object(func(k string) {
		for _, n := range names {
			if k == n {
				f(k)
				return
			}
		}
		msg := "unknown member " + quote(k) + " of " + what
		if near := nearest(k, names); near != "" {
			msg += " (did you mean " + quote(near) + "?)"
		}
		d.r.Fault(d.r.Offset(), msg)
		d.r.Skip()
	})
}

func (d *landlockDecoder) section(key string) {
	d.r.Array(func(int) {
		switch key {
		case "ruleset":
			d.members("a ruleset", []string{"handledAccessFs", "handledAccessNet", "scoped"}, func(k string) {
				switch k {
				case "handledAccessFs":
					d.set.FS |= d.rights("right", landlockFS())
				case "handledAccessNet":
					d.set.Net |= d.rights("right", landlockNet())
				case "scoped":
					d.set.Scoped |= d.rights("scope", landlockScopes())
				}
			})
		case "pathBeneath":
			d.path()
		case "netPort":
			d.port()
		}
	})
}

// path reads one element of pathBeneath. Its members come in any order.
func (d *landlockDecoder) path() {
	var allowed uint64
	first, off := len(d.set.Paths), d.r.Offset()
	d.members("a rule", []string{"allowedAccess", "parent"}, func(k string) {
		if k == "allowedAccess" {
			allowed |= d.rights("right", landlockFS())
			return
		}
		d.r.Array(func(int) {
			at := d.r.Offset()
			p := d.r.String()
			switch {
			case p == "" || p[0] != '/':
				d.r.Fault(at, "must be an absolute path in the container (got "+quote(p)+")")
			case strings.IndexByte(p, 0) >= 0:
				d.r.Fault(at, "must not contain a NUL byte (got "+quote(p)+")")
			}
			d.set.Paths = append(d.set.Paths, LandlockPath{Path: p})
		})
	})
	if allowed == 0 && first < len(d.set.Paths) {
		d.r.Missing(off, "allowedAccess")
	}
	for i := first; i < len(d.set.Paths); i++ {
		d.set.Paths[i].Allowed = allowed
	}
}

func (d *landlockDecoder) port() {
	var allowed uint64
	first, off := len(d.set.Ports), d.r.Offset()
	d.members("a rule", []string{"allowedAccess", "port"}, func(k string) {
		if k == "allowedAccess" {
			allowed |= d.rights("right", landlockNet())
			return
		}
		d.r.Array(func(int) {
			at := d.r.Offset()
			n := d.r.Uint64()
			if n > 65535 {
				d.r.Fault(at, "must be a port (got "+strconv.FormatUint(n, 10)+")")
			}
			d.set.Ports = append(d.set.Ports, LandlockPort{Port: n})
		})
	})
	if allowed == 0 && first < len(d.set.Ports) {
		d.r.Missing(off, "allowedAccess")
	}
	for i := first; i < len(d.set.Ports); i++ {
		d.set.Ports[i].Allowed = allowed
	}
}

// rights reads an array of names.
func (d *landlockDecoder) rights(what string, names []string) (mask uint64) {
	d.r.Array(func(int) {
		off := d.r.Offset()
		s := d.r.String()
		for i, n := range names {
			if s == n {
				mask |= 1 << i
				return
			}
		}
		msg := "unknown " + what + " " + quote(s)
		if near := nearest(s, names); near != "" {
			msg += " (did you mean " + quote(near) + "?)"
		}
		d.r.Fault(off, msg)
	})
	return mask
}
