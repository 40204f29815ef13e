package spec

import (
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec/mountopt"
)

// IsBind says whether a mount is a bind mount: by its options, which is what
// the specification says, or, as runc and crun have it, by its type.
func IsBind(m *specs.Mount, o *mountopt.Options) bool { return o.IsBind() || m.Type == "bind" }

// mounts checks mounts (config.md, "Mounts").
func (c *checker) mounts(mounts []specs.Mount) {
	if len(mounts) > 0 && !c.ns.has(nsMount) {
		c.warn(top("mounts"), "no mount namespace is listed: the mounts are made in the caller's")
	}
	for i := range mounts {
		c.mount(i, &mounts[i])
	}
}

func (c *checker) mount(i int, m *specs.Mount) {
	c.nul(at("mounts", i, "destination"), m.Destination)
	c.nul(at("mounts", i, "source"), m.Source)
	c.nul(at("mounts", i, "type"), m.Type)
	for j, o := range m.Options {
		c.nul(at("mounts", i, "options").in(j, ""), o)
	}
	if m.Destination == "" {
		c.faultAt(at("mounts", i, "destination"), "is required")
	} else if m.Destination[0] != '/' {
		c.warn(at("mounts", i, "destination"), "is not absolute and taken as relative to / (got "+quote(m.Destination)+")")
	}

	o := mountopt.Parse(m.Options)
	bind := IsBind(m, &o)
	switch {
	case bind && m.Source == "" && !o.IsRemount():
		c.faultAt(at("mounts", i, "source"), "is required for a bind mount")
	case !bind && !o.IsRemount() && (m.Type == "" || m.Type == "none"):
		c.faultAt(at("mounts", i, "type"), "is required for a mount that is no bind mount (got "+quote(m.Type)+", no option bind or rbind)")
	}
	if bind && len(o.Data) > 0 {
		c.warn(at("mounts", i, "options"), "ignoring what a bind mount cannot have: "+strings.Join(o.Data, ","))
	}
	if o.TmpCopyUp && m.Type != "tmpfs" {
		c.faultAt(at("mounts", i, "options"), "tmpcopyup is only for a mount of type tmpfs")
	}
	for _, only := range [...]struct {
		asked bool
		name  string
	}{{o.CopySymlink, "copy-symlink"}, {o.SrcNoFollow, "src-nofollow"}} {
		if only.asked && (!bind || o.IsRemount()) {
			c.faultAt(at("mounts", i, "options"), only.name+" is only for a bind mount")
		}
	}
	c.procMount(i, m, bind)
	c.idMappedMount(i, m, &o)
	if !bind {
		c.mountOwner(i, o.Data)
	}
}

// procMount refuses to let a mount hide or fake what programs, and the runtime
// itself, trust /proc for, as runc does (CVE-2019-16884, CVE-2019-19921). This
// takes the destination as it is written; the mounter has to look again where
// symlinks lead it to, and what it is that a bind mount on /proc brings.
func (c *checker) procMount(i int, m *specs.Mount, bind bool) {
	d := m.Destination
	// The usual destination is clean and elsewhere.
	if !strings.Contains(d, "proc") {
		return
	}
	d = path.Clean("/" + d)
	switch {
	case d == "/proc":
		if !bind && m.Type != "proc" {
			c.faultAt(at("mounts", i, "destination"), "/proc cannot be a mount of type "+quote(m.Type)+", only of type proc or a bind mount of one")
		}
	case strings.HasPrefix(d, "/proc/"):
		switch d[len("/proc/"):] {
		case "cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime",
			"net/dev", "sys/crypto/fips_enabled", "sys/kernel/ns_last_pid":
			// Files that lxcfs and the like provide.
		default:
			c.faultAt(at("mounts", i, "destination"), quote(m.Destination)+" cannot be mounted because it is inside /proc")
		}
	}
}

func (c *checker) idMappedMount(i int, m *specs.Mount, o *mountopt.Options) {
	for j, s := range o.Data {
		if strings.HasPrefix(s, "idmap=") || strings.HasPrefix(s, "ridmap=") {
			c.faultAt(at("mounts", i, "options").in(optionIndex(m, o, j), ""), "mappings in an option are not supported: use idmap or ridmap, uidMappings and gidMappings (got "+quote(s)+")")
		}
	}
	uids, gids := len(m.UIDMappings) > 0, len(m.GIDMappings) > 0
	switch {
	case uids && !gids:
		c.faultAt(at("mounts", i, "gidMappings"), "is required with uidMappings")
	case gids && !uids:
		c.faultAt(at("mounts", i, "uidMappings"), "is required with gidMappings")
	case !uids && o.IDMap && !c.ns.has(nsUser):
		c.faultAt(at("mounts", i, "options"), "idmap needs uidMappings and gidMappings, or a user namespace in linux.namespaces")
	}
	if uids {
		c.idMappings(at("mounts", i, "uidMappings"), m.UIDMappings)
	}
	if gids {
		c.idMappings(at("mounts", i, "gidMappings"), m.GIDMappings)
	}
}

// optionIndex finds where among m's options element j of o.Data stands.
func optionIndex(m *specs.Mount, o *mountopt.Options, j int) int {
	for k, s := range m.Options {
		if s == o.Data[j] {
			return k
		}
	}
	return 0
}

// mountOwner checks uid= and gid= options: the filesystem is mounted within the
// container's user namespace, where ids that are not mapped do not exist.
func (c *checker) mountOwner(i int, data []string) {
	l := c.newUserNamespace()
	if l == nil || len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0 {
		return
	}
	for _, s := range data {
		name, value, _ := strings.Cut(s, "=")
		maps, where := l.UIDMappings, "linux.uidMappings"
		if name == "gid" {
			maps, where = l.GIDMappings, "linux.gidMappings"
		} else if name != "uid" {
			continue
		}
		id, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			continue // the filesystem will say
		}
		if _, ok := MapID(maps, uint32(id)); !ok {
			c.faultAt(at("mounts", i, "options"), s+": "+name+" "+value+" is not mapped by "+where)
		}
	}
}
