package spec

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// wrong is one field of config.json with values of its type that are wrong, and how they are told: by the field's path or
// that of what holds it. What is wrong of any type is TestWrongTypes' part.
type wrong struct {
	field  string
	edits  []string // of base; {} stands for the field's path in edits
	at     string   // the path of the fault; "" is the field's
	anyway string   // instead of edits: why no value can be told to be wrong without the host
}

const (
	nul      = `"a\u0000b"`
	noID     = "4294967295"
	anyBool  = "both values have a meaning"
	anyNum   = "every number is a limit"
	byHost   = "the range is the cgroup version's: libvserver/cgroup checks it, TestLimitErrors"
	newUser  = `linux.namespaces+={"type":"user"} ;; linux.uidMappings=[{"containerID":0,"hostID":1000,"size":10}] ;; linux.gidMappings=[{"containerID":0,"hostID":1000,"size":10}] ;; `
	mountMap = `mounts[1].uidMappings=[{"containerID":0,"hostID":1000,"size":10}] ;; mounts[1].gidMappings=[{"containerID":0,"hostID":1000,"size":10}] ;; `
	seccomp  = `linux.seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"}]}]} ;; `
	device   = `linux.devices=[{"path":"/dev/x","type":"c","major":1,"minor":3}] ;; `
	fifo     = `process.scheduler={"policy":"SCHED_FIFO","priority":1} ;; `
	other    = `process.scheduler={"policy":"SCHED_OTHER"} ;; `
)

// wrongs has every field that there is on Linux; TestEveryField compares it with runtime-spec's Go types.
func wrongs() []wrong {
	w := []wrong{
		{field: "ociVersion", edits: []string{`{}=""`, `{}="1"`, `{}="2.0.0"`, `{}="1.4.0"`}},
		{field: "process.terminal", anyway: anyBool},
		{field: "process.consoleSize.height", edits: []string{`process.terminal=true ;; {}=65536`}},
		{field: "process.consoleSize.width", edits: []string{`process.terminal=true ;; {}=65536`}},
		{field: "process.user.uid", edits: []string{`{}=` + noID, newUser + `{}=10`}},
		{field: "process.user.gid", edits: []string{`{}=` + noID, newUser + `{}=10`}},
		{field: "process.user.umask", edits: []string{`{}=512`}},
		{field: "process.user.additionalGids[]", edits: []string{`process.user.additionalGids=[` + noID + `]`, newUser + `process.user.additionalGids=[10]`}},
		{field: "process.user.additionalGids[]", edits: []string{`process.user.additionalGids=[` + strings.Repeat("1,", 65536) + `1]`}, at: "process.user.additionalGids"},
		{field: "process.args[]", edits: []string{`{}=` + nul}},
		{field: "process.args[]", edits: []string{`process.args=[]`}, at: "process.args"},
		{field: "process.env[]", edits: []string{`{}=` + nul, `{}="A"`, `{}="=x"`, `{}=""`}},
		{field: "process.cwd", edits: []string{`{}=""`, `{}="a"`, `{}="/a\u0000"`}},
		{field: "process.rlimits[].type", edits: []string{`{}=""`, `{}="RLIMIT_X"`, `{}="NOFILE"`}},
		{field: "process.rlimits[].type", edits: []string{`process.rlimits[1].type="RLIMIT_NOFILE"`}, at: "process.rlimits[1].type"},
		{field: "process.rlimits[].soft", edits: []string{`{}=1025`}},
		{field: "process.rlimits[].hard", edits: []string{`{}=1023`}, at: "process.rlimits[0].soft"},
		{field: "process.noNewPrivileges", anyway: anyBool},
		{field: "process.apparmorProfile", edits: []string{`{}=` + nul}},
		{field: "process.oomScoreAdj", edits: []string{`{}=-1001`, `{}=1001`}},
		{field: "process.scheduler.policy", edits: []string{`{}=""`, `{}="OTHER"`, `{}="SCHED_FIF"`}},
		{field: "process.scheduler.nice", edits: []string{other + `{}=20`, other + `{}=-21`}},
		{field: "process.scheduler.priority", edits: []string{fifo + `{}=0`, fifo + `{}=100`, fifo + `{}=-1`, other + `{}=1`}},
		{field: "process.scheduler.flags[]", edits: []string{other + `{}="SCHED_FLAG_X"`, other + `{}=""`}},
		{field: "process.scheduler.runtime", edits: []string{other + `{}=1`, `process.scheduler={"policy":"SCHED_DEADLINE"}`}},
		{field: "process.scheduler.runtime", edits: []string{`process.scheduler={"policy":"SCHED_DEADLINE","runtime":3,"deadline":2,"period":5}`}, at: "process.scheduler"},
		{field: "process.scheduler.deadline", edits: []string{other + `{}=1`}},
		{field: "process.scheduler.period", edits: []string{other + `{}=1`}},
		{field: "process.selinuxLabel", edits: []string{`{}=` + nul}},
		{field: "process.ioPriority.class", edits: []string{`process.ioPriority={"priority":1}`, `process.ioPriority={"class":"BE","priority":1}`}},
		{field: "process.ioPriority.priority", edits: []string{`process.ioPriority={"class":"IOPRIO_CLASS_BE","priority":8}`, `process.ioPriority={"class":"IOPRIO_CLASS_BE","priority":-1}`, `process.ioPriority={"class":"IOPRIO_CLASS_BE"}`}},
		{field: "process.execCPUAffinity.initial", edits: []string{`{}="x"`, `{}="1-"`, `{}="3-2"`}},
		{field: "process.execCPUAffinity.final", edits: []string{`{}="x"`, `{}="8192"`}},
		{field: "root.path", edits: []string{`{}=""`, `{}=` + nul}},
		{field: "root.readonly", edits: []string{`-mounts ;; linux.namespaces=[{"type":"uts"}] ;; {}=true`}},
		{field: "hostname", edits: []string{`{}=` + nul, `{}="` + strings.Repeat("n", 65) + `"`, `linux.namespaces=[{"type":"mount"}]`}},
		{field: "domainname", edits: []string{`{}=` + nul, `{}="` + strings.Repeat("n", 65) + `"`, `-hostname ;; {}="d" ;; linux.namespaces=[{"type":"mount"}]`}},
		{field: "mounts[].destination", edits: []string{`{}=""`, `{}=` + nul, `{}="/proc/sys"`}},
		{field: "mounts[].type", edits: []string{`{}=` + nul, `{}=""`, `{}="none"`}},
		{field: "mounts[].type", edits: []string{`mounts[0].type="tmpfs"`}, at: "mounts[0].destination"},
		{field: "mounts[].source", edits: []string{`{}=` + nul, `mounts[0]={"destination":"/x","type":"bind"}`}},
		{field: "mounts[].options[]", edits: []string{`{}=` + nul, `mounts[0].options=["idmap=x"]`}},
		{field: "mounts[].options[]", edits: []string{`mounts[0].options=["tmpcopyup"]`, `mounts[0].options=["copy-symlink"]`, `mounts[0].options=["src-nofollow"]`, `mounts[0].options=["idmap"]`,
			`mounts[0]={"destination":"/x","source":"/y","options":["bind","remount","src-nofollow"]}`, newUser + `mounts[0]={"destination":"/x","type":"tmpfs","options":["uid=99"]}`}, at: "mounts[0].options"},
		{field: "annotations.*", edits: []string{`annotations["org.linux-vserver.context.xid"]="x"`}, at: `annotations["org.linux-vserver.context.xid"]`},
		{field: "annotations.*", edits: []string{`annotations[""]="x"`}, at: "annotations"},
		{field: "linux.sysctl.*", edits: []string{`linux.sysctl={"kernel.core_pattern":"x"}`, `linux.sysctl={"kernel.core_pattern":` + nul + `}`}, at: `linux.sysctl["kernel.core_pattern"]`},
		{field: "linux.sysctl.*", edits: []string{`linux.sysctl={"..":"x"}`}, at: `linux.sysctl[".."]`},
		{field: "linux.cgroupsPath", edits: []string{`{}=` + nul}},
		{field: "linux.namespaces[].type", edits: []string{`{}=""`, `{}="net"`}},
		{field: "linux.namespaces[].type", edits: []string{`linux.namespaces+={"type":"pid"}`}, at: "linux.namespaces[5].type"},
		{field: "linux.namespaces[].path", edits: []string{`{}="a"`, `{}="/a\u0000"`}},
		{field: "linux.devices[].path", edits: []string{device + `{}=""`, device + `{}="dev/x"`, device + `{}="/dev/x\u0000"`}},
		{field: "linux.devices[].type", edits: []string{device + `{}=""`, device + `{}="x"`}},
		{field: "linux.devices[].major", edits: []string{device + `{}=-1`, device + `{}=4096`, device + `-{}`}},
		{field: "linux.devices[].minor", edits: []string{device + `{}=-1`, device + `{}=1048576`, device + `-{}`}},
		{field: "linux.devices[].fileMode", edits: []string{device + `{}=65536`}},
		{field: "linux.devices[].uid", edits: []string{device + `{}=` + noID}},
		{field: "linux.devices[].gid", edits: []string{device + `{}=` + noID}},
		{field: "linux.netDevices.*.name", edits: []string{`linux.netDevices={"e":{"name":"a/b"}}`, `linux.netDevices={"e":{"name":"0123456789abcdef"}}`}, at: "linux.netDevices.e.name"},
		{field: "linux.rootfsPropagation", edits: []string{`{}="x"`}},
		{field: "linux.maskedPaths[]", edits: []string{`{}=""`, `{}="a"`, `{}="/a\u0000"`}},
		{field: "linux.readonlyPaths[]", edits: []string{`{}=""`, `{}="a"`, `{}="/a\u0000"`}},
		{field: "linux.mountLabel", edits: []string{`{}=` + nul}},
		{field: "linux.timeOffsets.*.secs", anyway: "the kernel knows how far a clock may go: script must_scheduling"},
		{field: "linux.timeOffsets.*.nanosecs", edits: []string{`linux.namespaces+={"type":"time"} ;; linux.timeOffsets={"monotonic":{"nanosecs":1000000000}}`}, at: "linux.timeOffsets.monotonic.nanosecs"},
		{field: "linux.personality.domain", edits: []string{`{}=""`, `{}="linux"`}},
		{field: "linux.personality.flags[]", edits: []string{`linux.personality={"domain":"LINUX","flags":["X"]}`}, at: "linux.personality.flags"},
		{field: "linux.memoryPolicy.mode", edits: []string{`{}=""`, `{}="BIND"`}},
		{field: "linux.memoryPolicy.nodes", edits: []string{`linux.memoryPolicy={"mode":"MPOL_BIND"}`, `linux.memoryPolicy={"mode":"MPOL_BIND","nodes":"x"}`, `linux.memoryPolicy={"mode":"MPOL_LOCAL","nodes":"0"}`}},
		{field: "linux.memoryPolicy.flags[]", edits: []string{`linux.memoryPolicy={"mode":"MPOL_BIND","nodes":"0","flags":["X"]}`}},
		{field: "linux.memoryPolicy.flags[]", edits: []string{`linux.memoryPolicy={"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}`}, at: "linux.memoryPolicy.flags"},
		{field: "linux.intelRdt.closID", edits: []string{`{}=".."`, `{}="a/b"`, `{}=` + nul}},
		{field: "linux.intelRdt.schemata[]", edits: []string{`{}="a\nb"`}},
		{field: "linux.intelRdt.l3CacheSchema", edits: []string{`{}="L3:0=1\n"`}},
		{field: "linux.intelRdt.memBwSchema", edits: []string{`{}="MB:0=1\n"`, `{}="0=1"`}},
		{field: "linux.intelRdt.enableMonitoring", anyway: anyBool},

		{field: "linux.seccomp.defaultAction", edits: []string{`{}=""`, `{}="ALLOW"`}},
		{field: "linux.seccomp.defaultErrnoRet", edits: []string{seccomp + `{}=1`, seccomp + `linux.seccomp.defaultAction="SCMP_ACT_ERRNO" ;; {}=65536`}},
		{field: "linux.seccomp.architectures[]", edits: []string{seccomp + `{}="x86_64"`}},
		{field: "linux.seccomp.flags[]", edits: []string{seccomp + `{}="SECCOMP_FILTER_FLAG_X"`}},
		{field: "linux.seccomp.listenerPath", edits: []string{seccomp + `linux.seccomp.syscalls[0].action="SCMP_ACT_NOTIFY"`, seccomp + `{}=` + nul}},
		{field: "linux.seccomp.listenerMetadata", edits: []string{seccomp + `{}="x"`}},
		{field: "linux.seccomp.syscalls[].names[]", edits: []string{seccomp + `{}=""`}},
		{field: "linux.seccomp.syscalls[].names[]", edits: []string{seccomp + `linux.seccomp.syscalls[0].names=[]`}, at: "linux.seccomp.syscalls[0].names"},
		{field: "linux.seccomp.syscalls[].action", edits: []string{seccomp + `{}=""`, seccomp + `{}="SCMP_ACT_X"`}},
		{field: "linux.seccomp.syscalls[].errnoRet", edits: []string{seccomp + `{}=1`, seccomp + `linux.seccomp.syscalls[0].action="SCMP_ACT_ERRNO" ;; {}=65536`}},
		{field: "linux.seccomp.syscalls[].args[].index", edits: []string{seccomp + `{}=6`, seccomp + `-{}`}},
		{field: "linux.seccomp.syscalls[].args[].value", edits: []string{seccomp + `-{}`}},
		{field: "linux.seccomp.syscalls[].args[].valueTwo", anyway: "an argument is any number"},
		{field: "linux.seccomp.syscalls[].args[].op", edits: []string{seccomp + `{}=""`, seccomp + `{}="EQ"`}},
	}
	const r = "linux.resources."
	w = append(w,
		wrong{field: r + "devices[].allow", edits: []string{`-{}`}},
		wrong{field: r + "devices[].type", edits: []string{`{}="p"`, `{}="char"`}},
		wrong{field: r + "devices[].major", edits: []string{`{}=-2`}},
		wrong{field: r + "devices[].minor", edits: []string{`{}=-2`}},
		wrong{field: r + "devices[].access", edits: []string{`{}=""`, `{}="x"`}},
		wrong{field: r + "memory.swap", edits: []string{r + `memory.limit=10 ;; {}=9`}},
		wrong{field: r + "memory.swappiness", edits: []string{`{}=101`}},
		wrong{field: r + "memory.disableOOMKiller", anyway: anyBool},
		wrong{field: r + "memory.useHierarchy", anyway: anyBool},
		wrong{field: r + "memory.checkBeforeUpdate", anyway: anyBool},
		wrong{field: r + "cpu.shares", anyway: byHost},
		wrong{field: r + "cpu.period", anyway: byHost},
		wrong{field: r + "cpu.realtimePeriod", anyway: byHost},
		wrong{field: r + "cpu.burst", edits: []string{r + `cpu.quota=10 ;; {}=11`}},
		wrong{field: r + "cpu.cpus", edits: []string{`{}="x"`, `{}="2-1"`}},
		wrong{field: r + "cpu.mems", edits: []string{`{}="x"`, `{}="8192"`}},
		wrong{field: r + "cpu.idle", edits: []string{`{}=-1`, `{}=2`}},
		wrong{field: r + "blockIO.weight", anyway: byHost},
		wrong{field: r + "blockIO.leafWeight", anyway: byHost},
		wrong{field: r + "blockIO.weightDevice[].major", edits: []string{r + `blockIO.weightDevice=[{"major":-1,"minor":0,"weight":10}]`}, at: r + "blockIO.weightDevice[0]"},
		wrong{field: r + "blockIO.weightDevice[].minor", edits: []string{r + `blockIO.weightDevice=[{"major":8,"minor":-1,"weight":10}]`}, at: r + "blockIO.weightDevice[0]"},
		wrong{field: r + "blockIO.weightDevice[].weight", edits: []string{r + `blockIO.weightDevice=[{"major":8,"minor":0}]`}, at: r + "blockIO.weightDevice[0]"},
		wrong{field: r + "blockIO.weightDevice[].leafWeight", anyway: byHost},
		wrong{field: r + "hugepageLimits[].pageSize", edits: []string{r + `hugepageLimits=[{"limit":1}]`, r + `hugepageLimits=[{"pageSize":"2","limit":1}]`}},
		wrong{field: r + "hugepageLimits[].limit", edits: []string{r + `hugepageLimits=[{"pageSize":"2MB"}]`}},
		wrong{field: r + "network.classID", anyway: anyNum},
		wrong{field: r + "network.priorities[].name", edits: []string{r + `network.priorities=[{"priority":1}]`}},
		wrong{field: r + "network.priorities[].priority", edits: []string{r + `network.priorities=[{"name":"lo"}]`}},
		wrong{field: r + "rdma.*.hcaHandles", edits: []string{r + `rdma={"m":{}}`}, at: r + "rdma.m"},
		wrong{field: r + "rdma.*.hcaObjects", edits: []string{r + `rdma={"m":{}}`}, at: r + "rdma.m"},
		wrong{field: r + "unified.*", edits: []string{r + `unified={"a/b":"x"}`}, at: r + `unified["a/b"]`},
	)
	for _, name := range []string{"memory.limit", "memory.reservation", "memory.swap", "memory.kernel", "memory.kernelTCP", "cpu.quota", "cpu.realtimeRuntime", "pids.limit"} {
		w = append(w, wrong{field: r + name, edits: []string{`{}=-2`}})
	}
	for _, name := range []string{"ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"} {
		at := r + "blockIO.throttle" + name + "Device"
		w = append(w,
			wrong{field: at + "[].major", edits: []string{at + `=[{"major":-1,"minor":0,"rate":1}]`}, at: at + "[0]"},
			wrong{field: at + "[].minor", edits: []string{at + `=[{"major":8,"minor":-1,"rate":1}]`}, at: at + "[0]"},
			wrong{field: at + "[].rate", edits: []string{at + `=[{"major":8,"minor":0}]`}})
	}
	for _, set := range []string{"bounding", "effective", "inheritable", "permitted", "ambient"} {
		w = append(w, wrong{field: "process.capabilities." + set + "[]", anyway: "the specification wants a warning: TestCapabilities"})
	}
	for _, list := range []string{"linux.uidMappings", "linux.gidMappings", "mounts[].uidMappings", "mounts[].gidMappings"} {
		at, with := strings.ReplaceAll(list, "[]", "[1]")+"[0]", newUser
		if at[0] == 'm' {
			with = mountMap
		}
		w = append(w,
			wrong{field: list + "[].containerID", edits: []string{with + at + `.containerID=4294967295`}, at: at},
			wrong{field: list + "[].hostID", edits: []string{with + at + `.hostID=4294967290`}, at: at},
			wrong{field: list + "[].size", edits: []string{with + at + `.size=0`}, at: at + ".size"})
	}
	for _, kind := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
		at := "hooks." + kind
		hook := at + `=[{"path":"/h","args":["h"],"env":["A=b"],"timeout":1}] ;; `
		w = append(w,
			wrong{field: at + "[].path", edits: []string{hook + `{}=""`, hook + `{}="h"`, hook + `{}="/h\u0000"`}},
			wrong{field: at + "[].args[]", edits: []string{hook + `{}=` + nul}},
			wrong{field: at + "[].env[]", edits: []string{hook + `{}=` + nul}},
			wrong{field: at + "[].timeout", edits: []string{hook + `{}=0`, hook + `{}=-1`}})
	}
	return w
}

// TestEveryField: no field of config.json takes a wrong value in silence, and none is forgotten here.
func TestEveryField(t *testing.T) {
	have := leaves(reflect.TypeFor[specs.Spec](), "")
	seen := map[string]bool{}
	for _, w := range wrongs() {
		seen[w.field] = true
		if !slices.Contains(have, w.field) {
			t.Errorf("%s: no such field", w.field)
		}
		if (w.anyway == "") != (len(w.edits) > 0) {
			t.Errorf("%s: neither wrong values nor a reason", w.field)
		}
		field := strings.ReplaceAll(w.field, "[]", "[0]")
		want := w.at
		if want == "" {
			want = field
		}
		for _, e := range w.edits {
			e = strings.ReplaceAll(e, "{}=", field+"=")
			e = strings.ReplaceAll(e, "-{}", "-"+field)
			_, err := Parse(change(t, base, strings.Split(e, " ;; ")...), "/bundle")
			told := false
			for line := range strings.SplitSeq(faultsOf(t, err), "\n") {
				told = told || strings.HasPrefix(line, want+": ")
			}
			if !told {
				t.Errorf("%s: no fault of %s: %v", e, want, err)
			}
		}
	}
	for _, f := range have {
		if !seen[f] {
			t.Errorf("%s: no wrong value of it is tried", f)
		}
	}
}

// leaves lists the fields of t on Linux as paths, with [] for an element of a slice and .* for one of a map.
func leaves(t reflect.Type, path string) (out []string) {
	switch t.Kind() {
	case reflect.Pointer:
		return leaves(t.Elem(), path)
	case reflect.Slice:
		return leaves(t.Elem(), path+"[]")
	case reflect.Map:
		return leaves(t.Elem(), path+".*")
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if p := f.Tag.Get("platform"); p != "" && !strings.Contains(p, "linux") {
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := path
			if name != "" {
				p = strings.TrimPrefix(path+"."+name, ".")
			}
			out = append(out, leaves(f.Type, p)...)
		}
		return out
	}
	return []string{path}
}
