package spec

import (
	"fmt"
	"strings"
	"testing"
)

func TestNamespaces(t *testing.T) {
	const n = "linux.namespaces"
	runChecks(t, []checkTest{
		{n + `+={"type":"cgroup"} ;; ` + n + `+={"type":"time"}`, ``},
		{n + `+={"type":"user","path":"/proc/1/ns/user"}`, ``},
		{n + `+={"type":"net"}`, n + `[5].type: unknown namespace type "net" (did you mean "network"?)`},
		{n + `+={"type":"mnt"}`, n + `[5].type: unknown namespace type "mnt" (known: cgroup, ipc, mount, network, pid, time, user, uts)`},
		{n + `+={}`, n + `[5].type: is required`},
		{n + `+={"type":"PID"}`, n + `[5].type: unknown namespace type "PID" (did you mean "pid"?)`},
		{n + `+={"type":"pid","path":"/p"}`, n + `[5].type: duplicate namespace type "pid"`},
		{n + `[0].path="proc/1/ns/pid"`, n + `[0].path: must be an absolute path (got "proc/1/ns/pid")`},
		{n + `[0].path="/p\u0000"`, n + `[0].path: must not contain a NUL byte (got "/p\x00")`},
	})
	b, err := Parse(change(t, base, n+`[1].path="/run/netns/x"`), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		typ, path string
		listed    bool
	}{{"network", "/run/netns/x", true}, {"pid", "", true}, {"user", "", false}} {
		if path, listed := Namespace(b.Spec, nsType(tt.typ)); path != tt.path || listed != tt.listed {
			t.Errorf("%s: %q, %v", tt.typ, path, listed)
		}
	}
	for _, name := range Namespaces() {
		if nsBit(nsType(name)) == 0 {
			t.Errorf("%s has no bit", name)
		}
	}
}

func TestUserNamespace(t *testing.T) {
	const (
		user = `linux.namespaces+={"type":"user"} ;; `
		u, g = "linux.uidMappings", "linux.gidMappings"
		one  = `=[{"containerID":0,"hostID":1000,"size":10}]`
		both = u + one + " ;; " + g + one
	)
	var many []string
	for i := range 341 {
		many = append(many, fmt.Sprintf(`{"containerID":%d,"hostID":%d,"size":1}`, i, i+5))
	}
	runChecks(t, []checkTest{
		{user + both, ``},
		{`linux.namespaces+={"type":"user"}`, u + ": is required for a new user namespace\n" + g + ": is required for a new user namespace"},
		{user + u + one, g + `: is required for a new user namespace`},
		{user + g + one, u + `: is required for a new user namespace`},
		{user + u + `=[] ;; ` + g + one, u + `: is required for a new user namespace`},
		{both, u + ": needs a user namespace in linux.namespaces\n" + g + ": needs a user namespace in linux.namespaces"},
		{user + both + ` ;; ` + u + `[0].size=0`, u + "[0].size: must not be 0\nprocess.user.uid: 0 is not mapped by linux.uidMappings"},
		{user + both + ` ;; ` + g + `[0].size=-1`, g + "[0].size: must not be negative (got -1)\nprocess.user.gid: 0 is not mapped by linux.gidMappings"},
		{user + both + ` ;; ` + u + `+={"containerID":9,"hostID":5000,"size":1}`, u + `[1]: container ids overlap those of ` + u + `[0]`},
		{user + both + ` ;; ` + g + `+={"containerID":10,"hostID":1009,"size":5}`, g + `[1]: host ids overlap those of ` + g + `[0]`},
		{user + both + ` ;; ` + u + `+={"containerID":10,"hostID":1010,"size":4294967285}`, u + "[1]: host ids go beyond 4294967294"},
		{user + both + ` ;; ` + u + `+={"containerID":4294967295,"hostID":1,"size":1}`, u + "[1]: container ids go beyond 4294967294"},
		{user + both + ` ;; ` + u + `+={"containerID":4294967294,"hostID":1,"size":1}`, ``},
		{user + both + ` ;; process.user.uid=10`, `process.user.uid: 10 is not mapped by linux.uidMappings`},
		{user + both + ` ;; process.user.gid=10`, `process.user.gid: 10 is not mapped by linux.gidMappings`},
		{user + both + ` ;; process.user.gid=9 ;; process.user.uid=9`, ``},
		{user + both + ` ;; ` + u + `=[` + strings.Join(many[:340], ",") + `]`, ``},
		{user + both + ` ;; ` + u + `=[` + strings.Join(many, ",") + `]`, u + `: must not have more than 340 entries (got 341)`},
		{user + both + ` ;; mounts[2].options=["uid=9","gid=9"]`, ``},
		{user + both + ` ;; mounts[2].options=["uid=10","gid=65534","gid=x"]`, "mounts[2].options: uid=10: uid 10 is not mapped by linux.uidMappings\nmounts[2].options: gid=65534: gid 65534 is not mapped by linux.gidMappings"},
	})
	runWarnings(t, []checkTest{
		{`linux.namespaces+={"type":"user","path":"/u"} ;; ` + both + ` ;; process.user.uid=99`, ``},
	})
}

func TestTimeNamespace(t *testing.T) {
	const o = "linux.timeOffsets"
	runChecks(t, []checkTest{
		{`linux.namespaces+={"type":"time"} ;; ` + o + `={"monotonic":{"secs":-5,"nanosecs":999999999},"boottime":{}}`, ``},
		{o + `={"monotonic":{"secs":1}}`, o + `: needs a time namespace in linux.namespaces`},
		{`linux.namespaces+={"type":"time","path":"/t"} ;; ` + o + `={"monotonic":{"secs":1}}`, o + `: cannot be set for a time namespace that is joined by its path`},
		{`linux.namespaces+={"type":"time"} ;; ` + o + `={"realtime":{},"monotonic":{"nanosecs":1000000000}}`,
			o + ".monotonic.nanosecs: must be less than 1000000000 (got 1000000000)\n" + o + `.realtime: unknown clock "realtime" (known: monotonic, boottime)`},
	})
}

func TestDevices(t *testing.T) {
	const d = "linux.devices"
	runChecks(t, []checkTest{
		{d + `=[{"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":438,"uid":0,"gid":0},{"path":"/x","type":"b","major":4095,"minor":1048575},{"path":"/f","type":"p"},{"path":"/u","type":"u","major":1,"minor":1}]`, ``},
		{d + `=[{"type":"p"}]`, d + `[0].path: is required`},
		{d + `=[{"path":"dev/x","type":"p"}]`, d + `[0].path: must be an absolute path (got "dev/x")`},
		{d + `=[{"path":"/f","type":"p","major":9999999,"minor":-1}]`, ``},
		{d + `=[{"path":"/x","major":1,"minor":1}]`, d + `[0].type: is required`},
		{d + `=[{"path":"/x","type":"a","major":1,"minor":1}]`, d + `[0].type: unknown device type "a" (known: c, b, u, p)`},
		{d + `=[{"path":"/x","type":"c"}]`, d + "[0].major: is required\n" + d + "[0].minor: is required"},
		{d + `=[{"path":"/x","type":"c","major":4096,"minor":1048576}]`, d + "[0].major: must be from 0 to 4095 (got 4096)\n" + d + "[0].minor: must be from 0 to 1048575 (got 1048576)"},
		{d + `=[{"path":"/x","type":"b","major":-1,"minor":0}]`, d + "[0].major: must be from 0 to 4095 (got -1)"},
	})
}

func TestNetDevices(t *testing.T) {
	const d = "linux.netDevices"
	runChecks(t, []checkTest{
		{d + `={"eth0":{"name":"container_eth0"},"ens4":{},"x":{"name":"eth%d"},"y":{"name":"eth%d"}}`, ``},
		{d + `={"eth0":{}} ;; linux.namespaces=[{"type":"uts"},{"type":"mount"}]`, d + `: needs a network namespace in linux.namespaces`},
		{d + `={"a/b":{}}`, d + `["a/b"]: network device name "a/b" holds a character that it must not`},
		{d + `={"":{}}`, d + `[""]: network device name "" is not valid`},
		{d + `={"eth0":{"name":".."}}`, d + `.eth0.name: network device name ".." is not valid`},
		{d + `={"eth0":{"name":"0123456789abcde"}}`, ``},
		{d + `={"eth0":{"name":"0123456789abcdef"}}`, d + `.eth0.name: network device name "0123456789abcdef" is longer than 15 bytes`},
		{d + `={"eth0":{"name":"a b"}}`, d + `.eth0.name: network device name "a b" holds a character that it must not`},
		{d + `={"eth0":{"name":"e%s"}}`, d + `.eth0.name: network device name "e%s" must have no % but that of one %d`},
		{d + `={"eth0":{"name":"e%d%d"}}`, d + `.eth0.name: network device name "e%d%d" must have no % but that of one %d`},
		{d + `={"a":{"name":"z"},"b":{"name":"z"}}`, d + `.b: would have the name of ` + d + `.a in the container, "z"`},
		{d + `={"a":{"name":"b"},"b":{}}`, d + `.b: would have the name of ` + d + `.a in the container, "b"`},
	})
}

func TestSysctl(t *testing.T) {
	const (
		s    = "linux.sysctl"
		none = ` ;; linux.namespaces=[{"type":"mount"},{"type":"uts"}]`
	)
	set := func(name string) string { return s + `={"` + name + `":"1"}` }
	at := func(name string) string { return s + `["` + name + `"]: ` }
	for _, n := range []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "fs.mqueue.msg_max", "kernel/shmmax", "fs/mqueue/x"} {
		runChecks(t, []checkTest{
			{set(n), ``},
			{set(n) + none, at(n) + `needs a ipc namespace in linux.namespaces`},
		})
	}
	for _, n := range []string{"net.ipv4.ip_forward", "net/ipv4/ip_forward", "net.ipv4.conf.eno2/100.rp_filter", "net/ipv4/conf/eno2.100/rp_filter"} {
		runChecks(t, []checkTest{
			{set(n), ``},
			{set(n) + ` ;; linux.namespaces[1].path="/run/netns/x"`, ``},
			{set(n) + none, at(n) + `needs a network namespace in linux.namespaces`},
		})
	}
	for _, n := range []string{"kernel.core_pattern", "kernel/core_pattern", "vm.swappiness", "kernel.shmmaxx", "fs.file-max", "kernel.sem.x", "net", "abi.x"} {
		want := at(n)
		if n == "net" {
			want = s + ".net: "
		}
		runChecks(t, []checkTest{{set(n), want + `is not allowed: it belongs to no namespace, so it would be set on the host`}})
	}
	for _, n := range []string{"", "net..x", "net.ipv4.", ".net.ipv4", "/net/ipv4", "net/../kernel/core_pattern", "net/ipv4/../../kernel/core_pattern", "net.ipv4.//.x", "net/./x"} {
		runChecks(t, []checkTest{{set(n), at(n) + `is not the name of a kernel parameter`}})
	}
	runChecks(t, []checkTest{
		{set("kernel.domainname"), ``},
		{`-hostname ;; ` + set("kernel.domainname") + ` ;; linux.namespaces=[{"type":"mount"}]`, at("kernel.domainname") + `needs a uts namespace in linux.namespaces`},
		{set("kernel.hostname"), at("kernel.hostname") + `is not allowed: set hostname instead`},
		{set("user.max_user_namespaces"), at("user.max_user_namespaces") + `needs a user namespace in linux.namespaces`},
		{set("user.max_user_namespaces") + ` ;; linux.namespaces+={"type":"user","path":"/u"}`, ``},
		{s + `={"kernel.x":"1","kernel.a":"1"}`, at("kernel.a") + "is not allowed: it belongs to no namespace, so it would be set on the host\n" + at("kernel.x") + `is not allowed: it belongs to no namespace, so it would be set on the host`},
		{s + `={"net.x.y":"\u0000"}`, at("net.x.y") + `must not contain a NUL byte (got "\x00")`},
	})
	for name, want := range map[string]string{
		"net.ipv4.conf.eno2/100.rp_filter": "net/ipv4/conf/eno2.100/rp_filter",
		"net/ipv4/conf/eno2.100/rp_filter": "net/ipv4/conf/eno2.100/rp_filter",
		"kernel.sem":                       "kernel/sem",
		"kernel":                           "kernel",
		"net.\x00":                         "",
	} {
		if got, ok := SysctlPath(name); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestPropagationAndHiddenPaths(t *testing.T) {
	const (
		p    = "linux.rootfsPropagation"
		none = ` ;; -mounts ;; linux.namespaces=[{"type":"uts"}]`
	)
	for _, s := range []string{"shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"} {
		runChecks(t, []checkTest{{p + `="` + s + `"`, ``}})
	}
	runChecks(t, []checkTest{
		{p + `=""`, ``},
		{p + `="ro"`, p + `: unknown propagation "ro" (known: shared, slave, private, unbindable, rshared, rslave, rprivate, runbindable)`},
		{p + `="privat"`, p + `: unknown propagation "privat" (did you mean "private"?)`},
		{p + `="shared"` + none, p + `: needs a mount namespace in linux.namespaces`},
		{`linux.maskedPaths=["/proc/kcore"] ;; linux.readonlyPaths=["/proc/sys"]`, ``},
		{`linux.maskedPaths=["/a","b"]`, `linux.maskedPaths[1]: must be an absolute path (got "b")`},
		{`linux.readonlyPaths=["",  "/a\u0000"]`, "linux.readonlyPaths[0]: must be an absolute path (got \"\")\nlinux.readonlyPaths[1]: must not contain a NUL byte (got \"/a\\x00\")"},
		{`linux.maskedPaths=["/a"]` + none, `linux.maskedPaths: needs a mount namespace in linux.namespaces`},
		{`linux.readonlyPaths=["/a"]` + none, `linux.readonlyPaths: needs a mount namespace in linux.namespaces`},
		{`linux.cgroupsPath="a\u0000"`, `linux.cgroupsPath: must not contain a NUL byte (got "a\x00")`},
		{`linux.mountLabel="a\u0000"`, `linux.mountLabel: must not contain a NUL byte (got "a\x00")`},
	})
}

func TestIntelRdt(t *testing.T) {
	const r = "linux.intelRdt"
	runChecks(t, []checkTest{
		{r + `={"closID":"/","l3CacheSchema":"L3:0=7f0","memBwSchema":"MB:0=20","schemata":["L2:0=f"],"enableMonitoring":true}`, ``},
		{r + `={"closID":"."}`, r + `.closID: must be the name of a directory, or / (got ".")`},
		{r + `={"closID":".."}`, r + `.closID: must be the name of a directory, or / (got "..")`},
		{r + `={"closID":"a/b"}`, r + `.closID: must be the name of a directory, or / (got "a/b")`},
		{r + `={"closID":"a\nb"}`, r + `.closID: must be the name of a directory, or / (got "a\nb")`},
		{r + `={"l3CacheSchema":"L3:0=1\nL3:1=1"}`, r + `.l3CacheSchema: must not contain a newline (got "L3:0=1\nL3:1=1")`},
		{r + `={"memBwSchema":"MB:0=1\n"}`, r + `.memBwSchema: must not contain a newline (got "MB:0=1\n")`},
		{r + `={"memBwSchema":"0=1"}`, r + `.memBwSchema: must start with MB: (got "0=1")`},
		{r + `={"schemata":["a","b\nc"]}`, r + `.schemata[1]: must not contain a newline (got "b\nc")`},
	})
	runWarnings(t, []checkTest{{r + `={"l3CacheSchema":"0=1"}`, r + `.l3CacheSchema: should start with L3: (got "0=1")`}})
}

func TestMemoryPolicyAndPersonality(t *testing.T) {
	const p = "linux.memoryPolicy"
	for _, mode := range []string{"MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY"} {
		runChecks(t, []checkTest{
			{p + `={"mode":"` + mode + `","nodes":"0-1"}`, ``},
			{p + `={"mode":"` + mode + `"}`, p + `.nodes: is required with ` + mode},
		})
	}
	for _, mode := range []string{"MPOL_DEFAULT", "MPOL_LOCAL"} {
		runChecks(t, []checkTest{
			{p + `={"mode":"` + mode + `"}`, ``},
			{p + `={"mode":"` + mode + `","nodes":"1"}`, p + `.nodes: must be empty with ` + mode + ` (got "1")`},
		})
	}
	runChecks(t, []checkTest{
		{p + `={"mode":"MPOL_PREFERRED"}`, ``},
		{p + `={"mode":"MPOL_PREFERRED","nodes":"0,2-3"}`, ``},
		{p + `={"mode":"MPOL_PREFERRED","nodes":"0,","flags":["MPOL_F_STATIC_NODES"]}`, p + `.nodes: must be a list of numbers and ranges, like 0-3,7 (got "0,")`},
		{p + `={}`, p + `.mode: is required`},
		{p + `={"mode":"MPOL_BOND","nodes":"1"}`, p + `.mode: unknown mode "MPOL_BOND" (did you mean "MPOL_BIND"?)`},
		{p + `={"mode":"MPOL_BIND","nodes":"1","flags":["MPOL_F_NUMA_BALANCING","MPOL_F_STATIC_NODES"]}`, ``},
		{p + `={"mode":"MPOL_BIND","nodes":"1","flags":["MPOL_F_X"]}`, p + `.flags[0]: unknown flag "MPOL_F_X" (known: MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES)`},
		{p + `={"mode":"MPOL_BIND","nodes":"1","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}`, p + `.flags: cannot have both MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES`},
		{`linux.personality={"domain":"LINUX"}`, ``},
		{`linux.personality={"domain":"LINUX32","flags":[]}`, ``},
		{`linux.personality={}`, `linux.personality.domain: is required`},
		{`linux.personality={"domain":"BSD"}`, `linux.personality.domain: unknown domain "BSD" (known: LINUX, LINUX32)`},
		{`linux.personality={"domain":"LINUX","flags":["x"]}`, `linux.personality.flags: no flag is supported (got "x")`},
	})
}

func TestSeccomp(t *testing.T) {
	const s = "linux.seccomp"
	call := func(rest string) string {
		return s + `={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],` + rest + `}]}`
	}
	for _, a := range seccompActions {
		if a != "SCMP_ACT_NOTIFY" {
			runChecks(t, []checkTest{{s + `={"defaultAction":"` + a + `"}`, ``}, {call(`"action":"` + a + `"`), ``}})
		}
		want := ""
		if a != "SCMP_ACT_ERRNO" && a != "SCMP_ACT_TRACE" {
			want = s + ".defaultErrnoRet: cannot be set with " + a + ", only with SCMP_ACT_ERRNO and SCMP_ACT_TRACE\n" +
				s + ".syscalls[0].errnoRet: cannot be set with " + a + ", only with SCMP_ACT_ERRNO and SCMP_ACT_TRACE"
		}
		runChecks(t, []checkTest{{s + `={"defaultAction":"` + a + `","defaultErrnoRet":1,"listenerPath":"/l","syscalls":[{"names":["read"],"action":"` + a + `","errnoRet":65535}]}`, want}})
	}
	for _, a := range seccompArchs {
		runChecks(t, []checkTest{{s + `={"defaultAction":"SCMP_ACT_ALLOW","architectures":["` + a + `"]}`, ``}})
	}
	for _, op := range []string{"NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"} {
		runChecks(t, []checkTest{{call(`"action":"SCMP_ACT_LOG","args":[{"index":5,"value":18446744073709551615,"valueTwo":1,"op":"SCMP_CMP_` + op + `"}]`), ``}})
	}
	runChecks(t, []checkTest{
		{s + `={}`, s + `.defaultAction: is required`},
		{s + `={"defaultAction":"SCMP_ACT_DENY"}`, s + `.defaultAction: unknown action "SCMP_ACT_DENY" (known: ` + strings.Join(seccompActions[:], ", ") + `)`},
		{s + `={"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":65536}`, s + `.defaultErrnoRet: must not be more than 65535 (got 65536)`},
		{s + `={"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","x86_64"]}`, s + `.architectures[1]: unknown architecture "x86_64" (did you mean "SCMP_ARCH_X86_64"?)`},
		{s + `={"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}`, ``},
		{s + `={"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOGS"]}`, s + `.flags[0]: unknown flag "SECCOMP_FILTER_FLAG_LOGS" (did you mean "SECCOMP_FILTER_FLAG_LOG"?)`},
		{s + `={"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"m"}`, s + `.listenerMetadata: must not be set without listenerPath`},
		{s + `={"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"m","listenerPath":"/l"}`, ``},
		{s + `={"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l\u0000"}`, s + `.listenerPath: must not contain a NUL byte (got "/l\x00")`},
		{s + `={"defaultAction":"SCMP_ACT_NOTIFY"}`, s + `.listenerPath: is required for SCMP_ACT_NOTIFY`},
		{call(`"action":"SCMP_ACT_NOTIFY"`), s + `.listenerPath: is required for SCMP_ACT_NOTIFY`},
		{call(`"names":[],"action":"SCMP_ACT_LOG"`), s + `.syscalls[0].names: must have at least one entry`},
		{call(`"names":["a",""],"action":"SCMP_ACT_LOG"`), s + `.syscalls[0].names[1]: must not be empty`},
		{call(`"args":[]`), s + `.syscalls[0].action: is required`},
		{call(`"action":"SCMP_ACT_LOG","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]`), s + `.syscalls[0].args[0].index: must be from 0 to 5 (got 6)`},
		{call(`"action":"SCMP_ACT_LOG","args":[{"index":0,"value":0}]`), s + `.syscalls[0].args[0].op: is required`},
		{call(`"action":"SCMP_ACT_LOG","args":[{"index":0,"value":0,"op":"=="}]`), s + `.syscalls[0].args[0].op: unknown operator "==" (known: SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ)`},
	})
}
