package spec

import "strings"

// ContextLimits are the limits of a whole context (org.linux-vserver.rlimits.*).
type ContextLimits struct {
	RSS    ContextLimit // bytes of memory
	Nproc  ContextLimit // processes and threads
	Nsock  ContextLimit // sockets
	Shmem  ContextLimit // bytes of System V shared memory
	Semary ContextLimit // System V semaphore sets
	Nsems  ContextLimit // System V semaphores
}

// ContextLimit is one of them, as far as it is set: Min is guaranteed, Soft held as
// far as possible, Hard not exceeded.
type ContextLimit struct{ Min, Soft, Hard Limit }

// Limit is a number, or none.
type Limit struct {
	Set      bool
	Infinity bool
	N        uint64
}

// contextLimit is a limit of Linux-VServer's, and what becomes of it.
type contextLimit struct {
	name string
	unit uint64 // bytes of a plain number; 0: it is not one of bytes
	of   func(*ContextLimits) *ContextLimit
	// soft, min: these exist besides the hard limit.
	soft, min bool
	why       string // it can't be had
}

// memoryPage is what Linux-VServer counts memory in.
const memoryPage = 4096

var contextLimits = [...]contextLimit{
	{name: "rss", unit: memoryPage, of: func(l *ContextLimits) *ContextLimit { return &l.RSS }, soft: true, min: true},
	{name: "nproc", of: func(l *ContextLimits) *ContextLimit { return &l.Nproc }},
	{name: "nsock", of: func(l *ContextLimits) *ContextLimit { return &l.Nsock }},
	{name: "shmem", unit: memoryPage, of: func(l *ContextLimits) *ContextLimit { return &l.Shmem }},
	{name: "semary", of: func(l *ContextLimits) *ContextLimit { return &l.Semary }},
	{name: "nsems", of: func(l *ContextLimits) *ContextLimit { return &l.Nsems }},
	{name: "cpu", why: "it is a limit of each process: process.rlimits sets RLIMIT_CPU"},
	{name: "fsize", why: "it is a limit of each process: process.rlimits sets RLIMIT_FSIZE"},
	{name: "data", why: "it is a limit of each process: process.rlimits sets RLIMIT_DATA"},
	{name: "stack", why: "it is a limit of each process: process.rlimits sets RLIMIT_STACK"},
	{name: "core", why: "it is a limit of each process: process.rlimits sets RLIMIT_CORE"},
	{name: "as", why: "the kernel does not count the address space of a cgroup: rlimits.rss limits its memory, process.rlimits the address space of each process"},
	{name: "anon", why: "a cgroup's memory is counted with its page cache: rlimits.rss limits both"},
	{name: "memlock", why: "the kernel does not count the locked memory of a cgroup: process.rlimits sets RLIMIT_MEMLOCK"},
	{name: "locks", why: "the kernel does not count the file locks of a cgroup"},
	{name: "nofile", why: "the kernel does not count the open files of a cgroup: process.rlimits sets RLIMIT_NOFILE, rlimits.nproc how often"},
	{name: "openfd", why: "the kernel does not count the open files of a cgroup: process.rlimits sets RLIMIT_NOFILE, rlimits.nproc how often"},
	{name: "msgqueue", why: "the kernel does not count the message queues of a cgroup: process.rlimits sets RLIMIT_MSGQUEUE"},
	{name: "dentry", why: "the kernel counts it with all other memory: rlimits.rss"},
}

// rlimitAnnotations are the names without .min, .soft and .hard.
var rlimitAnnotations = [...]annotation{
	{"rlimits.rss", setRlimit}, {"rlimits.nproc", setRlimit}, {"rlimits.nsock", setRlimit}, {"rlimits.shmem", setRlimit},
	{"rlimits.semary", setRlimit}, {"rlimits.nsems", setRlimit}, {"rlimits.cpu", setRlimit}, {"rlimits.fsize", setRlimit},
	{"rlimits.data", setRlimit}, {"rlimits.stack", setRlimit}, {"rlimits.core", setRlimit}, {"rlimits.as", setRlimit},
	{"rlimits.anon", setRlimit}, {"rlimits.memlock", setRlimit}, {"rlimits.locks", setRlimit}, {"rlimits.nofile", setRlimit},
	{"rlimits.openfd", setRlimit}, {"rlimits.msgqueue", setRlimit}, {"rlimits.dentry", setRlimit},
}

const rlimitPrefix = "rlimits."

// findRlimit looks up a name with .min, .soft or .hard.
func findRlimit(name string) *annotation {
	res, ok := strings.CutPrefix(name, rlimitPrefix)
	res, kind, ok2 := strings.Cut(res, ".")
	if !ok || !ok2 || kind != "min" && kind != "soft" && kind != "hard" {
		return nil
	}
	for i := range rlimitAnnotations {
		if rlimitAnnotations[i].name[len(rlimitPrefix):] == res {
			return &rlimitAnnotations[i]
		}
	}
	return nil
}

// setRlimit sets a limit; a name without .min, .soft or .hard is the hard one.
func setRlimit(x *Extension, name, value string) string {
	res, kind, _ := strings.Cut(name[len(rlimitPrefix):], ".")
	var r *contextLimit
	for i := range contextLimits {
		if contextLimits[i].name == res {
			r = &contextLimits[i]
		}
	}
	if r.why != "" {
		return unsupported + r.why
	}
	limit := r.of(&x.Rlimits)
	to := &limit.Hard
	switch kind {
	case "soft":
		if !r.soft {
			return unsupported + "there is one limit only, rlimits." + res + ".hard"
		}
		to = &limit.Soft
	case "min":
		if !r.min {
			return unsupported + "nothing can be guaranteed of it; the limit is rlimits." + res + ".hard"
		}
		to = &limit.Min
	}
	if to.Set {
		return "sets the same limit as rlimits." + res
	}
	to.Set = true
	if value == "inf" {
		to.Infinity = true
		return ""
	}
	if r.unit != 0 {
		return size(value, r.unit, &to.N)
	}
	return number(value, 0, 1<<31-1, &to.N)
}

// checkRlimits checks limits against each other. That nothing else sets the same
// ones is for those to check who set them: a recorded configuration may have
// been updated.
func (c *checker) checkRlimits(x *Extension) {
	l := &x.Rlimits
	if *l == (ContextLimits{}) {
		return
	}
	if below(l.RSS.Hard, l.RSS.Soft) {
		c.annotationFault("rlimits.rss.soft", "must not be above the hard limit")
	}
	if below(l.RSS.Hard, l.RSS.Min) || below(l.RSS.Soft, l.RSS.Min) {
		c.annotationFault("rlimits.rss.min", "must not be above the soft and the hard limit")
	}
	if l.RSS.Hard.Set && l.RSS.Hard.N == 0 && !l.RSS.Hard.Infinity {
		c.annotationFault("rlimits.rss", "must not be 0: nothing could run")
	}
	if l.RSS.Min.Infinity {
		c.annotationFault("rlimits.rss.min", "must not be inf: not all memory can be guaranteed")
	}
	for _, s := range [...]struct {
		name, sysctl string
		of           *ContextLimit
	}{{"shmem", "kernel.shmall", &l.Shmem}, {"semary", "kernel.sem", &l.Semary}, {"nsems", "kernel.sem", &l.Nsems}} {
		if !s.of.Hard.Set {
			continue
		}
		if !c.ns.has(nsIPC) {
			c.annotationFault(rlimitPrefix+s.name, "needs an ipc namespace in linux.namespaces, whose "+s.sysctl+" it sets")
		}
	}
}

// below tells if both are set and a is less than b.
func below(a, b Limit) bool {
	switch {
	case !a.Set || !b.Set || a.Infinity:
		return false
	case b.Infinity:
		return true
	}
	return a.N < b.N
}
