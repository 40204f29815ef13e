package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// annotate is an edit that sets annotations of ours: "NAME=VALUE; NAME=VALUE".
func annotate(list string) string {
	var edits []string
	for a := range strings.SplitSeq(list, "; ") {
		name, value, _ := strings.Cut(a, "=")
		edits = append(edits, `annotations["org.linux-vserver.`+name+`"]="`+value+`"`)
	}
	return strings.Join(edits, " ;; ")
}

func TestExtension(t *testing.T) {
	const allNamespaces = `linux.namespaces=[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"network"},{"type":"cgroup"},{"type":"uts"}]`
	limit := func(n uint64) Limit { return Limit{Set: true, N: n} }
	inf := Limit{Set: true, Infinity: true}
	for in, want := range map[string]Extension{
		"context.flags=":                                                            {},
		"context.flags=virt_uptime,HIDE_MOUNT":                                      {Flags: FlagVirtUptime},
		"context.flags= private  fakeinit lock ":                                    {Flags: FlagPrivate},
		"context.flags=reboot_kill,hide_vinfo,hideinfo,namespace,hide_netif":        {},
		"context.flags=sched_prio; sched.fill-rate=7; sched.interval=32":            {Flags: FlagSchedPrio, Sched: Sched{FillRate: 7, Interval: 32}},
		"sched.fill-rate=7; sched.interval=32; sched.tokens-max=14":                 {Sched: Sched{7, 32, 14}},
		"rootfs=unified; rootfs.upper=up; rootfs.keep=true":                         {Rootfs: Rootfs{true, "up", true}},
		"rootfs=unified; rootfs.upper=tmpfs; rootfs.keep=false":                     {Rootfs: Rootfs{true, "tmpfs", false}},
		"disk.space=20M; disk.inodes=50":                                            {Disk: Disk{20 << 20, 50}},
		"disk.space=1048576":                                                        {Disk: Disk{1 << 20, 0}},
		"rlimits.rss=10; rlimits.rss.soft=20K; rlimits.rss.min=1":                   {Rlimits: ContextLimits{RSS: ContextLimit{limit(4096), limit(20480), limit(40960)}}},
		"rlimits.rss.hard=inf; rlimits.nproc=50; rlimits.nsock=0":                   {Rlimits: ContextLimits{RSS: ContextLimit{Hard: inf}, Nproc: ContextLimit{Hard: limit(50)}, Nsock: ContextLimit{Hard: limit(0)}}},
		"rlimits.shmem=1G; rlimits.semary.hard=5; rlimits.nsems=100; context.xid=7": {XID: 7, Rlimits: ContextLimits{Shmem: ContextLimit{Hard: limit(1 << 30)}, Semary: ContextLimit{Hard: limit(5)}, Nsems: ContextLimit{Hard: limit(100)}}},
	} {
		b, err := Parse(change(t, base, strings.Split(allNamespaces+" ;; "+annotate(in), " ;; ")...), "")
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if d := cmp.Diff(want, b.VServer); d != "" {
			t.Errorf("%s: %s", in, d)
		}
		if len(b.Warnings) > 0 {
			t.Errorf("%s: %q", in, b.Warnings)
		}
	}
}

func TestExtensionFaults(t *testing.T) {
	for _, tt := range []struct{ annotations, edits, want string }{
		{"context.flags=virt_uptme", "", `context.flags: unknown flag "virt_uptme" (did you mean "virt_uptime"?)`},
		{"context.flags=virt_mem", "", `context.flags: flag virt_mem is not supported: the kernel has no /proc/meminfo and sysinfo(2) of a container: mount those of LXCFS`},
		{"context.flags=hide_mount", `linux.namespaces=[]`, `context.flags: flag hide_mount needs a namespace in linux.namespaces: a mount namespace shows its own mounts only`},
		{"context.flags=virt_uptime", `linux.namespaces=[{"type":"time","path":"/proc/1/ns/time"}]`, `context.flags: flag virt_uptime needs a time namespace of the container's own, and it joins "/proc/1/ns/time"`},
		{"context.flags=virt_uptime", `linux.namespaces=[{"type":"time"}] ;; linux.timeOffsets={"boottime":{"secs":5}}`, `context.flags: flag virt_uptime sets linux.timeOffsets.boottime, which is set already`},
		{"context.flags=sched_prio", "", `context.flags: flags sched_hard and sched_prio need sched.fill-rate and sched.interval`},
		{"context.flags=sched_prio sched_hard; sched.fill-rate=1; sched.interval=2", "", `context.flags: flags sched_hard and sched_prio exclude each other: the bucket is a limit or a share`},
		{"sched.fill-rate=1", "", `sched.fill-rate: needs sched.interval`},
		{"sched.interval=1", "", `sched.interval: needs sched.fill-rate`},
		{"sched.tokens-max=1", "", `sched.tokens-max: needs sched.fill-rate and sched.interval`},
		{"sched.fill-rate=0", "", `sched.fill-rate: must be a number from 1 to 1000000 (got "0")`},
		{"sched.fill-rate=5; sched.interval=10; sched.tokens-max=4", "", `sched.tokens-max: must not be less than sched.fill-rate: the tokens of an interval would not fit`},
		{"sched.tokens-min=1", "", `sched.tokens-min: is not supported: a cgroup that was held goes on with the next interval: a longer sched.interval holds it longer`},
		{"rootfs=plain", "", `rootfs: must be unified (got "plain")`},
		{"rootfs=unified", `linux.namespaces=[]`, `rootfs: needs a mount namespace in linux.namespaces`},
		{"rootfs.upper=", "", `rootfs.upper: must be a path or tmpfs (got "")`},
		{"rootfs.keep=1", "", `rootfs.keep: must be true or false (got "1")`},
		{"rootfs.keep=true; rootfs.upper=tmpfs", "", `rootfs.keep: what is in memory can't be kept: rootfs.upper must be a path`},
		{"disk.space=10", "", `disk.space: must be at least 1K (got "10")`},
		{"disk.space=x", "", `disk.space: must be a size, like 4096, 20M or 1G (got "x")`},
		{"disk.space=99999999T", "", `disk.space: must be a size, like 4096, 20M or 1G (got "99999999T")`},
		{"disk.inodes=0", "", `disk.inodes: must be a number from 1 to 4611686018427387904 (got "0")`},
		{"disk.inodes=5", `linux.namespaces=[]`, `disk.inodes: limits need a mount namespace in linux.namespaces: they are those of a root filesystem of the container's own`},
		{"rlimits.rss=10; rlimits.rss.soft=11", "", `rlimits.rss.soft: must not be above the hard limit`},
		{"rlimits.rss.soft=10; rlimits.rss.min=inf", "", "rlimits.rss.min: must not be above the soft and the hard limit\nrlimits.rss.min: must not be inf: not all memory can be guaranteed"},
		{"rlimits.rss=0", "", `rlimits.rss: must not be 0: nothing could run`},
		{"rlimits.rss=10; rlimits.rss.hard=10", "", `rlimits.rss.hard: sets the same limit as rlimits.rss`},
		{"rlimits.nproc.soft=10", "", `rlimits.nproc.soft: is not supported: there is one limit only, rlimits.nproc.hard`},
		{"rlimits.nproc.min=10", "", `rlimits.nproc.min: is not supported: nothing can be guaranteed of it; the limit is rlimits.nproc.hard`},
		{"rlimits.openfd.hard=10", "", `rlimits.openfd.hard: is not supported: the kernel does not count the open files of a cgroup: process.rlimits sets RLIMIT_NOFILE, rlimits.nproc how often`},
		{"rlimits.nproc=x", "", `rlimits.nproc: must be a number from 0 to 2147483647 (got "x")`},
		{"rlimits.shmem=5", `linux.namespaces=[]`, `rlimits.shmem: needs an ipc namespace in linux.namespaces, whose kernel.shmall it sets`},
	} {
		edits := annotate(tt.annotations)
		if tt.edits != "" {
			edits = "-hostname ;; " + edits
			edits = tt.edits + " ;; " + edits
		}
		_, err := Parse(change(t, base, strings.Split(edits, " ;; ")...), "")
		got := strings.ReplaceAll(strings.ReplaceAll(faultsOf(t, err), `annotations["org.linux-vserver.`, ""), `"]:`, ":")
		if got != tt.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", tt.annotations, tt.edits, got, tt.want)
		}
	}
}

// TestAnnotationTables: each name once, each limit of Linux-VServer in both tables.
func TestAnnotationTables(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range Annotations() {
		if seen[name] || findAnnotation(name) == nil {
			t.Error(name)
		}
		seen[name] = true
	}
	for _, l := range contextLimits {
		if !seen[rlimitPrefix+l.name] || (l.of == nil) == (l.why == "") || findAnnotation(rlimitPrefix+l.name+".hard") == nil {
			t.Error(l.name)
		}
	}
	if len(contextLimits) != len(rlimitAnnotations) {
		t.Error("limits without an annotation, or the reverse")
	}
}
