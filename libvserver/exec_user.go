package libvserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// user reads --user: UID[:GID] or names. A number is never taken for a name (CVE-2016-3697). A number alone changes
// nothing but the uid, as with runc; a name alone brings the user's groups with it, as login(1) does.
func (e *execution) user(p *specs.Process) error {
	user, group, hasGroup := strings.Cut(e.o.User, ":")
	if uid, ok := number(user); ok {
		p.User.UID = uid
	} else if isNumber(user) {
		return fmt.Errorf("bad uid: %s is out of range", user)
	} else if err := e.userByName(p, user, !hasGroup); err != nil {
		return err
	}
	if !hasGroup {
		return nil
	}
	if gid, ok := number(group); ok {
		p.User.GID = gid
		return nil
	} else if isNumber(group) {
		return fmt.Errorf("bad gid: %s is out of range", group)
	}
	return e.groupByName(p, group)
}

// number reads an id: decimal digits, and not the one that stands for "no change" (setresuid(2)).
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && isNumber(s) && n != 1<<32-1
}

// isNumber tells a number, be it a sensible one or not, from a name: names of users do not begin with a sign.
func isNumber(s string) bool {
	s = strings.TrimLeft(s, "+-")
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (e *execution) userByName(p *specs.Process, name string, groups bool) error {
	if name == "" {
		return fmt.Errorf("bad uid: --user %q names no user", e.o.User)
	}
	text, err := readIn(e.rootFD(), "etc/passwd")
	if err != nil {
		return fmt.Errorf("bad uid: no user %q: /etc/passwd in the container: %w", name, err)
	}
	for line := range strings.SplitSeq(text, "\n") {
		// name:password:uid:gid:comment:home:shell (passwd(5))
		f := strings.SplitN(line, ":", 7)
		if len(f) < 4 || f[0] != name {
			continue
		}
		uid, ok := number(f[2])
		gid, ok2 := number(f[3])
		if !ok || !ok2 {
			return fmt.Errorf("bad uid: the line of user %q in the container's /etc/passwd: %q", name, line)
		}
		p.User.UID, p.User.GID = uid, gid
		if groups {
			p.User.AdditionalGids = e.groupsOf(name, gid)
		}
		return nil
	}
	return fmt.Errorf("bad uid: no user %q in the container's /etc/passwd", name)
}

// groupsOf are the groups that list a user.
func (e *execution) groupsOf(name string, primary uint32) []uint32 {
	text, err := readIn(e.rootFD(), "etc/group")
	if err != nil {
		return nil
	}
	var gids []uint32
	for line := range strings.SplitSeq(text, "\n") {
		// name:password:gid:members (group(5))
		f := strings.SplitN(line, ":", 4)
		if len(f) < 4 {
			continue
		}
		gid, ok := number(f[2])
		if ok && gid != primary && slices.Contains(strings.Split(f[3], ","), name) && !slices.Contains(gids, gid) {
			gids = append(gids, gid)
		}
	}
	return gids
}

func (e *execution) groupByName(p *specs.Process, name string) error {
	if name == "" {
		return fmt.Errorf("bad gid: --user %q names no group", e.o.User)
	}
	text, err := readIn(e.rootFD(), "etc/group")
	if err != nil {
		return fmt.Errorf("bad gid: no group %q: /etc/group in the container: %w", name, err)
	}
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 3 || f[0] != name {
			continue
		}
		gid, ok := number(f[2])
		if !ok {
			return fmt.Errorf("bad gid: the line of group %q in the container's /etc/group: %q", name, line)
		}
		p.User.GID = gid
		return nil
	}
	return fmt.Errorf("bad gid: no group %q in the container's /etc/group", name)
}
