package spec

import (
	"math"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// process checks process (config.md, "Process") as far as that takes no other
// section.
func (c *checker) process(p *specs.Process) {
	c.absolute(top("process.cwd"), p.Cwd)
	if len(p.Args) == 0 {
		c.fault("process.args", "must have at least one entry")
	}
	for i, a := range p.Args {
		c.nul(at("process.args", i, ""), a)
	}
	for i, e := range p.Env {
		c.env(i, e)
	}
	if p.Terminal && p.ConsoleSize != nil {
		// struct winsize has 16 bits for each.
		if p.ConsoleSize.Height > 0xffff {
			c.fault("process.consoleSize.height", "must not be more than 65535 (got "+strconv.FormatUint(uint64(p.ConsoleSize.Height), 10)+")")
		}
		if p.ConsoleSize.Width > 0xffff {
			c.fault("process.consoleSize.width", "must not be more than 65535 (got "+strconv.FormatUint(uint64(p.ConsoleSize.Width), 10)+")")
		}
	}
	c.id(top("process.user.uid"), p.User.UID)
	c.id(top("process.user.gid"), p.User.GID)
	const ngroupsMax = 65536 // NGROUPS_MAX of linux/limits.h
	if n := len(p.User.AdditionalGids); n > ngroupsMax {
		c.fault("process.user.additionalGids", "must not have more than "+strconv.Itoa(ngroupsMax)+" entries (got "+strconv.Itoa(n)+")")
	}
	for i, gid := range p.User.AdditionalGids {
		c.id(at("process.user.additionalGids", i, ""), gid)
	}
	if u := p.User.Umask; u != nil && *u > 0o777 {
		c.fault("process.user.umask", "must not be more than 511, octal 777 (got "+strconv.FormatUint(uint64(*u), 10)+")")
	}
	c.rlimits(p.Rlimits)
	c.capabilities(p.Capabilities)
	if p.OOMScoreAdj != nil {
		c.between(top("process.oomScoreAdj"), int64(*p.OOMScoreAdj), -1000, 1000)
	}
	if p.Scheduler != nil {
		c.scheduler(p.Scheduler)
	}
	if p.IOPriority != nil {
		c.ioPriority(p.IOPriority)
	}
	if a := p.ExecCPUAffinity; a != nil {
		c.list(top("process.execCPUAffinity.initial"), a.Initial)
		c.list(top("process.execCPUAffinity.final"), a.Final)
	}
	c.nul(top("process.apparmorProfile"), p.ApparmorProfile)
	c.nul(top("process.selinuxLabel"), p.SelinuxLabel)
}

// id refuses the number that is no user or group: to setresuid(2) and its like
// it means that nothing is to change, so a process would stay root.
func (c *checker) id(l loc, id uint32) {
	if id == math.MaxUint32 {
		c.faultAt(l, "must be less than 4294967295, which stands for no id")
	}
}

// env checks one variable: NAME=VALUE, or nothing could be done with it.
func (c *checker) env(i int, e string) {
	for j := 0; j < len(e); j++ {
		if e[j] == '=' && j > 0 {
			c.nul(at("process.env", i, ""), e)
			return
		}
		if e[j] == '=' {
			break
		}
	}
	c.faultAt(at("process.env", i, ""), "must be NAME=VALUE (got "+quote(e)+")")
}

func (c *checker) rlimits(limits []specs.POSIXRlimit) {
	const path = "process.rlimits"
	seen := uint32(0)
	for i := range limits {
		l := &limits[i]
		n, ok := Rlimit(l.Type)
		switch {
		case l.Type == "":
			c.faultAt(at(path, i, "type"), "is required")
		case !ok:
			msg := "unknown rlimit " + quote(l.Type)
			if near := nearest(l.Type, rlimits[:]); near != "" {
				msg += " (did you mean " + quote(near) + "?)"
			}
			c.faultAt(at(path, i, "type"), msg)
		case seen&(1<<n) != 0:
			c.faultAt(at(path, i, "type"), "duplicate rlimit "+quote(l.Type))
		}
		if ok {
			seen |= 1 << n
		}
		if l.Soft > l.Hard {
			c.faultAt(at(path, i, "soft"), "must not exceed hard ("+strconv.FormatUint(l.Soft, 10)+" > "+strconv.FormatUint(l.Hard, 10)+")")
		}
	}
}

// capabilities warns of what cannot be granted; the specification wants no
// error for it.
func (c *checker) capabilities(caps *specs.LinuxCapabilities) {
	if caps == nil {
		return
	}
	c.capSet("bounding", caps.Bounding)
	c.capSet("effective", caps.Effective)
	permitted := c.capSet("permitted", caps.Permitted)
	inheritable := c.capSet("inheritable", caps.Inheritable)
	ambient := c.capSet("ambient", caps.Ambient)
	// prctl(2), PR_CAP_AMBIENT_RAISE.
	if lost := ambient &^ (permitted & inheritable); lost != 0 {
		var names []string
		for n, name := range capabilities {
			if lost&(1<<n) != 0 {
				names = append(names, name)
			}
		}
		// One line: Buildah 1.28 asks for all it has, at every RUN.
		c.warn(top("process.capabilities.ambient"), strings.Join(names, ", ")+" cannot be raised: not both permitted and inheritable")
	}
}

func (c *checker) capSet(name string, caps []string) (set uint64) {
	for i, s := range caps {
		if n, ok := Capability(s); ok {
			set |= 1 << n
		} else {
			c.warn(at("process.capabilities."+name, i, ""), "ignoring unknown capability "+quote(s))
		}
	}
	return set
}

// scheduler checks what sched_setattr(2) would refuse, and settings that the
// policy has no use for.
func (c *checker) scheduler(s *specs.Scheduler) {
	const path = "process.scheduler"
	c.known(top(path+".policy"), "policy", string(s.Policy), []string{"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"})
	for i, f := range s.Flags {
		c.known(at(path+".flags", i, ""), "flag", string(f), []string{"SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
			"SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"})
	}
	switch s.Policy {
	case specs.SchedFIFO, specs.SchedRR:
		c.between(top(path+".priority"), int64(s.Priority), 1, 99)
	default:
		if s.Priority != 0 {
			c.fault(path+".priority", "is only for SCHED_FIFO and SCHED_RR")
		}
	}
	if s.Policy == specs.SchedOther || s.Policy == specs.SchedBatch {
		c.between(top(path+".nice"), int64(s.Nice), -20, 19)
	}
	if s.Policy == specs.SchedDeadline {
		period := s.Period
		if period == 0 {
			period = s.Deadline
		}
		if s.Runtime == 0 {
			c.fault(path+".runtime", "is required for SCHED_DEADLINE")
		} else if s.Runtime > s.Deadline || s.Deadline > period {
			c.fault(path, "must have runtime <= deadline <= period (got "+strconv.FormatUint(s.Runtime, 10)+", "+strconv.FormatUint(s.Deadline, 10)+", "+strconv.FormatUint(s.Period, 10)+")")
		}
		return
	}
	for _, f := range [...]struct {
		name  string
		value uint64
	}{{"runtime", s.Runtime}, {"deadline", s.Deadline}, {"period", s.Period}} {
		if f.value != 0 {
			c.fault(path+"."+f.name, "is only for SCHED_DEADLINE")
		}
	}
}

func (c *checker) ioPriority(p *specs.LinuxIOPriority) {
	c.known(top("process.ioPriority.class"), "class", string(p.Class), []string{"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"})
	c.between(top("process.ioPriority.priority"), int64(p.Priority), 0, 7)
}

// processIDs checks that the ids to run as exist in the user namespace, if that
// is a new one.
func (c *checker) processIDs(p *specs.Process) {
	l := c.newUserNamespace()
	if l == nil || len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0 {
		return
	}
	if _, ok := MapID(l.UIDMappings, p.User.UID); !ok {
		c.fault("process.user.uid", strconv.FormatUint(uint64(p.User.UID), 10)+" is not mapped by linux.uidMappings")
	}
	if _, ok := MapID(l.GIDMappings, p.User.GID); !ok {
		c.fault("process.user.gid", strconv.FormatUint(uint64(p.User.GID), 10)+" is not mapped by linux.gidMappings")
	}
	for i, gid := range p.User.AdditionalGids {
		if _, ok := MapID(l.GIDMappings, gid); !ok {
			c.faultAt(at("process.user.additionalGids", i, ""), strconv.FormatUint(uint64(gid), 10)+" is not mapped by linux.gidMappings")
		}
	}
}
