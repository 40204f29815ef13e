package spec

import "testing"

func TestMounts(t *testing.T) {
	const m = "mounts[2]"
	runChecks(t, []checkTest{
		{`-mounts`, ``},
		{`-` + m + `.destination`, m + `.destination: is required`},
		{m + `.destination="/a\u0000"`, m + `.destination: must not contain a NUL byte (got "/a\x00")`},
		{m + `.source="/a\u0000"`, m + `.source: must not contain a NUL byte (got "/a\x00")`},
		{m + `.type="a\u0000"`, m + `.type: must not contain a NUL byte (got "a\x00")`},
		{m + `.options=["ro","a\u0000"]`, m + `.options[1]: must not contain a NUL byte (got "a\x00")`},
		{`-` + m + `.type`, m + `.type: is required for a mount that is no bind mount (got "", no option bind or rbind)`},
		{m + `.type="none"`, m + `.type: is required for a mount that is no bind mount (got "none", no option bind or rbind)`},
		{m + `={"destination":"/x","options":["remount","ro"]}`, ``},
		{m + `={"destination":"/x","type":"none","source":"/s","options":["bind"]}`, ``},
		{m + `={"destination":"/x","type":"bind","source":"/s"}`, ``},
		{m + `={"destination":"/x","source":"rel/s","options":["rbind"]}`, ``},
		{m + `={"destination":"/x","type":"bind"}`, m + `.source: is required for a bind mount`},
		{m + `={"destination":"/x","options":["rbind"]}`, m + `.source: is required for a bind mount`},
		{m + `={"destination":"/x","type":"tmpfs","options":["tmpcopyup"]}`, ``},
		{m + `={"destination":"/x","type":"bind","source":"/s","options":["tmpcopyup"]}`, m + `.options: tmpcopyup is only for a mount of type tmpfs`},
		{m + `.options="ro"`, m + `.options: must be an array (got "ro")`},
	})
	runWarnings(t, []checkTest{
		{m + `.destination="tmp"`, m + `.destination: is not absolute and taken as relative to / (got "tmp")`},
		{`mounts[1].options=["rbind","mode=755","size=1k"]`, `mounts[1].options: ignoring what a bind mount cannot have: mode=755,size=1k`},
		{`linux.namespaces=[{"type":"uts"}]`, `mounts: no mount namespace is listed: the mounts are made in the caller's`},
	})
}

func TestProcMounts(t *testing.T) {
	for _, name := range []string{"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"} {
		runChecks(t, []checkTest{{`mounts[1].destination="/proc/` + name + `"`, ``}, {`mounts[1].destination="/x/..//proc/./` + name + `/"`, ``}})
	}
	for _, d := range []string{"/proc/sys", "/proc/self/attr", "proc/version", "/proc/cpuinfo/x", "/a/../proc/x", "//proc//x", "/proc/stat2"} {
		runChecks(t, []checkTest{{`mounts[1].destination="` + d + `"`, `mounts[1].destination: "` + d + `" cannot be mounted because it is inside /proc`}})
	}
	runChecks(t, []checkTest{
		{`mounts[1].destination="/procfs"`, ``},
		{`mounts[1].destination="/var/proc/x"`, ``},
		{`mounts[1].destination="/proc"`, ``}, // whether the source is a procfs is for the mounter to see
		{`mounts[2].destination="/proc/../proc"`, `mounts[2].destination: /proc cannot be a mount of type "tmpfs", only of type proc or a bind mount of one`},
	})
}

func TestIDMappedMounts(t *testing.T) {
	const (
		m   = "mounts[1]"
		one = `[{"containerID":0,"hostID":1000,"size":10}]`
	)
	runChecks(t, []checkTest{
		{m + `.uidMappings=` + one + ` ;; ` + m + `.gidMappings=` + one, ``},
		{m + `.options=["bind","idmap"] ;; ` + m + `.uidMappings=` + one + ` ;; ` + m + `.gidMappings=` + one, ``},
		{m + `.uidMappings=` + one, m + `.gidMappings: is required with uidMappings`},
		{m + `.gidMappings=` + one, m + `.uidMappings: is required with gidMappings`},
		{m + `.gidMappings=` + one + ` ;; ` + m + `.uidMappings=[]`, m + `.uidMappings: is required with gidMappings`},
		{m + `.options=["bind","idmap"]`, m + `.options: idmap needs uidMappings and gidMappings, or a user namespace in linux.namespaces`},
		{m + `.options=["rbind","ridmap"]`, m + `.options: idmap needs uidMappings and gidMappings, or a user namespace in linux.namespaces`},
		{m + `.options=["rbind","ridmap"] ;; linux.namespaces+={"type":"user","path":"/u"}`, ``},
		{m + `.options=["ro","bind","idmap=uids=0-1-1;gids=0-1-1"]`, m + `.options[2]: mappings in an option are not supported: use idmap or ridmap, uidMappings and gidMappings (got "idmap=uids=0-1-1;gids=0-1-1")`},
		{m + `.uidMappings=` + one + ` ;; ` + m + `.gidMappings=[{"containerID":0,"hostID":0,"size":0}]`, m + `.gidMappings[0].size: must not be 0`},
		{m + `.gidMappings=` + one + ` ;; ` + m + `.uidMappings=[{"containerID":0,"hostID":0,"size":2},{"containerID":1,"hostID":5,"size":1}]`, m + `.uidMappings[1]: container ids overlap those of ` + m + `.uidMappings[0]`},
	})
}
