package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vsrun/vsrun/tests/harness"
)

// fixture is a bundle to be tried. Each is about other steps.
type fixture struct {
	name  string
	edits func(s *scene) []string
	flags []string // of create and run
	tty   bool     // with --console-socket
	env   []string
	made  func(s *scene, bundle string)
	each  func(s *scene) // before each container
	fails bool           // no container comes of it, and what was made is undone
	// cold is what a container finds and leaves, which each of these makes anew, with the helper. What was half made is not in
	// the way of the next one.
	cold []string
	// prefix is a command that runs the runtime; its own system calls would be in the way of those that are stopped.
	prefix []string
	need   func() string // why it can't be here, "" if it can
}

// ownDevice is in every bundle: its device filter is like no other's on this machine, nor that of another run of these tests.
var ownDevice = `linux.resources.devices+={"allow":true,"type":"c","major":511,"minor":` + strings.TrimLeft(tag, "abcdefghijklmnopqrstuvwxyz-") + `,"access":"r"}`

// The network device that a container gets, and the other end of it.
const device, peer = "vsfault0", "vsfault1"

func hasNUMA() bool {
	_, err := os.Stat("/proc/self/numa_maps")
	return err == nil
}

func edits(list ...string) func(*scene) []string {
	return func(*scene) []string { return list }
}

var fixtures = []fixture{
	{name: "plain", edits: edits(), flags: []string{"--pid-file", "PIDFILE"}},
	{name: "mounts", edits: func(s *scene) []string {
		dir := filepath.Join(s.dir, "source")
		for _, d := range []string{"sub", "ro"} {
			_ = os.MkdirAll(filepath.Join(dir, d), 0o755)
		}
		_ = os.WriteFile(filepath.Join(dir, "file"), []byte("text\n"), 0o644)
		more := []string{}
		if harness.HasLSM("apparmor") {
			more = append(more, `process.apparmorProfile="unconfined"`)
		}
		if hasNUMA() {
			more = append(more, `linux.memoryPolicy={"mode":"MPOL_BIND","nodes":"0"}`)
		}
		return append(more,
			`mounts+={"destination":"/scratch","type":"tmpfs","source":"tmpfs","options":["mode=0711","size=4m"]}`,
			`mounts+={"destination":"/etc","type":"tmpfs","source":"tmpfs","options":["tmpcopyup"]}`,
			fmt.Sprintf(`mounts+={"destination":"/file","type":"bind","source":"%s/file","options":["bind","ro"]}`, dir),
			fmt.Sprintf(`mounts+={"destination":"/data","type":"bind","source":"%s","options":["rbind","rro","rslave"]}`, dir),
			fmt.Sprintf(`mounts+={"destination":"/ids","type":"bind","source":"%s","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":1000,"size":10}],"gidMappings":[{"containerID":0,"hostID":1000,"size":10}]}`, dir),
			`linux.devices=[{"path":"/dev/more","type":"c","major":1,"minor":5,"fileMode":438},{"path":"/dev/fifo","type":"p"}]`,
			`linux.sysctl={"net.ipv4.ip_forward":"1","kernel.shmmax":"1048576"}`, "domainname=example.org",
			`linux.namespaces+={"type":"time"}`, `linux.timeOffsets={"boottime":{"secs":1000},"monotonic":{"secs":1000}}`,
			"linux.rootfsPropagation=private", `linux.personality={"domain":"LINUX"}`, "process.oomScoreAdj=500", "process.cwd=/scratch",
			`process.rlimits+={"type":"RLIMIT_CORE","hard":0,"soft":0}`, `process.ioPriority={"class":"IOPRIO_CLASS_BE","priority":5}`,
			`process.scheduler={"policy":"SCHED_BATCH","nice":3}`, `process.user={"uid":1000,"gid":1000,"additionalGids":[5,6]}`)
	}},
	{name: "userns", edits: edits(`linux.namespaces+={"type":"user"}`,
		`linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`,
		`linux.gidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`, "process.oomScoreAdj=100",
		`process.scheduler={"policy":"SCHED_BATCH","nice":-3}`, `process.ioPriority={"class":"IOPRIO_CLASS_RT","priority":2}`)},
	{name: "untrusted", edits: edits(`linux.namespaces+={"type":"user"}`,
		`linux.uidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`,
		`linux.gidMappings=[{"containerID":0,"hostID":100000,"size":65536}]`),
		prefix: []string{"setpriv", "--bounding-set", "-sys_ptrace"}},
	{name: "terminal", edits: edits("process.terminal=true", `process.consoleSize={"height":20,"width":70}`), tty: true},
	{name: "hooks", edits: edits(`hooks={"prestart":[{"path":"/bin/true"}],"createRuntime":[{"path":"/bin/true","timeout":5}],` +
		`"createContainer":[{"path":"/bin/true"}],"startContainer":[{"path":"/bin/true"}],"poststart":[{"path":"/bin/true"}],"poststop":[{"path":"/bin/true"}]}`)},
	{name: "joined", edits: func(s *scene) []string {
		return []string{
			fmt.Sprintf("linux.namespaces[type=network].path=/proc/%d/ns/net", s.pid),
			fmt.Sprintf("linux.namespaces[type=ipc].path=/proc/%d/ns/ipc", s.pid),
			fmt.Sprintf("linux.namespaces[type=uts].path=/proc/%d/ns/uts", s.pid), "-hostname",
			fmt.Sprintf("linux.namespaces[type=pid].path=/proc/%d/ns/pid", s.pid),
			fmt.Sprintf(`linux.namespaces+={"type":"time","path":"/proc/%d/ns/time"}`, s.pid),
		}
	}},
	{name: "limits", edits: edits(`linux.resources={"pids":{"limit":50},"memory":{"limit":67108864},"cpu":{"shares":512,"quota":50000,"period":100000},` +
		`"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":511,"minor":4712,"access":"rw"}]}`),
		need: needV1("memory", "pids", "cpu")},
	{name: "seccomp", edits: edits(`linux.seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sync"],"action":"SCMP_ACT_ERRNO"}]}`,
		"process.noNewPrivileges=false")},
	{name: "host", edits: edits("linux.namespaces="+`[{"type":"mount"}]`, "-hostname")},
	{name: "nomounts", edits: edits("linux.namespaces="+`[{"type":"pid"},{"type":"ipc"},{"type":"uts"}]`, "mounts="+`[{"destination":"/dev","type":"tmpfs","source":"tmpfs"}]`,
		"linux.maskedPaths=[]", "linux.readonlyPaths=[]", "root.readonly=false")},
	{name: "notify", edits: edits("args:/bin/probe notify READY=1 stay"), env: []string{"NOTIFY_SOCKET=@" + notifyName}},
	{name: "context", edits: edits(`annotations."org.linux-vserver.context.xid"="1234"`)},
	// CRIU takes most of its time for packing what is in each tmpfs, and for the firewall: neither is vsrun's.
	{name: "criu", edits: edits("sh:exec >/dev/null 2>&1 </dev/null sleep 100000", "root.readonly=false", "-mounts[destination=/dev]",
		"-mounts[destination=/dev/shm]"), need: needCriu},
	{name: "short", edits: edits("sh:sleep 0.1; exit 0")},
	{name: "addresses", edits: edits("-linux.namespaces[type=network]",
		`annotations={"org.linux-vserver.net.addresses":"10.77.0.2","org.linux-vserver.net.missing-address":"warn","org.linux-vserver.net.ports":"1000-2000"}`), need: needCgroup2},
	{name: "unified", edits: edits("root.readonly=false", `annotations={"org.linux-vserver.rootfs":"unified"}`),
		made: func(s *scene, bundle string) {
			s.must("unify", "--store", filepath.Join(s.dir, "store"), filepath.Join(bundle, "rootfs"))
		}, need: needKernel(6, 8)},
	{name: "landlock", edits: edits(`annotations={"org.linux-vserver.landlock":"true"}`), need: func() string {
		if harness.LandlockABI() < 2 {
			return "needs Landlock"
		}
		return ""
	}},
	{name: "devices", edits: edits(`linux.netDevices={"` + device + `":{"name":"eth0"}}`), each: func(s *scene) {
		_ = exec.Command("ip", "link", "del", peer).Run()
		out, err := exec.Command("ip", "link", "add", device, "type", "veth", "peer", "name", peer).CombinedOutput()
		if err != nil {
			s.t.Fatalf("ip link add: %v: %s", err, out)
		}
	}, need: func() string {
		defer func() { _ = exec.Command("ip", "link", "del", peer).Run() }()
		if out, err := exec.Command("ip", "link", "add", device, "type", "veth", "peer", "name", peer).CombinedOutput(); err != nil {
			return fmt.Sprintf("needs ip and veth: %v: %s", err, out)
		}
		return ""
	}},
	{name: "missing", edits: edits("args:/no/such/program"), fails: true},
	{name: "nopivot", edits: edits(), flags: []string{"--no-pivot", "--no-new-keyring"}},
	// Those that take longest come last: where time is short, the others have been.
	{name: "coldseccomp", edits: edits(`linux.seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sync"],"action":"SCMP_ACT_ERRNO"}]}`),
		cold: []string{"/run/vsrun-seccomp"}},
	{name: "coldaddresses", edits: edits("-linux.namespaces[type=network]",
		`annotations={"org.linux-vserver.net.addresses":"10.77.0.2","org.linux-vserver.net.missing-address":"warn"}`), need: needCgroup2,
		cold: []string{"/sys/fs/bpf/vsrun-net", "/run/vsrun-net"}},
}

// needV1 is for limits: on version 2 their controllers have to be on.
func needV1(controllers ...string) func() string {
	return func() string {
		for _, c := range controllers {
			if !v1[c] && !v2[c] {
				return "needs cgroup controller " + c
			}
		}
		return ""
	}
}

func needCriu() string {
	out, err := exec.Command("criu", "check").CombinedOutput()
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return "needs CRIU: " + err.Error() + " " + line
}

func needKernel(major, minor int) func() string {
	return func() string {
		if !harness.KernelAtLeast(major, minor) {
			return fmt.Sprintf("needs Linux %d.%d", major, minor)
		}
		return ""
	}
}

func needCgroup2() string {
	if l := harness.CgroupLayout(); l != "v2" && l != "hybrid" {
		return "needs cgroup2: network contexts hang on it"
	}
	return ""
}
